"""What the explorer shows: a frozen state that is a link and code, too, and what comes of it."""

from __future__ import annotations

import math
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import numpy as np

import collapse_theory as ct
from collapse_theory.figures import look
from collapse_theory.programs import Domain

MOST = 4  # utilities beside each other
LARGEST = 256  # completions: up to so many an answer comes while a slider moves
LONGEST = 400  # characters of a text in a link
VIEWS = {"predict": "Utility to law", "design": "Law to utility", "log": "Reward log"}
DOMAINS = ("Box(0, 1)", "Confined(0.1)", "Centered(0.1)", "Free()")  # as they are written
FAULTS = (ValueError, ArithmeticError, RuntimeError, OSError, MemoryError)  # of an input, not a bug
# A number that is no end of a name (log10), and not the 1 of 1/x and of 1 - exp(-x).
_NUMBER = re.compile(r"(?<![\w.])(?!1\s*[-/])(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])", re.A)


def numbers_in(text: str) -> list[re.Match[str]]:
    """Return the numbers of a text that a slider can move."""
    return [one for one in _NUMBER.finditer(text) if 0 < float(one[0]) < 1e6 or one[0] == "0"]


def slider_of(number: str) -> dict[str, Any]:
    """Return a slider's ends, step and place: whole steps for what is written whole, else log10."""
    if number.isdigit():
        return {"min": 0, "max": max(10, 2 * int(number)), "step": 1, "value": int(number)}
    place = math.log10(float(number))
    return {"min": place - 1, "max": place + 1, "step": 0.01, "value": place}


def moved(text: str, places: Sequence[float | None]) -> str:
    """Return a text with its numbers where their sliders stand; None for one that didn't move."""
    for one, place in reversed(list(zip(numbers_in(text), places, strict=False))):
        if place is not None:
            new = str(round(place)) if one[0].isdigit() else f"{10**place:.3g}"
            point = "" if one[0].isdigit() or re.search("[.e]", new) else ".0"
            text = f"{text[: one.start()]}{new}{point}{text[one.end() :]}"
    return text


def domain_of(text: str) -> Domain:
    """Return the domain of a text such as Confined(0.1), which is not evaluated, or raise."""
    match = re.fullmatch(r"\s*(Box|Confined|Centered|Free)\(([^()]*)\)\s*", text)
    known = f"a domain is written as one of {', '.join(DOMAINS)}; not {text[:60]!a}"
    if match is None:
        raise ct.CollapseError(known)
    try:
        return getattr(ct, match[1])(*map(float, filter(str.strip, match[2].split(","))))
    except ct.CollapseError:
        raise
    except (TypeError, ValueError):
        raise ct.CollapseError(known) from None


