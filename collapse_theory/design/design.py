"""The inverse problem: a utility, weights or a link for wanted rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from collapse_theory.design.inverse import closed_form_inverse
from collapse_theory.design.link import Link
from collapse_theory.design.nearest import asymmetry, nearest
from collapse_theory.design.proof import Proof, by_mirror, find_proof
from collapse_theory.design.ranked import RankedProof, find_ranked_proof, ranked_fit
from collapse_theory.design.search import (
    MOST_LEVELS,
    Candidate,
    forward,
    graded_fit,
    nearer,
    search,
)
from collapse_theory.design.target import Target, outline, target_of
from collapse_theory.design.weights import adjacent_weights, pair_weights
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.laws import RewardLaw
from collapse_theory.numerics.checks import count, positive
from collapse_theory.programs import Comparisons, Solution
from collapse_theory.utilities import Linear, Log, NegativePower, Utility
from collapse_theory.utilities import utility as utility_of
from collapse_theory.values import Value

# A law as near as this is taken as it is; farther ones may be provably another.
PLAIN = 1e-3
MOST_ATOMS = 60  # up to which the wanted law itself, not its outline, is proved on
MOST_REWARDS = 128  # up to which the linear programs for n rewards are solved
FEW = 32  # numbers that may be meant as rewards themselves, not as a sample
EXACT = 1e-7  # mean distance at which weights of all pairs have reached the wanted rewards
DEFAULT = "log(x + 0.1)"
# Tried first for a sample: what people train with, whose slopes are moderate at ordinary gaps.
PLAIN_UTILITIES = ("x", "log(x)", DEFAULT, "sqrt(x)", "logsigmoid(4*x)", "-1/(x + 0.1)", "-1/x")


@dataclass(frozen=True, eq=False, repr=False)
class Design(Value):
    """A utility for a wanted law.

    Attributes
    ----------
    utility : Utility
        Concave and increasing; ``ct.utility(str(design.utility))`` reads it back. For rewards in
        the box [0, 1].
    law : RewardLaw
        Its limit law by `ct.limit`, with that law's own certificate; with `n` the empirical law of
        its n optimal rewards.
    distance : float
        Wasserstein-1 distance of `law` to the wanted law, computed from the two.
    reachable : bool or None
        True: within `tol`, or for a sample within its sampling error. False: proved out of reach,
        and farther than that. None: neither.
    proof : Proof, RankedProof or None
        That no concave utility has exactly the wanted law; may come with True, where a law within
        the tolerance is reached.
    comparisons : Comparisons or None
        For by="weights": which pairs count, and how much; completion 0 is best.
    link : Link or None
        Where the wanted law is out of reach: the map to put on top of a model's rewards.
    target : Target
        The wanted law on [0, 1], and the scale it was given on.
    n : int or None
    tol : float
    reason : str
        One or two sentences on how the utility was found, and what `reachable` rests on.
    solution : Solution or None
        With `n`: the certified optimum of the n rewards.
    """

    utility: Utility
    law: RewardLaw
    distance: float
    reachable: bool | None
    proof: Proof | RankedProof | None
    comparisons: Comparisons | None
    link: Link | None
    target: Target
    n: int | None
    tol: float
    reason: str
    solution: Solution | None = None

    def __repr__(self) -> str:
        reach = {True: "reached", False: "out of reach, proved", None: "undecided"}[self.reachable]
        size = "" if self.n is None else f", n={self.n}"
        extra = "" if self.link is None else ", with a link"
        weights = "" if self.comparisons is None else ", with pair weights"
        return (
            f"Design({self.utility}{size}: {reach}, distance {self.distance:.2g}{extra}{weights})"
        )


def design(
    target: Any,
    n: int | None = None,
    by: Literal["utility", "weights"] = "utility",
    tol: float = 0.005,
    *,
    utility: Utility | str | None = None,
) -> Design:
    """Return a utility under which collapsed rewards have a wanted law.

    Every concave increasing utility is a mixture of hinges min(x, m), and a law is optimal for it
    exactly when its potential is nowhere above its energy: both are linear in the mixture, so
    whatever any concave utility can reach is found by a linear program, and the dual proves the
    rest unreachable. See docs/design.md.

    Parameters
    ----------
    target : str, RewardLaw, scipy.stats distribution, dict of quantiles, or sample of rewards
        The wanted law, mapped affinely onto [0, 1]; see `collapse_theory.design.target_of`. A list
        of numbers is a sample; "rewards 1 0.8 0.3 0" are the rewards of four completions.
    n : int, optional
        For n completions instead of the limit law. Wanted are the quantiles at (i - 1/2)/n, mapped
        onto [0, 1]: of n numbers these are the numbers themselves.
    by : {"utility", "weights"}
        "utility" looks for a utility of all pairs. "weights" keeps a given utility and finds the
        weights of pairs, nearest to equal, under which the wanted rewards are the certified
        optimum; that reaches everything, and needs `n`.
    tol : float
        The Wasserstein-1 distance, on [0, 1], up to which the wanted law counts as reached.
    utility : Utility or str, optional
        For by="weights": strictly concave; log(x + 0.1) unless given.

    Returns
    -------
    Design
        With `.utility`, `.law`, `.distance`, `.reachable`, `.proof`, `.link`, `.comparisons`.

    Raises
    ------
    CollapseError
        A ValueError: a target that can't be read, an unknown `by`, n < 2.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> found = ct.design("atoms 0.3 + beta(0.5)")
    >>> found.reachable, found.distance < 1e-3, ct.utility(str(found.utility)) == found.utility
    (True, True, True)
    >>> ct.design("uniform").utility
    NegativePower(g=1.0)
    >>> ct.design("beta(2)").reachable
    False
    """
    if by not in ("utility", "weights"):
        raise CollapseError(f"by must be 'utility' or 'weights', got {by!r}")
    tol = positive(tol, "tol")
    if utility is not None and by == "utility":
        raise CollapseError('a utility is given for by="weights" only; by="utility" finds one')
    size = None if n is None else count(n)
    wanted = target_of(target, size)
    size = len(wanted.rewards) if size is None and wanted.rewards is not None else size
    if by == "weights" and size is None:
        raise CollapseError(
            'by="weights" needs the number of completions: design(target, n=8, ...)'
        )
    if size is None:
        return _for_law(wanted, tol)
    if by == "weights":
        return _by_weights(wanted, size, tol, utility)
    return _for_rewards(wanted, size, tol)


def _for_law(target: Target, tol: float) -> Design:
    """Return the design for the limit of many completions."""
    law, allowed = target.law, max(tol, target.error)
    known = closed_form_inverse(law)
    if known is not None:
        utility, name = known
        found = forward(utility, law)
        assert found is not None
        reason = f"recognised as {name}, which this utility has in closed form"
        return _made(found, target, tol, reason)
    if target.error:
        # A sample says no more than its law up to the error: the plainest utility within is enough.
        plain = [forward(utility_of(text), law) for text in PLAIN_UTILITIES]
        found = min((c for c in plain if c is not None), key=lambda c: c.distance)
        if found.distance <= allowed:
            return _made(found, target, tol, _reached(found, target, tol))
    graded = graded_fit(law, allowed) if not law.parts and len(law.atoms) <= MOST_LEVELS else None
    # What is skewed by more than is allowed needs no search.
    skewed = asymmetry(law) > allowed
    shape = outline(law)
    found = graded if graded or skewed else search(shape, law, allowed, slice(0, 2))
    near = allowed if graded or target.error else min(PLAIN, allowed)
    if found is not None and found.distance <= near:
        return _made(found, target, tol, _reached(found, target, tol))
    found = nearer(found, forward(NegativePower(1.0), law))
    proof = find_proof(law) if len(law.atoms) <= MOST_ATOMS else by_mirror(law)
    if proof is None and not skewed and (found is None or found.distance > PLAIN):
        # Sharper terms, which ask more of the forward solver.
        found = nearer(found, search(shape, law, allowed, slice(2, None)))
    if found is None or found.distance > allowed:
        found = nearer(found, nearest(shape, law))
    if found is None:
        raise SolverFailed("no candidate utility could be solved for this law")
    if found.distance <= allowed:
        return _made(found, target, tol, _reached(found, target, tol, proof), proof)
    # An atom can't be spread by a function: the link needs a law without atoms, as log x has.
    base = forward(Log(), law) if len(found.law.atoms) else found
    assert base is not None
    link = Link.of_laws(base.utility, base.law, target)
    return _made(found, target, tol, _missed(target, allowed, proof), proof, link)


def _for_rewards(target: Target, n: int, tol: float) -> Design:
    """Return the design for n rewards, by a utility of all pairs."""
    if n > MOST_REWARDS:
        raise CollapseError(
            f"a utility for n = {n} rewards is designed up to n = {MOST_REWARDS} only; leave n out "
            'for the limit law, or take by="weights"'
        )
    wanted = target.levels(n)
    found = ranked_fit(wanted, min(tol / 25, 2e-4))
    known = closed_form_inverse(target.law)
    more = [] if known is None else [known[0]]
    for utility in (*more, Linear(), NegativePower(1.0)):
        if found is None or found.distance > tol / 5:
            found = nearer(found, forward(utility, wanted))
    if found is None:
        raise SolverFailed("no candidate utility could be solved for these rewards")
    proof = find_ranked_proof(wanted) if found.distance > tol / 5 else None
    if found.distance <= tol:
        reason = (
            f"the optimal rewards are within the tolerance {tol:g} of the wanted ones on average"
        )
        if proof is not None:
            reason += "; exactly the wanted ones are out of reach (see the proof)"
        return _made(found, target, tol, reason, proof)
    reason = "no strictly concave utility has these optimal rewards (see the proof)"
    if proof is None:
        reason = (
            "no utility was found whose rewards are near enough, and no proof that there is none"
        )
    reason += (
        ". The utility's rewards are the nearest found; the link reports the wanted ones, "
        "and pair weights (by='weights') make them the optimum"
    )
    # The link needs rewards that all differ, as those of log x do.
    tied = (found.solution.gaps < 1e-6).any() if found.solution else True
    base = forward(Log(), wanted) if tied else found
    assert base is not None
    assert base.solution is not None
    link = Link.of_rewards(base.utility, base.solution.rewards, wanted, target)
    return _made(found, target, tol, reason, proof, link)


def _by_weights(target: Target, n: int, tol: float, given: Utility | str | None) -> Design:
    """Return the design for n rewards, by weights of pairs under a given utility."""
    u = utility_of(DEFAULT if given is None else given)
    if not u.strictly_concave or u.kinks:
        raise CollapseError(
            f"pair weights need a smooth, strictly concave utility, which {u} isn't"
        )
    wanted = target.levels(n)
    found: Candidate | None = None
    for make in (pair_weights, adjacent_weights):
        solution = solve(u, comparisons=make(u, wanted))
        distance = float(np.abs(solution.rewards - wanted).mean())
        found = nearer(found, Candidate(u, solution.law, distance, solution))
        if distance <= EXACT:
            break
    assert found is not None
    assert found.solution is not None
    pairs = found.solution.comparisons
    every = pairs is not None and len(pairs.better) > n - 1
    kind = "all pairs, nearest to equal" if every else "neighbours in rank"
    reason = (
        f"weights of {kind}, under which the wanted rewards are the certified optimum "
        f"(relative gap {found.solution.relative_gap:.1e})"
    )
    return _made(found, target, tol, reason)


def _made(
    found: Candidate,
    target: Target,
    tol: float,
    reason: str,
    proof: Proof | RankedProof | None = None,
    link: Link | None = None,
) -> Design:
    solution = found.solution
    allowed = tol if solution else max(tol, target.error)
    reachable = True if found.distance <= allowed else (False if proof is not None else None)
    return Design(
        utility=found.utility,
        law=found.law,
        distance=found.distance,
        reachable=reachable,
        proof=proof,
        comparisons=solution.comparisons if solution else None,
        link=link,
        target=target,
        n=solution.n if solution else None,
        tol=tol,
        reason=reason,
        solution=solution,
    )


def _reached(found: Candidate, target: Target, tol: float, proof: Proof | None = None) -> str:
    within = f"the tolerance {tol:g}"
    if tol < found.distance:
        within = f"the sampling error {target.error:.2g}"
    text = f"the utility's law is within {within} of the wanted one"
    if 0 < target.size <= FEW:
        text += (
            f"; the {target.size} numbers are taken as a sample, with n = {target.size} (or as "
            "'rewards ...') they are the wanted rewards themselves"
        )
    if found.utility.kinks:
        text += (
            "; for a smooth utility take logsigmoid(b*(x - m))/b for min(x, m), or a tol of 0.01"
        )
    if proof is not None and not target.error:
        text += "; exactly the wanted law is out of reach (see the proof)"
    return text


def _missed(target: Target, allowed: float, proof: Proof | None) -> str:
    least = asymmetry(target.law)
    text = "no concave utility has the wanted law (see the proof)"
    if proof is None:
        text = "no utility was found whose law is near enough, and no proof that there is none"
    elif proof.kind == "mirror" or least > allowed:
        text += (
            f": it is not symmetric, and no strictly concave utility comes nearer than {least:.3g}"
        )
    return (
        f"{text}. The utility's law is the nearest found; the link reports the wanted rewards, "
        "and so do pair weights (by='weights')"
    )
