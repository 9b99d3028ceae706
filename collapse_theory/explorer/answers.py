"""What is computed for a state, and the curves and figures of it."""

from __future__ import annotations

import math
import tempfile
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import collapse_theory as ct
from collapse_theory.explorer.state import State
from collapse_theory.figures import look
from collapse_theory.programs import Domain

FAULTS = (ct.CollapseError, ct.SolverFailed, OSError, MemoryError)
"""What an input can raise; anything else is a bug, and shows as one."""
POINTS = 160


@dataclass(frozen=True)
class Answer:
    """What became of one utility: n rewards, the limit law, or why there is none of them."""

    kind: str
    text: str
    solution: Any = None
    law: Any = None
    fault: str = ""
    law_fault: str = ""

    @property
    def lines(self) -> list[str]:
        """The rewards, the law and their certificates in words."""
        if self.solution is None:
            return []
        found = self.solution
        error = found.rewards_error
        bound = "of no known error" if math.isinf(error) else f"within {error:.1e}"
        lines = [
            f"n = {found.n}: objective {found.objective:.6g}, {_certificate(found)}, rewards "
            f"{bound}" + ("" if found.unique else ", one optimum of several")
        ]
        if self.law is None:
            return [*lines, f"no limit law: {self.law_fault}"]
        return [*lines, f"limit: {self.law.name}; {_certificate(self.law)}"]


def _certificate(found: Any) -> str:
    gap = found.relative_gap
    held = f", relative gap {gap:.1e}" if gap is not None and math.isfinite(gap) else ""
    return f"{found.status}{held} ({found.method})"


def answers_of(state: State) -> list[Answer]:
    """Return an answer for each utility of a state; what was computed lately is kept."""
    try:
        domain = state.chosen_domain()
    except ct.CollapseError as fault:
        return [
            Answer(kind, text, fault=str(fault))
            for kind, text in zip(state.kinds, state.utilities, strict=True)
        ]
    return [
        Answer(kind, text, *_solved(text, state.n, domain))
        for kind, text in zip(state.kinds, state.utilities, strict=True)
    ]


@lru_cache(maxsize=64)
def _solved(text: str, n: int, domain: Domain) -> tuple[Any, Any, str, str]:
    try:
        solution = ct.solve(text, n, domain)
    except FAULTS as fault:
        return None, None, str(fault), ""
    try:
        return solution, ct.limit(text, domain), "", ""
    except FAULTS as fault:
        return solution, None, "", str(fault)


@lru_cache(maxsize=16)
def designed(target: str) -> ct.Design:
    """Return the design for a wanted law; what was designed lately is kept."""
    return ct.design(target)


def design_lines(found: ct.Design) -> list[str]:
    """Return what came of a design, in words: the utility, how near, the proof, the link."""
    reach = {True: "reached", False: "out of reach, proved", None: "undecided"}[found.reachable]
    lines = [
        f"{reach}: Wasserstein-1 distance {found.distance:.3g}, slope {found.slope:.3g}",
        found.reason,
    ]
    if found.proof is not None:
        lines.append(f"proof: {found.proof!r}")
    if found.link is not None:
        lines.append(f"link: {found.link!r}")
    return lines


def diagnosis_lines(found: ct.Diagnosis) -> list[str]:
    """Return a diagnosis in words: the outcome, why, what to do, what to know of the log."""
    read = f"{found.rows:,} rewards of {found.prompts:,} prompts"
    return [
        f"{found.outcome or 'not decided'}: {found.reason}",
        found.advice,
        read + ("" if found.step is None else f", step {found.step:g}"),
        *(f"note: {note}" for note in found.notes),
    ]


# -- curves ------------------------------------------------------------------------------

Curve = list[list[Any]]


def _curve(x: Any, y: Any) -> Curve:
    """Return points as the chart takes them: None where there is no number."""
    pairs = zip(np.asarray(x).tolist(), np.asarray(y).tolist(), strict=True)
    return [[round(a, 9), float(f"{b:.7g}") if math.isfinite(b) else None] for a, b in pairs]