@dataclass(frozen=True)
class State:
    """Kinds of prompts with their utilities, n, the domain and the wanted law, as typed."""

    rows: tuple[tuple[str, str], ...] = (("all", "log(x + 0.1)"),)
    n: int = 8
    domain: str = "Box(0, 1)"
    target: str = "atoms 0.3 + uniform"
    view: str = "predict"

    @property
    def query(self) -> str:
        """What stands behind the question mark of a link; what is usual is left out."""
        rows = self.rows if self.rows != State.rows else ()
        pairs = [pair for row in rows for pair in zip(("kind", "u"), row, strict=True) if pair[1]]
        told = ((name, getattr(self, name)) for name in ("n", "domain", "target", "view"))
        return urlencode(pairs + [pair for pair in told if pair[1] != getattr(State, pair[0])])

    @classmethod
    def of_query(cls, query: str) -> tuple[Self, list[str]]:
        """Return the state of a link, and what in the link was left out and why."""
        faults, rows, kind = [], [], ""
        found = {"n": str(cls.n), "domain": cls.domain, "target": cls.target, "view": cls.view}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if len(value) > LONGEST:
                faults.append(f"{name[:20]!a} has {len(value)} characters; {LONGEST} are read")
            elif name == "kind":
                kind = value
            elif name == "u" and value.strip():
                rows, kind = [*rows, (kind, value)], ""
            elif name in found:
                found[name] = value
            else:
                faults.append(f"there is no {name[:20]!a} in a state")
        if len(rows) > MOST:
            faults.append(f"{len(rows)} utilities: the first {MOST} are shown")
        n = int(found["n"]) if re.fullmatch("[0-9]{1,9}", found["n"]) else 0
        if not 2 <= n <= LARGEST:
            faults.append(f"n is a whole number from 2 to {LARGEST}, not {found['n'][:20]!a}")
            n = cls.n
        if (view := found["view"]) not in VIEWS:
            faults.append(f"view is one of {', '.join(VIEWS)}, not {view[:20]!a}")
            view = cls.view
        kept = tuple(rows[:MOST]) or cls.rows
        return cls(kept, n, found["domain"], found["target"], view), faults

    def code(self, file: str = "rewards.csv") -> tuple[str, str]:
        """Return the Python and the shell commands that give the same; wrong domains raise."""
        domain: Any = domain_of(self.domain)
        names = ("--low", "--high") if domain.bounded else (f"--{type(domain).__name__.lower()}",)
        flags = [f"{name}={number!r}" for name, number in zip(names, astuple(domain), strict=False)]
        flags = flags or ["--free"]
        held, utilities = f", domain=ct.{domain!r}", [text for _, text in self.rows]
        # For a log a box is read off the log itself.
        if domain == ct.Box() or (self.view == "log" and domain.bounded):
            flags, held = [], ""
        if self.view == "design":
            body = f"found = ct.design({self.target!r})\nprint(found, found.reason)\n"
            commands = [["design", self.target]]
        elif self.view == "log":
            body = f"found = ct.diagnose({file!r}, utility={utilities!r}{held})\nprint(found)\n"
            commands = [["diagnose", file, *(f"--utility={u}" for u in utilities), *flags]]
        else:
            rows = "".join(f"    {row!r},\n" for row in self.rows)
            body = (
                f"rows = [\n{rows}]\nfor kind, utility in rows:\n"
                f"    solution = ct.solve(utility, {self.n}{held})\n"
                f"    law = ct.limit(utility{held})\n    print(kind, solution.rewards, law.name)\n"
            )
            commands = [["predict", u, f"--n={self.n}", *flags] for u in utilities]
        shell = "\n".join(shlex.join(["collapse-theory", *words]) for words in commands)
        return f"import collapse_theory as ct\n\n{body}", shell


@dataclass(frozen=True)
class Answer:
    """What became of one utility: n rewards and the limit law; None where `fault` says why."""

    kind: str
    text: str
    solution: Any = None
    law: Any = None
    quantiles: Any = None
    fault: str = ""

    @property
    def told(self) -> str:
        """The rewards, the law and their certificates in words."""
        if (found := self.solution) is None:
            return ""
        several = "" if found.unique else "; one optimum of several"
        law = f"\nlimit law: {self.law.name}; {_certificate(self.law)}" if self.law else ""
        held = _certificate(found)
        return f"n = {found.n}: objective {found.objective:.6g}, {held}{several}{law}"


def _certificate(found: Any) -> str:
    gap = found.relative_gap
    held = f", relative gap {gap:.1e}" if gap is not None and math.isfinite(gap) else ""
    return f"{found.status}{held} ({found.method})"


def answers_of(state: State) -> list[Answer]:
    """Return an answer for each utility of a state; what was computed lately is kept."""
    return [Answer(*row, *_solved(row[1], state.n, state.domain)) for row in state.rows]


@lru_cache(maxsize=64)
def _solved(text: str, n: int, domain: str) -> tuple[Any, Any, Any, str]:
    solution = None
    try:
        solution = ct.solve(text, n, domain_of(domain))
        law = ct.limit(text, domain_of(domain))
        return solution, law, law.quantiles(n), ""
    except FAULTS as fault:
        return solution, None, None, f"no limit law: {fault}" if solution else str(fault)


def diagnosed(question: tuple[State, str, bytes]) -> tuple[ct.Diagnosis, bytes]:
    """Return the diagnosis of a file's content under a state, and its figure."""
    state, name, content = question
    domain, utilities = domain_of(state.domain), [text for _, text in state.rows]
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / name).write_bytes(content)
        found = ct.diagnose(path, utility=utilities, domain=None if domain.bounded else domain)
    return found, figure_bytes(partial(ct.figures.diagnosis, found))


