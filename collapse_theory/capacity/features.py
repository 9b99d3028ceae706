"""Features of ranked completions, in blocks that fit in the cache, and the pairs among them.

However they come (an array (N, n, d), rows (M, d) with comparisons, prompts of different sizes,
batches that are read again at every pass), a head sees groups of prompts of the same size, one
after another. Its completions are numbered in that order, and its pairs are those of one graph of
all completions, prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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


# -- the prompts -------------------------------------------------------------------------


class Edges(NamedTuple):
    """Pairs: the better and the worse completion, how much they count in all, and margins."""

    better: np.ndarray
    worse: np.ndarray
    weights: np.ndarray
    margins: np.ndarray


class Part(NamedTuple):
    """A block: `size` prompts of n completions, `rows` among all, and pairs counted from these."""

    size: int
    n: int
    rows: slice
    edges: Edges


@dataclass(frozen=True)
class Prompts:
    """All prompts, in groups of one size, and how to read their features again.

    Where completions are held equal (`head_ties`), `along` (d, k) is an orthonormal basis of what
    was taken out of the features, and `blur` how far rounding may have put them.
    """

    d: int
    groups: list[tuple[int, int]]  # of how many prompts, and of how many completions each
    read: Callable[[], Iterator[np.ndarray]]  # the groups' features (count, n, d)
    edges: Edges  # of all prompts, one after another
    equal: np.ndarray  # (k, 2), completions that are held equal
    shape: tuple[int, ...]  # of what is said of each completion
    order: np.ndarray | None = None  # the place of each completion in what was given
    stored: bool = True  # whether the features are in memory
    along: np.ndarray | None = None
    blur: float = 0.0

    @property
    def completions(self) -> int:
        """How many there are in all."""
        return sum(count * n for count, n in self.groups)

    @cached_property
    def begins(self) -> np.ndarray:
        """Where the pairs of each prompt begin, and where the last one's end."""
        sizes = np.concatenate([np.full(count, n) for count, n in self.groups])
        prompt = np.searchsorted(np.cumsum(sizes), self.edges.better, side="right")
        return np.searchsorted(prompt, np.arange(len(sizes) + 1))

    def parts(self) -> Iterator[Part]:
        """Yield the blocks, without their features."""
        prompt = completion = 0
        for count, n in self.groups:
            step = max(BLOCK // (n * self.d), 1)
            for first in range(0, count, step):
                size = min(step, count - first)
                rows = slice(completion, completion + size * n)
                own = slice(self.begins[prompt], self.begins[prompt + size])
                better, worse, *rest = (each[own] for each in self.edges)
                edges = Edges(better - rows.start, worse - rows.start, *rest)
                yield Part(size, n, rows, edges)
                prompt, completion = prompt + size, rows.stop

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


# -- what is given -----------------------------------------------------------------------


def prompts_of(features: Any, comparisons: Any = None, weights: Any = None) -> Prompts:
    """Return the prompts of features, however they come; see `fit_head`."""
    if isinstance(features, Iterator):
        raise CollapseError(
            "the features come from an iterator, which can be read once, and every pass reads them "
            "again: give a list of batches, or an object whose __iter__ starts anew"
        )
    if not hasattr(features, "shape") and not hasattr(features, "null_count"):
        first = next(iter(features), None) if isinstance(features, Iterable) else None
        axes = getattr(first, "ndim", None)
        if axes == 3:
            return _of_batches(features, comparisons, weights)
        if axes == 2 and isinstance(features, Sequence):
            return _of_ragged([as_features(one) for one in features], comparisons, weights)
    array = as_features(features)
    if array.ndim not in (2, 3) or not array.size:
        raise CollapseError(
            "features must have the shape (prompts, completions, d), best first, or (completions, "
            f"d) with comparisons; got {array.shape}"
        )
    if array.ndim == 3:
        return replace(_of_batches([array], comparisons, weights), stored=True)
    _require_finite(array)
    if comparisons is None:
        raise CollapseError(
            f"features of the shape {array.shape}, one row a completion, need comparisons=: a "
            "Comparisons of all rows, or a list with one a prompt. Where each prompt has n "
            "completions, best first, features.reshape(-1, n, d) does"
        )
    if isinstance(comparisons, Comparisons):
        return _of_graph(array, comparisons, weights)
    sizes = [one.n for one in _listed(comparisons)]
    if sum(sizes) != len(array):
        raise CollapseError(
            f"the comparisons are of {sum(sizes)} completions in all, the features of {len(array)}"
        )
    part = np.repeat(np.arange(len(sizes)), sizes)
    return _grouped(array, part, *_pairs(comparisons, sizes, weights), (len(array),))


def _of_graph(array: np.ndarray, pairs: Comparisons, weights: Any) -> Prompts:
    """Return the prompts of rows with one graph of all: its connected parts."""
    if weights is not None:
        raise CollapseError(
            "weights= are of prompts, and the comparisons are of all completions in one: give "
            "their pairs weights, or a list of Comparisons with one a prompt"
        )
    if pairs.n != len(array):
        raise CollapseError(f"the comparisons are of {pairs.n} completions, not of {len(array)}")
    edges, equal = _pairs([pairs], [pairs.n], None)
    ends = np.concatenate([equal, np.stack(edges[:2], axis=1)])
    part = components(ends[:, 0], ends[:, 1], len(array))
    return _grouped(array, part, edges, equal, (len(array),))


def _of_ragged(arrays: list[np.ndarray], comparisons: Any, weights: Any) -> Prompts:
    """Return prompts of different sizes: an array (n, d) each."""
    widths = {one.shape[1] for one in arrays}
    if len(widths) > 1:
        raise CollapseError(f"all features must have the same width, got {sorted(widths)}")
    sizes, array = [len(one) for one in arrays], np.concatenate(arrays)
    _require_finite(array)
    given, part = _pairs(comparisons, sizes, weights), np.repeat(np.arange(len(sizes)), sizes)
    return _grouped(array, part, *given, (len(sizes), max(sizes)), _places(sizes))


def _of_batches(batches: Iterable[Any], comparisons: Any, weights: Any) -> Prompts:
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
        left = list(shapes)
        for batch in batches:
            array = as_features(batch)
            if not left or left.pop(0) != array.shape:
                left = [array.shape]
                break
            yield array
        if left:
            raise CollapseError(
                "the batches are others than when they were first read: every pass must bring the "
                "same prompts in the same order"
            )

    sizes = [n for count, n, _ in shapes for _ in range(count)]
    groups, shape = [(count, n) for count, n, _ in shapes], (len(sizes), max(sizes))
    given, order = _pairs(comparisons, sizes, weights), _places(sizes)
    return Prompts(shapes[0][2], groups, read, *given, shape, order, stored=False)


def _grouped(
    array: np.ndarray,
    part: np.ndarray,
    edges: Edges,
    equal: np.ndarray,
    shape: tuple[int, ...],
    places: np.ndarray | None = None,
) -> Prompts:
    """Return prompts whose rows are anywhere, `part` saying of which, in groups of one size."""
    sizes = np.bincount(part)
    by_size = np.argsort(sizes, kind="stable")
    number = np.empty_like(by_size)  # of each prompt, the smallest first
    number[by_size] = np.arange(len(sizes))
    order = np.argsort(number[part], kind="stable")
    at = np.empty_like(order)  # where each row goes
    at[order] = np.arange(len(order))
    array = array if np.array_equal(order, np.arange(len(order))) else array[order]
    groups = [
        (int(count), int(n)) for n, count in zip(*np.unique(sizes, return_counts=True), strict=True)
    ]
    ends = np.cumsum([0, *(count * n for count, n in groups)])
    arrays = [
        array[first:last].reshape(count, n, -1)
        for (count, n), first, last in zip(groups, ends, ends[1:], strict=False)
    ]
    own = np.argsort(number[part[edges.better]], kind="stable")
    better, worse, *rest = (each[own] for each in edges)
    edges, places = Edges(at[better], at[worse], *rest), order if places is None else places[order]
    return Prompts(array.shape[1], groups, lambda: iter(arrays), edges, at[equal], shape, places)


def _places(sizes: Sequence[int]) -> np.ndarray | None:
    """Return where the completions of prompts of these sizes are in a table (prompts, most)."""
    if len(set(sizes)) == 1:
        return None
    return np.flatnonzero(np.arange(max(sizes)) < np.array(sizes)[:, None])


def _listed(comparisons: Any) -> list[Comparisons]:
    listed = list(comparisons) if isinstance(comparisons, Iterable) else []
    if not listed or not all(isinstance(one, Comparisons) for one in listed):
        raise CollapseError(f"comparisons must be Comparisons, or a list of them: {comparisons!r}")
    return listed


def _pairs(comparisons: Any, sizes: Sequence[int], weights: Any) -> tuple[Edges, np.ndarray]:
    """Return the pairs of prompts, and what is held equal, of one graph for all or one for each.

    Rows are those of the prompts, one after another; the weights of all pairs sum to 1.
    """
    if comparisons is None:
        graphs = {n: Comparisons.full(ranked(n)) for n in set(sizes)}
        listed = [graphs[n] for n in sizes]
    else:
        one_for_all = isinstance(comparisons, Comparisons)
        listed = [comparisons] * len(sizes) if one_for_all else _listed(comparisons)
    if len(listed) != len(sizes):
        raise CollapseError(
            f"{len(listed)} comparisons for {len(sizes)} prompts: give one a prompt"
        )
    for one, n in zip(listed, sizes, strict=True):
        if one.n != n:
            raise CollapseError(f"the comparisons are of {one.n} completions, a prompt has {n}")
    shares = np.ones(len(sizes)) if weights is None else finite_array(weights, "weights", 1)
    if len(shares) != len(sizes) or shares.min() < 0 or not 0 < shares.sum() < np.inf:
        raise CollapseError(
            f"weights must be {len(sizes)} numbers of 0 or more, one a prompt, not all 0; got "
            f"{len(shares)}"
        )
    starts, counts = np.cumsum([0, *sizes[:-1]]), [len(one.better) for one in listed]
    shares = shares / shares.sum() / np.array([one.weights.sum() for one in listed])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in listed])

    first = np.repeat(starts, counts)
    edges = Edges(
        joined("better") + first,
        joined("worse") + first,
        joined("weights") * np.repeat(shares, counts),
        joined("margins"),
    )
    equal = [
        (start + i, start + group[0])
        for start, one in zip(starts.tolist(), listed, strict=True)
        for group in one.equal
        for i in group[1:]
    ]
    return edges, np.array(equal, dtype=np.int64).reshape(-1, 2)


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
