"""The limit law of a utility: a method for each kind, and what comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.exact import exact_law
from collapse_theory.laws import PiecewiseDensity, RewardLaw, discrete_law, uniform_law
from collapse_theory.limit.certificate import Certificate, Found
from collapse_theory.limit.density import GradedDensity
from collapse_theory.limit.law import LimitLaw
from collapse_theory.limit.regular import solve_regular
from collapse_theory.limit.singular import solve_singular
from collapse_theory.programs import Box, Centered, Confined, Domain, Free, unit_utility
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss

__all__ = ["METHODS", "limit"]

# The relative gap up to which a law is called optimal, unless a tolerance is given.
TOLERANCE = 1e-9
TOLERANCES = {"panels": 1e-8, "conic": 2e-2}
DIVERGENT = "the energy of every law is -inf; this law is the limit of the finite optima"


def _regular(unit: Utility) -> tuple[RewardLaw, Certificate]:
    if unit.exponent < 1 or _kinks(unit):
        raise CollapseError(
            f'method="regular" is for utilities without kinks and with a finite slope at 0, '
            f'which {unit} is not; method="auto" picks one that fits'
        )
    return _graded(solve_regular(unit))


def _singular(unit: Utility) -> tuple[RewardLaw, Certificate]:
    if not -1 < unit.exponent < 1 or _kinks(unit):
        raise CollapseError(
            f'method="singular" is for utilities without kinks whose slope at 0 is infinite and '
            f'whose energy is finite, which {unit} is not; method="auto" picks one that fits'
        )
    return _graded(solve_singular(unit))


def _graded(found: Found) -> tuple[RewardLaw, Certificate]:
    grading, power, coefficients, atom = found.trial
    atoms = [[0.0, atom], [1.0, atom]] if atom else []
    if not coefficients.any():
        return RewardLaw(atoms), found.certificate
    try:
        density = GradedDensity(coefficients, power, grading.scale, grading.order)
        return RewardLaw(atoms, (density,)), found.certificate
    except CollapseError as error:
        raise SolverFailed("the series resolves no law; use method='auto'") from error


def _panels(unit: Utility) -> tuple[RewardLaw, Certificate]:
    if not unit.exponent > -1 or _kinks(unit):
        raise CollapseError(
            f'method="panels" is for utilities of finite energy without kinks, which {unit} is '
            'not; method="auto" picks one that fits'
        )
    from collapse_theory.limit.panels import solve_panels

    found = solve_panels(unit)
    atoms = [[0.0, found.atom], [1.0, found.atom]] if found.atom else []
    try:
        return RewardLaw(atoms, found.parts()), found.certificate
    except CollapseError as error:
        raise SolverFailed(
            f'the panels resolve no positive density for {unit}; use method="auto"'
        ) from error


def _exact(unit: Utility) -> tuple[RewardLaw, Certificate]:
    from collapse_theory.limit.known import solve_exact

    return solve_exact(unit)


def _conic(unit: Utility) -> tuple[RewardLaw, Certificate]:
    if not unit.exponent > -1:
        raise CollapseError(f'the energy of {unit} is -inf for every law: use method="auto"')
    from collapse_theory.limit.conic import solve_conic

    found = solve_conic(unit)
    proof = Certificate(found.shortfall, found.gap, found.gap / found.shortfall, 0.0)
    if found.places.size == found.masses.size:
        return discrete_law(found.places, found.masses), proof
    heights = found.masses / np.diff(found.places)
    return RewardLaw((), (PiecewiseDensity(found.places, heights[:, None]),)), proof


METHODS: dict[str, Callable[[Utility], tuple[RewardLaw, Certificate]]] = {
    "exact": _exact,
    "regular": _regular,
    "singular": _singular,
    "panels": _panels,
    "conic": _conic,
}


def limit(
    u: Loss | str,
    domain: Domain | None = None,
    method: str = "auto",
    tol: float | None = None,
) -> LimitLaw:
    r"""Return the law that the optimal rewards of n completions tend to as n grows.

    It is the one maximiser over probability laws on the box (Song, Cai, Lee, Su, arXiv:2305.17608,
    theorem 2; Saff and Totik, Logarithmic Potentials with External Fields, ch. I) of

        J(mu) = ∫∫ U(|x-y|) dmu(x) dmu(y),

    and its potential V(x) = ∫ U(|x-y|) dmu(y) is level.

    Parameters
    ----------
    u : Utility, PlackettLuce or str
        The utility of a gap, concave and increasing over the gaps that the domain allows; or the
        listwise loss, whose J and law are in `collapse_theory.limit.listwise`.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given. For the last three see
        `collapse_theory.limit.confined`: a penalty enters J, and the support is [-R, R].
    method : {"auto", "exact", "regular", "singular", "panels", "conic"}
        "exact" for closed forms; "regular" for a finite U'(0) (two atoms and a density);
        "singular" for an infinite one; "panels", slower, for either; "conic" for kinks, and as a
        reference for all. "auto" takes the first of these that fits, and panels where the
        certificate of regular or singular is short of the tolerance. Outside a box: {"auto",
        "exact", "series", "cells"}.
    tol : float, optional
        The relative gap up to which the law is called optimal; unless given 1e-9, 1e-8 for
        "panels" and 0.02 for "conic" (a grid of 240 cells). The methods go on until about 1e-12,
        or until rounding stops them, whatever `tol` is.

    Returns
    -------
    LimitLaw
        A `RewardLaw` with `objective` J, `gap` (no law has a J above objective + gap),
        `relative_gap` (the gap over U(width) - objective), `method`, `status` ("optimal", or
        "inaccurate" where the certificate is short of the tolerance) and `.rewards(n)`. Where
        U(x) falls like -1/x or faster every law has J = -inf: the law is then uniform, the limit
        of the finite optima, with objective -inf, gap NaN, and a status that says so.

    Raises
    ------
    CollapseError
        A ValueError: a utility that isn't concave or falls, a method that doesn't fit.
    NoClosedForm
        For method="exact", where none is known.
    NoOptimum
        Where nothing holds the rewards.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> law = ct.limit("log(x + 0.1)")
    >>> law.atoms.round(6)
    array([[0.      , 0.183988],
           [1.      , 0.183988]])
    >>> law.relative_gap < 1e-12
    True
    """
    u, domain = as_loss(u), Box() if domain is None else domain
    if isinstance(u, PlackettLuce):
        from collapse_theory.limit.listwise import limit_listwise

        return LimitLaw.of(limit_listwise(u, domain, method, tol), u, domain)
    if not isinstance(domain, Box):
        return LimitLaw.of(_held(u, domain, tol, method), u, domain)
    unit = unit_utility(u, domain)
    if method != "auto" and method not in METHODS:
        known = ", ".join(repr(name) for name in ("auto", *METHODS))
        raise CollapseError(f"unknown method {method!r}; known methods: {known}")
    if tol is not None and not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    if unit.exponent <= -1 and method in ("auto", "exact"):
        law = _divergent(unit, method)
    else:
        law = _automatic(unit, tol) if method == "auto" else _solved(unit, method, tol)
    return LimitLaw.of(law if domain == Box() else _mapped(law, domain), u, domain)


def _held(u: Utility, domain: object, tol: float | None, method: str) -> RewardLaw:
    from collapse_theory.limit.confined import confined_law, free_law

    if isinstance(domain, Confined):
        return confined_law(u, domain.kappa, tol, method)
    if isinstance(domain, Centered):
        return confined_law(u, domain.kappa(), tol, method)
    if isinstance(domain, Free):
        return free_law(u, tol, method)
    raise CollapseError(f"domain must be a Box, Confined, Centered or Free, got {domain!r}")


def _divergent(unit: Utility, method: str) -> RewardLaw:
    law = exact_law(unit)
    if law is None and method == "exact":
        return _solved(unit, method, None)  # which says that no closed form is known
    law = law or uniform_law(objective=-np.inf, gap=np.nan, relative_gap=np.nan)
    name = "exact" if method == "exact" else "divergent"
    return dataclasses.replace(law, method=name, status=DIVERGENT)


def _automatic(unit: Utility, tol: float | None) -> RewardLaw:
    if exact_law(unit) is not None:
        return _solved(unit, "exact", tol)
    if _kinks(unit) or not unit.strictly_concave:
        return _solved(unit, "conic", tol)
    found = []
    for method in ("singular" if unit.exponent < 1 else "regular", "panels"):
        try:
            found.append(_solved(unit, method, tol))
        except SolverFailed:
            continue
        if found[-1].status == "optimal":
            break
    if not found:
        return _solved(unit, "conic", tol)
    return min(found, key=lambda law: (law.status != "optimal", law.gap or 0.0))


def _solved(unit: Utility, method: str, tol: float | None) -> RewardLaw:
    with np.errstate(all="ignore"):
        law, proof = METHODS[method](unit)
    allowed = TOLERANCES.get(method, TOLERANCE) if tol is None else tol
    # A law with a negative density is no law; rounding leaves traces of one.
    good = proof.relative_gap <= allowed and proof.lowest_density > -1e-6
    return dataclasses.replace(
        law,
        objective=float(unit(1.0)) - proof.shortfall,
        gap=proof.gap,
        relative_gap=proof.relative_gap,
        method=method,
        status="optimal" if good else "inaccurate",
    )


def _kinks(unit: Utility) -> bool:
    return any(0 < kink < 1 for kink in unit.kinks)


def _mapped(law: RewardLaw, domain: Box) -> RewardLaw:
    kept = {name: getattr(law, name) for name in ("objective", "gap", "relative_gap", "status")}
    return dataclasses.replace(law.mapped(domain.low, domain.width), **kept)
