"""The inverse problem: a utility, weights or a link for wanted rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from collapse_theory.design.link import Link
from collapse_theory.design.proof import Proof
from collapse_theory.design.ranked import RankedProof, WantedRewards
from collapse_theory.design.search import PLAIN_DISTANCE, Candidate, Search, WantedLaw, nearer
from collapse_theory.design.slope import MAX_SLOPE, Bound, first_gap, slope
from collapse_theory.design.target import Target, target_of
from collapse_theory.design.weights import adjacent_weights, pair_weights
from collapse_theory.display import latex_number
from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.laws import RewardLaw
from collapse_theory.numerics.checks import count, positive
from collapse_theory.programs import Comparisons, Solution
from collapse_theory.utilities import Utility
from collapse_theory.utilities import utility as utility_of
from collapse_theory.utilities.latex import latex
from collapse_theory.values import Value

MOST_REWARDS = 128  # up to which utilities are designed for n rewards
FEW = 32  # numbers that may be meant as rewards themselves, not as a sample
EXACT = 1e-7  # mean distance at which weights of all pairs have reached the wanted rewards
DEFAULT = "log(x + 0.1)"
LEAST_SLOPE = 1.01  # of `max_slope`


@dataclass(frozen=True, eq=False)
class Steeper(Value):
    """A utility beyond the bound on the slope that comes nearer: what the bound costs."""

    utility: Utility
    distance: float
    slope: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Design(Value):
    """A utility for a wanted law; `max_slope`, `n` and `tol` are what was asked for.

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
    slope : float
        How steep the utility is: U'(0), as it is trained, over its mean slope between the gaps .08
        (of fewer than ten completions .8/n) and 1. Up to 50, Adam on free logits comes within .02
        of the optimum in 2000 steps: see docs/design.md, "How well it trains".
    steeper : Steeper or None
        A utility beyond `max_slope` that comes nearer, and how near, where one was found.
    reachable : bool or None
        True: `utility`, or `steeper`, is within `tol`, or for a sample within its sampling error.
        False: proved out of reach, and farther than that. None: neither.
    proof : Proof, RankedProof or None
        That no concave utility has exactly the wanted law; may come with True, where a law within
        the tolerance is reached.
    comparisons : Comparisons or None
        For by="weights": which pairs count, and how much; completion 0 is best.
    link : Link or None
        Where the wanted law is out of reach: the map to put on top of a model's rewards.
    target : Target
        The wanted law on [0, 1], and the scale it was given on.
    reason : str
        One or two sentences on how the utility was found, and what `reachable` rests on.
    solution : Solution or None
        With `n`: the certified optimum of the n rewards.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> found = ct.design("levels 0.4 0.2 0.4")
    >>> found.reachable, found.distance < 0.005, found.within
    (True, True, True)
    >>> ct.design("beta(2)").proof
    Proof(mass moved to 1 point gains 0.327 or more, every hinge)
    """

    utility: Utility
    law: RewardLaw
    distance: float
    slope: float
    max_slope: float = np.inf
    steeper: Steeper | None = None
    reachable: bool | None
    proof: Proof | RankedProof | None = None
    comparisons: Comparisons | None = None
    link: Link | None = None
    target: Target
    n: int | None = None
    tol: float
    reason: str
    solution: Solution | None = None

    @property
    def train_with(self) -> Utility:
        """The utility to train with: the link's where there is a link, else `utility`."""
        return self.utility if self.link is None else self.link.utility

    @property
    def within(self) -> bool:
        """Whether `utility` itself is within `tol`, or a sample's error."""
        return self.distance <= max(self.tol, self.target.error)

    def __repr__(self) -> str:
        reach = {True: "reached", False: "out of reach, proved", None: "undecided"}[self.reachable]
        if self.reachable and not self.within:
            reach = "reached by a steeper one"
        size = "" if self.n is None else f", n={self.n}"
        extra = "" if self.link is None else ", with a link"
        weights = "" if self.comparisons is None else ", with pair weights"
        return (
            f"Design({self.utility}{size}: {reach}, distance {self.distance:.2g}, "
            f"slope {self.slope:.2g}{extra}{weights})"
        )

    def _lines(self) -> tuple[str, ...]:
        return repr(self), self.reason

    def _latex(self) -> str:
        return rf"U(x) = {latex(self.utility.tree())},\quad W_1 = {latex_number(self.distance)}"