def utility_curve(answer: Answer, width: float) -> Curve:
    """Return U over the gaps up to `width`, mapped to 0 and 1 at its ends beyond a twentieth.

    U -> c U + d changes no optimum, and this way utilities can be compared.
    """
    loss = answer.solution and answer.solution.utility
    if not isinstance(loss, ct.Utility):
        return []
    x = np.linspace(0.0, width, POINTS)
    with np.errstate(all="ignore"):
        y = np.asarray(loss(x), dtype=float)
    told = y[x >= width / 20]
    low, high = told.min(), told.max()
    return _curve(x, np.where(np.isfinite(y), (y - low) / ((high - low) or 1.0), np.nan))


def density_curve(law: ct.RewardLaw) -> Curve:
    """Return the density of a law, drawn closer together towards the ends."""
    low, high = law.support.tolist()
    if high <= low or not np.isfinite([low, high]).all():
        return []
    x = low + (high - low) * np.sin(np.linspace(0.0, math.pi / 2, POINTS)[1:-1]) ** 2
    return _curve(x, law.pdf(x))


def atom_stems(law: ct.RewardLaw) -> Curve:
    """Return a stem for each atom, with a gap after each."""
    return [
        point
        for place, mass in law.atoms.tolist()
        for point in ([place, 0.0], [place, mass], [None, None])
    ]


def reward_points(rewards: Any) -> Curve:
    """Return rewards by rank, the best first."""
    return _curve(np.arange(1, len(rewards) + 1), rewards)


def design_curves(found: ct.Design) -> list[tuple[str, Curve]]:
    """Return quantile functions by name: the wanted one, the utility's, and that with the link."""
    share = np.linspace(0.0, 1.0, 2 * POINTS + 1)
    target = found.target
    curves = [("wanted", target.law.ppf(share)), ("of the utility", found.law.ppf(share))]
    if found.link is not None:
        trained = ct.limit(found.link.utility) if found.n is None else found.law
        linked = np.asarray(found.link(trained.ppf(share)))
        curves.append(("with the link", (linked - target.low) / (target.high - target.low)))
    return [(name, _curve(share, values)) for name, values in curves]


def widest(answers: list[Answer]) -> float:
    """Return the widest gap among all rewards."""
    return max((float(np.ptp(a.solution.rewards)) for a in answers if a.solution), default=1.0)


# -- figures -----------------------------------------------------------------------------


def draw_answers(answers: list[Answer], fig: Any) -> Any:
    """Draw the laws, and the rewards of n completions, side by side on a figure."""
    shown = [answer for answer in answers if answer.solution is not None]
    left, right = fig.subplots(1, 2)
    laws = [answer for answer in shown if answer.law is not None]
    colours = {id(a): look.COLOURS[i] for i, a in enumerate(answers)}
    if laws:
        ct.figures.limit_laws(
            [a.law for a in laws],
            ax=left,
            colors=[colours[id(a)] for a in laws],
            labels=[f"{a.kind}: {look.formula(a.text)}" for a in laws],
        )
    for a in shown:
        ct.figures.finite_optimum(a.solution, ax=right, color=colours[id(a)], label=a.kind)
    return left


def figure_bytes(draw: Callable[[Any], Any], form: str, width: float = 7.0) -> bytes:
    """Return the file of a figure, in the package's style: png, svg or pdf."""
    from matplotlib.figure import Figure

    with ct.figures.style():
        drawn = draw(Figure(figsize=(width, 0.45 * width), layout="constrained"))
    with tempfile.TemporaryDirectory() as folder:
        return ct.figures.save(drawn, Path(folder) / f"figure.{form}").read_bytes()


def inline_picture(draw: Callable[[Any], Any]) -> str:
    """Return a figure as the source of an image."""
    return "data:image/svg+xml;base64," + b64encode(figure_bytes(draw, "svg")).decode()
