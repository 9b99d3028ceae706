"""What a design is: the utility, its law, and what is known about the wanted one."""

from __future__ import annotations

from dataclasses import dataclass

from collapse_theory.design.link import Link
from collapse_theory.design.proof import Proof
from collapse_theory.design.ranked import RankedProof
from collapse_theory.design.targets import Target
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Comparisons, Solution
from collapse_theory.utilities.base import Utility
from collapse_theory.values import Value

__all__ = ["Design"]


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
