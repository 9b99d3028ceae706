"""What is computed for a state: in words, as curves, and as figures to save."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import collapse_theory as ct
from collapse_theory.explorer.state import State, domain_of
from collapse_theory.figures import look
from collapse_theory.programs import Domain

# What an input can raise; anything else is a bug, and shows as one.
FAULTS = (ct.CollapseError, ct.SolverFailed, OSError, MemoryError)
POINTS = 160  # of a curve


@dataclass(frozen=True)
class Answer:
    """What became of one utility: n rewards and the limit law, each None where `fault` says why."""

    kind: str
    text: str
    solution: Any = None
    law: Any = None
    fault: str = ""

    @property
    def told(self) -> str:
        """The rewards, the law and their certificates in words."""
        if (found := self.solution) is None:
            return ""
        error = found.rewards_error
        bound = f"at most {error:.1e}" if error < math.inf else "unknown"
        several = "" if found.unique else "; one optimum of several"
        law = f"\nlimit law: {self.law.name}; {_certificate(self.law)}" if self.law else ""
        return f"n = {found.n}: {_certificate(found)}, error of a reward {bound}{several}{law}"


def _certificate(found: Any) -> str:
    gap = found.relative_gap
    held = f", relative gap {gap:.1e}" if gap is not None and math.isfinite(gap) else ""
    return f"{found.status}{held} ({found.method})"


def answers_of(state: State) -> list[Answer]:
    """Return an answer for each utility of a state; what was computed lately is kept."""
    try:
        domain = domain_of(state.domain)
    except ct.CollapseError:
        return [Answer(*row) for row in state.rows]  # the fault stands at the domain
    return [Answer(*row, *_solved(row[1], state.n, domain)) for row in state.rows]


@lru_cache(maxsize=64)
def _solved(text: str, n: int, domain: Domain) -> tuple[Any, Any, str]:
    solution = None
    try:
        solution = ct.solve(text, n, domain)
        return solution, ct.limit(text, domain), ""
    except FAULTS as fault:
        return solution, None, f"no limit law: {fault}" if solution else str(fault)


def design_told(found: ct.Design) -> str:
    """Return what came of a design, in words: how near, why, the proof, the link."""
    reach = {True: "reached", False: "out of reach, proved", None: "undecided"}[found.reachable]
    near = f"{reach}: Wasserstein-1 distance {found.distance:.3g}, slope {found.slope:.3g}"
    more = [f"{part!r}" for part in (found.proof, found.link) if part is not None]
    return "\n".join([f"U(x) = {found.utility}", near, found.reason, *more])


def diagnosis_told(found: ct.Diagnosis) -> str:
    """Return a diagnosis in words: the outcome, why, what to do, what to know of the log."""
    outcome = f"{found.outcome or 'not decided'}: {found.reason}"
    read = f"{found.rows:,} rewards of {found.prompts:,} prompts"
    return "\n".join([outcome, found.advice, read, *(f"note: {note}" for note in found.notes)])


def curve(x: Any, y: Any) -> list[list[Any]]:
    """Return points as a chart takes them, None where there is no number."""
    pairs = np.column_stack([x, y]).tolist()
    return [[a, float(f"{b:.7g}") if math.isfinite(b) else None] for a, b in pairs]


def utility_curve(answer: Answer, width: float) -> list[list[Any]]:
    """Return U over the gaps up to `width`, mapped to [0, 1] beyond a twentieth of it.

    U -> c U + d changes no optimum, and this way utilities can be compared.
    """
    if not isinstance(answer.solution.utility, ct.Utility):
        return []  # a listwise loss has no utility of single gaps
    x = np.linspace(0.0, width, POINTS)
    with np.errstate(all="ignore"):
        y = np.asarray(answer.solution.utility(x), dtype=float)
    low, high = y[x >= width / 20].min(), y[x >= width / 20].max()
    return curve(x, (y - low) / ((high - low) or 1.0))


def density_curve(law: ct.RewardLaw) -> list[list[Any]]:
    """Return the density of a law, drawn closer together towards the ends."""
    low, high = law.support.tolist()
    x = low + (high - low) * np.sin(np.linspace(0.0, math.pi / 2, POINTS)[1:-1]) ** 2
    return curve(x, law.pdf(x)) if low < high else []


def atom_stems(law: ct.RewardLaw) -> list[list[Any]]:
    """Return a stem for each atom, with a gap after each."""
    stems = ([[at, 0.0], [at, mass], [None, None]] for at, mass in law.atoms.tolist())
    return [point for stem in stems for point in stem]


def design_curves(found: ct.Design) -> dict[str, list[list[Any]]]:
    """Return quantile functions by name: the wanted one, the utility's, and that with the link."""
    share, wanted = np.linspace(0.0, 1.0, 2 * POINTS + 1), found.target
    curves = {"wanted": wanted.law.ppf(share), "of the utility": found.law.ppf(share)}
    if found.link is not None:
        trained = found.law if found.n else ct.limit(found.link.utility)
        linked = found.link(trained.ppf(share)) - wanted.low
        curves["with the link"] = linked / (wanted.high - wanted.low)
    return {name: curve(share, values) for name, values in curves.items()}


def draw_answers(answers: list[Answer], fig: Any) -> Any:
    """Draw the laws, and the rewards of n completions, side by side on a figure."""
    left, right = fig.subplots(1, 2)
    shown = [(a, c) for a, c in zip(answers, look.COLOURS, strict=False) if a.solution]
    if laws := [(a, c) for a, c in shown if a.law]:
        texts = [f"{a.kind} {look.formula(a.text)}".strip() for a, _ in laws]
        colours = [colour for _, colour in laws]
        ct.figures.limit_laws([a.law for a, _ in laws], left, colors=colours, labels=texts)
    for a, colour in shown:
        ct.figures.finite_optimum(a.solution, ax=right, color=colour, label=a.kind or a.text)
    return left


def figure_bytes(draw: Callable[[Any], Any]) -> bytes:
    """Return the SVG file of a figure, in the package's style."""
    from matplotlib.figure import Figure

    with tempfile.TemporaryDirectory() as folder, look.style():
        drawn = draw(Figure(figsize=(look.DOUBLE, 3.2), layout="constrained"))
        return ct.figures.save(drawn, Path(folder) / "figure.svg").read_bytes()
