"""How far a law with an unknown support is from optimal: a bound from V', from the law alone.

A law is its quantile function Q, nondecreasing on (0, 1), and

    F(Q) = 2 ∫∫_{s<t} U(Q(t) - Q(s)) ds dt - kappa ∫ Q(t)**2 dt

is concave in Q for every concave U, with or without a maximum (McCann's displacement concavity);
its derivative is G(t) = V'(Q(t)), V(x) = 2 ∫ U(|x-y|) dmu(y) - kappa x**2, here with mean 0.

- Confined: the penalty makes F strongly concave, so F(Q*) - F(Q) <= max_D ∫ G D - kappa D**2 =
  ∫ V'(x)**2 dmu(x) / (4 kappa): no maximum over the line is needed. The bound of concavity in mu,
  2 (max V - ∫ V dmu), is no bound where U falls (LabelSmoothing): J is then not concave in mu.
- Free: Fenchel's dual. The slopes p(s, t) = U'(Q(t)-Q(s)) - (h(t) - h(s)), h = V'/2, balance:
  ∫∫_{s<t} p (q(t) - q(s)) = 0 for every q, so J(q) <= 2 ∫∫_{s<t} sup_y (U(y) - p y). At each gap
  g that is at most U(g) - p g + |p - U'(g)| |y* - g| with U'(y*) = p. Where U' levels off there is
  no such y*; then a better law q of mean 0 has U(E gap) >= J(Q) by Jensen, so E |q| <= E gap <= g
  for the g > 0 with U(g) = J(Q), and J(q) - J(Q) <= ∫ G (q - Q) <= max |G| (g + E |Q|).

All but the last are of the second order in the error of V', which counts with its rounding and
the error of the quadrature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collapse_theory.limit.soft_equations import rule_size
from collapse_theory.limit.soft_law import SoftLaw, soft_ends
from collapse_theory.numerics.quadrature import batches, layered_sides, next_to, outer_sides
from collapse_theory.utilities.base import Utility

__all__ = ["EPS", "Proof", "free_gain", "prove"]

EPS = float(np.finfo(np.float64).eps)
# Nearer to x than this share of the nearest piece, the difference quotient of the density is held:
# it is even in the distance, so the error is of the order of 1e-8 there.
_HELD = 1e-4


class Proof(NamedTuple):
    """What a law reaches.

    Attributes
    ----------
    objective : J - kappa times the second moment
    gap : bound on the best objective - objective
    spread : E |U(gap) - U(R)| over pairs of rewards, R half the largest gap
    negative : mass of the negative part of the density, which no law has
    """

    objective: float
    gap: float
    spread: float
    negative: float

    @property
    def relative_gap(self) -> float:
        """The gap over the spread: unchanged where U and kappa take a factor, or U a constant."""
        return self.gap / self.spread if self.spread > 0 else 0.0 if self.gap == 0 else np.inf


class _Force(NamedTuple):
    """At points of the lower half: V'/2, its rounding, E (U - level) and E |U - level|."""

    push: np.ndarray
    rounding: np.ndarray
    mean: np.ndarray
    apart: np.ndarray


