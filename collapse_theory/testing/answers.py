"""Answers to a program of n completions that others give: read, certified, compared with ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
from hypothesis import reject

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.finite import solve
from collapse_theory.programs import (
    Answer,
    Box,
    Certificate,
    Comparisons,
    Domain,
    ListwiseProgram,
    Program,
    Solution,
    certify,
)
from collapse_theory.testing.search import Finding, answered
from collapse_theory.utilities import Loss

Said = Callable[[str], NoReturn]

# Rewards this far out of order or out of the box, as a share of their spread, are rounding.
ROUNDING = 1e-12
# As good as optimal: what a relative gap is at rewards that are right to the last digits.
OPTIMAL = 1e-12
# Of a solution, how much worse than ours its certificate may be to count as good.
AS_GOOD = 10.0


@lru_cache(maxsize=1000)
def reference(
    loss: Loss, n: int, domain: Domain, pairs: Comparisons | None = None
) -> Solution | None:
    """Return the package's own solution, None where it has none; kept, as shrinking asks again."""
    try:
        found = solve(loss, None if pairs else n, domain, pairs)
    except (CollapseError, SolverFailed):
        return None
    return found if np.isfinite(found.relative_gap) else None


@dataclass(frozen=True)
class Case:
    """A function of somebody's, called `name`, in one case; `n` is None for the limit."""

    name: str
    function: Callable[..., Any]
    loss: Loss
    n: int | None
    domain: Domain
    pairs: Comparisons | None = None

    @property
    def where(self) -> str:
        """The arguments as code."""
        given = [repr(self.loss), *([] if self.n is None else [f"n={self.n}"])]
        given += [] if self.domain == Box() and self.pairs is None else [repr(self.domain)]
        return ", ".join([*given, *([] if self.pairs is None else [repr(self.pairs)])])

    def wrong(self, text: str) -> NoReturn:
        """Say what is wrong."""
        raise AssertionError(f"{self.name} is wrong for {self.where}: {text}")

    def answered(self, *given: Any) -> Any:
        """Return what the function gives."""
        return answered(self.name, self.where, self.function, *given)

    def ours(self) -> Solution:
        """Return the package's own solution; a case where it has none is passed over."""
        assert self.n is not None
        return reference(self.loss, self.n, self.domain, self.pairs) or reject()

    def finding(self, error: float, gap: float = float("nan")) -> Finding:
        """Return what the case shows."""
        return Finding(error, f"{self.name}({self.where})", gap)


@dataclass(frozen=True)
class Ranked:
    """Rewards in the completions' order, the gaps of a full ranking, and their certificate."""

    rewards: np.ndarray
    gaps: np.ndarray | None
    certificate: Certificate


