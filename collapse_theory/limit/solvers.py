"""The program of a limit law, and the solvers: those that fit are tried in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from collapse_theory.errors import CollapseError, NoClosedForm, NoOptimum, SolverFailed
from collapse_theory.exact import exact_law
from collapse_theory.laws import BetaDensity, Density, RewardLaw
from collapse_theory.lazy import special
from collapse_theory.limit import first_kind, free_support, grid, panels, second_kind
from collapse_theory.limit.certificate import Certificate, certify
from collapse_theory.limit.coordinate import Grading, Rule, SeriesLaw
from collapse_theory.programs import Box, Domain, unit_utility
from collapse_theory.utilities import Utility, require_concave

# Concavity is looked at up to this many times the support's expected length.
CONCAVE_LENGTHS = 3.0
# Layers thinner than this share of a box hold no two rewards that float64 tells apart.
THINNEST = 1e-16
# V'' = 0 is an equation for slopes: where the penalty's is this share of U'(0) at the ends of the
# support, R is right to 1e-3, and beneath it soon to no digit.
FAINTEST = 1e-17
# The support's expected length is right to a third: a kink is inside from this share on.
INSIDE_LENGTH = 0.7
_COARSE_GAP = 1e-5  # the relative gap below which no grid comes: its error is that of 1/240
_GAPS = np.geomspace(1e-6, 1.0, 50)  # where U is asked whether it bends


# -- the program --------------------------------------------------------------------------------


@dataclass(frozen=True)
class LimitProgram:
    """Maximise ∫∫ U(|x-y|) dmu dmu - kappa ∫ x**2 dmu over laws, of [0, 1] where kappa is None.

    Attributes
    ----------
    utility : Utility
        Of a gap; where there is a box, in units of its width.
    kappa : float or None
        The weight of the penalty; 0 without one, None in a box.
    """

    utility: Utility
    kappa: float | None = None

    @classmethod
    def of(cls, u: Utility, domain: Domain) -> LimitProgram:
        """Return the program of a utility under a domain, checked for the gaps of a box."""
        domain.require_known("the limit law")
        if isinstance(domain, Box):
            return cls(unit_utility(u, domain))
        if u.exponent <= -1:
            raise NoOptimum(
                f"the limit law of {u} has no objective: a utility that falls like -1/x or faster "
                "at gap 0 gives every law a mean of -inf, so none is the best. The optima of "
                "finitely many completions exist: ct.solve(u, n, domain); or take -x**-g with "
                "g < 1, log(x), or a shifted utility such as -1/(x + 0.1)"
            )
        return cls(u, domain.penalty())

    @property
    def walled(self) -> bool:
        """Whether a box holds the law."""
        return self.kappa is None

    @property
    def divergent(self) -> bool:
        """Whether every law has the objective -inf."""
        return self.utility.exponent <= -1

    @cached_property
    def closed_form(self) -> RewardLaw | None:
        """The law, where a closed form gives it."""
        return exact_law(self.utility, self.kappa)

    @cached_property
    def start(self) -> float:
        """Half the length of the support, where it is unknown a first guess."""
        if self.kappa is None:
            return 0.5
        radius = free_support.first_radius(self.utility, self.kappa)
        require_concave(self.utility, max(1.0, 2.0 * CONCAVE_LENGTHS * radius))
        return radius

    @cached_property
    def layer(self) -> float:
        """The width of the layers next to the ends, over the support's length; 1 without any."""
        if not np.isfinite(self.utility.slope_at_zero):
            return 1.0
        return second_kind.layer(self.utility, 2.0 * self.start)

    def require_seen(self) -> None:
        """Raise where the layers of U, or the penalty beside its slopes, are beneath float64."""
        if self.layer < THINNEST:
            raise CollapseError(
                f"{self.utility} bends within {THINNEST:.0e} of 0, where float64 tells no rewards "
                "apart: leave that out, as in log(x) for log(x + 1e-300), or let it bend later"
            )
        slope = self.utility.slope_at_zero
        if self.kappa and np.isfinite(slope) and self.kappa * self.start < FAINTEST * slope:
            raise CollapseError(
                f"the penalty {self.kappa:g} moves the slopes of {self.utility}, up to {slope:g}, "
                f"by less than {FAINTEST:g} of them, which float64 doesn't show: take a stronger "
                "one, or a utility that bends later"
            )

    def kinked(self, length: float) -> bool:
        """Whether U' jumps at a gap below `length`."""
        return any(0 < kink < length for kink in self.utility.kinks)

    @cached_property
    def smooth(self) -> bool:
        """Whether U' jumps at no gap between two rewards, as far as is known."""
        return not self.kinked(1.0 if self.walled else 2.0 * INSIDE_LENGTH * self.start)

    @property
    def curved(self) -> bool:
        """Whether U bends elsewhere than at kinks, so that a law has a density."""
        return self.smooth or bool(self.utility.curvature(_GAPS).any())


