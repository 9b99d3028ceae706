"""Designs for the limit of many completions."""

from __future__ import annotations

from collapse_theory.design.fit import (
    FEW,
    NEAR,
    Candidate,
    better,
    forward,
    graded_fit,
    smooth_fit,
    stages,
)
from collapse_theory.design.link import Link, law_link
from collapse_theory.design.named import named_utility
from collapse_theory.design.nearest import asymmetry, nearest
from collapse_theory.design.proof import Proof, by_mirror, find_proof
from collapse_theory.design.result import Design
from collapse_theory.design.targets import Target, outline
from collapse_theory.errors import SolverFailed
from collapse_theory.limit import limit
from collapse_theory.utilities import Log, NegativePower

__all__ = ["design_law"]

# A law as near as this is taken as it is; farther ones may be provably another.
PLAIN = 1e-3
THICK = 60  # atoms up to which the wanted law itself, not its outline, is fitted and proved on


def design_law(target: Target, tol: float) -> Design:
    """Return the design for a wanted law."""
    allowed = max(tol, target.error)
    named = named_utility(target.law)
    if named is not None:
        law = limit(named.utility)
        reason = f"recognised as {named.text}, which this utility has in closed form"
        return _design(Candidate(named.utility, law, law.distance(target.law)), target, tol, reason)
    graded = not target.law.parts and len(target.law.atoms) <= FEW
    first = graded_fit(target.law, allowed) if graded else None
    # What is skewed by more than is allowed needs no search.
    skewed = asymmetry(target.law) > allowed
    found = first if first or skewed else _search(target, allowed, slice(0, 2))
    near = allowed if first or target.error else min(PLAIN, allowed)
    if found is not None and found.distance <= near:
        return _design(found, target, tol, _reached(found, target, tol))
    found = better(found, forward(NegativePower(1.0), target.law))
    proof = find_proof(target.law) if len(target.law.atoms) <= THICK else by_mirror(target.law)
    if proof is None and not skewed and (found is None or found.distance > PLAIN):
        # Sharper terms, which ask more of the forward solver.
        found = better(found, _search(target, allowed, slice(2, None)))
    if found is None or found.distance > allowed:
        found = better(found, nearest(outline(target.law), target.law))
    if found is None:
        raise SolverFailed("no candidate utility could be solved for this law")
    if found.distance <= allowed:
        return _design(found, target, tol, _reached(found, target, tol, proof), proof)
    link = _link(found, target)
    return _design(found, target, tol, _missed(found, target, allowed, proof), proof, link)


def _search(target: Target, allowed: float, which: slice) -> Candidate | None:
    """Return the nearest of the smooth fits of some stages, the first that is near enough."""
    best = None
    shape = outline(target.law)
    for terms in stages(shape)[which]:
        best = better(best, smooth_fit(shape, target.law, terms))
        if best is not None and best.distance <= min(NEAR, allowed / 5):
            break
    return best


def _design(
    found: Candidate,
    target: Target,
    tol: float,
    reason: str,
    proof: Proof | None = None,
    link: Link | None = None,
) -> Design:
    within = found.distance <= max(tol, target.error)
    return Design(
        utility=found.utility,
        law=found.law,
        distance=found.distance,
        reachable=True if within else (False if proof is not None else None),
        proof=proof,
        comparisons=None,
        link=link,
        target=target,
        n=None,
        tol=tol,
        reason=reason,
    )


def _reached(found: Candidate, target: Target, tol: float, proof: Proof | None = None) -> str:
    limit_text = f"the tolerance {tol:g}"
    if tol < found.distance:
        limit_text = f"the sampling error {target.error:.2g}"
    text = f"the utility's law is within {limit_text} of the wanted one"
    if found.utility.kinks:
        text += (
            "; for a smooth utility take logsigmoid(b*(x - m))/b for min(x, m), or a tol of 0.01"
        )
    if proof is not None and not target.error:
        text += "; exactly the wanted law is out of reach (see the proof)"
    return text


def _missed(found: Candidate, target: Target, allowed: float, proof: Proof | None) -> str:
    text = "no concave utility has the wanted law (see the proof)"
    if proof is None:
        text = "no utility was found whose law is near enough, and no proof that there is none"
    elif proof.kind == "mirror" or asymmetry(target.law) > allowed:
        least = asymmetry(target.law)
        text += (
            f": it is not symmetric, and no strictly concave utility comes nearer than {least:.3g}"
        )
    return (
        f"{text}. The utility's law is the nearest found; the link reports the wanted rewards, "
        "and so do pair weights (by='weights')"
    )


def _link(found: Candidate, target: Target) -> Link:
    """Return Q∘F, for the utility found where its law has no atoms, else for log x."""
    utility, law = found.utility, found.law
    if len(law.atoms):
        # An atom can't be spread by a function.
        utility = Log()
        law = limit(utility)
    return law_link(utility, law, target.law, target.low, target.high)
