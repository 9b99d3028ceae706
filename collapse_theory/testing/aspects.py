"""A utility of one's own: is it what it says it is?"""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError, InvalidUtility, NoConicForm
from collapse_theory.programs import Domain, DomainLike, as_domain
from collapse_theory.programs.program import WIDEST_CHECKED
from collapse_theory.testing.precise import Precise
from collapse_theory.testing.search import Report
from collapse_theory.utilities import Utility, require_increasing, utility
from collapse_theory.utilities.checks import concavity, exponent_at_zero, strictly_concave_formula
from collapse_theory.utilities.custom import differences

GAPS = (1e-150, 1e-30, 1e-12, 1e-5, 0.013, 0.2, 0.5, 0.77, 1.0)
INSIDE = np.array([0.0131, 0.1, 0.27, 0.45, 0.63, 0.9, 0.99])
# Of formulas, in units of the terms whose rounding they carry.
PRECISE = 3e-13
SMALLEST = 1e-300  # denormal numbers have fewer digits
# Of functions of one's own, whose derivatives are differences in float64.
DIFFERENCES = 1e-6


STEEPEST = 1e6  # slope at gap 0 whose rounding is allowed for: it leaves 9 digits of others

OURS = Utility.__module__.rpartition(".")[0]


class Skipped(Exception):
    """What can't be looked at, and why."""


def check_utility(
    u: Utility | str, domain: DomainLike | None = None, *, rising: bool = True
) -> Report:
    """Check that a utility is what it says: most of use for a class or functions of one's own.

    U, U' and U'' are held against mpmath where the utility is a formula, else against each other
    by differences; it is concave and rises over the gaps of the domain; `gain` is a difference of
    values; `scaled` and `shifted` mean what they say; kinks, U'(0), its exponent and strict
    concavity are as stated; text, dicts and pickles come back equal; on torch tensors it has the
    values and the gradients that it has on arrays; and its conic form has its values.

    Parameters
    ----------
    u : Utility or str
    domain : Box, Confined, Centered or Free, optional
        The box [0, 1] unless given. Outside a box U may have a maximum.
    rising : bool
        Whether it must rise over the gaps of a box, as it must where it is solved there.

    Returns
    -------
    Report
        `cases` is the number of aspects; what was left out stands in `notes`.

    Raises
    ------
    AssertionError
        With the gap, what was expected and what was found.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.testing import check_utility
    >>> check_utility(ct.Log().shifted(0.1)).cases
    10
    >>> class Mine(ct.Utility):
    ...     def value(self, x, xp=None):
    ...         return x / (x + 1)
    ...     def derivatives(self, x):
    ...         return 1 / (x + 1) ** 2, -1 / (x + 1) ** 3
    >>> check_utility(Mine())
    Traceback (most recent call last):
    ...
    AssertionError: x/(x + 1) is wrong: U''(1e-12) expected ..., got ...
    """
    u, notes, looked = utility(u) if isinstance(u, str) else u, [], 0
    if not isinstance(u, Utility):
        raise CollapseError(f"check_utility needs a Utility or its text, not {u!r}")
    place = as_domain(domain)

    def wrong(text: str) -> None:
        raise AssertionError(f"{u} is wrong: {text}")

    for aspect in (*ASPECTS, _rising) if rising and place.bounded else ASPECTS:
        try:
            with np.errstate(all="ignore"):
                aspect(u, place, wrong)
            looked += 1
        except Skipped as why:
            notes.append(str(why))
        except CollapseError as fault:
            raise AssertionError(f"{u} is wrong: {fault}") from fault
    return Report(str(u), looked, notes=tuple(notes))


Wrong = Callable[[str], None]


def _close(wrong: Wrong, what: str, x: Any, expected: Any, got: Any, allowed: Any) -> None:
    """Say so where `got` is farther from `expected` than `allowed` at one of the gaps x."""
    x, expected, got, allowed = (
        np.ravel(v) for v in np.broadcast_arrays(x, expected, got, allowed)
    )
    off = np.where(expected == got, 0.0, np.abs(got - expected))
    bad = ~(off <= allowed)
    if bad.any():
        at = int(np.argmax(bad))
        wrong(f"{what.format(f'{x[at]:.6g}')} expected {expected[at]:.12g}, got {got[at]:.12g}")


# -- the formula -----------------------------------------------------------------------------


