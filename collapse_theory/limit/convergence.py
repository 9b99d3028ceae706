"""From the limit law back to n completions: the rewards predicted, and how fast they converge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws import empirical_law
from collapse_theory.lazy import special
from collapse_theory.limit.certificate import Trial
from collapse_theory.limit.singular import collocation_rows, solve_singular
from collapse_theory.limit.solve import limit
from collapse_theory.numerics.quadrature import Ends
from collapse_theory.numerics.series import contract, evaluate
from collapse_theory.programs import Box, count, unit_utility
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss, utility
from collapse_theory.values import Value, frozen_array

__all__ = ["Convergence", "convergence", "predicted_rewards"]

_TERMS = 48
_GRID = 1025
# The response diverges at the ends; its equation is asked for where T is still felt.
_INNERMOST = 1e-9
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Convergence(Value):
    """How the optimal rewards of n completions approach their limit law.

    Attributes
    ----------
    n : numpy.ndarray, shape (k,)
        Numbers of completions.
    distances : numpy.ndarray, shape (k,)
        Wasserstein-1 distances between the law of n rewards and the limit law.
    errors : numpy.ndarray, shape (k,)
        Largest errors of `predicted_rewards`; NaN where there is no prediction.
    """

    n: np.ndarray
    distances: np.ndarray
    errors: np.ndarray

    def __post_init__(self) -> None:
        for name in ("n", "distances", "errors"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))

    @property
    def rate(self) -> float:
        """The r of distance ~ n**-r, by least squares on logarithms."""
        return float(-np.polyfit(np.log(self.n), np.log(self.distances), 1)[0])


def convergence(
    u: Utility | str,
    ns: Iterable[int],
    rewards: Callable[[int], Any],
    domain: Box | None = None,
) -> Convergence:
    """Return how far the optima of n completions are from the limit law and from its prediction.

    Parameters
    ----------
    u : Utility or str
        The utility of a gap.
    ns : iterable of int
        Numbers of completions.
    rewards : callable
        From n to the (n,) optimal rewards, best first: ``lambda n: ct.solve(u, n).rewards``.
    domain : Box, optional
        Where rewards may lie; [0, 1] unless given.

    Returns
    -------
    Convergence
    """
    u, domain = utility(u), domain or Box()
    sizes = [count(n) for n in ns]
    law = limit(u, domain)
    distances, errors = [], []
    for n in sizes:
        found = np.asarray(rewards(n), dtype=np.float64)
        if found.shape != (n,):
            raise CollapseError(f"rewards({n}) must have the shape ({n},), got {found.shape}")
        distances.append(law.distance(empirical_law(found)))
        try:
            errors.append(np.abs(predicted_rewards(u, n, domain) - found).max())
        except CollapseError:
            errors.append(np.nan)
    return Convergence(np.array(sizes), np.array(distances), np.array(errors))


def predicted_rewards(u: Loss | str, n: int, domain: Box | None = None) -> np.ndarray:
    r"""Return the rewards of n completions that the limit law predicts, without solving for them.

    Where U'(0) is finite they are the law's quantiles at (i - 1/2)/n: by the Euler-Maclaurin
    formula the terms of the order 1/n cancel between the two sides of each reward, and the error
    is of the order 1/n**2. Where U(x) ~ c x**p, U'(0) infinite, a sum over neighbours differs
    from its integral by 2 c zeta(-p) (n rho)**-p, so that the n rewards follow the density that
    maximises J + 2 c zeta(-p) n**(-1-p) ∫ rho**(1-p) (c x**p becomes c log x, and the second term
    (c/n) ∫ rho log rho, at p = 0): the limit density and its linear response, whose quantiles at
    (i - 1/2)/n are returned. For log x that gives the quantiles at (i - 3/4)/(n - 1/2), the known
    asymptotics of the zeros of Jacobi polynomials.

    Measured at n = 32: 6e-4 for log(x + 0.01) and smoother, 2e-4 for log x and sums with it, 2e-5
    for powers, 1e-3 for -x**-0.5, 4e-3 for -x**-0.7; 1e-3 needs n > 0.7/mass where the mass at the
    ends is small (n > 50 for -1/(x + 0.01)).

    Parameters
    ----------
    u : Utility, PlackettLuce or str
        The utility of a gap, without kinks, and with U(x) above -1/x near 0; or the listwise loss,
        for which see `collapse_theory.limit.listwise`.
    n : int
        The number of completions.
    domain : Box, optional
        Where rewards may lie; [0, 1] unless given.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Best first.

    Raises
    ------
    CollapseError
        A ValueError, for kinks and for -1/x and what falls faster, where the correction is as
        large as the law: solve the program instead.
    """
    u, n, domain = as_loss(u), count(n), domain or Box()
    if isinstance(u, PlackettLuce):
        from collapse_theory.limit.listwise import predicted_listwise

        return predicted_listwise(u, n, domain)
    unit = unit_utility(u, domain)
    if unit.exponent <= -1 or any(0 < kink < 1 for kink in unit.kinks):
        raise CollapseError(
            f"the limit law of {u} predicts no rewards of n completions (kinks, or an energy of "
            "-inf); ct.solve(u, n) computes them"
        )
    regular = unit.exponent >= 1
    rewards = limit(unit).quantiles(n) if regular else _from_response(unit, n)
    rewards[0], rewards[-1] = 1.0, 0.0
    if n % 2:
        rewards[n // 2] = 0.5  # by symmetry: a two-valued law has no quantile there
    return domain.low + domain.width * rewards


def _from_response(unit: Utility, n: int) -> np.ndarray:
    trial = solve_singular(unit).trial
    x, shift = _response(unit, trial, n)
    half = n // 2
    y, weight = trial.grading.end_rule(x, trial.power, trial.size + 8)
    smooth = (
        evaluate(trial.coefficients, trial.grading.sigma(y, 1.0 - y)) * (1.0 - y) ** trial.power
    )
    below = (weight * smooth).sum(axis=1) * x ** (1.0 + trial.power)
    # Near the end the correction can outweigh the law: there the rewards are at the end.
    level = np.minimum.accumulate((below + shift)[::-1])[::-1]
    lower = np.interp((np.arange(half) + 0.5) / n, level, x, left=0.0)
    middle = [0.5] * (n % 2)
    return np.concatenate([1.0 - lower, middle, lower[::-1]])


def _response(unit: Utility, trial: Trial, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points x and what the correction adds to the distribution function there.

    The correction's density is (x (1-x))**s G with s = (p-2)(p+1)/2 for p < 0. For p >= 0 that
    isn't integrable: it is masses at the ends and a density as the law's own.
    """
    p, grading = unit.exponent, trial.grading
    s = trial.power if p >= 0 else 0.5 * (p - 2.0) * (p + 1.0)
    angle = (np.arange(2 * _TERMS) + 0.5) * (0.25 * np.pi / _TERMS)
    at = grading.place(np.cos(angle))
    at = at[at > _INNERMOST]
    rows = collocation_rows(unit, grading, at, Ends(p, s, 4, _TERMS, nodes=_TERMS + 8))
    ends = unit.shortfall(at, 1.0) + unit.shortfall(1.0 - at, 1.0)
    columns = [rows, -np.ones((at.size, 1))] + [ends[:, None]] * (p >= 0)
    y, weight = grading.end_rule(np.array([0.5]), s, _TERMS + 8)
    weight = weight * (1.0 - y) ** s * 0.5 ** (1.0 + s)
    masses = contract(weight, grading.sigma(y, 1.0 - y), _TERMS)[0]
    # No mass is added in all; the row is heavy, so that least squares keeps to it.
    none = 1e3 * np.concatenate([masses, [0.0], [1.0] * (p >= 0)])
    matrix = np.vstack([np.hstack(columns), none])
    scale = np.abs(matrix).max(axis=0)
    inverse = np.linalg.pinv(matrix / scale, rcond=1e-13) / scale[:, None]
    limit_density = density = trial.density(at, 1.0 - at)
    # Once is exact to first order; for p < 0 the second order counts too.
    found = inverse @ np.append(_field(unit, density, n), 0.0)
    for _ in range(0 if p >= 0 else _ROUNDS - 1):
        change = evaluate(found[:_TERMS], grading.sigma(at, 1.0 - at)) * (at * (1.0 - at)) ** s
        density = np.maximum(limit_density + change, 0.1 * limit_density)
        found = inverse @ np.append(_field(unit, density, n), 0.0)
    x = grading.place(np.linspace(1.0, 0.0, _GRID)[1:])
    y, weight = grading.end_rule(x, s, _TERMS + 8)
    smooth = evaluate(found[:_TERMS], grading.sigma(y, 1.0 - y)) * (1.0 - y) ** s
    shift = (weight * smooth).sum(axis=1) * x ** (1.0 + s)
    return x, shift + (found[-1] if p >= 0 else 0.0)


