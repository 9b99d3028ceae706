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

from collapse_theory.limit.coordinate import NEAREST, Grading, Rule, SeriesLaw, kept, rules
from collapse_theory.limit.first_kind import ends
from collapse_theory.limit.second_kind import rule_size
from collapse_theory.numerics.quadrature import (
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


class _Search(NamedTuple):
    """Where T is looked at: in the middle, at inner points that stand for the law, and nearer.

    `weight` times the density is the mass of an inner point; `finer` rules are for the points
    `sample`.
    """

    x: np.ndarray
    weight: np.ndarray
    rules: tuple[Rule, ...]
    sample: np.ndarray
    finer: tuple[Rule, ...]
    sides: Callable[[np.ndarray], tuple[Nodes, Nodes]]


@kept
def _search(grading: Grading, power: float, kernel: float, size: int) -> _Search:
    if kernel >= 1.0:
        count, points = rule_size(size) + 7, size + size // 2 + 8
        sides, finer = (
            partial(layered_sides, scale=grading.scale, count=n) for n in (count, 2 * count)
        )
    else:
        near, points = ends(kernel, power, grading.order, size), 2 * size + 12
        close = near._replace(terms=size + 8, nodes=near.nodes + 4)
        closer = near._replace(terms=size * 3 // 2, smoothing=16, nodes=near.nodes + 16)
        sides, finer = (partial(singular_sides, ends=each) for each in (close, closer))
    inner, weight = grading.lower_half(power, points)
    x = np.concatenate([[0.5], inner, inner[-1] * _CLOSER_POINTS, [0.0]])
    sample = np.append(np.arange(0, inner.size, max(1, inner.size // 5)), x.size - 1)
    plain, checks = rules(x, sides, grading, power), rules(x[sample], finer, grading, power)
    return _Search(x, weight, plain, sample, checks, sides)


def _walled(utility: Utility, law: SeriesLaw) -> Certificate:
    """Search T between the points at which it was solved for, at the ends and in the layers."""
    found = _search(law.grading, law.power, min(utility.exponent, 1.0), law.size)
    x, inner = found.x, found.x[1 : 1 + found.weight.size]
    mass = found.weight * law.density(inner, 1.0 - inner)
    t = _potential(utility, law, x, found.rules)
    shortfall = float((law.atom * t[-1] + mass @ t[1 : 1 + inner.size]) / (law.atom + mass.sum()))
    lowest = float(t.min())
    if t.max() - lowest > 1e-13 * lowest:
        at = np.argsort(t)[:3]
        low, high = x[np.minimum(at + 1, x.size - 1)], x[np.maximum(at - 1, 0)]
        between = np.linspace(low, high, 11)[1:-1].ravel()
        near = rules(between, found.sides, law.grading, law.power)
        lowest = min(lowest, float(_potential(utility, law, between, near).min()))
    finer = _potential(utility, law, x[found.sample], found.finer)
    error = float(np.abs(finer - t[found.sample]).max())
    below = (mass < 0) & ((inner > NEAREST) | (law.power == 0))
    return by_potential(utility, shortfall, lowest, error, float(-2.0 * mass[below].sum()))


def _potential(
    utility: Utility, law: SeriesLaw, x: np.ndarray, rules: tuple[Rule, ...]
) -> np.ndarray:
    """Return T(x) = ∫ (U(1) - U(|x-y|)) dmu(y) at the points `x` <= 1/2.

    With atoms, T is divided by the mass that the same rule gives: errors in proportion drop out. At
    an algebraic end T hardly feels what such a rule makes of the mass at the other one.
    """
    out, mass = np.empty_like(x), np.ones_like(x)
    for rule in rules:
        masses = law.masses(rule)
        out[rule.part] = (utility.shortfall(rule.gap, 1.0) * masses).sum(axis=1)
        mass[rule.part] = masses.sum(axis=1) + 2.0 * law.atom
    return (out + law.atom * of_ends(utility, x)) / mass if law.atom else out


def of_ends(utility: Utility, x: np.ndarray) -> np.ndarray:
    """Return T(x) of a mass 1 at each end of the box."""
    return utility.shortfall(x, 1.0) + utility.shortfall(1.0 - x, 1.0)


# -- without a box ------------------------------------------------------------------------------


class _Sides(NamedTuple):
    """Rules for V' and E U(gap) at some points x of the lower half.

    `near` are those within x/4 of x, on both sides at once, as U' is not integrable on one; `held`
    are they with distances that are not too small for a difference quotient of the density.
    """

    outer: Rule
    sign: np.ndarray  # of the force, which pushes outward
    near: tuple[Rule, Rule] | None = None
    held: tuple[Rule, Rule] | None = None
    ratio: np.ndarray | None = None  # of the distances near and held

    @classmethod
    def of(
        cls,
        part: np.ndarray,
        x: np.ndarray,
        grading: Grading,
        power: float,
        kernel: float,
        size: int,
    ) -> _Sides:
        """Return the rules for a law of `size` terms."""
        singular = kernel < 1.0
        if singular:
            sides = outer_sides(x, ends(kernel, power, grading.order, size + 8))
        else:
            sides = layered_sides(x, grading.scale, rule_size(size) + 7)
        sign = np.repeat([1.0, -1.0], [side.gap.shape[1] for side in sides])
        outer = Rule.of(part, Nodes.joined(*sides), grading, power)
        if not singular:
            return cls(outer, sign)
        t, w = next_to(x, ends(kernel, power, grading.order, size + 16))
        apart = np.maximum(t, _HELD_DISTANCE * 0.25 * x[:, None])
        here, c = x[:, None], 1.0 - x[:, None]

        def at(step: np.ndarray) -> tuple[Rule, Rule]:
            below, above = Nodes(t, w, here - step, c + step), Nodes(t, w, here + step, c - step)
            return Rule.of(part, below, grading, power), Rule.of(part, above, grading, power)

        return cls(outer, sign, at(t), at(apart), t / apart)


class _Half(NamedTuple):
    """Points of the lower half, what a density is weighted with there, and the rules for V'."""

    y: np.ndarray
    weight: np.ndarray
    sides: tuple[_Sides, ...]
    sample: slice
    finer: tuple[_Sides, ...]


@kept
def _half(grading: Grading, power: float, kernel: float, size: int) -> _Half:
    y, weight = grading.lower_half(power, 2 * size + 12)
    sample = slice(None, None, max(1, y.size // 8))
    sides, finer = (
        tuple(
            _Sides.of(part, x[part], grading, power, kernel, count)
            for part in batches(x, kernel < 1.0)
        )
        for x, count in ((y, size), (y[sample], 2 * size))
    )
    return _Half(y, weight, sides, sample, finer)


def _free(utility: Utility, law: SeriesLaw, kappa: float) -> Certificate:
    """Evaluate V' at the nodes of a rule for the law, some of them by a finer rule too."""
    half = _half(law.grading, law.power, min(utility.exponent, 1.0), law.size)
    y, sample = half.y, half.sample
    mass = half.weight * law.density(y, 1.0 - y)
    total = 2.0 * float(mass.sum())
    mass = 2.0 * mass / total
    place = law.radius * (1.0 - 2.0 * y)  # -x
    level = float(utility.value(np.float64(law.radius)))
    found = _forces(utility, law, half.sides, level)
    finer = _forces(utility, law, half.finer, level)
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


def _forces(utility: Utility, law: SeriesLaw, sides: tuple[_Sides, ...], level: float) -> _Forces:
    out = np.zeros((4, sum(side.outer.part.size for side in sides)))
    for outer, sign, near, held, ratio in sides:
        gap, mass = law.length * outer.gap, law.masses(outer)
        slope, value = utility.slope(gap) * mass, (utility.value(gap) - level) * mass
        found = [
            slope @ sign,
            np.abs(slope).sum(axis=1),
            value.sum(axis=1),
            np.abs(value).sum(axis=1),
        ]
        if near and held:
            gap = law.length * near[0].gap
            lower, upper = (law.masses(rule) for rule in near)
            closer, further = (law.masses(rule) for rule in held)
            slope, value = utility.slope(gap) * ratio, utility.value(gap) - level
            found[0] += (slope * (closer - further)).sum(axis=1)
            noise = np.abs(closer - further) + lower + upper
            found[1] += np.abs(slope * noise).sum(axis=1)
            found[2] += (value * (lower + upper)).sum(axis=1)
            found[3] += (np.abs(value) * (lower + upper)).sum(axis=1)
        out[:, outer.part] = found
    out[1] *= 8.0 * EPS
    return _Forces(*out)


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
