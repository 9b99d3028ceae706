"""The program of a linear head: the sums over prompts that Newton's method and a certificate need.

    maximise  F(w) = sum_p a_p f_p(Phi_p w) - lambda |w|**2,    a_p = 1/N,

with f_p the (weighted) mean of U over prompt p's pairs and Phi_p its features (n, d). U goes on
below gap 0 as in training. With G_p = grad f_p and L_p = -Hess f_p, a weighted graph Laplacian,

    grad F = sum a_p Phi_p' G_p - 2 lambda w,    -Hess F = sum a_p Phi_p' L_p Phi_p + 2 lambda I.

All are sums over prompts: features are read in blocks, and rewards alone are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from collapse_theory.capacity.features import Edges, Part, Prompts, centred
from collapse_theory.lazy import blas
from collapse_theory.programs.program import EPS
from collapse_theory.utilities import Utility

# Coordinates that are summed at a time where rounding counts: the error of a sum of d products is
# then of CHUNK + d/CHUNK units in the last place, not of d.
CHUNK = 32
SHARED = (
    10.0  # times their own part, from where on what completions share costs digits worth a copy
)


class Checked(NamedTuple):
    """What weights are worth, computed once more and with care for rounding."""

    rewards: np.ndarray  # of all completions
    norms: np.ndarray  # |phi| of each
    off: np.ndarray  # how far rounding may put each reward
    objective: float
    rounding: float  # how far rounding may put the objective
    slope: float  # a bound of |grad F|
    spread: float  # what a gap is measured by: the spread of U over the pairs, or its slopes


@dataclass(frozen=True)
class HeadProgram:
    """The program of a head: prompts, and the utility of all real gaps."""

    prompts: Prompts
    utility: Utility

    @cached_property
    def reduced(self) -> tuple[HeadProgram, np.ndarray | None]:
        """The program on an orthonormal basis of the features' span, and the basis (d, M).

        The optimum lies in that span, where |w| is the same: the Gram form of a program with d > M,
        without the square of its condition that a Gram matrix has. Others are left as they are.
        """
        prompts = self.prompts
        if prompts.d <= prompts.completions:
            return self, None
        rows = np.concatenate([phi.reshape(-1, prompts.d) for _, phi in prompts.blocks()])
        basis, triangle = np.linalg.qr(rows.T)
        ends = np.cumsum([0, *(count * n for count, n in prompts.groups)])
        arrays = [
            np.ascontiguousarray(triangle.T[first:last]).reshape(count, n, -1)
            for (count, n), first, last in zip(prompts.groups, ends, ends[1:], strict=False)
        ]
        inner = replace(prompts, d=len(triangle), read=lambda: iter(arrays))
        return HeadProgram(inner, self.utility), basis

    @cached_property
    def level(self) -> bool:
        """Whether most of the features is what a prompt's completions share, to be taken off."""
        shared = own = 0.0
        for _, phi in self.prompts.blocks():
            inner = centred(phi)
            own += float(np.vdot(inner, inner))
            shared += float(np.vdot(phi, phi)) - float(np.vdot(inner, inner))
        return shared > SHARED**2 * own

    def inner(self) -> Iterator[tuple[Part, np.ndarray]]:
        """Yield the blocks with their features, centred where that saves digits."""
        level = self.level
        return ((part, centred(phi) if level else phi) for part, phi in self.prompts.blocks())

    def rewards(self, weights: np.ndarray) -> np.ndarray:
        """Return Phi w for all completions, each prompt's less their mean."""
        found = np.empty(self.prompts.completions)
        for part, phi in self.inner():
            r = (phi.reshape(-1, self.prompts.d) @ weights).reshape(part.size, part.n)
            found[part.rows] = (r - r.mean(axis=1, keepdims=True)).ravel()
        return found

    def utilities(self, rewards: np.ndarray) -> np.ndarray:
        """Return a_p f_p of each prompt."""
        found = []
        for part in self.prompts.parts():
            at, r = part.edges, rewards[part.rows]
            with np.errstate(all="ignore"):
                value = self.utility.value(r[at.better] - r[at.worse] - at.margins)
            found.append(np.bincount(at.better // part.n, at.weights * value, part.size))
        return np.concatenate(found)

    def forces(self, part: Part, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a_p G_p (count, n) and a_p L_p (count, n, n) of a block."""
        at, r, n = part.edges, rewards[part.rows], part.n
        first, second = self.utility.derivatives(r[at.better] - r[at.worse] - at.margins)
        force = _divergence(at, at.weights * first, len(r))
        # The entry (i, j) of prompt p is at (p n + i) n + j.
        place = at.better * n + at.worse % n
        half = np.bincount(place, at.weights * -second, len(r) * n).reshape(part.size, n, n)
        whole = half + half.transpose(0, 2, 1)
        bend = -whole
        bend[:, np.arange(n), np.arange(n)] = whole.sum(axis=2)
        return force.reshape(part.size, n), bend

    def gradient(self, rewards: np.ndarray) -> np.ndarray:
        """Return sum a_p Phi_p' G_p."""
        total = np.zeros(self.prompts.d)
        for part, phi in self.inner():
            at, r = part.edges, rewards[part.rows]
            first = self.utility.slope(r[at.better] - r[at.worse] - at.margins)
            total += _divergence(at, at.weights * first, len(r)) @ phi.reshape(-1, self.prompts.d)
        return total

    def newton(self, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sum a_p Phi_p' G_p, and the lower half of sum a_p Phi_p' L_p Phi_p."""
        d = self.prompts.d
        gradient, hessian = np.zeros(d), np.zeros((d, d), order="F")
        for part, phi in self.inner():
            force, bend = self.forces(part, rewards)
            gradient += force.ravel() @ phi.reshape(-1, d)
            rows = np.matmul(root_of(bend).transpose(0, 2, 1), phi).reshape(-1, d)
            if len(rows):
                hessian = blas.dsyrk(1.0, rows.T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
        return gradient, hessian

    def checked(self, weights: np.ndarray, penalty: float) -> Checked:
        """Return what bounds how far weights are from optimal, rounding included.

        In norm, sum phi_i e_i <= sum |phi_i| |e_i|: errors of the forces on each completion bound
        that of the gradient.
        """
        d, long = self.prompts.d, float(np.linalg.norm(weights))
        dot, blur = (CHUNK + math.ceil(d / CHUNK) + 2) * EPS * long, self.prompts.blur
        rewards, norms, off = np.empty((3, self.prompts.completions))
        gradients, values, unsure, rounding, slopes, bends = [], [], 0.0, 0.0, 0.0, 0.0
        pushes, low, high = 0.0, math.inf, -math.inf
        for part, phi in self.prompts.blocks():
            inner, at, whole = centred(phi), part.edges, _norms(phi)
            rewards[part.rows], norms[part.rows] = _product(phi, weights), whole
            off[part.rows] = dot * whole + blur * long
            r, norm = _product(inner, weights), _norms(inner)
            gaps = r[at.better] - r[at.worse]
            y = gaps - at.margins
            moved = dot * (norm[at.better] + norm[at.worse]) + 2 * blur * long
            moved += 2 * EPS * (np.abs(gaps) + np.abs(at.margins))
            value, (first, second) = self.utility.value(y), self.utility.derivatives(y)
            steep, bend = at.weights * np.abs(first), at.weights * np.maximum(-second, 0.0)
            # U' falls, so that its values on both sides bound it between them.
            doubt = self.utility.slope(y - moved) - self.utility.slope(y + moved)
            noise, rough = _noise(self.utility, y, value, first, second)
            doubt = at.weights * (doubt + rough)
            # n terms a force, n a prompt's gradient, the halvings of a block, and the last sum.
            terms = (2 * part.n + 24) * EPS
            unsure += float(norm @ _gathered(at, doubt + terms * steep, len(r)))
            pushes += float(norm @ _gathered(at, steep, len(r)))
            unsure += blur * 2 * float(steep.sum())
            force = _divergence(at, at.weights * first, len(r)).reshape(part.size, 1, part.n)
            gradients.append(_summed(np.matmul(force, inner)[:, 0]))
            values.append(math.fsum(at.weights * value))
            rounding += float(steep @ moved + at.weights @ (8 * EPS * np.abs(value) + noise))
            slopes, bends = slopes + steep @ np.abs(gaps), bends + bend @ gaps**2
            low, high = min(low, value.min(initial=low)), max(high, value.max(initial=high))
        gradient = np.array([math.fsum(column) for column in np.transpose(gradients).tolist()])
        gradient -= 2 * penalty * weights
        square = penalty * float(weights @ weights)
        objective = math.fsum([*values, -square])
        rounding += 4 * EPS * abs(objective) + (d + 4) * EPS * square
        slope = float(np.linalg.norm(gradient)) * (1 + d * EPS) + unsure + 8 * EPS * penalty * long
        # Where features tell no completions apart, what they could gain if forces didn't cancel.
        spread = float(max(high - low, slopes, bends)) or pushes**2 / (4 * penalty)
        return Checked(rewards, norms, off, objective, rounding, slope, spread)


def root_of(bend: np.ndarray) -> np.ndarray:
    """Return R (count, n, n-1) with L = R R': a Laplacian maps the constant vector to 0."""
    values, vectors = np.linalg.eigh(bend)
    return vectors[:, :, 1:] * np.sqrt(np.maximum(values[:, None, 1:], 0.0))


def _product(phi: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return phi w, summed by CHUNK coordinates and then over these."""
    flat = phi.reshape(-1, len(weights))
    found = flat[:, :CHUNK] @ weights[:CHUNK]
    for k in range(CHUNK, len(weights), CHUNK):
        found += flat[:, k : k + CHUNK] @ weights[k : k + CHUNK]
    return found


def _noise(
    utility: Utility, y: np.ndarray, value: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far rounding within the formula may put U and U' at gaps y.

    It is seen beside y, where Taylor's series says what they are: log(x + 1) has no more digits at
    1e-12 than x + 1 has. The steps are small beside U'/U'', over which U' changes, so that what the
    series leaves out, a third power or a square of them, is below a unit in the last place; away
    from 0, where a tangent may begin.
    """
    slope, bend = (abs(float(x)) for x in utility.derivatives(np.float64(0.0)))
    scale = np.maximum(np.abs(y), slope / bend if bend > 0 else 1.0)
    with np.errstate(all="ignore"):
        scale = np.fmin(np.abs(first / second), scale) * np.where(y < 0, -1.0, 1.0)
    found = np.zeros((2, len(y)))
    for share in (1.0, 0.71, 0.37, 0.13):
        step, fine = share * 1e-6 * scale, share * 1e-9 * scale
        series = value + step * (first + step * second / 2)
        beside = (
            np.abs(utility.value(y + step) - series),
            np.abs(utility.slope(y + fine) - first - fine * second),
        )
        found = np.maximum(found, beside)
    return 4 * found[0], 4 * found[1] + 8 * EPS * np.abs(first)


def _norms(phi: np.ndarray) -> np.ndarray:
    """Return the norms of the rows, rounded up."""
    return np.linalg.norm(phi, axis=-1).ravel() * (1 + phi.shape[-1] * EPS)


def _divergence(at: Edges, flow: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(at.better, flow, size) - np.bincount(at.worse, flow, size)


def _gathered(at: Edges, values: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(at.better, values, size) + np.bincount(at.worse, values, size)


def _summed(rows: np.ndarray) -> np.ndarray:
    """Return the sum of rows by halves: its rounding grows with the logarithm of their number."""
    while len(rows) > 1:
        half = len(rows) // 2
        rest = rows[2 * half :]
        rows = rows[:half] + rows[half : 2 * half]
        if len(rest):
            rows[0] += rest[0]
    return rows[0]
