"""Designs for n completions: by a utility of all pairs, and by weights of pairs."""

from __future__ import annotations

import numpy as np

from collapse_theory.design.link import Link, reward_link
from collapse_theory.design.named import named_utility
from collapse_theory.design.ranked import RankedProof, find_ranked_proof
from collapse_theory.design.ranked_fit import RankedCandidate, attempt, ranked_fits
from collapse_theory.design.result import Design
from collapse_theory.design.targets import Target
from collapse_theory.design.weights import adjacent_weights, pair_weights
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.programs import Solution
from collapse_theory.utilities import Linear, Log, NegativePower, Utility
from collapse_theory.utilities import utility as utility_of

__all__ = ["design_rewards", "design_weights"]

MOST = 128  # completions up to which the linear programs are solved
EXACT = 1e-7
DEFAULT = "log(x + 0.1)"


def design_rewards(target: Target, n: int, tol: float) -> Design:
    """Return the design for n rewards, by a utility of all pairs."""
    if n > MOST:
        raise CollapseError(
            f"a utility for n = {n} rewards is designed up to n = {MOST} only; leave n out for the "
            'limit law, or take by="weights"'
        )
    wanted = target.levels(n)
    found = ranked_fits(wanted, min(tol / 25, 2e-4))
    named = named_utility(target.law)
    more = [] if named is None else [named.utility]
    for utility in (*more, Linear(), NegativePower(1.0)):
        if found is None or found.distance > tol / 5:
            other = attempt(utility, wanted)
            if other is not None and (found is None or other.distance < found.distance):
                found = other
    if found is None:
        raise SolverFailed("no candidate utility could be solved for these rewards")
    proof = find_ranked_proof(wanted) if found.distance > tol / 5 else None
    within = found.distance <= tol
    link = None if within else _link(found, wanted, target)
    reachable = True if within else (False if proof is not None else None)
    return _design(
        found,
        target,
        n,
        tol,
        _reason(within, proof, tol),
        reachable=reachable,
        proof=proof,
        link=link,
    )


def _reason(within: bool, proof: RankedProof | None, tol: float) -> str:
    if within:
        text = f"the optimal rewards are within the tolerance {tol:g} of the wanted ones on average"
        if proof is not None:
            text += "; exactly the wanted ones are out of reach (see the proof)"
        return text
    text = "no strictly concave utility has these optimal rewards (see the proof)"
    if proof is None:
        text = "no utility was found whose rewards are near enough, and no proof that there is none"
    return (
        f"{text}. The utility's rewards are the nearest found; the link reports the wanted ones, "
        "and pair weights (by='weights') make them the optimum"
    )


def _link(found: RankedCandidate, wanted: np.ndarray, target: Target) -> Link:
    utility, rewards = found.utility, found.solution.rewards
    if (found.solution.gaps < 1e-6).any():
        utility = Log()  # keeps all rewards apart
        rewards = solve(utility, len(wanted)).rewards
    return reward_link(utility, rewards, wanted, target.low, target.high)


def _design(
    found: RankedCandidate, target: Target, n: int, tol: float, reason: str, **fields: object
) -> Design:
    given = {"proof": None, "comparisons": None, "link": None, "reachable": None} | fields
    return Design(
        utility=found.utility,
        law=found.solution.law,
        distance=found.distance,
        target=target,
        n=n,
        tol=tol,
        reason=reason,
        solution=found.solution,
        **given,  # pyright: ignore[reportArgumentType]
    )


def design_weights(target: Target, n: int, tol: float, given: Utility | str | None) -> Design:
    """Return the design for n rewards, by weights of pairs under a given utility."""
    u = utility_of(DEFAULT if given is None else given)
    if not u.strictly_concave or u.kinks:
        raise CollapseError(
            f"pair weights need a smooth, strictly concave utility, which {u} isn't"
        )
    wanted = target.levels(n)
    best: tuple[float, Solution] | None = None
    for make in (pair_weights, adjacent_weights):
        solution = solve(u, comparisons=make(u, wanted))
        distance = float(np.abs(solution.rewards - wanted).mean())
        if best is None or distance < best[0]:
            best = distance, solution
        if distance <= EXACT:
            break
    assert best is not None
    distance, solution = best
    every = len(solution.comparisons.better) > n - 1 if solution.comparisons else False
    kind = "all pairs, nearest to equal" if every else "neighbours in rank"
    return _design(
        RankedCandidate(u, solution, distance),
        target,
        n,
        tol,
        f"weights of {kind}, under which the wanted rewards are the certified optimum "
        f"(relative gap {solution.relative_gap:.1e})",
        reachable=True if distance <= tol else None,
        comparisons=solution.comparisons,
    )