def height(densities: list[list[list[Any]]]) -> float:
    """Return how high to draw densities: as they are, but for poles."""
    found = [y for one in densities for _, y in one if y is not None] or [1.0]
    return float(f"{min(1.05 * max(found), 3 * np.quantile(found, 0.9)):.2g}") or 1.0


def design_told(found: ct.Design) -> str:
    """Return what came of a design, in words: how near, why, the proof, the link."""
    reach = {True: "reached", False: "out of reach, proved", None: "undecided"}[found.reachable]
    near = f"{reach}: Wasserstein-1 distance {found.distance:.3g}, slope {found.slope:.3g}"
    more = [f"{part!r}" for part in (found.proof, found.link) if part is not None]
    return "\n".join([f"U(x) = {found.utility}", near, found.reason, *more])


def diagnosis_told(found: ct.Diagnosis) -> str:
    """Return a diagnosis in words: the outcome, why, what to do, what to know of the log."""
    outcome = f"{found.outcome or 'not decided'}: {found.reason}\n{found.advice}"
    read = f"{found.rows:,} rewards of {found.prompts:,} prompts"
    return "\n".join([outcome, read, *(f"note: {note}" for note in found.notes)])


def curve(x: Any, y: Any) -> list[list[Any]]:
    """Return points as a chart takes them, None where there is no number."""
    pairs = np.column_stack([x, y]).tolist()
    return [[a, float(f"{b:.7g}") if math.isfinite(b) else None] for a, b in pairs]


def utility_curve(answer: Answer, width: float) -> list[list[Any]]:
    """Return U over gaps up to `width`, as c U + d in [0, 1] beyond a twentieth of it."""
    if not isinstance(answer.solution.utility, ct.Utility):
        return []  # a listwise loss has no utility of single gaps
    x = np.linspace(0.0, width, 160)
    with np.errstate(all="ignore"):
        y = np.asarray(answer.solution.utility(x), dtype=float)
        low, high = y[x >= width / 20].min(), y[x >= width / 20].max()
        return curve(x, (y - low) / ((high - low) or 1.0))


def density_curve(law: ct.RewardLaw) -> list[list[Any]]:
    """Return the density of a law, at points closer together towards the ends."""
    low, high = law.support.tolist()
    x = low + (high - low) * np.sin(np.linspace(0.0, math.pi / 2, 160)[1:-1]) ** 2
    return curve(x, law.pdf(x)) if law.parts else []


def atom_stems(law: ct.RewardLaw) -> list[list[Any]]:
    """Return a stem for each atom, with a gap after each."""
    stems = ([[at, 0.0], [at, mass], [None, None]] for at, mass in law.atoms.tolist())
    return [point for stem in stems for point in stem]


def design_curves(found: ct.Design) -> dict[str, list[list[Any]]]:
    """Return quantile functions by name: the wanted one, the utility's, and that with the link."""
    share, wanted = np.linspace(0.0, 1.0, 321), found.target
    curves = {"wanted": wanted.law.ppf(share), "of the utility": found.law.ppf(share)}
    if found.link is not None:
        linked = found.link(ct.limit(found.link.utility).ppf(share)) - wanted.low
        curves["with the link"] = linked / (wanted.high - wanted.low)
    return {name: curve(share, values) for name, values in curves.items()}


def draw_answers(answers: list[Answer], fig: Any) -> Any:
    """Draw the laws, and the rewards of n completions, side by side on a figure."""
    left, right = fig.subplots(1, 2)
    shown = [(a, c) for a, c in zip(answers, look.COLOURS, strict=False) if a.solution]
    if laws := [(a, c) for a, c in shown if a.law]:
        texts, tints = zip(*((f"{a.kind} {look.formula(a.text)}", c) for a, c in laws), strict=True)
        ct.figures.limit_laws([a.law for a, _ in laws], left, colors=tints, labels=texts)
    for a, colour in shown:
        ct.figures.finite_optimum(a.solution, ax=right, color=colour, label=a.kind or a.text)
    return left


def figure_bytes(draw: Callable[[Any], Any]) -> bytes:
    """Return the SVG file of a figure, in the package's style."""
    from matplotlib.figure import Figure

    with tempfile.TemporaryDirectory() as folder, look.style():
        drawn = draw(Figure(figsize=(look.DOUBLE, 3.2), layout="constrained"))
        return ct.figures.save(drawn, Path(folder) / "figure.svg").read_bytes()
