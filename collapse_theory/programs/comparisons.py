"""Which pairs of completions are compared, how much each counts, and who is held equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.programs.comparison_checks import (
    as_table,
    check_order,
    check_weights,
    indices,
    merged_groups,
    numbers,
    read_only,
)
from collapse_theory.programs.unit import count
from collapse_theory.values import Value, _decode, frozen_array

__all__ = ["Comparisons"]


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

    def __post_init__(self) -> None:
        n = count(self.n)
        better = indices("better", self.better, n)
        worse = indices("worse", self.worse, n)
        if len(better) != len(worse):
            raise CollapseError(
                f"better and worse must have the same length, got {len(better)} and {len(worse)}"
            )
        weights = numbers("weights", self.weights, len(better), 1.0)
        margins = numbers("margins", self.margins, len(better), 0.0)
        check_weights(weights, better, worse)
        counts = weights > 0
        better, worse = better[counts], worse[counts]
        fields = {
            "n": n,
            "better": read_only(better),
            "worse": read_only(worse),
            "weights": frozen_array(weights[counts]),
            "equal": merged_groups(self.equal, n),
            "margins": frozen_array(margins[counts] + 0.0),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        check_order(self.nodes, better, worse)

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
        n = count(n)
        i, j = np.triu_indices(n, 1)
        if margins is None or np.ndim(margins) == 0:
            distance = numbers("margins", 0.0 if margins is None else margins, 1, 0.0)
            return cls(n, i, j, margins=distance * (j - i))
        return cls(n, i, j, margins=as_table("margins", margins, n)[i, j])

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
        Comparisons(n=5, 4 pairs)
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
        ties: str = "equal",
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
        Comparisons(n=4, 5 pairs, equal ((1, 2),))
        """
        if ties not in ("equal", "free"):
            raise CollapseError(f"ties must be 'equal' or 'free', got {ties!r}")
        tied = [list(g) if isinstance(g, Iterable) else [g] for g in groups]
        listed = [i for group in tied for i in group]
        n = count(len(listed))
        members = indices("groups", listed, n)
        if len(np.unique(members)) < n:
            raise CollapseError(
                f"each of the completions 0, ..., {n - 1} must be in one group, got {tied}"
            )
        rank = np.repeat(np.arange(len(tied)), [len(group) for group in tied])
        i, j = np.triu_indices(n, 1)
        apart = rank[i] < rank[j]
        i, j = i[apart], j[apart]
        chosen = [
            None if table is None else as_table(name, table, len(tied))[rank[i], rank[j]]
            for name, table in (("weights", weights), ("margins", margins))
        ]
        held = tuple(tuple(g) for g in tied if len(g) > 1) if ties == "equal" else ()
        return cls(n, members[i], members[j], chosen[0], held, chosen[1])  # pyright: ignore[reportArgumentType]

    # -- what it says --------------------------------------------------------------------

    def full_order(self) -> np.ndarray | None:
        """Return the completions best first if every pair counts once and the same, else None.

        None too where the margins differ, or completions are held equal.
        """
        n, pairs = self.n, self.n * (self.n - 1) // 2
        if self.equal or len(self.better) < pairs or np.ptp(self.margins) > 0:
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

    def __repr__(self) -> str:
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
    def _from_dict(cls, data: dict[str, Any]) -> Self:
        # Arrays come back from JSON as float64.
        whole: dict[str, Any] = {
            name: np.array(data[name]["data"], dtype=np.int64)
            for name in ("better", "worse")
            if isinstance(data.get(name), dict)
        }
        rest: dict[str, Any] = {
            name: _decode(v) for name, v in data.items() if name not in (*whole, "type")
        }
        return cls(**rest, **whole)
