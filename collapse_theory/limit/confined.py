"""Limit laws of unbounded rewards: held by a penalty, or by a utility with a maximum."""

from __future__ import annotations

import dataclasses

import numpy as np

from collapse_theory.errors import CollapseError, NoClosedForm, NoOptimum, SolverFailed
from collapse_theory.exact.confined import confined_limit_form
from collapse_theory.laws import BetaDensity, PiecewiseDensity, RewardLaw
from collapse_theory.lazy import special
from collapse_theory.limit.cells import CellLaw, prove_cells, solve_cells
from collapse_theory.limit.coordinate import Grading
from collapse_theory.limit.density import GradedDensity
from collapse_theory.limit.soft import solve_soft
from collapse_theory.limit.soft_law import SoftLaw, soft_ends
from collapse_theory.limit.soft_start import first_radius
from collapse_theory.limit.stationary import EPS, Proof, prove
from collapse_theory.utilities import Utility, require_concave, utility
from collapse_theory.utilities.base import positive

__all__ = ["METHODS", "confined_law", "free_law"]

METHODS = ("exact", "series", "cells")
# The relative gap up to which a law is called optimal, unless a tolerance is given.
TOLERANCE, TOLERANCES = 1e-9, {"cells": 1e-2}
CELLS = (256, 1024)
# A law has no negative density; rounding near the ends leaves traces of one, up to this mass.
NEGATIVE = 1e-9
# Concavity is looked at up to this many times the support's expected length.
WIDER = 3.0


def confined_law(
    u: Utility | str, kappa: float, tol: float | None = None, method: str = "auto"
) -> RewardLaw:
    r"""Return the law that the optimal rewards tend to under a penalty, as n grows.

    It is the one maximiser, with mean 0, over all probability laws on the line of

        ∫∫ U(|x-y|) dmu(x) dmu(y) - kappa ∫ x**2 dmu(x).

    Its support is an interval [-R, R], R unknown, and it has no atoms: an atom would give the
    potential V(x) = 2 ∫ U(|x-y|) dmu(y) - kappa x**2 a convex kink, and neighbouring points more.
    For a smooth utility V is level on the support (Saff and Totik, Logarithmic Potentials with
    External Fields, theorem I.1.3) and below it beyond.

    Parameters
    ----------
    u : Utility or str
        The utility of a gap, concave; it may have a maximum.
    kappa : float
        The weight of the penalty, positive.
    tol : float, optional
        The relative gap up to which the law is called optimal; unless given 1e-9, and 0.01 for
        "cells".
    method : {"auto", "exact", "series", "cells"}
        "exact" for closed forms; "series" for utilities without kinks inside the support; "cells"
        for any, with a density constant on each of some hundred cells.

    Returns
    -------
    RewardLaw
        With `objective` (the penalty in it), `gap` (no law has an objective above objective + gap,
        see `collapse_theory.limit.stationary`), `relative_gap` (the gap over E |U(gap) - U(R)|),
        `method` ("exact", "regular", "singular" or "cells") and `status`.

    Raises
    ------
    NoOptimum
        Where U(x) falls like -1/x or faster at 0: every law has the objective -inf.
    NotConcave
        Where U is convex at a gap within about three times the support.

    Examples
    --------
    >>> from collapse_theory.limit.confined import confined_law
    >>> law = confined_law("logsigmoid(x)", 0.02)
    >>> law.support.round(6), round(law.var(), 6), law.status
    (array([-3.849832,  3.849832]), 4.094419, 'optimal')
    """
    return _law(utility(u), positive("kappa of Confined", kappa), tol, method)


def free_law(u: Utility | str, tol: float | None = None, method: str = "auto") -> RewardLaw:
    """Return the law that the optimal rewards of mean 0 tend to with nothing but U to hold them.

    As `confined_law` with kappa = 0, for utilities with a maximum: label smoothing, squared loss.

    Raises
    ------
    NoOptimum
        Where U has no maximum, or falls like -1/x or faster at 0.

    Examples
    --------
    >>> from collapse_theory.limit.confined import free_law
    >>> from collapse_theory.utilities import LabelSmoothing
    >>> free_law(LabelSmoothing(0.1)).support.round(6)
    array([-3.059755,  3.059755])
    """
    return _law(utility(u), 0.0, tol, method)