# -- the solvers --------------------------------------------------------------------------------


class Shape(Protocol):
    """A law as a solver has it: as a series, panels, points or cells."""

    def law(self) -> RewardLaw:
        """Return it as a law; a CollapseError where its density is negative."""
        ...


Candidates = Iterator[tuple[Shape, Certificate]]


class Answer(NamedTuple):
    """A law, what it reaches, by which method, whether within the tolerance, and its series."""

    law: RewardLaw
    proof: Certificate
    method: str
    optimal: bool
    series: SeriesLaw | None = None


@dataclass(frozen=True)
class Solver:
    """A way to solve the programs that fit it.

    Attributes
    ----------
    name : str
        The method, as laws say it.
    box, line : str
        The `method` that asks for it in a box and without one; empty where it has none.
    fits : callable
        Whether a program is one of its kind.
    candidates : callable
        Yields better and better laws of a program, each with what it reaches.
    kind : str
        The utilities that it is for in a box, in words.
    tolerance : float
        The relative gap up to which its laws are called optimal, unless one is given.
    aim : float or None
        The relative gap at which it stops to refine; the tolerance where None.
    patience : int
        After so many laws that aren't twice as good as the best one it stops as well.
    coarse : bool
        Whether an earlier law with a relative gap below 1e-5 makes it needless.
    """

    name: str
    fits: Callable[[LimitProgram], bool]
    candidates: Callable[[LimitProgram], Candidates]
    box: str = ""
    line: str = ""
    kind: str = ""
    tolerance: float = 1e-9
    aim: float | None = None
    patience: int = 2
    coarse: bool = False

    def may_improve(self, proof: Certificate) -> bool:
        """Return whether it may find a better law than one with this certificate."""
        return not (proof.exhausted or (self.coarse and proof.relative_gap < _COARSE_GAP))

    def asked(self, program: LimitProgram) -> str:
        """Return the `method` that asks for it."""
        return self.box if program.walled else self.line

    def refusal(self, program: LimitProgram) -> CollapseError:
        """Return what to raise where it is asked for and doesn't fit."""
        if self is CLOSED_FORM:
            return NoClosedForm(
                f"no closed form of the limit law is known for {program.utility}; "
                'ct.limit(u, domain) with method="auto" computes it'
            )
        kind = self.kind if program.walled else "utilities without kinks inside the support"
        return CollapseError(
            f'method="{self.asked(program)}" is for {kind}, which {program.utility} is not; '
            'method="auto" picks one that fits'
        )

    def __call__(self, program: LimitProgram, tol: float | None) -> Answer:
        """Return the best of its candidates."""
        found: tuple[Shape, Certificate] | None = None
        worse = 0
        for other in self.candidates(program):
            (no_law, gap), before = other[1].rank, found[1].rank if found else (True, np.inf)
            worse = 0 if (no_law, 2.0 * gap) < before else worse + 1
            found = other if found is None or (no_law, gap) < before else found
            enough = found[1].meets(self.aim or tol or self.tolerance)
            if enough or found[1].exhausted or worse == self.patience:
                break
        assert found is not None
        shape, proof = found
        try:
            law = shape.law()
        except CollapseError as error:
            raise SolverFailed(
                f'method="{self.asked(program)}" found no positive density for {program.utility}; '
                "where a utility is not strictly concave, its best laws may be several or atoms: "
                "take another method, or ct.solve(u, n, domain) for finitely many completions"
            ) from error
        series = shape.series if isinstance(shape, _Known) else shape
        series = series if isinstance(series, SeriesLaw) else None
        return Answer(law, proof, self.name, proof.meets(tol or self.tolerance), series)


