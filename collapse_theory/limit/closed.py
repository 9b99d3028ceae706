"""Closed forms, finite and limit, certified: one function for both."""

from __future__ import annotations

from typing import overload

from collapse_theory.errors import NoClosedForm
from collapse_theory.exact import exact_answer
from collapse_theory.limit.solve import LimitLaw, limit
from collapse_theory.programs import Box, Domain, Program, Solution
from collapse_theory.utilities import Loss, as_loss

__all__ = ["closed_form"]


@overload
def closed_form(u: Loss | str, n: None = None, domain: Domain | None = None) -> LimitLaw: ...


@overload
def closed_form(u: Loss | str, n: int, domain: Domain | None = None) -> Solution: ...


def closed_form(
    u: Loss | str, n: int | None = None, domain: Domain | None = None
) -> LimitLaw | Solution:
    """Return the exact optimum of n completions, or the exact limit law.

    Parameters
    ----------
    u : Utility, PlackettLuce or str
        The utility of a gap, or the listwise loss.
    n : int, optional
        The number of completions; without it, the limit law as n grows.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given.

    Returns
    -------
    Solution or LimitLaw
        With `reference`, the source of the closed form, and a certificate computed from it.

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
    RewardLaw(density on [0, 1] of mass 1)
    """
    u, domain = as_loss(u), Box() if domain is None else domain
    if n is None:
        return limit(u, domain, method="exact")
    program = Program.of(u, n, domain)
    answer = exact_answer(program)
    if answer is None:
        where = "" if domain == Box() else f" under {domain}"
        raise NoClosedForm(
            f"no closed form is known for {u} and n = {n}{where}; ct.solve(u, n, domain) computes "
            "the optimum"
        )
    return Solution.of(program, answer, method="closed form")