def _field(unit: Utility, density: np.ndarray, n: int) -> np.ndarray:
    """Return what T of the correction must be, up to a constant: a part for each singular term."""
    field, tiny = np.zeros_like(density), np.array([1e-60])
    for weight, term in unit.terms:
        p = term.exponent
        rate = weight * float((term.slope(tiny) * tiny ** (1.0 - p))[0]) if p < 1 else 0.0
        if p == 0:
            field += 0.5 * rate / n * np.log(density)
        elif p < 1:
            field += rate / p * _zeta(-p) * (1.0 - p) * n ** (-1.0 - p) * density**-p
    return field


def _zeta(s: float) -> float:
    """Return Riemann's zeta for s in (-1, 1), as SciPy has it only from 1.15 on.

    The alternating sum with Borwein's Chebyshev weights (P. Borwein, An efficient algorithm for
    the Riemann zeta function, 2000, algorithm 2).
    """
    size = 24
    i = np.arange(size + 1)
    terms = (
        np.exp(
            special.gammaln(size + i) - special.gammaln(size - i + 1) - special.gammaln(2 * i + 1)
        )
        * 4.0**i
    )
    d = size * np.cumsum(terms)
    k = i[:-1]
    total = ((-1.0) ** k * (d[:-1] - d[-1]) / (k + 1.0) ** s).sum()
    return float(-total / (d[-1] * (1.0 - 2.0 ** (1.0 - s))))
