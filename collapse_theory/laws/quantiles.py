"""The inverse distribution function of a law with atoms and several densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collapse_theory.numerics.roots import invert_increasing

if TYPE_CHECKING:
    from collapse_theory.laws.law import RewardLaw

__all__ = ["QuantileTable"]


@dataclass(frozen=True, eq=False)
class QuantileTable:
    """F at the points where it may jump or change its formula, before and after each jump."""

    law: RewardLaw
    points: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @classmethod
    def of(cls, law: RewardLaw) -> QuantileTable:
        """Return the table of `law`: its atoms and the ends of its densities."""
        ends = [end for part in law.parts for end in part.support]
        points = np.unique(np.concatenate([law.atoms[:, 0], ends]))
        after = law._cdf(points)
        before = law._cdf(points, side="left") if law.parts else np.append(0.0, after[:-1])
        # Rounding must not make F fall.
        both = np.maximum.accumulate(np.column_stack([before, after]).ravel()).reshape(-1, 2)
        return cls(law, points, both[:, 0], both[:, 1])

    def ppf(self, q: np.ndarray) -> np.ndarray:
        """Return the quantiles, put right to the last digit: monotone, and cdf(x) >= q."""
        x = self.rough(q)
        if not self.law.parts:
            return x
        flat, wanted = x.ravel(), q.ravel()
        ceiling = self.points[self._index(np.sort(wanted))]
        order = np.argsort(wanted, kind="stable")
        flat, wanted = flat[order], wanted[order]
        for _ in range(3):
            raised = np.minimum(self._raised(np.maximum.accumulate(flat), wanted), ceiling)
            if (raised == flat).all():
                break
            flat = raised
        out = np.empty_like(flat)
        out[order] = np.maximum.accumulate(flat)
        return out.reshape(q.shape)

    def rough(self, q: np.ndarray) -> np.ndarray:
        """Return the quantiles to within rounding."""
        j = self._index(q)
        x = np.atleast_1d(self.points[j])
        if self.law.parts:
            q1, j1 = np.atleast_1d(q, j)
            between = (j1 > 0) & (q1 <= self.before[j1])
            x[between] = self._between(q1[between], j1[between])
        return x.reshape(q.shape)

    def _index(self, q: np.ndarray) -> np.ndarray:
        """Return the first points at which F has reached `q`."""
        j = np.searchsorted(self.after, q, side="left")
        return np.minimum(j, self.points.size - 1)

    def _raised(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return `x` moved up by a few units in the last place where rounding left cdf(x) < q."""
        x = x.copy()
        short = np.flatnonzero(self.law._cdf(x) < q)
        ulps = 1.0
        while short.size and ulps < 2.0**60:
            x[short] += ulps * np.spacing(np.abs(x[short]))
            short = short[self.law._cdf(x[short]) < q[short]]
            ulps *= 2.0
        return x

    def _between(self, q: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return the quantiles strictly after points[j-1] and no later than points[j]."""
        low, high = self.points[j - 1], self.points[j]
        out = np.array(high)
        count = np.zeros(q.size, dtype=int)
        for part in self.law.parts:
            here = (part.low <= low) & (part.high >= high)
            count += here
            m = q[here] - self.after[j[here] - 1] + part.cdf(low[here])
            out[here] = part.ppf(np.clip(m, 0.0, part.mass))
        many = count > 1
        if many.any():
            out[many] = self._overlap(q[many], low[many], high[many])
        return np.clip(out, low, high)

    def _overlap(self, q: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return quantiles where several densities overlap: only their sum can be inverted."""
        law = self.law
        start = law._cdf(low)

        def evaluate(d: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            x = low[active] + d
            return law._cdf(x, side="left") - start[active], law.pdf(x)

        width = high - low
        return low + invert_increasing(
            evaluate, q - start, np.zeros_like(width), width, 0.5 * width
        )
