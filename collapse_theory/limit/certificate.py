"""How far a law is from optimal: bounds computed from the law alone, with rounding in them.

*In a box* J(mu) = ∫∫ U(|x-y|) dmu dmu is concave in mu, so J(mu*) - J(mu) <= 2 (max V - J(mu)) with
the potential V(x) = ∫ U(|x-y|) dmu(y) (docs/theory.md#the-limit). All is done with the kernel
U(1) - U(x) >= 0, under which nothing cancels: with T its potential and E the mean of T under the
law, J = U(1) - E and the bound is 2 (E - min T).

*Without a box* a law is its quantile function Q, nondecreasing on (0, 1), and

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
the error of the quadrature. Integrals over y are checked by a second, finer rule: what it changes
counts. T is searched at points: between them that is a measurement and no proof.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from collapse_theory.limit.coordinate import NEAREST, SeriesLaw
from collapse_theory.limit.first_kind import ends_of
from collapse_theory.limit.second_kind import rule_size
from collapse_theory.numerics.quadrature import (
    Ends,
    Nodes,
    batches,
    layered_sides,
    next_to,
    outer_sides,
    singular_sides,
)
from collapse_theory.utilities import Utility

EPS = float(np.finfo(np.float64).eps)
# T is a sum of positive terms, each good to a few units in the last place.
_ROUNDING = 16.0 * EPS
# A law has no negative density; rounding near the ends leaves traces of one, up to this mass.
_NEGATIVE_MASS = 1e-9
# Where T is looked at below the innermost grid point, in units of it.
_CLOSER_POINTS = np.array([0.5, 0.2, 0.05, 1e-2, 1e-3, 1e-6, 1e-12])
# Nearer to x than this share of the nearest piece, the difference quotient of the density is held:
# it is even in the distance, so the error is of the order of 1e-8 there.
_HELD_DISTANCE = 1e-4


class Certificate(NamedTuple):
    """The objective of a law, and a bound of how far it is from the best one.

    Attributes
    ----------
    objective : J, less the penalty
    gap : bound on the best objective - objective, the rounding of `objective` included
    spread : what the gap is measured by: U(1) - J in a box, else E |U(gap) - U(R)| over pairs of
        rewards, R half the largest gap
    negative : mass of the negative part of the density, which no law has
    rounding : the part of the gap that is the last places of the objective: where that is all but
        a constant in U, they are no fault of the law
    floor : the part of the gap that is rounding in all, which no law is without
    """

    objective: float
    gap: float
    spread: float
    negative: float = 0.0
    rounding: float = 0.0
    floor: float = 0.0

    @property
    def relative_gap(self) -> float:
        """How far the law itself can be from the best, over the spread: the gap less `rounding`.

        It is unchanged where U and kappa take a factor, or U a constant.
        """
        gap = self.gap - self.rounding
        return gap / self.spread if self.spread > 0 else 0.0 if gap <= 0 else np.inf

    @property
    def rank(self) -> tuple[bool, float]:
        """What puts certificates in order: a density that is negative is no law, then the gap."""
        return not self.negative < _NEGATIVE_MASS, self.gap

    def meets(self, tolerance: float) -> bool:
        """Return whether the law is a law, and optimal within a share of the spread."""
        return self.relative_gap <= tolerance and not self.rank[0]

    @property
    def exhausted(self) -> bool:
        """Whether rounding is most of the gap, so that no other law has half of it."""
        return self.gap < 2.0 * self.floor and not self.rank[0]


def certify(utility: Utility, law: SeriesLaw, kappa: float | None) -> Certificate:
    """Return the certificate of a law in the unit box (`kappa` None), or under a penalty."""
    with np.errstate(all="ignore"):
        return _walled(utility, law) if kappa is None else _free(utility, law, kappa)


def by_potential(
    utility: Utility,
    shortfall: float,
    lowest: float,
    error: float = 0.0,
    negative: float = 0.0,
    units: float = 1.0,
) -> Certificate:
    """Return the certificate in the unit box of a law with E = `shortfall` and min T = `lowest`.

    `error` is what T may be wrong by, `units` the rounding of T in that of a sum over a law.
    """
    top = float(utility(1.0))
    # What of T rounding can hide, and of U where U(1) - U(x) is formed as it stands; then that of
    # U(1) and of the objective as it is reported.
    plain, size = 0.0, abs(utility.constant)
    for weight, term in utility.terms:
        part = abs(weight * float(term(1.0)))
        size += part
        plain += part if term.cancels else 0.0
    objective = top - shortfall
    reported = 2.0 * EPS * (size + abs(objective))
    floor = units * _ROUNDING * (shortfall + plain) + reported
    gap = 2.0 * max(shortfall - lowest, 0.0) + 2.0 * error + floor
    return Certificate(objective, gap, shortfall, negative, reported, floor)


def by_force(
    utility: Utility,
    kappa: float,
    place: np.ndarray,
    mass: np.ndarray,
    push: np.ndarray,
    mean: float,
    spread: float,
    error: float,
) -> Certificate:
    """Return the certificate under the penalty `kappa` >= 0 of a law with given |V'|/2 = `push`.

    `place` and `mass` are the upper half of the law, of mass 1, `mean` is E U(gap), and `error`
    what it may be wrong by.
    """
    second = float(mass @ place**2)
    objective = mean - kappa * second
    if kappa > 0:
        gap = float(mass @ push**2) / kappa
    else:
        gap = free_gain(utility, place, mass, float(push.max()), mean)
    reported = 4.0 * EPS * abs(objective)
    gap += error + 4.0 * EPS * (4.0 * spread + kappa * second) + reported
    # About as large again is what `error` sees of U - U(R) for a large constant in U.
    rounding = reported + min(0.75 * reported, error)
    return Certificate(objective, gap, spread, float(-mass[mass < 0].sum()), rounding)


# -- in a box -----------------------------------------------------------------------------------


def _walled(utility: Utility, law: SeriesLaw) -> Certificate:
    """Search T between the points at which it was solved for, at the ends and in the layers."""
    if utility.exponent >= 1.0:
        size, scale = rule_size(law.size) + 7, law.grading.scale
        rule, finer = (partial(layered_sides, scale=scale, count=n) for n in (size, 2 * size))
        points = law.size + law.size // 2 + 8
    else:
        ends = ends_of(utility, law.size, wall=True)
        close = ends._replace(terms=ends.terms + 8, nodes=ends.nodes + 4)
        closer = Ends(*ends[:3], ends.terms * 3 // 2, smoothing=16, nodes=ends.nodes + 16)
        rule, finer = (partial(singular_sides, ends=each) for each in (close, closer))
        points = 2 * law.size + 12
    inner, mass = law.lower_half(points)
    x = np.concatenate([[0.5], inner, inner[-1] * _CLOSER_POINTS, [0.0]])
    t = _potential(utility, law, x, rule)
    total = law.atom + mass.sum()
    shortfall = float((law.atom * t[-1] + mass @ t[1 : 1 + inner.size]) / total)
    lowest = float(t.min())
    if t.max() - lowest > 1e-13 * lowest:
        at = np.argsort(t)[:3]
        low, high = x[np.minimum(at + 1, x.size - 1)], x[np.maximum(at - 1, 0)]
        between = np.linspace(low, high, 11)[1:-1].ravel()
        lowest = min(lowest, float(_potential(utility, law, between, rule).min()))
    sample = np.append(np.arange(0, inner.size, max(1, inner.size // 5)), x.size - 1)
    error = float(np.abs(_potential(utility, law, x[sample], finer) - t[sample]).max())
    below = (mass < 0) & ((inner > NEAREST) | (law.power == 0))
    return by_potential(utility, shortfall, lowest, error, float(-2.0 * mass[below].sum()))


_Rule = Callable[[np.ndarray], tuple[Nodes, Nodes]]


def _potential(utility: Utility, law: SeriesLaw, x: np.ndarray, rule: _Rule) -> np.ndarray:
    """Return T(x) = ∫ (U(1) - U(|x-y|)) dmu(y) at the points `x` <= 1/2."""
    out = np.empty_like(x)
    for part in batches(x, utility.exponent < 1.0):
        nodes = Nodes.joined(*rule(x[part]))
        mass = nodes.weight * law.density(nodes.y, nodes.c)
        out[part] = (utility.shortfall(nodes.gap, 1.0) * mass).sum(axis=1)
    return out + law.atom * of_ends(utility, x) if law.atom else out


def of_ends(utility: Utility, x: np.ndarray) -> np.ndarray:
    """Return T(x) of a mass 1 at each end of the box."""
    return utility.shortfall(x, 1.0) + utility.shortfall(1.0 - x, 1.0)


# -- without a box ------------------------------------------------------------------------------


def _free(utility: Utility, law: SeriesLaw, kappa: float) -> Certificate:
    """Evaluate V' at the nodes of a rule for the law, some of them by a finer rule too."""
    y, mass = law.lower_half(2 * law.size + 12)
    total = 2.0 * float(mass.sum())
    mass = 2.0 * mass / total
    place = law.radius * (1.0 - 2.0 * y)  # -x
    level = float(utility.value(np.float64(law.radius)))
    found = _forces(utility, law, y, law.size, level)
    sample = slice(None, None, max(1, y.size // 8))
    finer = _forces(utility, law, y[sample], 2 * law.size, level)
    push = np.abs(found.push / total + kappa * place)
    push += found.rounding / total + EPS * kappa * place
    push += float(np.abs(finer.push - found.push[sample]).max())
    mean, spread = (float(mass @ part) / total for part in (found.mean, found.apart))
    error = float(np.abs(finer.mean - found.mean[sample]).max())
    return by_force(utility, kappa, place, mass, push, level + mean, spread, error)


class _Forces(NamedTuple):
    """At points of the lower half: -V'/2 without the penalty, its rounding, E (U - level), E |.|.

    The signs are those of x < 0, where the law pushes outward.
    """

    push: np.ndarray
    rounding: np.ndarray
    mean: np.ndarray
    apart: np.ndarray


def _forces(utility: Utility, law: SeriesLaw, y: np.ndarray, size: int, level: float) -> _Forces:
    out = np.empty((4, y.size))
    for part in batches(y, utility.exponent < 1.0):
        out[:, part] = _on_batch(utility, law, y[part], size, level)
    return _Forces(*out)


def _on_batch(
    utility: Utility, law: SeriesLaw, x: np.ndarray, size: int, level: float
) -> np.ndarray:
    length, out = law.length, np.zeros((4, x.size))
    if utility.exponent < 1.0:
        sides = outer_sides(x, ends_of(utility, size + 8, wall=False))
        out += _nearest(utility, law, x, size, level)
    else:
        sides = layered_sides(x, law.grading.scale, rule_size(size) + 7)
    for nodes, sign in zip(sides, (1.0, -1.0), strict=True):
        gap = length * nodes.gap
        mass = nodes.weight * law.density(nodes.y, nodes.c)
        value, slope = utility.value(gap) - level, utility.slope(gap) * mass
        out[0] += sign * slope.sum(axis=1)
        out[1] += 8.0 * EPS * np.abs(slope).sum(axis=1)
        out[2] += (value * mass).sum(axis=1)
        out[3] += (np.abs(value) * mass).sum(axis=1)
    return out


def _nearest(
    utility: Utility, law: SeriesLaw, x: np.ndarray, size: int, level: float
) -> np.ndarray:
    """Return what lies within x/4 of x, on both sides at once: U' is not integrable on one."""
    near, length = 0.25 * x, law.length
    t, w = next_to(x, ends_of(utility, size + 16, wall=False))
    apart = np.maximum(t, _HELD_DISTANCE * near[:, None])
    here, c = x[:, None], 1.0 - x[:, None]
    quotient = law.density(here - apart, c + apart) - law.density(here + apart, c - apart)
    slope = utility.slope(length * t) * w * (t / apart)
    both = law.density(here - t, c + t) + law.density(here + t, c - t)
    value = utility.value(length * t) - level
    parts = (
        slope * quotient,
        8.0 * EPS * np.abs(slope) * (np.abs(quotient) + both),
        value * w * both,
        np.abs(value) * w * both,
    )
    return np.array([part.sum(axis=1) for part in parts])


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
