"""What the explorer shows: a frozen value that is a link, a piece of Python and a command, too."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import collapse_theory as ct
from collapse_theory.programs import Domain

MOST = 4  # utilities beside each other
LARGEST = 256  # completions: up to so many an answer comes while a slider moves
LONGEST = 400  # characters of a text in a link
VIEWS = {"predict": "Utility to law", "design": "Law to utility", "log": "Reward log"}
DOMAINS = ("Box(0, 1)", "Confined(0.1)", "Centered(0.1)", "Free()")  # as they are written
# A number that is no end of a name (log10), and not the 1 of 1/x and of 1 - exp(-x).
_NUMBER = re.compile(r"(?<![\w.])(?!1\s*[-/])(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])", re.A)


def numbers_in(text: str) -> list[re.Match[str]]:
    """Return the numbers of a text that a slider can move."""
    found = _NUMBER.finditer(text)
    return [one for one in found if float(one[0]) < 1e6 and (one[0].isdigit() or float(one[0]))]


def slider_of(number: str) -> dict[str, float]:
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
    try:
        numbers = [float(part) for part in match[2].split(",") if part.strip()] if match else []
        return getattr(ct, match[1] if match else "")(*numbers)
    except ct.CollapseError:
        raise
    except (AttributeError, TypeError, ValueError):
        known = ", ".join(DOMAINS)
        raise ct.CollapseError(
            f"a domain is written as one of {known}; not {text[:60]!a}"
        ) from None


@dataclass(frozen=True)
class State:
    """Kinds of prompts with their utilities, n, the domain and the wanted law, as typed.

    Texts may be wrong: what is wrong with them is said where they are used.
    """

    rows: tuple[tuple[str, str], ...] = (("all", "log(x + 0.1)"),)
    n: int = 8
    domain: str = "Box(0, 1)"
    target: str = "atoms 0.3 + uniform"
    view: str = "predict"

    @property
    def query(self) -> str:
        """What stands behind the question mark of a link; what is usual is left out."""
        rows = self.rows if self.rows != State.rows else ()
        pairs = [pair for kind, text in rows for pair in (("kind", kind), ("u", text))]
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
                rows.append((kind, value))
                kind = ""
            elif name in found:
                found[name] = value
            else:
                faults.append(f"there is no {name[:20]!a} in a state")
        if len(rows) > MOST:
            faults.append(f"{len(rows)} utilities: the first {MOST} are shown")
        size, view = found["n"], found["view"]
        if not (re.fullmatch("[0-9]{1,9}", size) and 2 <= int(size) <= LARGEST):
            faults.append(f"n must be a whole number from 2 to {LARGEST}, not {size[:20]!a}")
            size = cls.n
        if view not in VIEWS:
            faults.append(f"view must be one of {', '.join(VIEWS)}, not {view[:20]!a}")
            view = cls.view
        some = tuple(rows[:MOST]) or cls.rows
        return cls(some, int(size), found["domain"], found["target"], view), faults[:8]

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
            body = (
                f"for kind, utility in {list(self.rows)!r}:\n"
                f"    solution = ct.solve(utility, {self.n}{held})\n"
                f"    law = ct.limit(utility{held})\n"
                "    print(kind, solution.rewards, law.name)\n"
            )
            commands = [["predict", u, f"--n={self.n}", *flags] for u in utilities]
        shell = "\n".join(shlex.join(["collapse-theory", *words]) for words in commands)
        return f"import collapse_theory as ct\n\n{body}", shell
