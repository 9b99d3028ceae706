"""Features of ranked completions, in blocks that fit in the cache, and the pairs among them.

However they come (an array (N, n, d), rows (M, d) with comparisons, prompts of different sizes,
batches that are read again at every pass), a head sees groups of prompts of the same size, one
after another, and its completions are numbered in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import finite_array, ranked
from collapse_theory.numerics.linear import components
from collapse_theory.programs import Comparisons

# Numbers in a block: 8 MB in float64, which two levels of cache share with the block's products.
BLOCK = 2**20


# -- arrays ------------------------------------------------------------------------------


def as_features(values: Any, what: str = "features") -> np.ndarray:
    """Return features as an array of float32 or float64: of NumPy, torch, Arrow or Polars.

    Half precision becomes float32, whole numbers float64. An Arrow column holds a list a row.

    Raises
    ------
    CollapseError
        A ValueError, where they aren't numbers in rows of one length.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.element_size() < 4 else values).numpy()
    elif hasattr(values, "null_count") or hasattr(values, "column_names"):
        values = _of_arrow(values)
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    try:
        array = np.asarray(values)
        while array.dtype == object:  # a list a row
            array = np.stack([np.asarray(row) for row in array])
        if array.dtype.kind not in "fiub":
            raise TypeError(f"their type is {array.dtype}")
    except (TypeError, ValueError) as fault:
        raise CollapseError(f"{what} must be numbers in rows of one length: {fault}") from None
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32 if array.dtype == np.float16 else np.float64)


