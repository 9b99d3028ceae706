"""The limit law of a listwise loss: closed forms, certified from the law alone.

With Q(t) the score at the rank t, from 0 for the best to 1, the objective is

    J(Q) = ∫ [Q(t) - log S(t)] dt,    S(t) = ∫_t^1 exp(Q(s)) ds,

the limit of the mean log-likelihood of a pick plus log n (which the chance level -log n would
hide). It is concave in Q, and its derivative by the gap at a score x is F(x) = S A with A(t) =
∫_0^t ds / S(s).

- In a box of width w, J* - J <= w max F - ∫ F dx over the box. The law, with W = beta w: uniform
  inside with mass W/(e + W), and atoms of mass 1/(e + W) at the bottom and (e - 1)/(e + W) at the
  top.
- Under a penalty kappa ∫ Q**2 the derivative by Q itself, v = 1 - exp(Q) A - 2 kappa Q, gives
  J* - J <= ∫ v**2 dt / (4 kappa). The law is that of `PenalisedScores`, scaled.

With a fixed number of picks one atom holds all but those few. The proof computes sigma = exp(-x) S
and alpha = exp(x) A as functions of the score x, by panels from one end to the other: integrals of
positive terms, which run over no orders of magnitude (docs/listwise.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import CollapseError, NoOptimum, OutOfRange
from collapse_theory.exact.plackett_luce import LISTWISE, PenalisedScores, listwise_law
from collapse_theory.laws import RewardLaw, discrete_law
from collapse_theory.limit.certificate import EPS, Certificate
from collapse_theory.programs import Box, Domain, Free
from collapse_theory.programs.plackett_luce import score_penalty
from collapse_theory.utilities import PlackettLuce

UNBOUNDED = "the few picks run off as n grows; this law is the limit of the finite optima"
SMOOTH_KAPPA = 1e-3  # below this kappa the law is so wide that it changes little over a unit
LEAST_KAPPA = 1e-13  # below this kappa, sd / (1/(2 kappa)) is lost in rounding
LONGEST_PANEL = 2.0  # of a panel, in scores
WIDE_BOX = 400.0  # beyond this many scores from the ends of a box nothing of them is felt

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
LAGUERRE = np.polynomial.laguerre.laggauss(48)


def solve(loss: PlackettLuce, domain: Domain, method: str) -> tuple[RewardLaw, Certificate]:
    """Return the law and its certificate, whose objective is inf where the picks run off.

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
    if method not in ("auto", "exact"):
        raise CollapseError(
            f'unknown method {method!r} for {loss}: its law has a closed form; known: "auto", '
            '"exact"'
        )
    if isinstance(domain, Box):
        unit = loss.scaled(domain.width)
        law = listwise_law(unit)
        law = law.mapped(domain.low, domain.width) if domain != Box() else law
        return law, _box_certificate(unit)
    if isinstance(domain, Free):
        raise NoOptimum(
            f"nothing holds the rewards under {domain}: the likelihood of {loss} rises towards 1 "
            "as the gaps grow. Use a penalty (Confined, Centered) or a box"
        )
    return _penalised(loss, domain.penalty())


def _box_certificate(unit: PlackettLuce) -> Certificate:
    width = unit.beta
    if unit.top is not None:
        return Certificate(width, 0.0, 0.0)  # the few picks at the top are each at their own best
    mass = 1.0 / (math.e + width)
    seen = min(width, WIDE_BOX)
    panels = np.linspace(0.0, seen, math.ceil(seen / LONGEST_PANEL) + 1)
    found = scan(lambda x: np.full_like(x, mass), panels, mass, (math.e - 1.0) * mass)
    gap = box_gap(found) * (width / seen)  # between, the density is as level as its ends
    # J = log(e + w); of stages each at its own best it is w + 1.
    objective = math.log(math.e + width)
    return _reported(objective, gap, width - math.log1p(width / math.e))


