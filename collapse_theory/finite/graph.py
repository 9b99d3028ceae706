"""The optimal rewards under any comparisons: which program, which method, and the solution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from collapse_theory.errors import InvalidUtility, NoOptimum
from collapse_theory.finite.barrier import interior_point
from collapse_theory.finite.contract import polished
from collapse_theory.finite.lattice import fineness, on_lattice
from collapse_theory.finite.least_squares import least_squares
from collapse_theory.finite.patterns import Pattern, patterns
from collapse_theory.finite.steps import Budget
from collapse_theory.finite.unique import is_determined
from collapse_theory.programs.certificates import Certificate
from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.domains import Box, Centered, Confined, Domain
from collapse_theory.programs.graph import Graph, GraphProgram, comparison_graph
from collapse_theory.programs.graph_certificates import certify_graph
from collapse_theory.programs.laplacian import DENSE
from collapse_theory.programs.solution import Solution
from collapse_theory.programs.unit import LOOSE, TOLERANCE
from collapse_theory.utilities import Utility, require_concave, require_increasing

__all__ = ["solve_graph"]

WIDEST = 1000.0  # concavity is looked at up to gaps of this size, and of the answer's
MAX_ITERATIONS = 500
GOOD = 1e-11  # the relative gap that ends the search
SMALL = 64  # completions up to which answers are remembered: many prompts share a pattern


@dataclass(frozen=True)
class Found:
    """Rewards of the nodes, multipliers and slopes of the edges, and what certifies them."""

    r: np.ndarray
    z: np.ndarray
    slopes: np.ndarray | None
    certificate: Certificate
    iterations: int
    converged: bool
    method: str = "newton"
    unique: bool | None = None


def solve_graph(
    utility: Utility,
    comparisons: Comparisons,
    domain: Domain,
    method: str,
    tol: float | None,
    max_iterations: int | None,
) -> Solution:
    """Return the certified optimum of the program on the comparison graph."""
    work = _remembered if comparisons.n <= SMALL else _solve
    return work(utility, comparisons, domain, method, tol, max_iterations)


def _solve(
    utility: Utility,
    comparisons: Comparisons,
    domain: Domain,
    method: str,
    tol: float | None,
    max_iterations: int | None,
) -> Solution:
    graph = comparison_graph(comparisons)
    width = domain.width if isinstance(domain, Box) else 1.0
    _check_utility(utility, graph, domain)
    program = _program(utility, comparisons, graph, domain)
    limit = MAX_ITERATIONS if max_iterations is None else max_iterations
    if method == "conic":
        from collapse_theory.finite.graph_conic import conic_graph

        r, z, iterations, converged = conic_graph(program, first_rewards(program), max_iterations)
        r = feasible(program, r)
        found = Found(r, z, None, certify_graph(program, r, z), iterations, converged, method)
    elif (alike := patterns(program)) is not None:
        found = _by_patterns(program, alike, limit)
    else:
        found = _one(program, limit)
    widest = float(np.ptp(found.r)) + float(np.ptp(graph.m))
    if found.unique is None:
        found = replace(found, unique=is_determined(program, first_rewards(program)))
    if not program.box and widest > WIDEST:
        require_concave(utility, widest)
    return _solution(utility, comparisons, domain, program, found, tol, width)


_remembered = lru_cache(maxsize=256)(_solve)


def _program(utility: Utility, pairs: Comparisons, graph: Graph, domain: Domain) -> GraphProgram:
    d, c, unit = np.zeros(graph.k), 0.0, utility
    if isinstance(domain, Box):
        unit = utility.scaled(domain.width)
        graph = Graph(graph.node_of, graph.sizes, graph.a, graph.b, graph.w, graph.m / domain.width)
    elif isinstance(domain, Confined):
        d = domain.kappa * graph.sizes / pairs.n
    elif isinstance(domain, Centered):
        c = domain.c
    return GraphProgram(graph, unit, d, c, isinstance(domain, Box))


def _check_utility(utility: Utility, graph: Graph, domain: Domain) -> None:
    least, most = float(graph.m.min()), float(graph.m.max())
    width = domain.width if isinstance(domain, Box) else WIDEST
    require_concave(utility, width)
    try:
        shifted = utility.shifted(-most) if most > 0 else utility
        require_concave(shifted, width + max(most, 0.0) - min(least, 0.0))
    except InvalidUtility as fault:
        if most <= 0:
            raise
        raise InvalidUtility(
            f"{utility} can't take the margins of these comparisons, up to {most:g}: U(gap - "
            f"margin) needs values below 0 ({fault})"
        ) from None
    if isinstance(domain, Box):
        require_increasing(utility if least == 0 else utility.shifted(-least), width)
        return
    if isinstance(domain, Confined) or np.any(utility.d1(np.geomspace(1e-6, 1e9, 200)) < 0):
        return
    sides = graph.two_sided if isinstance(domain, Centered) else np.ones(graph.part.max() + 1, bool)
    if sides.any():
        _refuse(utility, graph, domain, int(np.argmax(sides)))


def _refuse(utility: Utility, graph: Graph, domain: Domain, part: int) -> None:
    members = np.flatnonzero((graph.node_of >= 0) & (graph.part[graph.node_of] == part))
    names = ", ".join(map(str, members[:6])) + (", ..." if len(members) > 6 else "")
    why = (
        f"the comparisons of the completions {names} are two-sided (no odd cycle), so r_i + r_j "
        "= 0 for every pair costs nothing while the gaps grow"
        if isinstance(domain, Centered)
        else f"the gaps between the completions {names} can grow for ever"
    )
    raise NoOptimum(
        f"nothing holds the rewards under {domain}: {utility} has no maximum, and {why}. Use a "
        "penalty (Confined), a box, or a utility with a maximum (LabelSmoothing, Squared); "
        "max_margin gives the direction in which the rewards run off"
    )


def first_rewards(program: GraphProgram) -> np.ndarray:
    """Return strictly feasible rewards: spread by level, off the box at the best scale."""
    graph = program.graph
    if program.box:
        return graph.levels
    shape = graph.centred(graph.levels)
    rise = graph.differences(shape)

    def slope(log_scale: float) -> float:
        scale = np.exp(log_scale)
        with np.errstate(all="ignore"):
            first = program.slopes(scale * rise)[0]
        return float(first @ rise - program.pull(scale * shape) @ shape)

    low, high = -2.0, 2.0
    while slope(high) > 0 and high < 340:
        low, high = high, high + 2.0
    while not slope(low) > 0 and low > -340:
        low, high = low - 2.0, low
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return np.exp(low) * shape


def _one(program: GraphProgram, limit: int) -> Found:
    """Solve a program by the method that is exact for it."""
    still = np.zeros(len(program.graph.a))
    with np.errstate(all="ignore"):
        first, _ = program.slopes(still)
    if not program.box and np.all(first <= 0):
        r = np.zeros(program.graph.k)  # no gap is worth opening
        return Found(r, still, None, certify_graph(program, r, still), 0, True, "newton", True)
    fine = fineness(program)
    return _newton(program, Budget(limit)) if fine is None else _cut(program, fine, limit)


def _cut(program: GraphProgram, fine: int, limit: int) -> Found:
    """Solve a piecewise linear program; of several optima take the least sum of squared gaps."""
    point = on_lattice(program, fine, Budget(limit))
    certificate = certify_graph(program, point.r, point.z, point.slopes)
    found = Found(
        point.r, point.z, point.slopes, certificate, point.iterations, point.converged, "cuts"
    )
    found = replace(found, unique=point.unique)
    other = None if point.unique or not point.converged else least_squares(program, point)
    if other is None:
        return found
    r = feasible(program, other)
    certificate = certify_graph(program, r, point.z, point.slopes)
    # The quadratic program knows its answer to some digits; they mustn't cost what was exact.
    good = certificate.relative_gap < max(LOOSE / 10, found.certificate.relative_gap)
    return replace(found, r=r, certificate=certificate) if good else found


def _newton(program: GraphProgram, budget: Budget) -> Found:
    """Follow the interior points, polish, and go on where the polished answer falls short."""
    graph = program.graph
    edges, best, at = len(graph.a), None, first_rewards(program)
    # Conjugate gradients take long near the end of the path, and a polish from afar does for most.
    for enough in (1e-13,) if graph.k <= DENSE else (1e-6, 1e-9, 1e-12):
        at, slopes, converged = interior_point(program, at, budget, enough)
        choices = [(feasible(program, at.r), at.z[:edges])]
        if not program.utility.kinks:
            with np.errstate(all="ignore"):
                choices.append(polished(program, at, budget) or choices[0])
        for r, z in choices:
            certificate = certify_graph(program, r, z, slopes)
            found = Found(r, z, slopes, certificate, budget.used, converged)
            if best is None or found.certificate.gap < best.certificate.gap:
                best = found
        assert best is not None
        if best.certificate.relative_gap < GOOD or budget.spent:
            break
    assert best is not None
    return replace(best, iterations=budget.used, converged=best.converged or not budget.spent)


def _by_patterns(program: GraphProgram, alike: list[Pattern], limit: int) -> Found:
    """Solve each pattern once, put the answers in place and certify the whole."""
    edges = len(program.graph.a)
    r, z, slopes = np.empty(program.graph.k), np.empty(edges), np.empty(edges)
    iterations, converged, unique, method = 0, True, True, "newton"
    for pattern in alike:
        one = _one(pattern.program, limit)
        r[pattern.nodes] = one.r
        z[pattern.edges] = pattern.weight[:, None] * one.z
        slopes[pattern.edges] = 0.0 if one.slopes is None else one.slopes
        iterations, converged = max(iterations, one.iterations), converged and one.converged
        if one.unique is None:
            start = first_rewards(pattern.program)
            one = replace(one, unique=is_determined(pattern.program, start))
        unique, method = unique and bool(one.unique), one.method
    certificate = certify_graph(program, r, z, slopes)
    return Found(r, z, slopes, certificate, iterations, converged, method, unique)


def feasible(program: GraphProgram, r: np.ndarray) -> np.ndarray:
    """Return rewards with no gap below 0, from rewards that have some by rounding."""
    graph = program.graph
    r = np.clip(r, 0.0, 1.0) if program.box else r.copy()
    while np.any(graph.differences(r) < 0):
        np.minimum.at(r, graph.b, r[graph.a])
    return r


def _solution(
    utility: Utility,
    comparisons: Comparisons,
    domain: Domain,
    program: GraphProgram,
    found: Found,
    tol: float | None,
    width: float,
) -> Solution:
    graph, r = program.graph, found.r
    if program.floating:
        r = graph.centred(r)
    middle, low = 0.0, 0.0
    if isinstance(domain, Box):
        middle, low = domain.low + domain.width / 2, domain.low
        # The top half as distances from the upper end, so that the best reward is `high`.
        r = np.where(r > 0.5, domain.high - width * (1 - r), low + width * r)
        r = np.clip(r, domain.low, domain.high)
    rewards = np.where(graph.node_of >= 0, r[graph.node_of], middle)
    missing = _undetermined(graph, program, domain)
    if tol is None:
        tol = LOOSE if found.method == "conic" or program.utility.kinks else TOLERANCE
    certificate = found.certificate
    stopped = "inaccurate" if found.converged else "max_iterations"
    return Solution(
        rewards=rewards,
        gaps=-np.diff(np.sort(rewards)[::-1]),
        objective=certificate.objective,
        gap=certificate.gap,
        relative_gap=certificate.relative_gap,
        status="optimal" if certificate.relative_gap <= tol else stopped,
        method=found.method,
        iterations=found.iterations,
        unique=not missing and bool(found.unique),
        utility=utility,
        domain=domain,
        comparisons=comparisons,
        undetermined=missing,
    )


def _undetermined(graph: Graph, program: GraphProgram, domain: Domain) -> tuple[int, ...]:
    """Return the completions whose reward is a convention: in no pair, or of a floating part."""
    if isinstance(domain, Confined):
        return ()
    alone = graph.node_of < 0
    if program.floating:
        largest = np.argmax(np.bincount(graph.part, graph.sizes))
        alone = alone | (graph.part[graph.node_of] != largest)
    return tuple(np.flatnonzero(alone).tolist())
