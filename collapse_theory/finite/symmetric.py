"""The full ranking on the half of its rewards nearer the top: the optimum is symmetric.

Unknown are e_1, ..., e_h: the gaps between the h top rewards that differ, and the distance from the
last of them to the middle. The first reward may stand for a group of `tied` completions. The two
halves mirror each other, so each pair on one side counts twice, and the pairs across the middle
have gaps C_i + C_j with C_i the distance to the middle: sums of positive terms, as are the gradient
and the Hessian, whatever the size of the gaps (docs/theory.md#in-the-gaps).

Of few completions many rankings are looked at at once, a row of e each, under as many utilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.programs.pair_sums import FEW, incidence
from collapse_theory.utilities import Linear, Stack, Utility


@dataclass(frozen=True)
class SymmetricRanking:
    """The program of n completions on their upper half; `tied` of them share each end."""

    utility: Utility | Stack
    n: int
    tied: int = 1

    @property
    def size(self) -> int:
        """The number of unknowns."""
        return self.n // 2 - self.tied + 1

    def gaps(self, e: np.ndarray) -> np.ndarray:
        """Return all n-1 gaps between neighbours, the tied ones 0."""
        half = np.concatenate([np.zeros((*e.shape[:-1], self.tied - 1)), e], axis=-1)
        mirrored = half[..., ::-1]
        if self.n % 2:
            return np.concatenate([half, mirrored], axis=-1)
        return np.concatenate([half[..., :-1], 2 * half[..., -1:], mirrored[..., 1:]], axis=-1)

    def derivatives(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return gradient (..., h) and negative Hessian (..., h, h) of half the sum over pairs."""
        if self.few:
            sums = _sums(self.n, self.tied)
            first, second = self.utility.derivatives(e.dot(sums.gaps))
            bends = second.dot(sums.bends)
            return first.dot(sums.forces), bends.reshape(*e.shape, e.shape[-1])
        x, centre = self._pair_gaps(e)
        (first, second), (c_first, c_second) = map(self.utility.derivatives, (x, centre))
        return self._gradient(first, c_first), self._hessian(-second, -c_second)

    def slopes(self, e: np.ndarray) -> np.ndarray:
        """Return the gradient alone."""
        if self.few:
            sums = _sums(self.n, self.tied)
            return self.utility.slope(e.dot(sums.gaps)).dot(sums.forces)
        return self._gradient(*map(self.utility.slope, self._pair_gaps(e)))

    @property
    def few(self) -> bool:
        """Whether sums over pairs are products with matrices, of many rankings at once."""
        return self.n <= FEW

    # -- of many completions: running sums over all pairs ------------------------------------

    def _pair_gaps(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return one matrix, t_j - t_i above the diagonal and else C_i + C_j; and the C_i, as far
        as they are the gaps of pairs too: those with the completion in the middle.
        """
        masks, centre = _masks(len(e)), e[::-1].cumsum()[::-1]
        side = (masks.above * np.append(0.0, e[:-1])).cumsum(axis=1)
        x = side + masks.beneath * (centre[:, None] + centre)
        return x, centre if self.n % 2 else centre[:0]

    def _split(self, pairs: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the pairs on one side, the full symmetric matrix of those across, and what each
        completion has with those across and in the middle; with the members of groups.
        """
        masks = _masks(len(pairs))
        if self.tied > 1:
            counts = np.ones(len(pairs))
            counts[0] = self.tied
            pairs, middle = pairs * np.outer(counts, counts), middle * counts[: len(middle)]
        side, across = masks.above * pairs, masks.beneath * pairs
        across += masks.above * pairs.T
        met = across.sum(axis=1)
        return side, across, met + middle if len(middle) else met

    def _gradient(self, first: np.ndarray, middle: np.ndarray) -> np.ndarray:
        side, _, met = self._split(first, middle)
        gradient = met.cumsum()
        beyond = side[:, ::-1].cumsum(axis=1)[:, ::-1].cumsum(axis=0)
        gradient[:-1] += beyond.diagonal(1)
        return gradient

    def _hessian(self, bend: np.ndarray, middle: np.ndarray) -> np.ndarray:
        masks, (side, across, met) = _masks(len(bend)), self._split(bend, middle)
        # Pairs on one side that straddle both k and l: i <= min(k, l), j > max(k, l).
        beyond = side[:, ::-1].cumsum(axis=1)[:, ::-1]
        both = np.zeros_like(side)
        beyond[:, 1:].cumsum(axis=0, out=both[:, :-1])
        both = masks.beneath.T * both + (masks.above * both).T
        # Pairs across the middle, once or twice in each gap.
        both += across.cumsum(axis=0).cumsum(axis=1)
        both += met.cumsum()[masks.least]
        return both


@dataclass(frozen=True)
class _Sums:
    """The sums over pairs as products from the right.

    gaps : (h, p), from e to the gaps of pairs; forces : (p, h) and bends : (p, h*h), from U' and
    U'' there to the gradient and the negative Hessian
    """

    gaps: np.ndarray
    forces: np.ndarray
    bends: np.ndarray


@lru_cache(maxsize=64)
def _sums(n: int, tied: int) -> _Sums:
    rows, counts = half_pairs(n, tied)
    forces = rows * (counts / 2)[:, None]
    bends = -forces[:, :, None] * rows[:, None, :]
    return _Sums(np.ascontiguousarray(rows.T), forces, bends.reshape(len(rows), -1))


def half_pairs(n: int, tied: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return gaps of pairs as rows over the half gaps, and how many pairs have each.

    Pairs whose gaps are the same sum are one: mirror images, members of a group.
    """
    unfolded = SymmetricRanking(Linear(), n, tied).gaps(np.eye(n // 2 - tied + 1))
    rows, counts = np.unique(incidence(n) @ unfolded.T, axis=0, return_counts=True)
    apart = rows.any(axis=1)
    return rows[apart], counts[apart].astype(float)


class _Masks(NamedTuple):
    """Zeros and ones (h, h) above the diagonal, and elsewhere; min(i, j)."""

    above: np.ndarray
    beneath: np.ndarray
    least: np.ndarray


@lru_cache(maxsize=8)
def _masks(h: int) -> _Masks:
    order, beneath = np.arange(h), np.tri(h)
    return _Masks(1.0 - beneath, beneath, np.minimum.outer(order, order))


def equal_gaps(n: int) -> np.ndarray:
    """Return half gaps (h,) with sum 1/2 of which neighbours' gaps are equal."""
    e = np.ones(n // 2)
    if n % 2 == 0:
        e[-1] = 0.5
    return e / (n - 1)


def initial_gaps(utility: Utility | Stack, n: int, tiny: bool = False) -> np.ndarray:
    """Return half gaps (..., h) with sum 1/2 from the quantiles of Beta((1-p)/2, (1-p)/2).

    p is U's exponent at gaps of about 1/n, or with `tiny` at 0: the limit law of a power x**p is
    that Beta law.
    """
    with np.errstate(all="ignore"):  # flat there, 0/0, or a steep pole
        if tiny:
            p = np.asarray(utility.exponent)[..., None]
        else:
            x = np.array([0.3 / n])
            first, second = utility.derivatives(x)
            p = 1 + x * second / first
        a = np.where(np.isfinite(p), np.minimum(np.maximum((1 - p) / 2, 1e-3), 1.0), 1.0)
    h = n // 2
    places = special.betaincinv(a, a, (np.arange(1, h + 1) - 0.5) / n)
    e = np.empty_like(places)
    e[..., :-1], e[..., -1] = places[..., 1:] - places[..., :-1], 0.5 - places[..., -1]
    if n % 2 == 0:
        e[..., -1] = np.maximum(e[..., -1], 0.25 / n * e.max(axis=-1))
    if not tiny:
        e = e / 2 + 0.25 / h
    e = np.maximum(e, 1e-280)  # within float64, with room to fall further
    return e * (0.5 / e.sum(axis=-1, keepdims=True))