def _derivatives(u: Utility, domain: Domain, wrong: Wrong) -> None:
    names = ("U({})", "U'({})", "U''({})")
    if (precise := Precise(u)).known:
        for x in (*GAPS, *INSIDE.tolist()):
            jet = precise.jet(x)
            for name, f, want, scale in zip(
                names, (u, u.d1, u.d2), jet.values, jet.scales, strict=True
            ):
                # Near the end of float64 a factor on the way may overflow.
                if abs(want) < 1e300 and not any(abs(x - kink) < 1e-9 for kink in u.kinks):
                    _close(wrong, name, x, want, float(f(x)), PRECISE * scale + SMALLEST)
        return
    x = INSIDE[[all(abs(x - kink) > 0.02 * x for kink in u.kinks) for x in INSIDE]]
    for name, f, derivative in ((names[1], u, u.d1), (names[2], u.d1, u.d2)):
        found, allowed = differences(f, x)
        allowed = allowed + DIFFERENCES * np.abs(found) + 1e-12 * np.abs(u(x)) / x
        _close(wrong, name, x, found, derivative(x), allowed)


def _gains(u: Utility, domain: Domain, wrong: Wrong) -> None:
    x = np.array([1e-6, 0.3, 0.77, 1 - 1e-9])
    if (precise := Precise(u)).known:
        expected = np.array([precise.gain(at) for at in x.tolist()])
        allowed = 1e-12 * np.abs(expected) + SMALLEST
    else:
        expected = u(1.0) - u(x)
        allowed = 1e-14 * (np.abs(u(1.0)) + np.abs(u(x)))
    for weight, t in u.terms:  # whose values may cancel each other in U: -1/x + 2*x/(x + 1) at 1
        # Where values are subtracted, by their rounding; near a maximum slopes cancel.
        size = np.abs(t(1.0)) + np.abs(t(x)) + np.abs(t.d1(x)) * (1 - x)
        allowed += weight * (2e-15 * size if t.cancels else 4e-16 * (1 - x) * np.abs(t.d1(1.0)))
    _close(wrong, "U(1) - U({}) by gain:", x, expected, u.shortfall(x, 1.0), allowed)


def _argument(u: Utility, domain: Domain, wrong: Wrong) -> None:
    """`scaled` and `shifted` are U(b x) and U(x + e)."""
    x, b, e = INSIDE[:-3], 0.7, 0.2
    allowed = 1e-9 * (1 + np.abs(u(x)))
    _close(wrong, "scaled(0.7)({})", x, u(b * x), u.scaled(b)(x), allowed)
    try:
        moved = u.shifted(e)
    except InvalidUtility:
        return  # a hinge below the shift is constant; a sine may turn convex
    _close(wrong, "shifted(0.2)({})", x, u(x + e), moved(x), allowed)
    _close(wrong, "(2*U + x)({})", x, 2 * u(x) + x, (2 * u + utility("x"))(x), 2 * allowed)


# -- its shape -------------------------------------------------------------------------------


def _shape(u: Utility, domain: Domain, wrong: Wrong) -> None:
    reach = domain.width if domain.bounded else WIDEST_CHECKED
    concavity(u, reach)
    if u.below_zero:
        x = -np.geomspace(1e-6, 50.0, 200)[::-1]
        if not (np.isfinite(u(x)).all() and (u.d2(x) <= 0).all()):
            wrong("expected it concave below gap 0 too, as `below_zero` says")


def _rising(u: Utility, domain: Domain, wrong: Wrong) -> None:
    require_increasing(u, domain.width)


def _at_zero(u: Utility, domain: Domain, wrong: Wrong) -> None:
    slope = u.slope_at_zero
    if math.isfinite(slope):
        near = float(u.d1(1e-12))
        _close(wrong, "U'({}) as slope_at_zero says:", 0.0, near, slope, 1e-3 * abs(near) + 1e-9)
        _close(wrong, "the exponent at gap {}", 0.0, 1.0, u.exponent, 0.0)
    for _, term in u.terms:  # in a sum small weights hide which term is the steepest
        if not math.isfinite(term.slope_at_zero):
            found = exponent_at_zero(term.derivatives)
            _close(wrong, "the exponent at gap {}", 0.0, found, term.exponent, 2e-3)