class _Known(NamedTuple):
    """A closed form, and the series that certifies it."""

    known: RewardLaw
    series: SeriesLaw | None = None

    def law(self) -> RewardLaw:
        return self.known


def _closed_form(program: LimitProgram) -> Candidates:
    """Yield the formula with a source, certified as every other law is: from the density alone."""
    law, utility, kappa = program.closed_form, program.utility, program.kappa
    assert law is not None
    at, part = law.atoms, law.parts[0] if len(law.parts) == 1 else None
    ends = len(at) == 2 and np.array_equal(at[:, 0], [0, 1]) and at[0, 1] == at[1, 1]
    beta = isinstance(part, BetaDensity) and not len(at)
    steps = _steps(part) if isinstance(part, Density) and kappa is not None else None
    # The formula's own objective has more digits than the rule of quadrature.
    exact = {} if kappa is None or law.objective is None else {"objective": law.objective}
    if beta or (program.walled and part and (ends or not len(at))):
        for terms in (6, 24) if beta else (16, 48):
            series = _as_series(program, law, terms)
            yield _Known(law, series), certify(utility, series, kappa)._replace(**exact)
        return
    if program.walled and not law.parts:
        proof = grid.Points(*at.T).certify(utility)
    elif kappa is not None and steps and not len(at):
        proof = steps.certify(utility, kappa)
    elif kappa is not None and np.array_equal(at, [[0, 1]]) and utility.slope_at_zero <= 0:
        proof = Certificate(float(utility(0.0)), 0.0, 0.0)  # all rewards are 0
    else:
        raise CollapseError(
            f"the closed form from {law.reference!r} gives {law}; a box takes atoms alone, or one "
            "density and equal atoms at 0 and 1 at most; without a box it takes a Beta density, a "
            "density in steps, or the point 0 where U' <= 0"
        )
    yield _Known(law), proof._replace(**exact)


def _steps(part: Density) -> grid.Cells | None:
    """Return a density as cells, None where it isn't constant between its edges."""
    low, width = part.edges[:-1], np.diff(part.edges)
    heights = part.pdf(low + 0.2 * width)
    level = np.allclose(heights, part.pdf(low + 0.8 * width), rtol=1e-12)
    return grid.Cells(part.edges, heights) if level else None


def _as_series(program: LimitProgram, law: RewardLaw, terms: int) -> SeriesLaw:
    """Return a closed form as a series of one term, or as one that asks the density itself.

    Zeros fill it up: certificates take the rules of quadrature for a series of that length.
    """
    coefficients = np.zeros(terms)
    part, utility = law.parts[0], program.utility
    if len(law.atoms) or not isinstance(part, BetaDensity):
        atom = float(law.atoms[:1, 1].sum())
        return GivenLaw(Grading.layered(program.layer), 0.0, coefficients, atom, part=part)
    coefficients[0] = 1.0 / special.beta(part.a, part.a)
    order = first_kind.ends_of(utility, terms, program.walled).order
    grading = Grading(0.0, order) if utility.exponent < 1 else Grading(1.0)
    return SeriesLaw(grading, part.a - 1.0, coefficients, 0.0, part.low, part.high - part.low)


@dataclass(frozen=True, eq=False)
class GivenLaw(SeriesLaw):
    """A law of the unit box whose density is a formula."""

    part: Any = None

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        # By symmetry, so that the upper end is as exact as the lower.
        return self.part.pdf(np.minimum(y, c))

    def masses(self, rule: Rule) -> np.ndarray:
        return rule.weight * self.density(rule.y, rule.c)


