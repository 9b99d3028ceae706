"""What the explorer shows: a frozen value that is a link, a piece of Python and a command, too."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, urlencode

import collapse_theory as ct
from collapse_theory.programs import Domain

MOST = 4  # utilities beside each other
SMALLEST, LARGEST = 2, 256  # completions: up to 256 an answer comes while a slider moves
LONGEST = 400  # characters of a text in a link
VIEWS = ("predict", "design", "log")
DOMAINS: dict[str, tuple[Callable[..., Domain], tuple[str, ...], str]] = {
    "Box": (ct.Box, ("--low", "--high"), "Box(0, 1)"),
    "Confined": (ct.Confined, ("--confined",), "Confined(0.1)"),
    "Centered": (ct.Centered, ("--centered",), "Centered(0.1)"),
    "Free": (ct.Free, (), "Free()"),
}
# A number that no name ends with (log10), and not the 1 of 1/x and of 1 - exp(-x).
_NUMBER = re.compile(r"(?<![\w.])(?!1\s*[-/])(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_DOMAIN = re.compile(r"(\w+)\(([^()]*)\)")


@dataclass(frozen=True)
class Number:
    """A number in a text, and how a slider moves it.

    One that is written whole moves in whole steps; others on a logarithmic scale, by a factor of
    ten to either side.
    """

    start: int
    end: int
    value: float
    whole: bool

    @property
    def place(self) -> float:
        """Where its slider stands."""
        return self.value if self.whole else math.log10(self.value)

    @property
    def reach(self) -> tuple[float, float]:
        """The ends of its slider, and for a number that isn't whole their logarithms."""
        if self.whole:
            return 0.0, max(10.0, 2 * self.value)
        return self.place - 1.0, self.place + 1.0

    def text(self, place: float) -> str:
        """Return the number at a place of its slider, as it is written."""
        if self.whole:
            return str(round(place))
        found = f"{10**place:.3g}"
        return found if re.search("[.e]", found) else f"{found}.0"


def numbers_in(text: str) -> list[Number]:
    """Return the numbers of a text that a slider can move."""
    found = []
    for match in _NUMBER.finditer(text):
        value, whole = float(match[0]), match[0].isdigit()
        if value < 1e6 and (whole or value > 1e-12):
            found.append(Number(match.start(), match.end(), value, whole))
    return found


def moved(text: str, places: Sequence[float | None]) -> str:
    """Return a text with its numbers where their sliders stand; None for one that didn't move.

    Examples
    --------
    >>> from collapse_theory.explorer import moved
    >>> moved("log(x + 0.1)", [-0.5]), moved("levels 4 2 4", [None, 3, None])
    ('log(x + 0.316)', 'levels 4 3 4')
    """
    found = list(zip(numbers_in(text), places, strict=False))
    for number, place in reversed(found):
        if place is not None:
            text = text[: number.start] + number.text(place) + text[number.end :]
    return text


