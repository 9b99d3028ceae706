"""The limit law of a listwise loss: closed forms, certified."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from collapse_theory.errors import CollapseError, NoOptimum, OutOfRange
from collapse_theory.exact.listwise import LISTWISE, listwise_law
from collapse_theory.laws import ListwiseDensity, RewardLaw, discrete_law
from collapse_theory.limit.listwise_proof import EPS, Scan, box_gap, held_gap, scan, smooth_scan
from collapse_theory.programs import Box, Centered, Confined, Domain, Free, count
from collapse_theory.programs.listwise import score_penalty
from collapse_theory.utilities import PlackettLuce

__all__ = ["METHODS", "limit_listwise", "predicted_listwise"]

METHODS = ("exact",)
TOLERANCE = 1e-9
UNBOUNDED = "the few picks run off as n grows; this law is the limit of the finite optima"
SMOOTH = 1e-3  # below this kappa the law is so wide that it changes little over a unit
WIDEST = 1e-13  # below this kappa, sd / (1/(2 kappa)) is lost in rounding
LONGEST = 2.0  # of a panel, in scores
WIDE = 400.0  # beyond this many scores from the ends of a box nothing of them is felt


def limit_listwise(
    loss: PlackettLuce, domain: Domain, method: str = "auto", tol: float | None = None
) -> RewardLaw:
    r"""Return the law that the optimal rewards tend to as n grows.

    In a box of width w, with W = beta w: uniform inside with mass W/(e + W), and atoms of mass
    1/(e + W) at the bottom and (e - 1)/(e + W) at the top. Under Confined(kappa): that of
    `ListwiseDensity`, scaled. With a fixed number of picks one atom holds all but those few.

    The objective is the limit of the mean log-likelihood of a pick plus log n (which the chance
    level -log n would hide), less the penalty.

    Raises
    ------
    NoOptimum
        Under Free.
    CollapseError
        For another method than "auto" and "exact".

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.limit(ct.PlackettLuce()).atoms.round(4).tolist()
    [[0.0, 0.2689], [1.0, 0.4621]]
    >>> ct.limit(ct.PlackettLuce(), ct.Confined(0.02)).support.round(2).tolist()
    [-43.44, 25.0]
    """
    if method not in ("auto", *METHODS):
        raise CollapseError(
            f'unknown method {method!r} for {loss}: its law has a closed form; known: "auto", '
            '"exact"'
        )
    if tol is not None and not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    allowed = TOLERANCE if tol is None else tol
    if isinstance(domain, Box):
        unit = loss.scaled(domain.width)
        law = listwise_law(unit)
        certificate = _box_certificate(unit)
        law = law.mapped(domain.low, domain.width) if domain != Box() else law
    elif isinstance(domain, Confined | Centered):
        kappa = domain.kappa if isinstance(domain, Confined) else domain.kappa()
        law, certificate = _held(loss, kappa)
    elif isinstance(domain, Free):
        raise NoOptimum(
            f"nothing holds the rewards under {domain}: the likelihood of {loss} rises towards 1 "
            "as the gaps grow. Use a penalty (Confined, Centered) or a box"
        )
    else:
        raise CollapseError(f"domain must be a Box, Confined, Centered or Free, got {domain!r}")
    objective, gap, spread = certificate
    # Where the objective is all but that of equal rewards, its last place is no fault of the law.
    good = gap - 4.0 * EPS * abs(objective) <= allowed * spread
    return dataclasses.replace(
        law,
        objective=objective,
        gap=gap,
        relative_gap=gap / spread if gap else 0.0,
        method="exact",
        status=UNBOUNDED if objective == math.inf else "optimal" if good else "inaccurate",
        reference=LISTWISE,
    )


# The objective, the gap and what the gap is measured by.
Certificate = tuple[float, float, float]


def _box_certificate(unit: PlackettLuce) -> Certificate:
    width = unit.beta
    if unit.top is not None:
        return width, 0.0, 0.0  # the few picks at the top are each at their own best
    mass = 1.0 / (math.e + width)
    seen = min(width, WIDE)
    panels = np.linspace(0.0, seen, math.ceil(seen / LONGEST) + 1)
    found = scan(lambda x: np.full_like(x, mass), panels, mass, (math.e - 1.0) * mass)
    gap = box_gap(found) * (width / seen)  # between, the density is as level as its ends
    # J = log(e + w); of stages each at its own best it is w + 1.
    shortfall = width - math.log1p(width / math.e)
    return math.log(math.e + width), gap, shortfall


def _held(loss: PlackettLuce, kappa: float) -> tuple[RewardLaw, Certificate]:
    if loss.top is not None:
        return discrete_law([0.0], [1.0]), (math.inf, math.nan, math.nan)
    k = score_penalty(loss, kappa)
    if k < WIDEST:
        raise OutOfRange(
            f"kappa / beta**2 = {k:.3g} is below {WIDEST:g}: float64 can't tell the law of {loss} "
            f"from a normal one of variance {0.5 / kappa:.3g} there; ct.solve computes n rewards"
        )
    scores = ListwiseDensity(k)
    log_factor = scores.log_factor
    penalty = k * scores.variance
    # J - penalty = -log K - kappa E X**2 + kappa E X**2, and 1 is J of equal rewards.
    gap = held_gap(_scanned(scores), k) + 4 * EPS * (abs(log_factor) + penalty)
    spread = penalty - log_factor - 1.0
    law = RewardLaw((), (scores.mapped(0.0, 1.0 / loss.beta),))
    return law, (-log_factor, gap, spread)


def _scanned(scores: ListwiseDensity) -> Scan:
    if scores.kappa >= SMOOTH:
        length = min(LONGEST, 1.0 / math.sqrt(scores.kappa), 1.0 / scores.kappa)
        panels = math.ceil((scores.high - scores.low) / length)
        return scan(scores.pdf, np.linspace(scores.low, scores.high, panels + 1))
    nodes, weights = np.polynomial.legendre.leggauss(64)
    found = smooth_scan(scores.pdf, scores.ppf(0.5 * (nodes + 1.0)))
    return dataclasses.replace(found, mass=0.5 * weights)


def predicted_listwise(loss: PlackettLuce, n: int, domain: Box) -> np.ndarray:
    """Return the rewards of n completions that the limit law predicts, best first.

    In a box they are the law's quantiles at (k - 1/2)/(n + 1/2), k counted from the worst: the
    closed form of n completions has C = (n + 1/2)/(e + W) - 1/2 up to 1/n. Measured from n = 8 on
    the error is below 3.2/n**2 of the box for W from 0.3 to 10, 9.4/n**2 at 0.1 and 5.1/n**2 at 20.

    Raises
    ------
    CollapseError
        For a fixed number of picks, of which the limit law says nothing.
    """
    n = count(n)
    if loss.top is not None:
        raise CollapseError(
            f"the limit law of {loss} holds none of the {loss.top} picked completions: "
            "ct.solve(loss, n) computes their rewards"
        )
    law = limit_listwise(loss, domain)
    return law.ppf((np.arange(n, 0, -1.0) - 0.5) / (n + 0.5))
