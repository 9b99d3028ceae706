"""Programs and laws in words; a law as JSON holds it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import collapse_theory as ct
from collapse_theory.programs import Domain
from collapse_theory.utilities import Loss

LEVELS = np.arange(5, 100, 5) / 100


def program_text(loss: Loss | None, domain: Domain) -> str:
    """Return a program in words: its loss, and what holds its rewards."""
    held = "rewards free, of mean 0"
    if isinstance(domain, ct.Box):
        held = f"rewards in [{domain.low:g}, {domain.high:g}]"
    elif domain.squares:
        held = f"less {domain.squares:g} mean r**2"
    elif domain.sums:
        held = f"less {domain.sums:g} mean (r_i + r_j)**2"
    return f"{loss if isinstance(loss, ct.PlackettLuce) else f'U(x) = {loss}'}, {held}"


def mean_text(loss: Loss | None, domain: Domain, limit: bool = False) -> str:
    """Return what the objective is the mean of."""
    mean = "the mean utility over pairs"
    if isinstance(loss, ct.PlackettLuce):
        mean = "the mean log-likelihood of a pick" + (" plus log n" if limit else "")
    return f"{mean}, less the penalty" if domain.squares or domain.sums else mean


def digits(rewards: np.ndarray) -> int:
    """Return how many decimals show six places of rewards as far apart as these."""
    width = float(np.ptp(rewards)) or float(np.abs(rewards).max())
    return max(6 - math.ceil(math.log10(width)), 0) if 0 < width < math.inf else 6


def law_content(law: ct.RewardLaw) -> dict[str, Any]:
    """Return a law as JSON holds it, with its support where no box says it."""
    boxed = getattr(law, "domain", ct.Box()).bounded
    return {
        "name": law.name,
        "atoms": law.atoms,
        "quantiles": {f"{q:.2f}": v for q, v in zip(LEVELS, law.ppf(LEVELS), strict=True)},
        "objective": law.objective,
        "relative_gap": law.relative_gap,
        "method": law.method,
    } | ({} if boxed else {"support": support(law)})


def support(law: ct.RewardLaw) -> list[float]:
    """Return the ends of the support, the lower one -inf where there is none."""
    low, high = law.support.tolist()
    return [low if all(part.bounded_below for part in law.parts) else -math.inf, high]


def law_facts(law: ct.RewardLaw | None) -> dict[str, str]:
    """Return the lines that show a law below the rewards of n completions."""
    if law is None:
        return {"limit law": "none is known"}
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    # Where a symmetric law has its middle at 0, rounding is no number to show.
    none = 1e-13 * float(np.abs(law.support).max())
    values = [0.0 if abs(v) <= none else v for v in law.ppf(levels).tolist()]
    quantiles = (f"{q:.0%} {v:.4g}" for q, v in zip(levels, values, strict=True))
    facts = {"limit law": law.name, "  quantiles": ", ".join(quantiles)}
    return facts | {f"  {name}": text for name, text in evidence(law).items()}


def evidence(found: Any) -> dict[str, str]:
    """Return what speaks for a law or a solution: its certificate, or else status, and sources."""
    certificate = certificate_text(found)
    facts = {"certificate" if certificate else "status": certificate or found.status}
    facts |= {"method": found.method, "source": found.reference}
    return {name: str(text) for name, text in facts.items() if text}


def certificate_text(found: Any) -> str | None:
    """Return what a law or a solution is certified to reach; None for a law of infinite energy."""
    if found.relative_gap is None or not math.isfinite(found.relative_gap):
        return None
    return f"{found.status}, relative gap {found.relative_gap:.1e}"
