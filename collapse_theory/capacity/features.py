"""Features of ranked completions, in blocks that fit in the cache, and the pairs among them.

However they come (an array (N, n, d), rows (M, d) with comparisons, prompts of different sizes,
batches that are read again at every pass), a head sees groups of prompts of the same size, one
after another, and its completions are numbered in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import as_numpy, finite_array, ranked
from collapse_theory.numerics.linear import components
from collapse_theory.programs import Comparisons

# Numbers in a block: 8 MB in float64, which two levels of cache share with the block's products.
BLOCK = 2**20


# -- arrays ------------------------------------------------------------------------------


def as_features(values: Any, what: str = "features") -> np.ndarray:
    """Return features as an array of float32 or float64: of NumPy, torch, Arrow or Polars.

    Half precision becomes float32, whole numbers float64. An Arrow column holds a list a row.
    """
    values = as_numpy(values)
    if hasattr(values, "null_count") or hasattr(values, "column_names"):
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
    """The pairs of prompts of n completions, and which are held equal to which, (k, 2).

    `starts` is where each prompt's own begin; None where `edges` are those of every prompt.
    """

    n: int
    edges: Edges
    equal: np.ndarray
    starts: np.ndarray | None = None

    @classmethod
    def of(cls, pairs: Comparisons | None, n: int) -> Pairs:
        """Return the pairs of one prompt, all unless given, with weights that sum to 1."""
        pairs = Comparisons.full(ranked(n)) if pairs is None else pairs
        if pairs.n != n:
            raise CollapseError(f"the comparisons are of {pairs.n} completions, a prompt has {n}")
        share = pairs.weights / pairs.weights.sum()
        return cls(n, Edges(pairs.better, pairs.worse, share, pairs.margins), _held(pairs))

    @classmethod
    def own(cls, each: list[Pairs]) -> Pairs:
        """Return the pairs of prompts with their own, one after another."""
        n, starts = each[0].n, np.cumsum([0, *(len(one.edges.better) for one in each)])
        ends = [
            np.concatenate([one.edges[side] + n * p for p, one in enumerate(each)])
            for side in (0, 1)
        ]
        more = [np.concatenate([one.edges[which] for one in each]) for which in (2, 3)]
        equal = np.concatenate([one.equal + n * p for p, one in enumerate(each)])
        return cls(n, Edges(*ends, *more), equal, starts)

    def block(self, first: int, count: int) -> Edges:
        """Return the pairs of the prompts first, ..., first + count - 1."""
        if self.starts is not None:
            at = slice(self.starts[first], self.starts[first + count])
            better, worse, *rest = (part[at] for part in self.edges)
            return Edges(better - first * self.n, worse - first * self.n, *rest)
        better, worse = (self._tiled(one, count) for one in self.edges[:2])
        return Edges(better, worse, *(np.tile(part, count) for part in self.edges[2:]))

    def ties(self, count: int) -> np.ndarray:
        """Return what is held equal in `count` prompts, (k, 2)."""
        if self.starts is not None:
            return self.equal
        return np.stack([self._tiled(side, count) for side in self.equal.T], axis=1)

    def _tiled(self, places: np.ndarray, count: int) -> np.ndarray:
        return (self.n * np.arange(count)[:, None] + places).ravel()


def _held(pairs: Comparisons) -> np.ndarray:
    """Return each completion that is held equal to another, and that other, (k, 2)."""
    found = [(i, group[0]) for group in pairs.equal for i in group[1:]]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


# -- the prompts -------------------------------------------------------------------------


class Part(NamedTuple):
    """A block of a group: `size` prompts of n completions, `rows` their places among all."""

    size: int
    n: int
    rows: slice
    pairs: Callable[[], Edges]


@dataclass(frozen=True)
class Prompts:
    """All prompts, in groups of one size, and how to read their features again.

    Where completions are held equal (`head_ties`), `along` (d, k) is an orthonormal basis of what
    was taken out of the features, and `blur` how far rounding may have put them.
    """

    d: int
    groups: list[tuple[int, Pairs]]  # of how many prompts, and their pairs
    read: Callable[[], Iterator[np.ndarray]]  # the groups' features (count, n, d)
    shares: np.ndarray  # of each prompt in the objective: 1/N, or 1 where its weights say it all
    shape: tuple[int, ...]  # of what is said of each completion
    order: np.ndarray | None = None  # the place of each completion in what was given
    members: np.ndarray | None = None  # and of each prompt; None where that is the same
    stored: bool = True  # whether the features are in memory
    along: np.ndarray | None = None
    blur: float = 0.0

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
                rows = slice(completion, completion + size * pairs.n)
                yield Part(size, pairs.n, rows, partial(self._edges, pairs, first, size, prompt))
                prompt, completion = prompt + size, rows.stop

    def _edges(self, pairs: Pairs, first: int, size: int, prompt: int) -> Edges:
        found = pairs.block(first, size)
        return found._replace(weights=self.shares[prompt + found.better // pairs.n] * found.weights)

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
    shares, prompts = finite_array(weights, "weights", 1), len(found.shares)
    if len(shares) != prompts or shares.min() < 0 or not 0 < shares.sum() < np.inf:
        raise CollapseError(
            f"weights must be {prompts} numbers of 0 or more, one a prompt, not all 0; got "
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
    if array.ndim == 3:
        return replace(_of_batches([array], comparisons), stored=True)
    _require_finite(array)
    if comparisons is None:
        raise CollapseError(
            f"features of the shape {array.shape}, one row a completion, need comparisons=: a "
            "Comparisons of all rows, or a list with one a prompt. Where each prompt has n "
            "completions, best first, features.reshape(-1, n, d) does"
        )
    if isinstance(comparisons, Comparisons):
        return _of_graph(array, comparisons)
    sizes = [one.n for one in _listed(comparisons)]
    if sum(sizes) != len(array):
        raise CollapseError(
            f"the comparisons are of {sum(sizes)} completions in all, the features of {len(array)}"
        )
    return _sorted(array, sizes, _graphs(comparisons, sizes), (len(array),))


def _listed(comparisons: Any) -> list[Comparisons]:
    listed = list(comparisons) if isinstance(comparisons, Iterable) else []
    if not listed or not all(isinstance(one, Comparisons) for one in listed):
        raise CollapseError(f"comparisons must be Comparisons, or a list of them: {comparisons!r}")
    return listed


def _graphs(comparisons: Any, sizes: Sequence[int]) -> list[Pairs]:
    """Return the pairs of each prompt, of one graph for all or of one for each."""
    if comparisons is None or isinstance(comparisons, Comparisons):
        made = {n: Pairs.of(comparisons, n) for n in set(sizes)}
        return [made[n] for n in sizes]
    listed = _listed(comparisons)
    if len(listed) != len(sizes):
        raise CollapseError(
            f"{len(listed)} comparisons for {len(sizes)} prompts: give one a prompt"
        )
    return [Pairs.of(one, n) for one, n in zip(listed, sizes, strict=True)]


def _of_graph(array: np.ndarray, pairs: Comparisons) -> Prompts:
    """Return the prompts of rows with one graph of all: its connected parts."""
    rows, better, equal = len(array), pairs.better, _held(pairs)
    if pairs.n != rows:
        raise CollapseError(f"the comparisons are of {pairs.n} completions, not of {rows}")
    ends = np.concatenate([equal, np.stack([better, pairs.worse], axis=1)])
    part = components(ends[:, 0], ends[:, 1], rows)
    sizes = np.bincount(part)
    by_part = np.argsort(part, kind="stable")
    place = np.empty(rows, dtype=np.int64)  # within the part
    place[by_part] = np.arange(rows) - (np.cumsum(sizes) - sizes)[part[by_part]]

    def split(first: np.ndarray, *values: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        order = np.argsort(part[first], kind="stable")
        cuts = np.searchsorted(part[first][order], np.arange(1, len(sizes)))
        return zip(*(np.split(of[order], cuts) for of in values), strict=True)

    share = pairs.weights / pairs.weights.sum()
    edges = split(better, place[better], place[pairs.worse], share, pairs.margins)
    ties = split(equal[:, 0], place[equal])
    each = zip(sizes.tolist(), edges, ties, strict=True)
    graphs = [Pairs(n, Edges._make(own), held) for n, own, (held,) in each]
    found = _sorted(array[by_part], sizes, graphs, (rows,), by_part)
    return replace(found, shares=np.ones(len(sizes)))


def _of_ragged(arrays: list[np.ndarray], comparisons: Any) -> Prompts:
    """Return prompts of different sizes: an array (n, d) each."""
    widths = {one.shape[1] for one in arrays}
    if len(widths) > 1:
        raise CollapseError(f"all features must have the same width, got {sorted(widths)}")
    sizes = [len(one) for one in arrays]
    array, shape = np.concatenate(arrays), (len(sizes), max(sizes))
    _require_finite(array)
    return _sorted(array, sizes, _graphs(comparisons, sizes), shape, _places(sizes))


def _places(sizes: Any) -> np.ndarray:
    """Return where the completions of prompts of these sizes are in a table (prompts, most)."""
    return np.flatnonzero(np.arange(max(sizes)) < np.array(sizes)[:, None])


def _sorted(
    array: np.ndarray,
    sizes: Any,
    graphs: list[Pairs],
    shape: tuple[int, ...],
    places: np.ndarray | None = None,
) -> Prompts:
    """Return prompts of any sizes, whose rows are one after another, in groups of one size."""
    sizes = np.asarray(sizes)
    part = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((part, sizes[part]))
    by_size = np.argsort(sizes, kind="stable")
    array = array if np.array_equal(order, np.arange(len(part))) else array[order]
    groups, arrays, first = [], [], 0
    for n in np.unique(sizes).tolist():
        members = by_size[sizes[by_size] == n]
        groups.append((len(members), Pairs.own([graphs[p] for p in members])))
        last = first + n * len(members)
        arrays.append(array[first:last].reshape(len(members), n, -1))
        first = last
    places, shares = order if places is None else places[order], _equal(len(sizes))
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
        for batch in batches:
            array = as_features(batch)
            if shapes[seen : seen + 1] != [array.shape]:
                seen = -1
                break
            yield array
            seen += 1
        if seen != len(shapes):
            raise CollapseError(
                "the batches are others than when they were first read: every pass must bring the "
                "same prompts in the same order"
            )

    sizes = np.repeat([shape[1] for shape in shapes], [shape[0] for shape in shapes]).tolist()
    groups, graphs, first = [], _graphs(comparisons, sizes), 0
    for count, *_ in shapes:
        own = graphs[first : first + count]
        groups.append((count, own[0] if len({id(one) for one in own}) == 1 else Pairs.own(own)))
        first += count
    order = None if len(set(sizes)) == 1 else _places(sizes)
    shape = len(sizes), max(sizes)
    return Prompts(shapes[0][2], groups, read, _equal(shape[0]), shape, order, stored=False)


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