def read(
    program: Program | ListwiseProgram, given: Any, wrong: Said, gives: str | None = None
) -> Ranked:
    """Return the rewards (n,), or the gaps (n-1,) of a full ranking, that somebody gives.

    `wrong` is called with what is wrong with them, if they are no feasible rewards.
    """
    n = program.n
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        wrong(f"expected an array of {n} rewards, got {given!r}")
    shapes = {"rewards": (n,), "gaps": (n - 1,)}
    if array.shape not in ([shapes[gives]] if gives in shapes else shapes.values()):
        wrong(f"expected {n} rewards or {n - 1} gaps, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        wrong(f"expected finite {gives or 'numbers'}, got {array}")
    if not program.full:
        assert isinstance(program, Program)
        return _on_graph(program, array, wrong)
    pairs = program.comparisons
    order = np.arange(n) if pairs is None else pairs.full_order()
    in_gaps = array.shape == (n - 1,)
    gaps = array if in_gaps else array[order][:-1] - array[order][1:]
    size = max(float(np.abs(gaps).sum()), 1e-300)
    if gaps.min() < -ROUNDING * size:
        at = int(np.argmin(gaps))
        wrong(f"expected rewards best first, got reward {at + 2} above reward {at + 1}: {array}")
    gaps = np.maximum(gaps, 0.0)
    rewards = _placed(program.domain, gaps) if in_gaps else array
    _require_inside(program.domain, rewards, wrong)
    certificate = certify(program, Answer(gaps=gaps / program.domain.unit))
    return Ranked(rewards, gaps, certificate)


def _placed(domain: Domain, gaps: np.ndarray) -> np.ndarray:
    """Return the rewards with these gaps: from the top of the box, or with mean 0."""
    below = np.append(0.0, np.cumsum(gaps))
    return domain.high - below if isinstance(domain, Box) else below.mean() - below


def _require_inside(domain: Domain, rewards: np.ndarray, wrong: Said) -> None:
    if not isinstance(domain, Box):
        return
    allowed = ROUNDING * domain.width + 4e-16 * max(abs(domain.low), abs(domain.high))
    if rewards.min() < domain.low - allowed or rewards.max() > domain.high + allowed:
        wrong(f"expected rewards in [{domain.low:g}, {domain.high:g}], got {rewards}")


def _on_graph(program: Program, rewards: np.ndarray, wrong: Said) -> Ranked:
    graph, domain = program.graph, program.domain
    if rewards.shape != (program.n,):
        wrong(f"expected {program.n} rewards in the completions' order, got {rewards.shape}")
    _require_inside(domain, rewards, wrong)
    unit = (rewards - domain.low) / domain.width if isinstance(domain, Box) else rewards
    inside = graph.node_of >= 0
    nodes = np.bincount(graph.node_of[inside], unit[inside], graph.k) / graph.sizes
    size = max(float(np.ptp(unit)), 1e-300)
    if np.abs(nodes[graph.node_of[inside]] - unit[inside]).max() > ROUNDING * size:
        wrong(f"expected equal rewards of the completions held equal, got {rewards}")
    gaps = graph.differences(nodes)
    if gaps.min() < -ROUNDING * size:
        wrong(f"expected no completion above a better one, got {rewards}")
    nodes = np.clip(nodes, 0.0, 1.0) if program.box else nodes
    return Ranked(rewards, None, certify(program, Answer(rewards=nodes)))


@dataclass(frozen=True)
class Difference:
    """How far rewards are from ours, as a share of their spread, and where most."""

    error: float
    at: int
    right: bool


def difference(got: Ranked, ours: Solution, tol: float) -> Difference:
    """Return how far an answer is from ours, and whether it is right.

    It is within `tol` and what ours may be off by; where that isn't known, as where there are
    several optima, it may be certified as well as ours instead.
    """
    mine, theirs = np.array(ours.rewards), got.rewards
    if not ours.domain.bounded and ours.domain.squares == ours.domain.sums == 0:
        mine, theirs = mine - mine.mean(), theirs - theirs.mean()  # nothing says where they lie
    spread = max(float(np.ptp(mine)), 1e-300)
    off = np.abs(theirs - mine)
    off[list(ours.undetermined)] = 0.0
    error = float(off.max()) / spread
    at = int(np.argmax(off >= 0.999 * off.max()))  # the first, if rounding decides
    right = error <= tol
    if not right and np.isfinite(ours.rewards_error):
        right = error <= tol + ours.rewards_error / spread
    elif not right:
        right = got.certificate.relative_gap <= max(AS_GOOD * ours.relative_gap, OPTIMAL)
    return Difference(error, at, right)


def contrast(expected: np.ndarray, got: np.ndarray, at: int, what: str = "reward") -> str:
    """Return both, with the digits in which they differ: all of few, else the worst one."""
    off = abs(float(got[at] - expected[at]))
    digits = int(np.clip(2 - np.floor(np.log10(max(off, 1e-15))), 4, 16))
    if len(expected) > 8:
        return (
            f"expected {what} {at + 1} of {len(expected)} to be {expected[at]:.{digits}g}, got "
            f"{got[at]:.{digits}g}, off by {off:.1e}"
        )
    one, two = (
        "[" + ", ".join(f"{x + 0.0:.{digits}g}" for x in row) + "]" for row in (expected, got)
    )
    return f"expected {what}s {one}, got {two}: {what} {at + 1} is off by {off:.1e}"


def few(values: Any, precision: int = 4) -> str:
    """Return numbers in short, the middle of many left out."""
    return np.array2string(np.asarray(values), precision=precision, threshold=8, separator=", ")


def certificate_text(got: Ranked) -> str:
    """Return what the certificate of somebody's answer says of it."""
    gap = got.certificate.relative_gap
    return f"by its own certificate it is optimal to a relative gap of {gap:.1e}"
