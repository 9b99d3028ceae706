"""Which pairs of completions are compared, how much each counts, and who is held equal."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import as_numpy, count, numbers, ranked
from collapse_theory.values import Value, frozen_array, shown_by_repr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SHOWN = 30  # pairs, up to which a repr lists them


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(Value):
    """Pairs of completions, of which one is better: any acyclic set, with weights and margins.

    The objective is the weighted mean over pairs of U(r_better - r_worse - margin), and a solution
    has r_better >= r_worse for each of them, in the completions' own order.

    Parameters
    ----------
    n : int
        The number of completions, at least 2; they are called 0, ..., n-1.
    better, worse : array_like of int, shape (pairs,)
        The better and the worse completion of each pair. A pair may come more than once.
    weights : array_like, shape (pairs,), optional
        How much each pair counts, 1 unless given; pairs of weight 0 drop out.
    equal : sequence of sequences of int
        Groups held equal: each is one reward. Groups that share a completion are one group.
    margins : float or array_like, shape (pairs,), optional
        The margin of each pair, 0 unless given; a positive one needs a utility with values below 0.

    Raises
    ------
    CollapseError
        For a cycle (named), a completion compared with itself or with one held equal to it, an
        index that is out of range or no integer, a weight that is negative or no number.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.programs import Comparisons
    >>> pairs = Comparisons(5, [0, 0, 1, 2, 2, 0], [1, 2, 3, 3, 4, 4], weights=[2, 1, 1, 1, 1, 1])
    >>> ct.solve("log(x + 0.1)", comparisons=pairs).rewards.round(6)
    array([1. , 0.3, 0.7, 0. , 0. ])
    """

    n: int
    better: np.ndarray
    worse: np.ndarray
    weights: np.ndarray = None  # pyright: ignore[reportAssignmentType]
    equal: tuple[tuple[int, ...], ...] = ()
    margins: np.ndarray = None  # pyright: ignore[reportAssignmentType]

    if TYPE_CHECKING:  # more is taken than is kept

        def __init__(
            self,
            n: int,
            better: ArrayLike,
            worse: ArrayLike,
            weights: ArrayLike | None = None,
            equal: Sequence[Sequence[int]] = (),
            margins: ArrayLike | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        n = count(self.n)
        better, worse = _indices("better", self.better, n), _indices("worse", self.worse, n)
        if len(better) != len(worse):
            raise CollapseError(
                f"better and worse must have the same length, got {len(better)} and {len(worse)}"
            )
        weights = _numbers("weights", self.weights, len(better), 1.0)
        margins = _numbers("margins", self.margins, len(better), 0.0)
        _check_weights(weights, better, worse)
        counts = weights > 0
        better, worse = better[counts], worse[counts]
        better.setflags(write=False)
        worse.setflags(write=False)
        self._set(
            n=n,
            better=better,
            worse=worse,
            weights=frozen_array(weights[counts]),
            equal=_merged_groups(self.equal, n),
            margins=frozen_array(margins[counts] + 0.0),
        )
        _check_order(self.nodes, better, worse)

    # -- constructors --------------------------------------------------------------------

    @classmethod
    def full(cls, n: int, margins: Any = None) -> Self:
        """Return the full ranking 0 > 1 > ... > n-1: every pair, with weight 1.

        Parameters
        ----------
        n : int
            The number of completions.
        margins : float or array_like, shape (n, n), optional
            A number m is a margin by rank distance, m (j - i) for the pair i > j; else entry (i, j)
            is that pair's margin.

        Examples
        --------
        >>> from collapse_theory.programs import Comparisons
        >>> Comparisons.full(3, margins=0.5).margins
        array([0.5, 1. , 0.5])
        """
        n = ranked(n)
        i, j = np.triu_indices(n, 1)
        if margins is None or np.ndim(margins) == 0:
            distance = _numbers("margins", 0.0 if margins is None else margins, 1, 0.0)
            return cls(n, i, j, margins=distance * (j - i))
        return cls(n, i, j, margins=_as_table("margins", margins, n)[i, j])

    @classmethod
    def adjacent(cls, n: int, margins: Any = 0.0) -> Self:
        """Return the pairs of neighbours in a ranking alone: 0 > 1, 1 > 2, ..., n-2 > n-1.

        `margins` is one for all, or one a pair, shape (n-1,).
        """
        n = count(n)
        return cls(n, np.arange(n - 1), np.arange(1, n), margins=margins)

    @classmethod
    def best(cls, n: int, margins: Any = 0.0) -> Self:
        """Return completion 0 against each of the rest, which aren't compared: the best of n.

        `margins` is one for all, or one a pair, shape (n-1,).
        """
        n = count(n)
        return cls(n, np.zeros(n - 1, dtype=np.int64), np.arange(1, n), margins=margins)

    @classmethod
    def union(cls, parts: Iterable[Comparisons]) -> Self:
        """Return the comparisons of several prompts at once; each prompt's follow the one before's.

        Every pair keeps its weight, so prompts with more pairs count more. `solve` solves prompts
        with the same pattern of pairs once.

        Examples
        --------
        >>> from collapse_theory.programs import Comparisons
        >>> Comparisons.union([Comparisons.full(3), Comparisons(2, [1], [0])])
        Comparisons(n=5, better=[0, 0, 1, 4], worse=[1, 2, 2, 3])
        """
        listed = list(parts) if isinstance(parts, Iterable) else []
        if not listed or not all(isinstance(part, Comparisons) for part in listed):
            raise CollapseError("union needs a list of one Comparisons or more, one a prompt")
        first = np.cumsum([0, *(part.n for part in listed)])
        shifted = list(zip(listed, first[:-1], strict=True))
        return cls(
            int(first[-1]),
            np.concatenate([part.better + at for part, at in shifted]),
            np.concatenate([part.worse + at for part, at in shifted]),
            np.concatenate([part.weights for part in listed]),
            tuple(tuple(int(i + at) for i in g) for part, at in shifted for g in part.equal),
            np.concatenate([part.margins for part in listed]),
        )

    @classmethod
    def ranking(
        cls,
        groups: Sequence[int | Sequence[int]],
        ties: Literal["equal", "free"] = "equal",
        weights: Any = None,
        margins: Any = None,
    ) -> Self:
        """Return all pairs between different groups, best group first.

        Parameters
        ----------
        groups : sequence of int or sequences of int
            Tied completions share a group; each of 0, ..., n-1 comes once.
        ties : {"equal", "free"}
            "equal" holds a group equal: one reward, that counts as often as it has completions.
            "free" doesn't compare within a group, and lets its rewards differ.
        weights, margins : array_like, shape (groups, groups), optional
            Entry (p, q), p < q, is for the pairs between groups p and q: by rank distance, say.

        Examples
        --------
        >>> from collapse_theory.programs import Comparisons
        >>> Comparisons.ranking([[0], [1, 2], [3]])
        Comparisons(n=4, better=[0, 0, 0, 1, 2], worse=[1, 2, 3, 3, 3], equal=((1, 2),))
        """
        if ties not in ("equal", "free"):
            raise CollapseError(f"ties must be 'equal' or 'free', got {ties!r}")
        try:
            tied = [list(g) if isinstance(g, Iterable) else [g] for g in groups]
        except TypeError as error:
            raise CollapseError(f"groups must be a sequence of groups, got {groups!r}") from error
        listed = [i for group in tied for i in group]
        n = count(len(listed))
        members = _indices("groups", listed, n)
        if len(np.unique(members)) < n:
            raise CollapseError(
                f"each of the completions 0, ..., {n - 1} must be in one group, got {tied}"
            )
        rank = np.repeat(np.arange(len(tied)), [len(group) for group in tied])
        i, j = np.triu_indices(n, 1)
        apart = rank[i] < rank[j]
        i, j = i[apart], j[apart]
        chosen = [
            None if table is None else _as_table(name, table, len(tied))[rank[i], rank[j]]
            for name, table in (("weights", weights), ("margins", margins))
        ]
        held = tuple(tuple(g) for g in tied if len(g) > 1) if ties == "equal" else ()
        return cls(n, members[i], members[j], chosen[0], held, chosen[1])  # pyright: ignore[reportArgumentType]

    # -- what it says --------------------------------------------------------------------

    def full_order(self) -> np.ndarray | None:
        """Return the completions best first if every pair counts once and the same, else None.

        None too where there are margins, or completions are held equal.
        """
        n, pairs = self.n, self.n * (self.n - 1) // 2
        if self.equal or len(self.better) < pairs or np.any(self.margins):
            return None
        key, where = np.unique(self.better * n + self.worse, return_inverse=True)
        total = np.bincount(where.ravel(), self.weights)
        if len(key) != pairs or np.ptp(total) > 1e-14 * total[0]:
            return None
        # Without cycles the numbers of completions that each is better than are n-1, ..., 0.
        return np.argsort(-np.bincount(key // n, minlength=n), kind="stable")

    @cached_property
    def nodes(self) -> np.ndarray:
        """For each completion the number of its reward: those held equal share one."""
        leader = np.arange(self.n)
        for group in self.equal:
            leader[list(group)] = group[0]
        return np.unique(leader, return_inverse=True)[1].ravel()

    _repr_pretty_ = shown_by_repr

    def __repr__(self) -> str:
        """Return what makes it again, but for more than SHOWN pairs."""
        if len(self.better) > SHOWN:
            return str(self)
        fields = {"n": self.n, "better": self.better.tolist(), "worse": self.worse.tolist()}
        fields |= {"weights": self.weights.tolist()} if np.any(self.weights != 1) else {}
        fields |= {"equal": self.equal} if self.equal else {}
        fields |= {"margins": self.margins.tolist()} if np.any(self.margins) else {}
        return f"Comparisons({', '.join(f'{name}={value}' for name, value in fields.items())})"

    def __str__(self) -> str:
        parts = [f"n={self.n}", f"{len(self.better)} pairs"]
        if np.ptp(self.weights) > 0:
            parts.append(f"weights {self.weights.min():g} to {self.weights.max():g}")
        if np.any(self.margins):
            parts.append(f"margins {self.margins.min():g} to {self.margins.max():g}")
        if self.equal:
            parts.append(
                f"equal {self.equal}" if len(self.equal) < 4 else f"{len(self.equal)} groups equal"
            )
        return f"Comparisons({', '.join(parts)})"

    @classmethod
    def _decoded(cls, data: dict[str, Any]) -> dict[str, Any]:
        fields = super()._decoded(data)
        for name in ("better", "worse"):  # arrays come back from JSON as float64
            given = np.asarray(fields[name])
            if np.all(np.abs(given) < 2**53) and np.all(given == np.rint(given)):
                fields[name] = given.astype(np.int64)
        return fields


# -- what is checked -----------------------------------------------------------------------


def _indices(name: str, values: Any, n: int) -> np.ndarray:
    """Return indices of completions, checked."""
    array = np.asarray(as_numpy(values))
    if array.ndim != 1:
        raise CollapseError(f"{name} must be a list of completions, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise CollapseError(
            f"{name} must be whole numbers, the indices of completions; got {values!r}"
        )
    bad = (array < 0) | (array >= n)
    if bad.any():
        at = int(np.argmax(bad))
        raise CollapseError(
            f"{name}[{at}] = {array[at]} is no completion: with n = {n} they are 0, ..., {n - 1}"
        )
    return array.astype(np.int64)


def _numbers(name: str, values: Any, size: int, default: float) -> np.ndarray:
    """Return one finite number a pair."""
    try:
        array = np.asarray(default if values is None else as_numpy(values), dtype=np.float64)
    except (TypeError, ValueError):
        raise CollapseError(f"{name} must be numbers, got {values!r}") from None
    if array.ndim == 0 and (values is None or name == "margins"):
        array = np.full(size, array)
    if array.shape != (size,):
        raise CollapseError(f"{name} must be one a pair, {size} in all; got shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        at = int(np.argmax(bad))
        raise CollapseError(f"{name}[{at}] must be a finite number, got {array[at]}")
    return array


def _as_table(name: str, values: Any, size: int) -> np.ndarray:
    """Return a number a pair of groups, shape (size, size)."""
    table = numbers(values, name)
    if table.shape != (size, size):
        raise CollapseError(
            f"{name} must have an entry a pair, shape ({size}, {size}); got {table.shape}"
        )
    return table


def _check_weights(weights: np.ndarray, better: np.ndarray, worse: np.ndarray) -> None:
    """Raise where a weight is negative, or none counts."""
    if np.any(weights < 0):
        at = int(np.argmax(weights < 0))
        raise CollapseError(
            f"the pair {better[at]} > {worse[at]} has the negative weight {weights[at]:g}; swap "
            "the two to say that the other is better"
        )
    if not np.any(weights > 0):
        raise CollapseError("no pair counts: give at least one pair with a positive weight")
    if not np.isfinite(weights.sum()):
        raise CollapseError("the weights' sum is outside float64; divide them all by one number")


def _merged_groups(equal: Any, n: int) -> tuple[tuple[int, ...], ...]:
    """Return the groups of two or more, in order; those that share a completion merged."""
    group_of: dict[int, set[int]] = {}
    for group in equal:
        merged = set(_indices("equal", list(group), n).tolist())
        for i in list(merged):
            merged |= group_of.get(i, set())
        group_of.update(dict.fromkeys(merged, merged))
    found = {tuple(sorted(group)) for group in group_of.values() if len(group) > 1}
    return tuple(sorted(found))


def _check_order(node: np.ndarray, better: np.ndarray, worse: np.ndarray) -> None:
    """Raise where pairs have a cycle or join a node to itself; `node` is each completion's."""
    a, b = node[better], node[worse]
    if np.any(a == b):
        at = int(np.argmax(a == b))
        i, j = int(better[at]), int(worse[at])
        other = "itself" if i == j else f"{j}, to which it is held equal"
        raise CollapseError(f"completion {i} is compared with {other}; take the pair out")
    if np.all(a < b) or np.all(a > b) or depths(node.max() + 1, a, b) is not None:
        return
    sorter: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter()
    for i, j in zip(a.tolist(), b.tolist(), strict=True):
        sorter.add(i, j)
    try:
        sorter.prepare()
    except graphlib.CycleError as fault:
        # From the worst on: each of the list is worse than the next.
        raise CollapseError(_cycle_text(node, fault.args[1][::-1])) from None


def _cycle_text(node: np.ndarray, cycle: list[int]) -> str:
    names = [" = ".join(map(str, np.flatnonzero(node == k))) for k in cycle]
    shown = names if len(names) < 8 else [*names[:6], "...", names[-1]]
    return (
        f"the comparisons have a cycle: {' > '.join(shown)}; take one of its pairs out, or hold "
        "its completions equal"
    )


def depths(k: int, above: np.ndarray, below: np.ndarray) -> np.ndarray | None:
    """Return for each of `k` nodes the longest path of edges above -> below that ends there.

    None if there is a cycle.
    """
    order = np.argsort(above, kind="stable")
    starts = np.searchsorted(above[order], np.arange(k + 1)).tolist()
    children = below[order].tolist()
    waiting = np.bincount(below, minlength=k).tolist()
    ready = [i for i in range(k) if waiting[i] == 0]
    depth = [0] * k
    for i in ready:  # grows as nodes become ready
        at = depth[i] + 1
        for j in children[starts[i] : starts[i + 1]]:
            if depth[j] < at:
                depth[j] = at
            waiting[j] -= 1
            if not waiting[j]:
                ready.append(j)
    return np.array(depth) if len(ready) == k else None