def design(
    target: Any,
    n: int | None = None,
    by: Literal["utility", "weights"] = "utility",
    tol: float = 0.005,
    *,
    max_slope: float = MAX_SLOPE,
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
    max_slope : float
        The slope up to which utilities are taken, see `Design.slope`; steeper ones train badly.
        inf for any: then "uniform" gets -1/x, whose slope is 910.
    utility : Utility or str, optional
        For by="weights": strictly concave; log(x + 0.1) unless given.

    Raises
    ------
    CollapseError
        A ValueError: a target that can't be read, an unknown `by`, n < 2, a `max_slope` below
        1.01: x itself has 1.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> found = ct.design("atoms 0.3 + beta(0.5)")
    >>> found.reachable, found.distance < 1e-3, ct.utility(str(found.utility)) == found.utility
    (True, True, True)
    >>> found = ct.design("uniform")
    >>> found.slope <= 50, found.distance < 0.03, found.steeper.utility
    (True, True, NegativePower(g=1.0))
    >>> ct.design("beta(2)").reachable
    False
    """
    if by not in ("utility", "weights"):
        raise CollapseError(f"by must be 'utility' or 'weights', got {by!r}")
    tol = positive(tol, "tol")
    if not isinstance(max_slope, int | float | np.number) or not max_slope >= LEAST_SLOPE:
        raise CollapseError(
            f"max_slope must be {LEAST_SLOPE} or more (x itself has 1), or inf; got {max_slope!r}"
        )
    if utility is not None and by == "utility":
        raise CollapseError('a utility is given for by="weights" only; by="utility" finds one')
    size = None if n is None else count(n)
    wanted = target_of(target, size)
    size = len(wanted.rewards) if size is None and wanted.rewards is not None else size
    if by == "weights":
        if size is None:
            raise CollapseError(
                'by="weights" needs the number of completions: design(target, n=8, ...)'
            )
        return _by_weights(wanted, size, tol, utility)
    bound = Bound(float(max_slope), first_gap(size))
    if size is None:
        return _by_utility(WantedLaw(wanted, max(tol, wanted.error)), tol, bound)
    if size > MOST_REWARDS:
        raise CollapseError(
            f"a utility for n = {size} rewards is designed up to n = {MOST_REWARDS} only; leave n "
            'out for the limit law, or take by="weights"'
        )
    rewards = WantedRewards(wanted, max(tol, wanted.error), wanted.levels(size))
    return _by_utility(rewards, tol, bound)


def _by_utility(wanted: WantedLaw | WantedRewards, tol: float, bound: Bound) -> Design:
    """Return the design by a utility of all pairs, within a bound on its slope."""
    search = Search(wanted, bound).run(wanted.quick(bound))
    exact = wanted.exact
    proof = None
    if search.distance > max(wanted.near, tol / 5) and exact is None:
        proof = wanted.proof()
    search.run(wanted.thorough(bound, search, proof is not None))
    found = search.best
    if found is None:
        raise SolverFailed("no candidate utility could be solved for what is wanted")
    steeper = None
    if np.isfinite(bound.most) and search.distance > wanted.near:
        steeper = _steeper(wanted, found, bound.start, proof is None and exact is None)
    reached = min(found.distance, steeper.distance if steeper else np.inf) <= wanted.allowed
    link = wanted.link(found, bound) if found.distance > wanted.allowed else None
    reachable = True if reached else (False if proof is not None else None)
    reason = _reason(wanted, found, proof, steeper)
    more = {"max_slope": bound.most, "steeper": steeper, "proof": proof, "link": link}
    return _made(found, wanted.target, tol, reason, reachable, **more)


def _steeper(
    wanted: WantedLaw | WantedRewards, found: Candidate, start: float, everything: bool
) -> Steeper | None:
    """Return what comes nearer without a bound on the slope, if that is worth its name."""
    free = Bound(np.inf, start)
    search = Search(wanted, free).run([wanted.known(free)])
    if everything and search.distance > wanted.allowed:
        search.run(wanted.quick(free))
    best = search.best
    if best is None or not best.distance < found.distance - PLAIN_DISTANCE:
        return None
    return Steeper(best.utility, best.distance, slope(best.utility, start))


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
    reachable = True if found.distance <= tol else None
    return _made(found, target, tol, reason, reachable)


def _made(
    found: Candidate, target: Target, tol: float, reason: str, reachable: bool | None, **more: Any
) -> Design:
    solution = found.solution
    n = solution.n if solution else None
    return Design(
        utility=found.utility,
        law=found.law,
        distance=found.distance,
        slope=slope(found.utility, first_gap(n)),
        reachable=reachable,
        comparisons=solution.comparisons if solution else None,
        target=target,
        n=n,
        tol=tol,
        reason=reason,
        solution=solution,
        **more,
    )


def _reason(
    wanted: WantedLaw | WantedRewards,
    found: Candidate,
    proof: Proof | RankedProof | None,
    steeper: Steeper | None,
) -> str:
    """Return a sentence or two on what `reachable` rests on."""
    if found.distance <= wanted.allowed:
        text = _reached(wanted, found, proof)
    else:
        text = _missed(wanted, proof, steeper)
    if steeper is not None:
        text += (
            f". {steeper.utility}, of the slope {steeper.slope:.3g}, beyond max_slope, comes "
            f"within {steeper.distance:.3g} where this comes within {found.distance:.3g}"
        )
    return text


def _reached(
    wanted: WantedLaw | WantedRewards, found: Candidate, proof: Proof | RankedProof | None
) -> str:
    target, of_law = wanted.target, isinstance(wanted, WantedLaw)
    kinks = ""
    if found.utility.kinks:
        kinks = (
            "; of n rewards its optimum is one of several unless they fit the levels: for a smooth "
            "utility take logsigmoid(b*(x - m))/b for min(x, m), or a larger tol"
        )
    if of_law and wanted.exact is not None and wanted.exact[0] == found.utility:
        return f"recognised as {wanted.exact[1]}, which this utility has in closed form{kinks}"
    within = f"the tolerance {wanted.allowed:g}"
    if target.error == wanted.allowed:
        within = f"the sampling error {target.error:.2g}"
    what = "law is" if of_law else "optimal rewards are on average"
    text = f"the utility's {what} within {within} of what is wanted"
    if of_law and 0 < target.size <= FEW:
        text += (
            f"; the {target.size} numbers are taken as a sample, with n = {target.size} (or as "
            "'rewards ...') they are the wanted rewards themselves"
        )
    text += kinks
    if proof is not None and not target.size:
        text += "; exactly what is wanted is out of reach (see the proof)"
    return text


def _missed(
    wanted: WantedLaw | WantedRewards, proof: Proof | RankedProof | None, steeper: Steeper | None
) -> str:
    if proof is not None:
        text = "no strictly concave utility has these optimal rewards (see the proof)"
        if isinstance(wanted, WantedLaw):
            text = "no concave utility has the wanted law (see the proof)"
            if wanted.skewed:
                text += (
                    ": it is not symmetric, and no strictly concave utility comes nearer than "
                    f"{wanted.asymmetry:.3g}"
                )
    elif steeper is not None and steeper.distance <= wanted.allowed:
        text = "only a steeper utility than max_slope comes near enough"
    else:
        text = "no utility was found that comes near enough, and no proof that there is none"
    return (
        f"{text}. The utility is the nearest found; the link reports the wanted rewards, and pair "
        "weights (by='weights') make them the optimum"
    )
