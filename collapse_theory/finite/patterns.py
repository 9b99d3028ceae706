"""Many prompts at once: the connected parts of a comparison graph, each pattern of them once.

Apart from its weight in the whole, a part is a program of its own: with W the sum of its weights,
its pairs have w / W and its penalty on squares d / W. Prompts of the same pattern have the same
program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from collapse_theory.finite.budget import Budget
from collapse_theory.finite.interior_point import InteriorPoint
from collapse_theory.finite.min_cut import MinCut
from collapse_theory.finite.uniqueness import is_determined
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.programs.graph import Graph

DIGITS = 12  # to which the shares of two parts agree that are taken for the same pattern


@dataclass(frozen=True)
class ByPatterns:
    """A solver that solves each pattern once where a program has several parts."""

    solver: MinCut | InteriorPoint

    @property
    def name(self) -> str:
        """The solver's."""
        return self.solver.name

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether the solver does."""
        return self.solver.fits(program)

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the patterns' answers, in place."""
        alike = patterns(program)
        if alike is None:
            return self.solver(program, budget)
        edges = len(program.graph.a)
        r, z, slopes = np.empty(program.graph.k), np.empty(edges), np.zeros(edges)
        apart = np.empty(edges)
        found = []
        for pattern in alike:
            one = self.solver(pattern.program, budget.again())
            rewards = np.asarray(one.rewards)
            r[pattern.nodes] = rewards
            z[pattern.edges] = 0.0
            if one.multipliers is not None:
                z[pattern.edges] = pattern.weight[:, None] * one.multipliers
            own = one.edge_gaps
            apart[pattern.edges] = (
                pattern.program.graph.differences(rewards) if own is None else own
            )
            if one.slopes is not None:
                slopes[pattern.edges] = one.slopes
            if one.unique is None:
                one = replace(one, unique=is_determined(pattern.program))
            found.append(one)
        budget.used = max(one.iterations for one in found)
        return Answer(
            rewards=r,
            multipliers=z,
            slopes=slopes,
            edge_gaps=apart if any(one.edge_gaps is not None for one in found) else None,
            iterations=budget.used,
            converged=all(one.converged for one in found),
            unique=all(one.unique for one in found),
        )


@dataclass(frozen=True)
class Pattern:
    """One part's program, and where it is found: the nodes and edges of each part, their weight.

    `nodes` has shape (parts, k), `edges` (parts, m) and `weight` (parts,).
    """

    program: Program
    nodes: np.ndarray
    edges: np.ndarray
    weight: np.ndarray


def patterns(program: Program) -> list[Pattern] | None:
    """Return the patterns of the parts, or None where solving them one by one saves little."""
    graph = program.graph
    count = int(graph.part.max()) + 1
    if count == 1 or program.domain.own or not program.domain.ordered:
        return None
    nodes, edges = _split(graph.part, count), _split(graph.part[graph.a], count)
    place = np.empty(graph.k, dtype=np.int64)
    for part in nodes:
        place[part] = np.arange(len(part))
    weight = np.bincount(graph.part[graph.a], graph.w, count)
    share = graph.w / weight[graph.part[graph.a]]
    pull = program.d / weight[graph.part]
    # Relative sizes, as far as rounding leaves them the same.
    rows = np.column_stack([place[graph.a], place[graph.b], _rounded(share), graph.m])
    columns = np.column_stack([graph.sizes, _rounded(pull)])
    found: dict[bytes, list[int]] = {}
    for at, (of, on) in enumerate(zip(nodes, edges, strict=True)):
        key = columns[of].tobytes() + b"|" + rows[on].tobytes()
        found.setdefault(key, []).append(at)
    if 2 * sum(len(nodes[alike[0]]) for alike in found.values()) > graph.k:
        return None
    made = []
    for alike in found.values():
        of, on = nodes[alike[0]], edges[alike[0]]
        order, sizes = np.arange(len(of)), graph.sizes[of]
        one = Graph(order, sizes, place[graph.a[on]], place[graph.b[on]], share[on], graph.m[on])
        n = int(sizes.sum())
        # kappa / n of the whole over its weight is kappa / n of the part.
        kappa = program.kappa * n / program.n / float(weight[alike[0]])
        where = np.array([nodes[i] for i in alike]), np.array([edges[i] for i in alike])
        small = replace(program, edges=one, n=n, kappa=kappa)
        made.append(Pattern(small, *where, weight[alike]))
    return made


def _split(label: np.ndarray, count: int) -> list[np.ndarray]:
    """Return for each label the places where it stands, in order."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.searchsorted(label[order], np.arange(1, count)))


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return positive values to so many digits, zeros as they are."""
    safe = np.where(values > 0, values, 1.0)
    return np.where(values > 0, np.round(np.log(safe), DIGITS), -np.inf)