def _of_arrow(column: Any) -> Any:
    """Return an Arrow column of lists, or a table of one such column, as rows."""
    if hasattr(column, "column_names"):
        if len(column.column_names) != 1:
            raise CollapseError(
                f"features must be one column of a table, choose one of {column.column_names}: "
                'table["embedding"]'
            )
        column = column.column(0)
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    column = getattr(column, "storage", column)  # of a tensor type
    if column.null_count:
        raise CollapseError(f"features must not be null, and {column.null_count} rows are")
    shape = [len(column)]
    while hasattr(column.type, "value_type"):
        count, inside = len(column), column.flatten()
        if len(inside) % max(count, 1):
            raise CollapseError("features must be lists of one length, and the column's differ")
        shape, column = [*shape, len(inside) // max(count, 1)], inside
    return column.to_numpy(zero_copy_only=False).reshape(shape)


# -- the pairs of a group of prompts -----------------------------------------------------


class Edges(NamedTuple):
    """Pairs of a block: the better and the worse completion, counted from the block's first."""

    better: np.ndarray
    worse: np.ndarray
    weights: np.ndarray
    margins: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """The pairs of prompts of n completions: the same in each prompt, or each prompt's own.

    `starts` is where each prompt's begin; None where `edges` are those of every prompt.
    """

    n: int
    edges: Edges
    starts: np.ndarray | None = None

    def block(self, first: int, count: int) -> Edges:
        """Return the pairs of the prompts first, ..., first + count - 1."""
        if self.starts is not None:
            at = slice(self.starts[first], self.starts[first + count])
            better, worse, *rest = (part[at] for part in self.edges)
            return Edges(better - first * self.n, worse - first * self.n, *rest)
        ahead = self.n * np.arange(count)[:, None]
        better, worse = ((ahead + one).ravel() for one in self.edges[:2])
        return Edges(better, worse, *(np.tile(part, count) for part in self.edges[2:]))


def _edges(pairs: Comparisons | None, n: int) -> Edges:
    """Return a prompt's pairs, with weights that sum to 1."""
    pairs = Comparisons.full(ranked(n)) if pairs is None else pairs
    if pairs.n != n:
        raise CollapseError(f"the comparisons are of {pairs.n} completions, a prompt has {n}")
    return Edges(pairs.better, pairs.worse, pairs.weights / pairs.weights.sum(), pairs.margins)


# -- the prompts -------------------------------------------------------------------------


class Part(NamedTuple):
    """A block of a group: `size` prompts of n completions, the first of them and of theirs."""

    size: int
    n: int
    first: int
    completion: int
    pairs: Callable[[], Edges]

    @property
    def rows(self) -> slice:
        """Where its completions are among all."""
        return slice(self.completion, self.completion + self.size * self.n)


@dataclass(frozen=True)
class Prompts:
    """All prompts, in groups of one size, and how to read their features again.

    Attributes
    ----------
    d, prompts, completions : int
    groups : list of (count, Pairs)
    read : callable
        Returns the groups' features, (count, n, d) each, in float32 or float64.
    shares : numpy.ndarray, shape (prompts,)
        What a prompt's pairs count in the objective: 1/N, or 1 where their weights say it all.
    order : numpy.ndarray or None
        The place of each completion in what was given; None where that is the same.
    members : numpy.ndarray or None
        The place of each prompt in what was given; None where that is the same.
    shape : tuple of int
        Of what is said of each completion.
    stored : bool
        Whether the features are in memory.
    along, blur
        Where completions are held equal (`head_ties`): an orthonormal basis (d, k) of what was
        taken out of the features, and how far rounding may have put them.
    """

    d: int
    groups: list[tuple[int, Pairs]]
    read: Callable[[], Iterator[np.ndarray]]
    shares: np.ndarray
    shape: tuple[int, ...]
    order: np.ndarray | None = None
    members: np.ndarray | None = None
    stored: bool = True
    along: np.ndarray | None = None
    blur: float = 0.0

    @property
    def prompts(self) -> int:
        """How many there are."""
        return sum(count for count, _ in self.groups)

    @property
    def completions(self) -> int:
        """How many there are in all."""
        return sum(count * pairs.n for count, pairs in self.groups)

    def parts(self) -> Iterator[Part]:
        """Yield the blocks, without their features."""
        prompt = completion = 0
        for count, pairs in self.groups:
            step = max(BLOCK // (pairs.n * self.d), 1)
            for first in range(0, count, step):
                size = min(step, count - first)

                def edges(
                    pairs: Pairs = pairs, first: int = first, size: int = size, prompt: int = prompt
                ) -> Edges:
                    found = pairs.block(first, size)
                    shares = self.shares[prompt + found.better // pairs.n]
                    return found._replace(weights=shares * found.weights)

                yield Part(size, pairs.n, prompt, completion, edges)
                prompt, completion = prompt + size, completion + size * pairs.n

    def blocks(self) -> Iterator[tuple[Part, np.ndarray]]:
        """Yield the blocks with their features (count, n, d), in float64."""
        parts = self.parts()
        for group in self.read():
            first = 0
            while first < len(group):
                part = next(parts)
                block = group[first : first + part.size]
                yield part, np.ascontiguousarray(block, dtype=np.float64)
                first += part.size

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Return what is said of each completion in the shape and order of what was given."""
        found = np.full(int(np.prod(self.shape)), np.nan)
        found[slice(None) if self.order is None else self.order] = values
        return found.reshape(self.shape)


def centred(phi: np.ndarray) -> np.ndarray:
    """Return features (count, n, d) less each prompt's mean: gaps are of these alone.

    What all completions of a prompt share, most of what a language model says of them, is in no
    gap; taken off first it brings no rounding either.
    """
    return phi - phi.mean(axis=1, keepdims=True)


def prompts_of(features: Any, comparisons: Any = None, weights: Any = None) -> Prompts:
    """Return the prompts of features, however they come; see `fit_head`."""
    found = _read(features, comparisons)
    if weights is None:
        return found
    if isinstance(comparisons, Comparisons) and len(found.shape) == 1:
        raise CollapseError(
            "weights= are of prompts, and the comparisons are of all completions in one: give "
            "their pairs weights, or a list of Comparisons with one a prompt"
        )
    shares = finite_array(weights, "weights", 1)
    if len(shares) != found.prompts or shares.min() < 0 or not 0 < shares.sum() < np.inf:
        raise CollapseError(
            f"weights must be {found.prompts} numbers of 0 or more, one a prompt, not all 0; got "
            f"{len(shares)}"
        )
    order = slice(None) if found.members is None else found.members
    return replace(found, shares=(shares / shares.sum())[order])


def _read(features: Any, comparisons: Any) -> Prompts:
    if isinstance(features, Iterator):
        raise CollapseError(
            "the features come from an iterator, which can be read once, and every pass reads them "
            "again: give a list of batches, or an object whose __iter__ starts anew"
        )
    if not hasattr(features, "shape") and not hasattr(features, "null_count"):
        first = next(iter(features), None) if isinstance(features, Iterable) else None
        axes = getattr(first, "ndim", None)
        if axes == 3:
            return _of_batches(features, comparisons)
        if axes == 2 and isinstance(features, Sequence):
            return _of_ragged([as_features(one) for one in features], comparisons)
    array = as_features(features)
    if array.ndim not in (2, 3) or not array.size:
        raise CollapseError(
            "features must have the shape (prompts, completions, d), best first, or (completions, "
            f"d) with comparisons; got {array.shape}"
        )
    _require_finite(array)
    if array.ndim == 3:
        return _of_array(array, comparisons)
    if comparisons is None:
        raise CollapseError(
            f"features of the shape {array.shape}, one row a completion, need comparisons=: a "
            "Comparisons of all rows, or a list with one a prompt. Where each prompt has n "
            "completions, best first, features.reshape(-1, n, d) does"
        )
    return _of_rows(array, comparisons)


def _of_array(array: np.ndarray, comparisons: Any) -> Prompts:
    count, n, d = array.shape
    pairs = _group(comparisons, count, n)
    return Prompts(d, [(count, pairs)], lambda: iter([array]), _equal(count), (count, n))


def _group(comparisons: Any, count: int, n: int) -> Pairs:
    """Return the pairs of prompts of n completions, from one graph for all or one for each."""
    if comparisons is None or isinstance(comparisons, Comparisons):
        return Pairs(n, _edges(comparisons, n))
    listed = _listed(comparisons)
    if len(listed) != count:
        raise CollapseError(f"{len(listed)} comparisons for {count} prompts: give one a prompt")
    return _own(n, [_edges(one, n) for one in listed])


def _own(n: int, each: list[Edges]) -> Pairs:
    better, worse = (
        np.concatenate([edges[side] + n * p for p, edges in enumerate(each)]) for side in (0, 1)
    )
    weights, margins = (np.concatenate([edges[which] for edges in each]) for which in (2, 3))
    starts = np.cumsum([0, *(len(edges.better) for edges in each)])
    return Pairs(n, Edges(better, worse, weights, margins), starts)


def _listed(comparisons: Any) -> list[Comparisons]:
    listed = list(comparisons) if isinstance(comparisons, Iterable) else []
    if not listed or not all(isinstance(one, Comparisons) for one in listed):
        raise CollapseError(f"comparisons must be Comparisons, or a list of them: {comparisons!r}")
    return listed


def _of_rows(array: np.ndarray, comparisons: Any) -> Prompts:
    """Return the prompts of rows: the parts of one graph of all, or one after another."""
    rows = len(array)
    if not isinstance(comparisons, Comparisons):
        listed = _listed(comparisons)
        sizes = np.array([one.n for one in listed])
        if sizes.sum() != rows:
            raise CollapseError(
                f"the comparisons are of {sizes.sum()} completions in all, the features of {rows}"
            )
        edges = [_edges(one, one.n) for one in listed]
        return _sorted(array, np.repeat(np.arange(len(sizes)), sizes), edges, (rows,))
    if comparisons.n != rows:
        raise CollapseError(f"the comparisons are of {comparisons.n} completions, not of {rows}")
    equal = [(group[0], i) for group in comparisons.equal for i in group[1:]]
    first, second = np.array([*equal, *zip(comparisons.better, comparisons.worse, strict=True)]).T
    part = components(first, second, rows)
    order = np.argsort(part[comparisons.better], kind="stable")
    place = np.empty(rows, dtype=np.int64)  # within the part
    by_part = np.argsort(part, kind="stable")
    starts = np.searchsorted(part[by_part], np.arange(part.max() + 2))
    place[by_part] = np.arange(rows) - starts[part[by_part]]
    cuts = np.searchsorted(part[comparisons.better][order], np.arange(1, part.max() + 1))
    whole = Edges(
        place[comparisons.better],
        place[comparisons.worse],
        comparisons.weights / comparisons.weights.sum(),
        comparisons.margins,
    )
    split = [np.split(values[order], cuts) for values in whole]
    edges = [Edges(*one) for one in zip(*split, strict=True)]
    return _sorted(array, part, edges, (rows,), shares=np.ones(len(edges)))


def _of_ragged(arrays: list[np.ndarray], comparisons: Any) -> Prompts:
    """Return prompts of different sizes: an array (n, d) each."""
    widths = {one.shape[1] for one in arrays}
    if len(widths) > 1:
        raise CollapseError(f"all features must have the same width, got {sorted(widths)}")
    sizes = [len(one) for one in arrays]
    if comparisons is None or isinstance(comparisons, Comparisons):
        edges = [_edges(comparisons, n) for n in sizes]
    else:
        listed = _listed(comparisons)
        if len(listed) != len(sizes):
            raise CollapseError(f"{len(listed)} comparisons for {len(sizes)} prompts: one each")
        edges = [_edges(one, n) for one, n in zip(listed, sizes, strict=True)]
    array = np.concatenate(arrays)
    _require_finite(array)
    shape = (len(sizes), max(sizes))
    where = np.arange(shape[1]) < np.array(sizes)[:, None]
    part = np.repeat(np.arange(len(sizes)), sizes)
    return _sorted(array, part, edges, shape, np.flatnonzero(where))


def _sorted(
    array: np.ndarray,
    part: np.ndarray,
    edges: list[Edges],
    shape: tuple[int, ...],
    places: np.ndarray | None = None,
    shares: np.ndarray | None = None,
) -> Prompts:
    """Return prompts of any sizes, the rows of which are `part`, in groups of one size."""
    sizes = np.bincount(part)
    order = np.lexsort((part, sizes[part]))
    by_size = np.argsort(sizes, kind="stable")
    array = array if np.array_equal(order, np.arange(len(part))) else array[order]
    groups, arrays, first = [], [], 0
    for n in np.unique(sizes).tolist():
        members = by_size[sizes[by_size] == n]
        groups.append((len(members), _own(n, [edges[p] for p in members])))
        last = first + n * len(members)
        arrays.append(array[first:last].reshape(len(members), n, -1))
        first = last
    places = order if places is None else places[order]
    shares = _equal(len(sizes)) if shares is None else shares
    return Prompts(array.shape[1], groups, lambda: iter(arrays), shares, shape, places, by_size)


def _equal(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def _of_batches(batches: Iterable[Any], comparisons: Any) -> Prompts:
    """Return the prompts of batches (B, n, d), which are read again at every pass."""
    shapes: list[tuple[int, ...]] = []
    for batch in batches:
        array = as_features(batch)
        if array.ndim != 3 or not array.size or (shapes and array.shape[2] != shapes[0][2]):
            known = f", of the width {shapes[0][2]}" if shapes else ""
            raise CollapseError(
                f"batches must be (prompts, completions, d){known}; number {len(shapes)} is "
                f"{array.shape}"
            )
        _require_finite(array)
        shapes.append(array.shape)

    def read() -> Iterator[np.ndarray]:
        seen = 0
        for seen, batch in enumerate(batches, 1):
            array = as_features(batch)
            if seen > len(shapes) or array.shape != shapes[seen - 1]:
                seen = 0
                break
            yield array
        if seen != len(shapes):
            raise CollapseError(
                "the batches are others than when they were first read: every pass must bring the "
                "same prompts in the same order"
            )

    counts, sizes = [shape[0] for shape in shapes], [shape[1] for shape in shapes]
    total = sum(counts)
    if comparisons is None or isinstance(comparisons, Comparisons):
        made = {n: _group(comparisons, 1, n) for n in set(sizes)}
        groups = [(count, made[n]) for count, n in zip(counts, sizes, strict=True)]
    else:
        listed = _listed(comparisons)
        if len(listed) != total:
            raise CollapseError(f"{len(listed)} comparisons for {total} prompts: give one a prompt")
        ends = np.cumsum([0, *counts])
        groups = [
            (count, _group(listed[first : first + count], count, n))
            for first, count, n in zip(ends, counts, sizes, strict=False)
        ]
    most = max(sizes)
    where = np.arange(most) < np.repeat(sizes, counts)[:, None]
    order = None if len(set(sizes)) == 1 else np.flatnonzero(where)
    return Prompts(shapes[0][2], groups, read, _equal(total), (total, most), order, stored=False)


def _require_finite(array: np.ndarray) -> None:
    for first in range(0, len(array), 4096):
        block = array[first : first + 4096]
        if not np.isfinite(block).all():
            at = np.argwhere(~np.isfinite(block))[0]
            place = (int(at[0]) + first, *at[1:].tolist())
            raise CollapseError(
                f"features must be finite; found {block[tuple(at)]} at {place}. Prompts with fewer "
                "completions: give a list of arrays (n, d)"
            )