def _kinks(u: Utility, domain: Domain, wrong: Wrong) -> None:
    """Kinks are where U' jumps; and between them U'' < 0 where it says strictly concave."""
    for kink, term in ((k, t) for _, t in u.terms for k in t.kinks if 0.001 < k < 0.999):
        beside = kink * (1 + 1e-9 * np.array([-1.0, 1.0]))  # of a term: others may be far steeper
        below, above = term.d1(beside)
        if not below - above > 2 * float(np.abs(term.d2(beside)).max() * np.ptp(beside)):
            wrong(f"U' expected to jump at the kink {kink:.6g}, got {below:.9g} and {above:.9g}")
    x = np.linspace(0.001, 1.0, 2000)
    size = float(np.abs(u.d1(x)).max())
    first, bend = u.d1(x), np.abs(u.d2(x))
    missing = -np.diff(first) - (x[1] - x[0]) * np.maximum(bend[1:], bend[:-1])
    for at in np.argsort(-missing)[:20]:
        low, high = x[at], x[at + 1]
        for _ in range(40):
            middle = (low + high) / 2
            drops = -np.diff(u.d1(np.array([low, middle, high])))
            low, high = (low, middle) if drops[0] > drops[1] else (middle, high)
        jump = float(u.d1(low) - u.d1(high))
        if jump > 1e-6 * size and not any(abs(k - low) < 1e-6 for k in u.kinks):
            wrong(f"expected a kink at {low:.6g}, where U' falls by {jump:.3g}, got {u.kinks}")
    if u.strictly_concave and not strictly_concave_formula(u.derivatives, u.kinks):
        # Of log-sigmoid(1000 x) beyond a kink at 0.75 floats show nothing.
        edges, precise = [0.0, *(k for k in u.kinks if 0 < k < 1), 1.0], Precise(u)
        if precise.known and all(precise.bends((a + b) / 2) for a, b in pairwise(edges)):
            return
        wrong("it says that it is strictly concave, got U'' = 0 between two kinks")


# -- what it is written as ---------------------------------------------------------------------


def _round_trips(u: Utility, domain: Domain, wrong: Wrong) -> None:
    if u.own_functions:
        if copy.deepcopy(u) != u:
            wrong("expected a copy equal to it; a class of one's own is a frozen dataclass")
        raise Skipped("text, dict and pickle not looked at: it is made of Python functions")
    parts = [term.of for _, term in getattr(u, "parts", ())] or [u]
    if not all(part.named or type(part).__module__.startswith(OURS) for part in parts):
        # Its formula comes back, but no class: register gives it a name.
        back = utility(str(u))
        _close(wrong, "U({}) of its text", INSIDE, u(INSIDE), back(INSIDE), 1e-9)
        raise Skipped("dict and pickle not looked at: ct.register gives a class of one's own them")
    ways = {
        "its text": lambda: utility(str(u)),
        "its dict": lambda: Utility.from_dict(json.loads(json.dumps(u.to_dict()))),
        "its pickle": lambda: pickle.loads(pickle.dumps(u)),
        "its copy": lambda: copy.deepcopy(u),
    }
    for way, back in ways.items():
        if (found := back()) != u or hash(found) != hash(u):
            wrong(f"expected {way} to give it back, got {found!r}")


def _tensors(u: Utility, domain: Domain, wrong: Wrong) -> None:
    try:
        import torch
    except ImportError:
        raise Skipped("tensors not looked at: torch isn't installed") from None
    x = INSIDE[[all(abs(x - kink) > 1e-6 for kink in u.kinks) for x in INSIDE]]
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    try:
        found = u.value(at, torch)
        found.sum().backward()
    except Exception as fault:
        wrong(f"on torch tensors expected values, got {type(fault).__name__}: {fault}")
        return
    got = found.detach().numpy()
    _close(wrong, "on torch tensors U({})", x, u(x), got, 1e-11 * (np.abs(u(x)) + 1e-3))
    slope = np.zeros_like(x) if at.grad is None else at.grad.numpy()
    # Torch adds slopes up as they come: half the largest of a log-sigmoid is added and taken off.
    slopes = (weight * term.slope_at_zero for weight, term in u.terms)
    steepest = min(sum(slope for slope in slopes if math.isfinite(slope)), STEEPEST)
    allowed = 1e-8 * (np.abs(u.d1(x)) + np.abs(u(x)) / x) + 1e-12 + 1e-15 * steepest
    _close(wrong, "on torch tensors U'({})", x, u.d1(x), slope, allowed)


def _conic(u: Utility, domain: Domain, wrong: Wrong) -> None:
    import cvxpy as cp

    near, at = np.array([0.2, 0.9]), np.array([1.3, 0.8])
    ratio = cp.Variable(2, nonneg=True)
    try:
        form = u.conic(cp, ratio, near)
    except NoConicForm:
        raise Skipped("no conic form to look at") from None
    if not form.is_concave():
        wrong(f"expected a concave conic form, got one that is {form.curvature.lower()}")
    ratio.value = at
    allowed = 1e-9 * (np.abs(u(near * at)) + 1e-3)
    _close(wrong, "by its conic form U({})", near * at, u(near * at), form.value, allowed)


ASPECTS = (
    _derivatives,
    _gains,
    _argument,
    _shape,
    _at_zero,
    _kinks,
    _round_trips,
    _tensors,
    _conic,
)
