"""The distribution function of atoms and densities, and its inverse, right to the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collapse_theory.laws.part import Part
from collapse_theory.numerics.roots import invert_increasing

_GRID_POINTS = 129
_SHARES = 1.0 / (1.0 + np.exp(-np.linspace(-40.0, 40.0, 81)))  # of a support: e-fold from each end


def running_sum(masses: np.ndarray) -> np.ndarray:
    """Return 0 and the sums of the first 1, 2, ... masses, each rounded about once.

    The plain sum of a million equal masses drifts by 1e-12, which moves a quantile to the next
    atom; the second sum here is of the first one's own rounding errors, found exactly.
    """
    plain = np.concatenate([[0.0], np.cumsum(masses)])
    before, after = plain[:-1], plain[1:]
    part = after - before
    errors = (before - (after - part)) + (masses - part)
    return plain + np.concatenate([[0.0], np.cumsum(errors)])


@dataclass(frozen=True, eq=False)
class DistributionFunction:
    """F of a law: F(x) is the mass of the atoms and of the densities at or below x."""

    atoms: np.ndarray  # (k, 2), locations, increasing, and masses
    parts: tuple[Part, ...]  # which may overlap

    def __call__(self, x: np.ndarray, side: str = "right") -> np.ndarray:
        """Return F at `x`, or with side="left" the limit F(x-)."""
        index = np.searchsorted(self.atoms[:, 0], x, side="left" if side == "left" else "right")
        total = self._sums[index] + sum(part.cdf(x) for part in self.parts)
        if self._centre is not None:
            total = np.where(x == self._centre, 0.5, total)
        top = self.support[1]
        # NumPy sorts NaN to the end, so it needs its own line.
        done = x > top if side == "left" else x >= top
        return np.where(np.isnan(x), np.nan, np.where(done, 1.0, np.minimum(total, 1.0)))

    def above(self, x: np.ndarray) -> np.ndarray:
        """Return 1 - F at `x`, as the sum of the masses there: small ones keep their digits."""
        index = np.searchsorted(self.atoms[:, 0], x, side="right")
        sums = running_sum(self.atoms[::-1, 1])[::-1]
        total = sums[index] + sum(part.sf(x) for part in self.parts)
        low = self.support[0]
        return np.where(np.isnan(x), np.nan, np.where(x < low, 1.0, np.minimum(total, 1.0)))

    def pdf(self, x: np.ndarray) -> np.ndarray:
        """Return the density at `x`; atoms don't show in it."""
        blank = np.where(np.isnan(x), np.nan, 0.0)
        return np.asarray(sum((part.pdf(x) for part in self.parts), blank))

    def integrals_between(self, points: np.ndarray) -> np.ndarray:
        """Return ∫ F between neighbours of increasing `points`, all atoms among them."""
        area = self._sums[np.searchsorted(self.atoms[:, 0], points[:-1], side="right")]
        area = area * np.diff(points)
        for part in self.parts:
            area = area + np.diff(part.cdf_integral(points))
        return area

    @cached_property
    def support(self) -> tuple[float, float]:
        """The lowest and the highest point."""
        ends = [end for part in self.parts for end in part.support]
        ends += self.atoms[:, 0][[0, -1]].tolist() if len(self.atoms) else []
        return min(ends), max(ends)

    @cached_property
    def _centre(self) -> float | None:
        """The middle of a law that is its own mirror image and has its median there, else None."""
        (low, high), (places, masses) = self.support, self.atoms.T
        middle = 0.5 * (low + high)
        near = np.spacing(max(abs(low), abs(high)))
        apart = [part.low + part.high - (low + high) for part in self.parts]
        apart = np.append(places + places[::-1] - (low + high), apart)
        same = np.array_equal(masses, masses[::-1]) and middle not in places
        even = same and all(part.mirrored() == part for part in self.parts)
        covered = any(part.low < middle < part.high for part in self.parts)
        return middle if even and covered and (np.abs(apart) <= 2.0 * near).all() else None

    @property
    def knots(self) -> np.ndarray:
        """Points between which F is smooth and bends little, atoms and ends among them."""
        return np.unique(np.concatenate([self.atoms[:, 0], *(p.knots() for p in self.parts)]))

    @cached_property
    def grid(self) -> np.ndarray:
        """Quantiles, closer together towards the ends, and places of every density's support."""
        q = np.sin(np.linspace(0.0, 0.5 * np.pi, _GRID_POINTS)) ** 2
        # F - G is 0 at both ends, which hides a change of sign next to them: go on to rounding.
        tail = np.geomspace(1e-16, q[1], 16)
        found = [self.rough(np.concatenate([q, tail, 1.0 - tail]))]
        # Quantiles leap over places with little mass, where F - G may change its sign as well.
        found += [part.low + (part.high - part.low) * _SHARES for part in self.parts]
        return np.concatenate(found)

    @cached_property
    def points(self) -> np.ndarray:
        """The points at which F may jump or change its formula."""
        ends = [end for part in self.parts for end in part.support]
        return np.unique(np.concatenate([self.atoms[:, 0], ends]))

    @cached_property
    def _sums(self) -> np.ndarray:
        """0 and the masses of the first 1, 2, ... atoms."""
        masses = self.atoms[:, 1]
        if self.parts:
            return running_sum(masses)
        # A discrete law's own rounding must not leave it short of 1, nor a sample of n short of
        # i/n: ppf(i/n) would be the next reward.
        if masses[0] == masses[-1] and np.ptp(masses) == 0.0:
            return np.arange(masses.size + 1) / masses.size
        sums = running_sum(masses)
        return sums / sums[-1]

    @cached_property
    def jumps(self) -> np.ndarray:
        """F just before each of `points`, and at it."""
        after = self(self.points)
        before = self(self.points, side="left") if self.parts else np.append(0.0, after[:-1])
        # Rounding must not make F fall.
        rising = np.maximum.accumulate(np.column_stack([before, after]).ravel())
        return np.array([rising[::2], rising[1::2]])

    def ppf(self, q: np.ndarray) -> np.ndarray:
        """Return the quantiles, put right to the last digit: monotone, and F(x) >= q."""
        x = self.rough(q)
        if not self.parts:
            return x
        order = np.argsort(q, axis=None, kind="stable")
        flat, wanted = x.ravel()[order], q.ravel()[order]
        ceiling = self.points[self._index(wanted)]
        open_ = np.arange(flat.size)
        for _ in range(3):
            before, flat = flat, np.maximum.accumulate(flat)
            raised = self._raised(flat[open_], wanted[open_])
            flat[open_] = np.minimum(raised, ceiling[open_])
            open_ = np.flatnonzero(flat != before)
            if not open_.size:
                break
        out = np.empty_like(flat)
        out[order] = np.maximum.accumulate(flat)
        return out.reshape(q.shape)

    def rough(self, q: np.ndarray) -> np.ndarray:
        """Return the quantiles to within rounding."""
        j = self._index(q)
        x = np.atleast_1d(self.points[j])
        if self.parts:
            q1, j1 = np.atleast_1d(q, j)
            # All of the mass is reached at the top, whatever rounding says just before it.
            between = (j1 > 0) & (q1 <= self.jumps[0, j1]) & (q1 < 1.0)
            x[between] = self._between(q1[between], j1[between])
            if self._centre is not None:
                x[between & (q1 == 0.5)] = self._centre
        return x.reshape(q.shape)

    def _index(self, q: np.ndarray) -> np.ndarray:
        """Return the first points at which F has reached `q`."""
        j = np.searchsorted(self.jumps[1], q, side="left")
        return np.minimum(j, self.points.size - 1)

    def _raised(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return `x` moved up by a few units in the last place where rounding left F(x) < q."""
        x = x.copy()
        short = np.flatnonzero(self(x) < q)
        ulps = 1.0
        # Many doublings for a quantile next to 0 within the law: 1e-281 has ulps of its own.
        while short.size and ulps < 2.0**1000:
            x[short] += ulps * np.spacing(np.abs(x[short]))
            short = short[self(x[short]) < q[short]]
            ulps *= 2.0
        return x

    def _between(self, q: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return the quantiles strictly after points[j-1] and no later than points[j]."""
        low, high = self.points[j - 1], self.points[j]
        out = np.array(high)
        count = np.zeros(q.size, dtype=int)
        for part in self.parts:
            here = (part.low <= low) & (part.high >= high)
            count += here
            m = q[here] - self.jumps[1, j[here] - 1] + part.cdf(low[here])
            out[here] = part.ppf(np.clip(m, 0.0, part.mass))
        many = count > 1
        if many.any():
            out[many] = self._overlap(q[many], low[many], high[many])
        return np.clip(out, low, high)

    def _overlap(self, q: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return quantiles where several densities overlap: only their sum can be inverted."""
        start, width = self(low), high - low

        def evaluate(d: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            x = low[active] + d
            return self(x, side="left") - start[active], self.pdf(x)

        return low + invert_increasing(
            evaluate, q - start, np.zeros_like(width), width, 0.5 * width
        )