def prove(utility: Utility, law: SoftLaw, kappa: float) -> Proof:
    """Return the objective of a law on [-R, R] and the bound on what any other law gains.

    The rule's error is looked for with a finer one, at a sample of points, and counts.
    """
    with np.errstate(all="ignore"):
        y, mass = law.nodes(2 * law.coefficients.size + 12)
        total = 2.0 * float(mass.sum())
        mass = 2.0 * mass / total
        size = law.coefficients.size
        place = law.radius * (1.0 - 2.0 * y)  # -x
        level = float(utility.value(np.float64(law.radius)))
        found = _force(utility, law, y, size, level)
        sample = slice(None, None, max(1, y.size // 8))
        finer = _force(utility, law, y[sample], 2 * size, level)
        push = np.abs(found.push / total + kappa * place) * 2.0
        push += 2.0 * (found.rounding / total + EPS * kappa * place)
        push += 2.0 * float(np.abs(finer.push - found.push[sample]).max())
        mean = float(mass @ found.mean) / total
        second = float(mass @ place**2)
        spread = float(mass @ found.apart) / total
        objective = level + mean - kappa * second
        if kappa > 0:
            gap = float(mass @ push**2) / (4.0 * kappa)
        else:
            gap = free_gain(utility, place, mass, 0.5 * float(push.max()), level + mean)
        gap += float(np.abs(finer.mean - found.mean[sample]).max())
        gap += 4.0 * EPS * (4.0 * spread + kappa * second) + EPS * abs(objective)
    return Proof(objective, gap, spread, float(-mass[mass < 0].sum()))


def free_gain(
    utility: Utility, place: np.ndarray, mass: np.ndarray, push: float, objective: float
) -> float:
    """Return a bound on the gain over a free law with |V'| <= 2 push: the better of two.

    `place` and `mass` are the law's upper half.
    """
    wide = 2.0 * float(place.max())
    while utility.value(np.float64(wide)) >= objective or utility.slope(np.float64(wide)) >= 0:
        wide *= 1.5
        if not wide < 1e100:
            return _dual_gain(utility, place, mass, push)
    linear = 2.0 * push * (wide + float(mass @ place))
    return min(linear, _dual_gain(utility, place, mass, push))


def _dual_gain(utility: Utility, place: np.ndarray, mass: np.ndarray, push: float) -> float:
    """Return a bound on 2 ∫∫_{s<t} sup_y (U(y) - p y) - J for slopes p within 2 push of U'.

    Each gap g asks for a radius a within which U' changes by that much on both sides; the gain is
    at most 2 push a.
    """
    step = max(1, place.size // 40)
    points = np.concatenate([-place[::step], place[::step]])
    share = np.tile(np.add.reduceat(mass, np.arange(0, place.size, step)), 2)
    gap = np.abs(points[:, None] - points)
    weight = (share[:, None] * share)[gap > 0]
    gap = gap[gap > 0]
    change = 2.0 * push
    first, second = utility.derivatives(gap)
    a = 2.0 * change / np.maximum(-second, 1e-300)
    if first.min() - float(utility.slope(np.float64(1e6 * gap.max()))) < change:
        return np.inf
    for _ in range(80):
        left = (gap <= a) | (utility.slope(np.maximum(gap - a, 0.0)) - first >= change)
        short = ~(left & (first - utility.slope(gap + a) >= change))
        if not short.any():
            return float(weight @ (change * a)) / float(weight.sum())
        a = np.where(short, 2.0 * a + 1e-300, a)
        if a.max() > 1e100:
            break
    return np.inf


def _force(utility: Utility, law: SoftLaw, y: np.ndarray, size: int, level: float) -> _Force:
    out = np.empty((4, y.size))
    for part in batches(y):
        out[:, part] = _on_batch(utility, law, y[part], size, level)
    return _Force(*out)


def _on_batch(
    utility: Utility, law: SoftLaw, x: np.ndarray, size: int, level: float
) -> tuple[np.ndarray, ...]:
    length = law.length
    if utility.exponent < 1.0:
        below, above = outer_sides(x, soft_ends(utility, size + 8))
        push, rounding, mean, apart = _nearest(utility, law, x, size, level)
    else:
        below, above = layered_sides(x, law.grading.scale, rule_size(size) + 7)
        push, rounding, mean, apart = (np.zeros(x.size) for _ in range(4))
    for nodes, sign in ((below, 1.0), (above, -1.0)):
        gap = length * nodes.gap
        mass = nodes.weight * law.density(nodes.y, nodes.c)
        value, slope = utility.value(gap) - level, utility.slope(gap) * mass
        push += sign * slope.sum(axis=1)
        rounding += 8.0 * EPS * np.abs(slope).sum(axis=1)
        mean += (value * mass).sum(axis=1)
        apart += (np.abs(value) * mass).sum(axis=1)
    return push, rounding, mean, apart


def _nearest(
    utility: Utility, law: SoftLaw, x: np.ndarray, size: int, level: float
) -> tuple[np.ndarray, ...]:
    """Return what lies within x/4 of x, on both sides at once: U' is not integrable on one."""
    near, length = 0.25 * x, law.length
    t, w = next_to(x, soft_ends(utility, size + 16))
    apart = np.maximum(t, _HELD * near[:, None])
    here, c = x[:, None], 1.0 - x[:, None]
    quotient = law.density(here - apart, c + apart) - law.density(here + apart, c - apart)
    slope = utility.slope(length * t) * w * (t / apart)
    both = law.density(here - t, c + t) + law.density(here + t, c - t)
    value = utility.value(length * t) - level
    rounding = 8.0 * EPS * (np.abs(slope) * (np.abs(quotient) + both)).sum(axis=1)
    return (
        (slope * quotient).sum(axis=1),
        rounding,
        (value * w * both).sum(axis=1),
        (np.abs(value) * w * both).sum(axis=1),
    )
