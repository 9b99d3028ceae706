"""A limit law, as JSON and for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import collapse_theory as ct

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["certificate_text", "law_content", "law_facts", "quantile_table", "shape_text"]

LEVELS = np.arange(5, 100, 5) / 100
SHOWN = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])


def law_content(law: ct.RewardLaw) -> dict[str, Any]:
    """Return a law as JSON holds it, with its support where no box says it."""
    boxed = isinstance(getattr(law, "domain", ct.Box()), ct.Box)
    return {
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
    facts = {
        "limit law": shape_text(law),
        "  quantiles": ", ".join(quantiles),
        "  method": str(law.method),
    }
    if text := certificate_text(law):
        facts["  certificate"] = text
    elif law.status:
        facts["  status"] = law.status
    if law.reference:
        facts["  source"] = law.reference
    return facts


def shape_text(law: ct.RewardLaw) -> str:
    """Return the atoms and the supports of the densities, in words."""
    return repr(law).partition("(")[2].removesuffix(")")


def certificate_text(law: ct.RewardLaw) -> str | None:
    """Return what a law is certified to reach, if its energy is finite."""
    if law.relative_gap is None or not math.isfinite(law.relative_gap):
        return None
    return f"{law.status}, relative gap {law.relative_gap:.1e}"


def quantile_table(law: ct.RewardLaw, digits: int) -> Table:
    """Return a table of quantiles, the highest rewards first, each with its density."""
    from rich.table import Table

    table = Table("share below", "reward", "density there")
    for column in table.columns:
        column.justify = "right"
    atoms = set(law.atoms[:, 0].tolist())
    for level, reward in reversed([*zip(SHOWN.tolist(), law.ppf(SHOWN).tolist(), strict=True)]):
        density = "an atom" if reward in atoms else f"{law.pdf(reward):.4g}"
        table.add_row(f"{level:.0%}", f"{reward:.{digits}f}", density)
    return table
