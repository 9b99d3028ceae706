"""Piecewise linear utilities in the box, on any comparisons: exact, by minimum cuts.

Where all kinks and margins are multiples of 1/D, some optimum has all rewards at multiples of 1/D:
the program is the dual of a minimum-cost flow (Ahuja, Hochbaum, Orlin, Management Science 49
(2003), 950-964). The best set of nodes to raise, or to lower, by a step is a minimum cut; steps
halve down to 1/D, where none is left. One node more stands for the box: a node at the upper end can
be raised only with it, and it only with those at the lower end; raising it and others is lowering
the rest. The flow at the end is the dual solution: the slope of each pair and the multiplier of
each closed gap, of which the certificate is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

import numpy as np

from collapse_theory.finite.active_set import feasible
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.least_squares import least_squares
from collapse_theory.programs import LOOSE, Answer, ListwiseProgram, Program, certify
from collapse_theory.programs.dual import Dual, at_ends, dual_flow, holds_all

FINEST = 1000  # D at most: beyond, the interior-point method is as good
MAX_MARGINS = 30  # different ones
# A ranking of more completions begins where one of half as many ends, with steps of so many times
# its mean gap (measured: n = 800 takes a third of the flows that it takes from equal gaps).
SMALL_RANKING, FIRST_STEPS = 40, 16
STILL = 1e-9  # of the least weight: a set of nodes moves at no more loss, if others are as good
SAME = 1e-12  # of the values compared: smaller differences are rounding


class MinCut:
    """Minimum cuts; of several optima the one of least sum of squared gaps."""

    name = "cuts"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether the utility is piecewise linear, with kinks on a grid, and rewards in the box."""
        return isinstance(program, Program) and fineness(program) is not None

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the rewards, with the dual solution that certifies them."""
        fine = fineness(program)
        assert fine is not None
        p, dual = _on_grid(program, fine, budget)
        assert dual is not None
        settled = _Cell(program, fine, p, 1).moved(dual.raised) is None
        unique = settled and holds_all(program, dual, STILL * float(program.graph.w.min()))
        answer = Answer(
            rewards=p / fine,
            multipliers=dual.multipliers,
            slopes=dual.slopes,
            iterations=budget.used,
            converged=settled,
            unique=unique,
        )
        other = None if unique or not settled else least_squares(program, dual)
        if other is None:
            return answer
        # The quadratic program knows its answer to some digits; they mustn't cost what was exact.
        chosen = replace(answer, rewards=feasible(program, other))
        return chosen if certify(program, chosen).relative_gap < LOOSE / 10 else answer


def fineness(program: Program) -> int | None:
    """Return the least D of which all kinks and margins are multiples, None where there is none.

    None too where U isn't piecewise linear, or rewards aren't in the box.
    """
    utility = program.utility
    if not program.box or utility.strictly_concave:
        return None
    margins = np.zeros(1) if program.full else np.unique(program.graph.m)
    if len(margins) > MAX_MARGINS:
        return None
    low, high = -float(margins.max()), 1.0 - float(margins.min())
    kinks = [kink for kink in utility.kinks if low < kink < high]
    exact = [*kinks, *margins.tolist()]
    breaks = [Fraction(x).limit_denominator(FINEST) for x in exact]
    step = lcm(*(f.denominator for f in breaks))
    if step > FINEST or any(abs(float(f) - x) > SAME for f, x in zip(breaks, exact, strict=True)):
        return None
    # Concave and as high in the middle as a line: a line.
    ends = np.array([low, *sorted(kinks), high])
    values = np.asarray(utility.value(ends))
    middle = np.asarray(utility.value((ends[1:] + ends[:-1]) / 2))
    size = SAME * (1 + float(np.abs(values).max()))
    return step if np.all(np.abs(middle - (values[1:] + values[:-1]) / 2) <= size) else None


def _on_grid(
    program: Program, fine: int, budget: Budget, last: bool = True
) -> tuple[np.ndarray, Dual | None]:
    """Return the whole numbers p of an optimum p / fine, and its dual solution.

    A ranking begins where one of half as many completions ends, each of them taken twice; such a
    start, which is not the `last`, needs no dual solution.
    """
    if program.full and program.n > SMALL_RANKING:
        half = replace(program, n=(program.n + 1) // 2)
        p = _on_grid(half, fine, budget, last=False)[0][np.arange(program.n) * half.n // program.n]
        furthest = FIRST_STEPS * fine / program.n
    else:
        p = np.clip(np.floor(program.graph.levels * (fine + 1)), 0, fine)
        furthest = fine / 4
    step = 2 ** int(np.log2(min(max(furthest, 1.0), fine)))
    while True:
        cell = _Cell(program, fine, p, step)
        spent = next(budget.rounds(1), None) is None
        dual = dual_flow(program, p / fine) if step == 1 and last else None
        better = cell.moved(cell.raised() if dual is None else dual.raised)
        if better is None and step > 1 and not spent:
            step //= 2
        elif better is None or spent:
            return p, dual_flow(program, p / fine) if last and dual is None else dual
        else:
            p = better


@dataclass(frozen=True)
class _Cell:
    """Around rewards p / fine: what the objective gains as gaps widen, or loses as they close."""

    program: Program
    fine: int
    p: np.ndarray
    step: int

    def value(self, y: np.ndarray) -> np.ndarray:
        """Return w U of gaps in units of 1 / fine."""
        graph = self.program.graph
        return graph.w * self.program.utility.value(y / self.fine - graph.m)

    def changes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what widening each gap by a step adds, and what closing it by one loses."""
        y, step = self.program.graph.differences(self.p), self.step
        now = self.value(y)
        # Beyond the box U goes on along its last line: such gaps can't come about.
        wider = np.minimum(y + step, self.fine)
        rise = self.value(wider) - now
        gain = np.where(wider > y, rise * step / np.maximum(wider - y, 1), 0.0)
        lost = np.where(y >= step, now - self.value(np.maximum(y - step, 0)), np.inf)
        return gain, lost

    def raised(self) -> np.ndarray:
        """Return the smallest minimum cut, the box last: it shows what to raise by a step.

        A pair carries what closing loses more than widening adds.
        """
        graph = self.program.graph
        gain, lost = self.changes()
        top, bottom = self.p + self.step > self.fine, self.p < self.step
        capacity, back = at_ends(np.maximum(lost - gain, 0.0), top, bottom)
        net = np.append(graph.divergence(gain), 0.0)
        return graph.network.greatest_flow(capacity, net, back=back).raised

    def moved(self, raised: np.ndarray) -> np.ndarray | None:
        """Return the better rewards that a cut shows, None where there are none."""
        nodes, box = raised[:-1], bool(raised[-1])
        p = np.where(nodes, self.p, self.p - self.step) if box else self.p + self.step * nodes
        now, before = (self.value(self.program.graph.differences(q)) for q in (p, self.p))
        more = float((now - before).sum())
        return p if more > SAME * float(np.abs(now - before).sum() + np.abs(before).sum()) else None
