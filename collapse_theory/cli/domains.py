"""Where rewards live, as options of a command and in words."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import typer

import collapse_theory as ct

__all__ = [
    "CenteredOption",
    "ConfinedOption",
    "FreeOption",
    "chosen_domain",
    "digits",
    "program_text",
]

ConfinedOption = Annotated[
    float | None,
    typer.Option(
        "--confined",
        metavar="KAPPA",
        help="Rewards in all of R under the penalty KAPPA mean r**2, instead of a box.",
    ),
]
CenteredOption = Annotated[
    float | None,
    typer.Option(
        "--centered",
        metavar="C",
        help="Rewards in all of R under C mean (r_i + r_j)**2, as TRL's centring.",
    ),
]
FreeOption = Annotated[
    bool,
    typer.Option("--free", help="Rewards in all of R, held by nothing but the utility."),
]


def chosen_domain(
    low: float | None,
    high: float | None,
    confined: float | None = None,
    centered: float | None = None,
    free: bool = False,
) -> ct.Box | ct.Confined | ct.Centered | ct.Free:
    """Return the domain that the options name; the box [0, 1] where they name none."""
    given = {
        "--low": low is not None,
        "--high": high is not None,
        "--confined": confined is not None,
        "--centered": centered is not None,
        "--free": free,
    }
    named = [name for name, there in given.items() if there]
    if len(named) > 1 and named != ["--low", "--high"]:
        raise typer.BadParameter(
            f"{' and '.join(named)} exclude each other: rewards lie in a box (--low, --high), or "
            "are held by --confined, by --centered, or by the utility (--free)"
        )
    if confined is not None:
        return ct.Confined(confined)
    if centered is not None:
        return ct.Centered(centered)
    if free:
        return ct.Free()
    return ct.Box(0.0 if low is None else low, 1.0 if high is None else high)


def program_text(loss: object, domain: object) -> str:
    """Return a program in words: its loss, and where its rewards live."""
    what = str(loss) if isinstance(loss, ct.PlackettLuce) else f"U(x) = {loss}"
    if isinstance(domain, ct.Box):
        return f"{what}, rewards in [{domain.low:g}, {domain.high:g}]"
    if isinstance(domain, ct.Confined):
        return f"{what}, less {domain.kappa:g} mean r**2"
    if isinstance(domain, ct.Centered):
        return f"{what}, less {domain.c:g} mean (r_i + r_j)**2"
    return f"{what}, rewards free, of mean 0"


def mean_text(loss: object, domain: object, limit: bool = False) -> str:
    """Return what the objective is the mean of."""
    mean = "the mean utility over pairs"
    if isinstance(loss, ct.PlackettLuce):
        mean = "the mean log-likelihood of a pick" + (" plus log n" if limit else "")
    return mean if isinstance(domain, ct.Box | ct.Free) else f"{mean}, less the penalty"


def digits(rewards: np.ndarray) -> int:
    """Return how many decimals show six places of rewards as far apart as these."""
    width = float(np.ptp(rewards))
    if width == 0:
        width = float(np.abs(rewards).max())
    return max(6 - math.ceil(math.log10(width)), 0) if 0 < width < math.inf else 6