def _penalised(loss: PlackettLuce, kappa: float) -> tuple[RewardLaw, Certificate]:
    if loss.top is not None:
        return discrete_law([0.0], [1.0], reference=LISTWISE), Certificate(
            math.inf, math.nan, math.nan
        )
    k = score_penalty(loss, kappa)
    if k < LEAST_KAPPA:
        raise OutOfRange(
            f"kappa / beta**2 = {k:.3g} is below {LEAST_KAPPA:g}: float64 can't tell the law of "
            f"{loss} from a normal one of variance {0.5 / kappa:.3g} there; ct.solve computes n "
            "rewards"
        )
    scores = PenalisedScores(k)
    log_factor = scores.log_factor
    penalty = k * scores.variance
    # J - penalty = -log K - kappa E X**2 + kappa E X**2, and 1 is J of equal rewards.
    gap = penalised_gap(_scanned(scores), k) + 4 * EPS * (abs(log_factor) + penalty)
    law = RewardLaw((), (scores.density.mapped(0.0, 1.0 / loss.beta),), reference=LISTWISE)
    return law, _reported(-log_factor, gap, penalty - log_factor - 1.0)


def _reported(objective: float, gap: float, spread: float) -> Certificate:
    """Count the last places of the objective, which may be all but that of equal rewards."""
    rounding = 4.0 * EPS * abs(objective)
    return Certificate(objective, gap + rounding, spread, 0.0, 2.0 * rounding)


def _scanned(scores: PenalisedScores) -> Scan:
    if scores.kappa >= SMOOTH_KAPPA:
        length = min(LONGEST_PANEL, 1.0 / math.sqrt(scores.kappa), 1.0 / scores.kappa)
        low = scores.density.low
        panels = math.ceil((scores.high - low) / length)
        return scan(scores.pdf, np.linspace(low, scores.high, panels + 1))
    nodes, weights = np.polynomial.legendre.leggauss(64)
    found = smooth_scan(scores.pdf, scores.density.ppf(0.5 * (nodes + 1.0)))
    return dataclasses.replace(found, mass=0.5 * weights)


def predict(law: RewardLaw, loss: PlackettLuce, n: int) -> np.ndarray:
    """Return the rewards of n completions that the limit law in a box predicts, best first.

    They are the law's quantiles at (k - 1/2)/(n + 1/2), k counted from the worst: the closed form
    of n completions has C = (n + 1/2)/(e + W) - 1/2 up to 1/n. Measured from n = 8 on the error is
    below 3.2/n**2 of the box for W from 0.3 to 10, 9.4/n**2 at 0.1 and 5.1/n**2 at 20.

    Raises
    ------
    CollapseError
        For a fixed number of picks, of which the limit law says nothing.
    """
    if loss.top is not None:
        raise CollapseError(
            f"the limit law of {loss} holds none of the {loss.top} picked completions: "
            "ct.solve(loss, n) computes their rewards"
        )
    return law.ppf((np.arange(n, 0, -1.0) - 0.5) / (n + 0.5))


# -- the proof ----------------------------------------------------------------------------------


def _antiderivatives() -> np.ndarray:
    """Return the matrix from values at the nodes to integrals from -1 to each node."""
    degrees = np.arange(NODES.size)
    values = np.polynomial.legendre.legvander(NODES, NODES.size)
    # ∫ P_k = (P_{k+1} - P_{k-1}) / (2k+1), and x + 1 for k = 0.
    lower = np.column_stack([np.ones(NODES.size) * -1.0, values[:, : NODES.size - 1]])
    integrals = (values[:, 1:] - lower) / (2 * degrees + 1)
    series = (degrees + 0.5)[:, None] * values[:, :-1].T * WEIGHTS
    return integrals @ series


INTEGRALS = _antiderivatives()


