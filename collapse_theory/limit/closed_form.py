"""The exact answers that are known: optima, their limit laws, and rewards on the way there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import overload

import numpy as np

from collapse_theory.errors import NoClosedForm
from collapse_theory.exact import COURSE_FORMS
from collapse_theory.exact.course import stopped_penalty
from collapse_theory.finite import solve
from collapse_theory.laws import RewardLaw
from collapse_theory.limit.solve import LimitLaw, limit
from collapse_theory.numerics.checks import positive, ranked
from collapse_theory.programs import (
    Answer,
    Box,
    Confined,
    Domain,
    DomainLike,
    Free,
    Program,
    Solution,
    as_domain,
    certify,
)
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss

STOPPED = "stopped"  # the status of rewards at a time: no optimum


@overload
def closed_form(
    u: Loss | str, n: None = None, domain: DomainLike | None = None, *, time: float | None = None
) -> LimitLaw | RewardLaw: ...


@overload
def closed_form(
    u: Loss | str, n: int, domain: DomainLike | None = None, *, time: float | None = None
) -> Solution: ...


def closed_form(
    u: Loss | str,
    n: int | None = None,
    domain: DomainLike | None = None,
    *,
    time: float | None = None,
) -> LimitLaw | RewardLaw | Solution:
    """Return the exact optimum of n completions, or the exact limit law; or both at a time.

    Parameters
    ----------
    u : Utility, PlackettLuce or str
        The utility of a gap, or the listwise loss.
    n : int, optional
        The number of completions; without it, the limit law as n grows.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given.
    time : float, optional
        How long one prompt has been trained by gradient flow from equal rewards, dr/dt = grad f of
        the mean f over pairs; in a box on the logits of sigmoid rewards. Of a law it is t/(n-1).
        Known are linear utilities in a box, homogeneous ones (x, log x, x**g, -x**-g) under Free,
        whose rewards are the optimum under a penalty (early stopping is `Confined`), and
        log-sigmoid of two completions under Free.

    Returns
    -------
    Solution or LimitLaw
        With `reference`, the source of the closed form, and a certificate computed from it. At a
        time of which no penalty has the rewards as its optimum, the status is "stopped" and `gap`
        bounds what training may still gain; and the law is a plain `RewardLaw`.

    Raises
    ------
    NoClosedForm
        Where none is known; the message names the method that solves it.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.closed_form(ct.Log(), 4).rewards.round(6)
    array([1.      , 0.723607, 0.276393, 0.      ])
    >>> ct.closed_form(ct.Log(), 3, ct.Confined(1)).rewards.round(6)
    array([ 0.866025,  0.      , -0.866025])
    >>> ct.closed_form(ct.Log())
    RewardLaw(Beta(1/2, 1/2) on [0, 1])
    >>> ct.closed_form("x", 8, time=70).rewards.round(3)
    array([0.926, 0.893, 0.823, 0.647, 0.353, 0.177, 0.107, 0.074])
    >>> ct.closed_form("log(x)", 8, ct.Free(), time=70).domain
    Confined(kappa=0.0285714...)
    """
    u, domain = as_loss(u), as_domain(domain)
    if time is not None:
        return _at_time(u, n, domain, positive(time, "time"))
    if n is None:
        return limit(u, domain, method="exact")
    return solve(u, n, domain, method="exact")


def _at_time(u: Loss, n: int | None, domain: Domain, time: float) -> RewardLaw | Solution:
    domain.require_known("closed_form")
    n = None if n is None else ranked(n)
    if isinstance(u, Utility) and isinstance(domain, Free):
        kappa = stopped_penalty(u, n, time)
        if kappa is not None:
            return closed_form(u, n, Confined(kappa))
    if isinstance(u, PlackettLuce) or not isinstance(domain, Box | Free):
        raise _unknown(u, n, domain)
    unit = u if domain.unit == 1 else u.scaled(domain.unit)
    for form in COURSE_FORMS:
        found = form.formula(unit, n, domain.bounded, time)
        if isinstance(found, RewardLaw):
            assert isinstance(domain, Box)
            law = found.mapped(domain.low, domain.width)
            return replace(law, method="exact", status=STOPPED, reference=form.reference)
        if found is not None:
            return _stopped(u, domain, found, form.reference)
    raise _unknown(u, n, domain)


def _stopped(u: Utility, domain: Domain, rewards: np.ndarray, reference: str) -> Solution:
    """Return rewards at a time as a solution, with what its objective may still gain."""
    gaps = -np.diff(rewards)
    gap = relative = math.inf
    if isinstance(domain, Box):
        found = certify(Program.of(u, len(rewards), domain), Answer(gaps))
        objective, gap, relative = found.objective, found.gap, found.relative_gap
        rewards = domain.low + domain.width * rewards
    else:
        i, j = np.triu_indices(len(rewards), 1)
        objective = float(np.mean(u(rewards[i] - rewards[j])))
    return Solution(
        rewards=rewards,
        gaps=domain.unit * gaps,
        objective=objective,
        gap=gap,
        relative_gap=relative,
        status=STOPPED,
        method="closed form",
        iterations=0,
        unique=True,
        utility=u,
        domain=domain,
        reference=reference,
    )


def _unknown(u: Loss, n: int | None, domain: Domain) -> NoClosedForm:
    many = "the limit law" if n is None else f"n = {n}"
    return NoClosedForm(
        f"no closed form is known for {u} and {many} under {domain} at a time; known are linear "
        "utilities in a box, homogeneous ones (x, log(x), x**g, -x**-g) and, for n = 2, "
        "log-sigmoid under Free. ct.penalty_of reads off rewards the penalty that stopping is"
    )