def _law(u: Utility, kappa: float, tol: float | None, method: str) -> RewardLaw:
    if method not in ("auto", *METHODS):
        known = ", ".join(repr(name) for name in ("auto", *METHODS))
        raise CollapseError(f"unknown method {method!r}; known methods: {known}")
    if tol is not None and not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    if u.exponent <= -1:
        raise NoOptimum(
            f"the limit law of {u} has no objective: a utility that falls like -1/x or faster at "
            "gap 0 gives every law a mean of -inf, so none is the best. The optima of finitely "
            "many completions exist: ct.solve(u, n, domain); or take -x**-g with g < 1, log(x), "
            "or a shifted utility such as -1/(x + 0.1)"
        )
    known = confined_limit_form(u, kappa) if method in ("auto", "exact") else None
    if known is not None:
        return _exact(u, known, kappa, tol)
    if method == "exact":
        raise NoClosedForm(
            f'no closed form of the limit law is known for {u}; method="auto" computes it'
        )
    start = first_radius(u, kappa)
    require_concave(u, max(1.0, 2.0 * WIDER * start))
    if method == "auto":
        return _automatic(u, kappa, start, tol)
    return (_series if method == "series" else _cells)(u, kappa, start, tol)


def _automatic(u: Utility, kappa: float, start: float, tol: float | None) -> RewardLaw:
    found = None
    try:
        found = _series(u, kappa, start, tol)
        start = float(found.support[1])
        # Cells are no more accurate than this.
        if found.status == "optimal" or (found.relative_gap or 0.0) < 1e-5:
            return found
    except (SolverFailed, CollapseError):
        pass  # a kink inside the support, or no positive density: cells take both
    other = _cells(u, kappa, start, tol)
    if found is None:
        return other
    return min(found, other, key=lambda law: (law.status != "optimal", law.gap or 0.0))


def _series(u: Utility, kappa: float, start: float, tol: float | None) -> RewardLaw:
    law = None
    if not _kinked(u, 1.4 * start):
        try:
            law = solve_soft(u, kappa, start)
        except np.linalg.LinAlgError as error:
            raise SolverFailed(f"no series has a level potential for {u}") from error
    if law is None or _kinked(u, law.length):
        raise CollapseError(
            f'method="series" is for utilities without kinks inside the support, which {u} has; '
            'method="auto" picks one that fits'
        )
    grading, radius = law.grading, law.radius
    density = GradedDensity(
        law.coefficients / law.length, law.power, grading.scale, grading.order, -radius, radius
    )
    whole = RewardLaw((), (density,))
    name = "singular" if u.exponent < 1 else "regular"
    return _certified(whole, prove(u, law, kappa), name, tol)


def _cells(u: Utility, kappa: float, start: float, tol: float | None) -> RewardLaw:
    found = None
    for cells in CELLS:
        law = solve_cells(u, kappa, start, cells)
        try:
            whole = RewardLaw((), (law.density,))
        except CollapseError as error:
            raise SolverFailed(
                f"no positive density was found for {u}: where a utility is not strictly concave, "
                "its best laws may be several or atoms; ct.solve(u, n, domain) gives one"
            ) from error
        found = _certified(whole, prove_cells(u, law, kappa), "cells", tol)
        if found.status == "optimal":
            break
        start = law.radius
    assert found is not None
    return found


def _kinked(u: Utility, length: float) -> bool:
    """Whether U' jumps at a gap below `length`; 2R is known to a third from the start."""
    return any(kink < length for kink in u.kinks)


def _certified(law: RewardLaw, proof: Proof, method: str, tol: float | None) -> RewardLaw:
    gap, allowed = proof.gap, tol
    if allowed is None:
        allowed = TOLERANCES.get(method, TOLERANCE)
        # Where the objective is all but U(0), its last place is no fault of the law.
        gap -= 4.0 * EPS * abs(proof.objective)
    good = gap <= allowed * proof.spread and proof.negative < NEGATIVE
    return dataclasses.replace(
        law,
        objective=proof.objective,
        gap=proof.gap,
        relative_gap=proof.relative_gap,
        method=method,
        status="optimal" if good else "inaccurate",
    )


def _exact(u: Utility, law: RewardLaw, kappa: float, tol: float | None) -> RewardLaw:
    """Certify a closed form as every other law is, from its density."""
    if not law.parts:
        return dataclasses.replace(law, gap=0.0, relative_gap=0.0)
    part = law.parts[0]
    if isinstance(part, BetaDensity):
        order = soft_ends(u, 24).order
        grading = Grading(0.0, order) if u.exponent < 1 else Grading(1.0)
        series = np.zeros(24)
        series[0] = 1.0 / special.beta(part.a, part.a)
        soft = SoftLaw(part.high, grading, part.a - 1.0, series, kappa, 0.0)
        proof = prove(u, soft, kappa)
    else:
        assert isinstance(part, PiecewiseDensity)
        cells = CellLaw(part.edges, part.coefficients[:, 0], kappa)
        proof = prove_cells(u, cells, kappa)
    certified = _certified(law, proof, "exact", tol)
    return dataclasses.replace(certified, objective=law.objective)
