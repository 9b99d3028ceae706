"""The limit law of a utility under a domain: what `ct.limit` does, and what comes back."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.laws import RewardLaw, uniform_law
from collapse_theory.limit import plackett_luce
from collapse_theory.limit.certificate import Certificate
from collapse_theory.limit.coordinate import SeriesLaw
from collapse_theory.limit.prediction import SOLVED, Prediction, Trend, jump, missed, plain, predict
from collapse_theory.limit.solvers import (
    CLOSED_FORM,
    FIRST_KIND,
    GRID,
    Answer,
    LimitProgram,
    Method,
    best,
)
from collapse_theory.numerics.checks import count, positive
from collapse_theory.programs import Box, Domain, DomainLike, as_domain
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss

UNIT = Box()
DIVERGENT = "the energy of every law is -inf; this law is the limit of the finite optima"


@dataclass(frozen=True, eq=False, repr=False)
class LimitLaw(RewardLaw):
    """A `RewardLaw` with the utility and the domain whose optima tend to it.

    Attributes
    ----------
    utility : Utility or PlackettLuce
    domain : Box, Confined, Centered or Free
    series : SeriesLaw or None
        The solution of the equation of the law, where it is one: in units of the box.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> law = ct.limit("log(x + 0.1)")
    >>> law.atoms.round(4).tolist(), law.status, law.relative_gap < 1e-12
    ([[0.0, 0.184], [1.0, 0.184]], 'optimal', True)
    >>> law.quantiles(4).round(3)
    array([1.   , 0.744, 0.256, 0.   ])
    """

    utility: Loss | None = None
    domain: Domain = UNIT
    series: SeriesLaw | None = None

    def rewards(self, n: int) -> np.ndarray:
        """Return the rewards predicted for n completions, corrected for finite n, best first.

        See `collapse_theory.limit.prediction` for the formula and its measured accuracy: 1e-3
        from n = 32 on for ordinary utilities, and no worse than the plain quantiles for steep ones.
        `prediction(n)` says how far off they may be.

        Raises
        ------
        CollapseError
            A ValueError, for utilities with kinks, for -1/x and what falls faster, and outside a
            box, where the limit law doesn't say; `ct.solve` computes them.

        Examples
        --------
        >>> import collapse_theory as ct
        >>> predicted = ct.limit("log(x + 0.1)").rewards(32)
        >>> bool(abs(predicted - ct.solve("log(x + 0.1)", 32).rewards).max() < 1e-3)
        True
        """
        utility, domain = self._loss, self.domain
        if not isinstance(domain, Box):
            raise CollapseError(
                f"the rewards of n completions are predicted in a Box only, not under "
                f"{domain}; ct.solve(u, n, domain) computes them"
            )
        n = count(n)
        if isinstance(utility, PlackettLuce):
            return plackett_luce.predict(self, utility, n)
        program = LimitProgram.of(utility, domain)
        if program.divergent or not program.smooth or self.method == GRID.name:
            raise CollapseError(
                f"the limit law of {utility} predicts no rewards of n completions (kinks, an "
                "energy of -inf, or a law on a grid); ct.solve(u, n) computes them"
            )
        series = None if program.utility.exponent >= 1 else self._first_kind
        if series is None:
            rewards = plain(n, self._shares)
        else:
            rewards = predict(program.utility, series, n, self._shares)
        return domain.low + domain.width * rewards

    def prediction(self, n: int) -> Prediction:
        """Return `rewards(n)` with how far off they may be.

        Up to n = 128 that is a bound: the distance from the optimum that `ct.solve` finds, and how
        far that may be off. Beyond, it is an estimate: the errors at some 128 completions,
        continued. It takes the time of a few solutions at 128, once a law.

        Raises
        ------
        CollapseError
            A ValueError, where `rewards` raises one.

        Examples
        --------
        >>> import collapse_theory as ct
        >>> found = ct.limit("sqrt(x)").prediction(256)
        >>> found.error < 1e-7, found.estimated
        (True, True)
        """
        n = count(n)
        rewards = self.rewards(n)
        if n <= SOLVED:
            return Prediction(
                rewards, sum(missed(rewards, self._loss, self.domain)), estimated=False
            )
        # A law that is off itself stays off however large n is: J is quadratic about its maximum.
        own = 0.0 if self.method == CLOSED_FORM.name else math.sqrt(self.relative_gap or 0.0)
        off = max(own, jump(n, self._shares))
        return Prediction(rewards, self._trend.at(n) + self._width * off, estimated=True)

    def _shares(self, levels: np.ndarray) -> np.ndarray:
        """Return quantiles as shares of the box."""
        return (self.distribution.rough(levels) - self.support[0]) / self._width

    @property
    def _width(self) -> float:
        return float(np.ptp(self.support))

    @cached_property
    def _trend(self) -> Trend:
        return Trend.of(lambda n: missed(self.rewards(n), self._loss, self.domain)[0])

    @cached_property
    def _first_kind(self) -> SeriesLaw | None:
        """The series that rewards are corrected from; None where panels alone find the law."""
        loss = self._loss
        if self.series is not None or not isinstance(loss, Utility):
            return self.series
        try:
            return FIRST_KIND(LimitProgram.of(loss, self.domain), None).series
        except (SolverFailed, np.linalg.LinAlgError):
            return None

    @property
    def _loss(self) -> Loss:
        if self.utility is None:
            raise CollapseError(
                "this law doesn't know its utility; ct.limit(u) gives one that does"
            )
        return self.utility

    def mapped(self, low: float, scale: float) -> RewardLaw:
        """Return the law of low + scale X, for scale > 0, as a plain law."""
        return RewardLaw(**_fields(self)).mapped(low, scale)


def _fields(law: RewardLaw) -> dict[str, Any]:
    return {f.name: getattr(law, f.name) for f in dataclasses.fields(RewardLaw) if f.init}


def limit(
    u: Loss | str,
    domain: DomainLike | None = None,
    method: Method = "auto",
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
        listwise loss, whose J and law are in `collapse_theory.limit.plackett_luce`.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given, and a pair (low, high)
        is a Box. Without a box a penalty kappa ∫ x**2 dmu is taken from J, the law has mean 0 and
        no atoms, and its support is [-R, R], with R unknown
        (`collapse_theory.limit.free_support`).
    method : {"auto", "exact", "regular", "singular", "panels", "grid"}
        "exact" for closed forms; "regular" for a finite U'(0) (two atoms and a density);
        "singular" for an infinite one; "panels", slower, for either, with kinks too; "grid" for
        lines with kinks, and as a reference where U(0) is finite. "auto" takes these in their
        order, those that fit, until a certificate meets the tolerance, and keeps the best. Without
        a box: {"auto", "exact", "series", "cells"}; the law then says "regular" or "singular" for
        a series.
    tol : float, optional
        The relative gap up to which the law is called optimal; unless given 1e-9, 1e-8 for
        "panels", 1e-3 for "grid" (240 points) and 0.01 for "cells". The series go on
        until about 1e-12, or until rounding stops them, whatever `tol` is.

    Returns
    -------
    LimitLaw
        A `RewardLaw` with `objective` J, `gap` (no law has a J above objective + gap),
        `relative_gap` (the gap over U(width) - objective, without a box over E |U(gap) - U(R)|),
        `method`, `status` ("optimal", or "inaccurate" where the certificate is short of the
        tolerance) and `.rewards(n)`. Where
        U(x) falls like -1/x or faster every law has J = -inf: the law is then uniform, the limit
        of the finite optima, with objective -inf, gap NaN, and a status that says so.

    Raises
    ------
    CollapseError
        A ValueError: a utility that isn't concave or falls, a method that doesn't fit.
    NoClosedForm
        For method="exact", where none is known.
    NoOptimum
        Where nothing holds the rewards; without a box also where U(x) falls like -1/x or faster at
        0, as every law has the objective -inf.
    NotConcave
        Where U is convex at a gap in the box, or within about three times the support.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> law = ct.limit("log(x + 0.1)")
    >>> law.atoms.round(6)
    array([[0.      , 0.183988],
           [1.      , 0.183988]])
    >>> law.relative_gap < 1e-12
    True
    >>> law = ct.limit("logsigmoid(x)", ct.Confined(0.02))
    >>> law.support.round(6), round(law.var(), 6), law.status
    (array([-3.849832,  3.849832]), 4.094419, 'optimal')
    """
    u, domain = as_loss(u), as_domain(domain)
    tol = None if tol is None else positive(tol, "tol")
    with np.errstate(all="ignore"):  # what leaves float64 on the way shows in the certificate
        answer, status = _solved(u, domain, method, tol)
    reached = {
        "objective": answer.proof.objective,
        "gap": answer.proof.gap,
        "relative_gap": answer.proof.relative_gap,
        "method": answer.method,
        "status": status or ("optimal" if answer.optimal else "inaccurate"),
    }
    fields = _fields(answer.law) | reached
    return LimitLaw(**fields, utility=u, domain=domain, series=answer.series)


