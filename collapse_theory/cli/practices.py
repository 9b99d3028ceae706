"""The losses in use, each with what comes of it: the last part of `collapse-theory table`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

import collapse_theory as ct
from collapse_theory.cli.domains import program_text
from collapse_theory.cli.laws import support
from collapse_theory.limit.presets import PRESETS, Preset

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["law_text", "practice_contents", "practice_table", "rewards_text"]

SHOWN = 10  # of more completions, a cell shows the best and the worst


def practice_contents(n: int) -> list[dict[str, Any]]:
    """Return each practice as JSON holds it; rewards and limit are null where there is none.

    Parameters
    ----------
    n : int
        The number of completions.
    """
    return [_content(one, n) for one in PRESETS]


def _content(one: Preset, n: int) -> dict[str, Any]:
    solution, law = one.solve(n), one.law()
    return {
        "practice": one.name,
        "loss": str(one.loss),
        "domain": one.domain.to_dict(),
        "n": n,
        "rewards": solution and solution.rewards,
        "relative_gap": solution and solution.relative_gap,
        "limit": law and {"atoms": law.atoms, "support": support(law), "mean": law.mean()},
        "none": one.none(n) or None,
    }


def practice_table(n: int) -> Table:
    """Return the practices as lines: the program, its rewards and its limit law."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for one in PRESETS:
        program = re.sub(r"0[.]([0-9]{4})[0-9]+", r"0.\1", program_text(one.loss, one.domain))
        grid.add_row(one.name, program)
        solution, law = one.solve(n), one.law()
        if solution is not None:
            grid.add_row(f"  {n} completions", rewards_text(solution.rewards))
        elif not one.instead:
            grid.add_row(f"  {n} completions", one.none(n))
        grid.add_row("  limit law" if law else "  optimum", law_text(law) if law else one.instead)
    return grid


def rewards_text(rewards: np.ndarray) -> str:
    """Return rewards in short, two decimals each.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.cli.practices import rewards_text
    >>> rewards_text(np.array([1.0, 0.5, 0.0]))
    '1 0.5 0'
    """
    short = [_short(reward) for reward in rewards.tolist()]
    return " ".join(short if len(short) <= SHOWN else [*short[:4], "...", *short[-4:]])


def _short(reward: float) -> str:
    text = f"{reward:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def law_text(law: ct.RewardLaw) -> str:
    """Return a law in words: its atoms, and where the rest lies.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.cli.practices import law_text
    >>> law_text(ct.limit(ct.PlackettLuce()))
    'mass 0.27 at 0, 0.46 at 1; the rest between'
    """
    masses = [f"{_short(mass)} at {place:.3g}" for place, mass in law.atoms.tolist()]
    if not law.parts:
        return (
            "all at 0" if len(masses) == 1 and not law.atoms[0, 0] else f"mass {', '.join(masses)}"
        )
    if masses:
        return f"mass {', '.join(masses)}; the rest between"
    low, high = support(law)
    spread = f"s.d. {law.var() ** 0.5:.3g}"
    where = f"below {high:.3g}" if low == -np.inf else f"on [{low:.3g}, {high:.3g}]"
    return f"no atoms, {where}, {spread}"