def _series(program: LimitProgram) -> Candidates:
    """Yield series of more and more terms in a box; without one, that of the R found."""
    utility, kappa = program.utility, program.kappa
    grading = Grading.layered(program.layer)
    if kappa is None and utility.exponent >= 1:
        laws = second_kind.walled(utility, grading)
    elif kappa is None:
        laws = first_kind.walled(utility)
    else:
        try:
            laws = [free_support.free(utility, kappa, program.start, grading)]
        except np.linalg.LinAlgError as error:
            raise SolverFailed(f"no series has a level potential for {utility}") from error
        if program.kinked(laws[0].length):
            raise SECOND_KIND.refusal(program)
    for law in laws:
        yield law, certify(utility, law, kappa)


CLOSED_FORM = Solver(
    "exact",
    lambda program: program.closed_form is not None,
    _closed_form,
    box="exact",
    line="exact",
    aim=5e-14,  # short rules reach it, but for thin layers
)
# Series aim below the tolerance, as far as rounding lets them come.
SECOND_KIND = Solver(
    "regular",
    lambda program: bool(np.isfinite(program.utility.slope_at_zero)) and program.smooth,
    _series,
    box="regular",
    line="series",
    kind="utilities without kinks and with a finite slope at 0",
    aim=5e-13,
    patience=1,
)
FIRST_KIND = Solver(
    "singular",
    lambda program: -1 < program.utility.exponent < 1 and program.smooth,
    _series,
    box="singular",
    line="series",
    kind="utilities without kinks whose slope at 0 is infinite and whose energy is finite",
    aim=5e-11,
)
PANELS = Solver(
    "panels",
    lambda program: program.walled and not program.divergent and program.curved,
    lambda program: panels.walled(program.utility),
    box="panels",
    kind="utilities of finite energy that bend between their kinks",
    tolerance=1e-8,
    aim=1e-9,
    patience=1,
)
# For lines with kinks, and a reference for all others.
GRID = Solver(
    "grid",
    lambda program: program.walled and bool(np.isfinite(program.utility(0.0))),
    lambda program: iter([grid.walled_points(program.utility)]),
    box="grid",
    kind="utilities that are finite at gap 0",
    tolerance=1e-3,
    coarse=True,
)
CELLS = Solver(
    "cells",
    lambda program: not program.walled,
    lambda program: grid.free(program.utility, program.kappa or 0.0, program.start),
    line="cells",
    tolerance=1e-2,
    coarse=True,
)

SOLVERS = (CLOSED_FORM, SECOND_KIND, FIRST_KIND, PANELS, GRID, CELLS)
Method = Literal["auto", "exact", "regular", "singular", "panels", "grid", "series", "cells"]
METHODS = tuple(solver.box for solver in SOLVERS if solver.box)


def best(program: LimitProgram, method: str, tol: float | None) -> Answer:
    """Return the best law of the solvers that fit the program, tried in their order.

    Raises
    ------
    CollapseError
        A ValueError, for an unknown method, or one that doesn't fit.
    """
    ways = [solver for solver in SOLVERS if solver.asked(program)]
    names = tuple(dict.fromkeys(solver.asked(program) for solver in ways))
    if method not in ("auto", *names):
        known = ", ".join(map(repr, ("auto", *names)))
        raise CollapseError(f"unknown method {method!r}; known methods: {known}")
    if method != "auto":
        ways = [solver for solver in ways if solver.asked(program) == method]
        fitting = [solver for solver in ways if solver.fits(program)]
        if not fitting:
            raise ways[0].refusal(program)
        return fitting[0](program, tol)
    if program.closed_form is None:
        program.require_seen()
    found: Answer | None = None
    failed: Exception | None = None
    for solver in ways:
        if not solver.fits(program) or (found and not solver.may_improve(found.proof)):
            continue
        try:
            other = solver(program, tol)
        except (SolverFailed, CollapseError) as error:  # also a kink that R turned out to reach
            failed = error
            continue
        except np.linalg.LinAlgError:
            failed = SolverFailed(
                f"the equations of {program.utility} are singular in float64; take a less extreme "
                "parameter"
            )
            continue
        found = min(found or other, other, key=lambda one: (not one.optimal, one.proof.rank))
        if found.optimal or solver is CLOSED_FORM:
            return found
    if found is None:
        assert failed is not None
        raise failed
    return found