def _solved(
    u: Loss, domain: Domain, method: Method, tol: float | None
) -> tuple[Answer, str | None]:
    """Return the law, and a status of its own where its objective isn't finite."""
    if isinstance(u, PlackettLuce):
        law, proof = plackett_luce.solve(u, domain, method)
        optimal = proof.meets(tol or CLOSED_FORM.tolerance)
        status = plackett_luce.UNBOUNDED if proof.objective == np.inf else None
        return Answer(law, proof, CLOSED_FORM.name, optimal), status
    program = LimitProgram.of(u, domain)
    divergent = program.divergent and method in ("auto", CLOSED_FORM.name)
    answer = _divergent(program, method) if divergent else best(program, method, tol)
    if isinstance(domain, Box) and domain != UNIT:
        answer = answer._replace(law=answer.law.mapped(domain.low, domain.width))
    return answer, DIVERGENT if divergent else None


def _divergent(program: LimitProgram, method: str) -> Answer:
    """Return the limit of the finite optima where every law has the objective -inf."""
    law = program.closed_form
    if law is None and method != "auto":
        raise CLOSED_FORM.refusal(program)
    name = "divergent" if method == "auto" else method
    return Answer(law or uniform_law(), Certificate(-np.inf, np.nan, np.nan), name, False)


def predicted_rewards(u: Loss | str, n: int, domain: DomainLike | None = None) -> np.ndarray:
    """Return `limit(u, domain).rewards(n)`: the rewards of n completions that the law predicts.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.predicted_rewards("log(x + 0.1)", 8).round(3)
    array([1.   , 0.997, 0.849, 0.625, 0.375, 0.151, 0.003, 0.   ])
    >>> ct.solve("log(x + 0.1)", 8).rewards.round(3)
    array([1.   , 1.   , 0.854, 0.627, 0.373, 0.146, 0.   , 0.   ])
    """
    return limit(u, domain).rewards(n)