@dataclass(frozen=True)
class State:
    """Utilities by kind of prompt, n, the domain and the wanted law, as they were typed.

    Texts may be wrong: what is wrong with them is said where they are used.

    Examples
    --------
    >>> from collapse_theory.explorer import State
    >>> state = State(("-1/x",), ("open-ended",), n=64)
    >>> state.query
    'u=-1%2Fx&kind=open-ended&n=64'
    >>> State.of_query(state.query) == (state, ())
    True
    """

    utilities: tuple[str, ...] = ("log(x + 0.1)",)
    kinds: tuple[str, ...] = ("all",)
    n: int = 8
    domain: str = "Box(0, 1)"
    target: str = "atoms 0.3 + uniform"
    view: str = "predict"

    # -- as a link -----------------------------------------------------------------------

    @property
    def query(self) -> str:
        """What stands behind the question mark of a link; what is usual is left out."""
        usual = State()
        rows = zip(self.utilities, self.kinds, strict=True)
        pairs = [pair for text, kind in rows for pair in (("u", text), ("kind", kind))]
        if (self.utilities, self.kinds) == (usual.utilities, usual.kinds):
            pairs = []
        for name in ("n", "domain", "target", "view"):
            if getattr(self, name) != getattr(usual, name):
                pairs.append((name, str(getattr(self, name))))
        return urlencode(pairs)

    @classmethod
    def of_query(cls, query: str) -> tuple[Self, tuple[str, ...]]:
        """Return the state of a link, and what in the link was left out and why."""
        faults: list[str] = []
        texts: list[str] = []
        kinds: dict[int, str] = {}
        found: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True)[: 8 * MOST]:
            if len(value) > LONGEST:
                faults.append(f"{name[:20]!a} has {len(value)} characters; {LONGEST} are read")
            elif name == "u":
                texts.append(value)
            elif name == "kind" and texts:
                kinds[len(texts) - 1] = value
            elif name in ("n", "domain", "target", "view"):
                found[name] = value
            else:
                faults.append(f"there is no {name[:20]!a} in a state")
        if len(texts) > MOST:
            faults.append(f"{len(texts)} utilities: the first {MOST} are shown")
        texts = texts[:MOST]
        size = found.pop("n", str(cls.n))
        n = int(size) if re.fullmatch("[0-9]{1,9}", size, re.ASCII) else -1
        if not SMALLEST <= n <= LARGEST:
            faults.append(f"n must be a whole number from {SMALLEST} to {LARGEST}, not {size!a}")
            n = cls.n
        if found.get("view", cls.view) not in VIEWS:
            faults.append(f"view must be one of {', '.join(VIEWS)}, not {found.pop('view')!a}")
        state = cls(n=n, **found)  # type: ignore[arg-type]
        if texts:
            named = tuple(kinds.get(i, f"kind {i + 1}") for i in range(len(texts)))
            state = replace(state, utilities=tuple(texts), kinds=named)
        return state, tuple(faults)

    # -- as values -----------------------------------------------------------------------

    def chosen_domain(self) -> Domain:
        """Return the domain that the text names; a ValueError says what is wrong with it."""
        name, numbers = _parts(self.domain)
        return DOMAINS[name][0](*numbers)

    def with_row(self, row: int, text: str | None = None, kind: str | None = None) -> Self:
        """Return the state with another utility, or name of a kind, in a row."""
        texts, kinds = list(self.utilities), list(self.kinds)
        texts[row] = texts[row] if text is None else text
        kinds[row] = kinds[row] if kind is None else kind
        return replace(self, utilities=tuple(texts), kinds=tuple(kinds))

    def more(self, text: str, kind: str | None = None) -> Self:
        """Return the state with one utility more."""
        named = kind or f"kind {len(self.kinds) + 1}"
        return replace(self, utilities=(*self.utilities, text), kinds=(*self.kinds, named))

    def fewer(self, row: int) -> Self:
        """Return the state without a row."""
        keep = [i for i in range(len(self.utilities)) if i != row]
        texts, kinds = self.utilities, self.kinds
        return replace(
            self, utilities=tuple(texts[i] for i in keep), kinds=tuple(kinds[i] for i in keep)
        )

    # -- as code -------------------------------------------------------------------------

    def python(self, file: str = "rewards.csv") -> str:
        """Return the Python that computes what is shown; a wrong domain is a ValueError."""
        name, numbers = _parts(self.domain)
        held = f"ct.{name}({', '.join(map(repr, numbers))})"
        lines = ["import collapse_theory as ct", ""]
        if self.view == "design":
            lines += [f"found = ct.design({self.target!r})", "print(found, found.reason)"]
        elif self.view == "log":
            held = "" if name == "Box" else f", domain={held}"
            lines += [f"found = ct.diagnose({file!r}, utility={list(self.utilities)!r}{held})"]
            lines += ["print(found.outcome, found.reason)"]
        else:
            held = "" if self.chosen_domain() == ct.Box() else f", {held}"
            rows = zip(self.kinds, self.utilities, strict=True)
            lines += ["rows = [", *(f"    ({kind!r}, {text!r})," for kind, text in rows), "]"]
            lines += ["for kind, utility in rows:"]
            lines += [f"    solution = ct.solve(utility, {self.n}{held})"]
            lines += [f"    law = ct.limit(utility{held})"]
            lines += ["    print(kind, solution.rewards, law.name)"]
        return "\n".join(lines) + "\n"

    def command(self, file: str = "rewards.csv") -> str:
        """Return the shell commands that print what is shown; a wrong domain is a ValueError."""
        name, numbers = _parts(self.domain)
        flags = zip(DOMAINS[name][1], numbers, strict=True)
        held = [f"{flag}={number!r}" for flag, number in flags] or ["--free"]
        if self.view == "design":
            return _line("design", self.target)
        if self.view == "log":
            texts = [f"--utility={text}" for text in self.utilities]
            return _line("diagnose", file, *texts, *(held if name != "Box" else []))
        held = [] if self.chosen_domain() == ct.Box() else held
        rows = (_line("predict", text, f"--n={self.n}", *held) for text in self.utilities)
        return "\n".join(rows)


def _line(*words: str) -> str:
    return shlex.join(["collapse-theory", *words])


def _parts(text: str) -> tuple[str, list[float]]:
    """Return the name of a domain and its numbers, read without evaluating the text."""
    match = _DOMAIN.fullmatch(text.strip())
    if match is None or match[1] not in DOMAINS:
        known = ", ".join(example for _, _, example in DOMAINS.values())
        raise ct.CollapseError(f"a domain is one of {known}; not {text[:60]!a}")
    _, flags, example = DOMAINS[match[1]]
    try:
        numbers = [float(part) for part in match[2].split(",") if part.strip()]
    except ValueError:
        numbers = []
    if len(numbers) != len(flags):
        raise ct.CollapseError(f"{match[1]} is written {example}; not {text[:60]!a}")
    return match[1], numbers