@dataclass(frozen=True)
class Scan:
    """sigma and alpha at scores `x`, each with its share of the mass and of the length."""

    x: np.ndarray
    mass: np.ndarray
    length: np.ndarray
    sigma: np.ndarray
    alpha: np.ndarray
    bottom: float
    top: float

    @property
    def force(self) -> np.ndarray:
        """F at the scores `x`."""
        return self.sigma * self.alpha


def scan(
    density: Callable[[np.ndarray], np.ndarray],
    edges: np.ndarray,
    bottom: float = 0.0,
    top: float = 0.0,
) -> Scan:
    """Return sigma and alpha on panels, of a law with atoms `bottom` and `top` at its ends.

    Parameters
    ----------
    density : callable
        Of the scores inside, for arrays.
    edges : (k+1,) array
        Of the panels, increasing.
    bottom, top : float
        The masses of the atoms.
    """
    half = 0.5 * np.diff(edges)
    x = 0.5 * (edges[1:] + edges[:-1])[:, None] + half[:, None] * NODES
    rho = density(x)
    into = np.exp(x - edges[:-1, None])  # from the lower edge, as long panels would overflow else
    below = half[:, None] * ((rho * into) @ INTEGRALS.T)
    whole = half * ((rho * into) @ WEIGHTS)
    start, fall, at = bottom, np.exp(-2 * half), []
    for add, factor in zip(whole.tolist(), fall.tolist(), strict=True):
        at.append(start)
        start = (start + add) * factor
    sigma = (np.array(at)[:, None] + below) / into
    # The atom at the top adds log(S_after / S_before) to A.
    back = np.log1p(top / start) if start > 0 else np.inf
    rate = rho / sigma
    part = rate / into  # exp(-(y - lower edge)) dmu / sigma
    above = half[:, None] * (part @ (WEIGHTS[None, :] - INTEGRALS).T)
    totals, at = half * (part @ WEIGHTS), []
    for add, factor in zip(totals[::-1].tolist(), fall[::-1].tolist(), strict=True):
        at.append(back * factor)
        back = add + back * factor
    alpha = (np.array(at[::-1])[:, None] + above) * into
    weights = half[:, None] * WEIGHTS
    return Scan(x, weights * rho, weights, sigma, alpha, bottom, top)


def smooth_scan(density: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> Scan:
    """Return sigma and alpha at the points `x` of a density that changes little over a unit.

    The integrals over exp(-t) are by Gauss and Laguerre; masses and lengths are left to the caller.
    """
    t, weight = LAGUERRE

    def sigma(y: np.ndarray) -> np.ndarray:
        return density(y[..., None] - t) @ weight

    near = x[:, None] + t
    alpha = (density(near) / sigma(near)) @ weight
    return Scan(x, np.zeros_like(x), np.zeros_like(x), sigma(x), alpha, 0.0, 0.0)


def box_gap(found: Scan) -> float:
    """Return the bound in a box, with what rounding may hide."""
    edge_low = found.sigma.flat[0] * found.alpha.flat[0]
    force = [float(found.force.max())]
    # Within an atom S A turns where log of the mass ratio is one.
    if found.bottom:
        level = edge_low / found.bottom
        force.append(found.bottom * (np.exp(level - 1.0) if level < 1 else level))
    if found.top:
        last = found.sigma.flat[-1]
        whole = last + found.top
        force.append(whole / np.e if last < whole / np.e else float(last * np.log(whole / last)))
    highest = float(max(force))
    width = float(found.length.sum())
    bound = float(((highest - found.force) * found.length).sum())
    return max(bound, 0.0) + 16 * EPS * width * highest


def penalised_gap(found: Scan, kappa: float) -> float:
    """Return the bound under the penalty kappa ∫ Q**2, with what rounding may hide."""
    rest = np.abs(1.0 - found.alpha - 2 * kappa * found.x)
    rounding = 8 * EPS * (1.0 + found.alpha + 2 * kappa * np.abs(found.x))
    return float(((rest + rounding) ** 2 * found.mass).sum()) / (4 * kappa)
