"""The program of a limit law, and the solvers: those that fit are tried in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from collapse_theory.errors import CollapseError, NoClosedForm, NoOptimum, SolverFailed
from collapse_theory.exact import exact_law
from collapse_theory.exact.penalty import confined_limit_form
from collapse_theory.laws import BetaDensity, Density, RewardLaw
from collapse_theory.lazy import special
from collapse_theory.limit import first_kind, free_support, grid, panels, second_kind
from collapse_theory.limit.certificate import Certificate, certify
from collapse_theory.limit.coordinate import Grading, SeriesLaw
from collapse_theory.programs import Box, Domain, unit_utility
from collapse_theory.utilities import Utility, require_concave

__all__ = ["METHODS", "SOLVERS", "Answer", "ClosedForm", "Conic", "FirstKind", "Program", "best"]

# Concavity is looked at up to this many times the support's expected length.
WIDER = 3.0
# The support's expected length is right to a third: a kink is inside from this share on.
INSIDE = 0.7


# -- the program --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
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
    def of(cls, u: Utility, domain: Domain) -> Program:
        """Return the program of a utility under a domain, checked for the gaps of a box."""
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
        if self.kappa is None:
            return exact_law(self.utility)
        return confined_limit_form(self.utility, self.kappa)

    @cached_property
    def start(self) -> float:
        """Half the length of the support, where it is unknown a first guess."""
        if self.kappa is None:
            return 0.5
        radius = free_support.first_radius(self.utility, self.kappa)
        require_concave(self.utility, max(1.0, 2.0 * WIDER * radius))
        return radius

    def kinked(self, length: float) -> bool:
        """Whether U' jumps at a gap below `length`."""
        return any(0 < kink < length for kink in self.utility.kinks)

    @cached_property
    def smooth(self) -> bool:
        """Whether U' jumps at no gap between two rewards, as far as is known."""
        return not self.kinked(1.0 if self.walled else 2.0 * INSIDE * self.start)


# -- the solvers --------------------------------------------------------------------------------


class Shape(Protocol):
    """What a solver finds, in its own terms."""

    def law(self) -> RewardLaw:
        """Return it as a law; a CollapseError where its density is negative."""
        ...


class Answer(NamedTuple):
    """A law, what it reaches, by which method, whether within the tolerance, and its series."""

    law: RewardLaw
    proof: Certificate
    method: str
    optimal: bool
    series: SeriesLaw | None = None


class Solver:
    """A way to solve the programs that fit it.

    Attributes
    ----------
    name : str
        The method, as laws say it.
    box, line : str
        What it is asked for by in a box and without one; empty where it has no such way.
    tolerance : float
        The relative gap up to which its laws are called optimal, unless one is given.
    aim : float or None
        The relative gap at which it stops to refine; the tolerance where None.
    patience : int
        After so many laws that aren't twice as good as the best one it stops as well.
    reach : float
        The relative gap below which it can't come: a better law makes it needless.
    kind : str
        The utilities that it is for, in words.
    """

    name: ClassVar[str]
    box: ClassVar[str] = ""
    line: ClassVar[str] = ""
    tolerance: ClassVar[float] = 1e-9
    aim: ClassVar[float | None] = None
    patience: ClassVar[int] = 2
    reach: ClassVar[float] = 0.0
    kind: ClassVar[str] = "utilities without kinks inside the support"

    def asked(self, program: Program) -> str:
        """Return the name that it is asked for by."""
        return self.box if program.walled else self.line

    def fits(self, program: Program) -> bool:
        """Return whether the program is one of its kind."""
        raise NotImplementedError

    def candidates(self, program: Program) -> Iterator[tuple[Shape, Certificate]]:
        """Yield better and better laws, each with what it reaches."""
        raise NotImplementedError

    def refusal(self, program: Program) -> CollapseError:
        """Return what to raise where it is asked for and doesn't fit."""
        kind = self.kind if program.walled else Solver.kind
        return CollapseError(
            f'method="{self.asked(program)}" is for {kind}, which {program.utility} is not; '
            'method="auto" picks one that fits'
        )

    def __call__(self, program: Program, tol: float | None) -> Answer:
        """Return the best of its candidates."""
        best: tuple[Shape, Certificate] | None = None
        worse = 0
        for found in self.candidates(program):
            worse = 0 if best is None or found[1].gap < 0.5 * best[1].gap else worse + 1
            best = found if best is None or found[1].gap < best[1].gap else best
            enough = best[1].meets(self.aim) if self.aim else best[1].meets(self.tolerance, tol)
            if enough or worse == self.patience:
                break
        assert best is not None
        shape, proof = best
        try:
            law = shape.law()
        except CollapseError as error:
            raise SolverFailed(
                f'method="{self.asked(program)}" found no positive density for {program.utility}; '
                "where a utility is not strictly concave, its best laws may be several or atoms: "
                'method="auto", or ct.solve(u, n, domain) for finitely many completions'
            ) from error
        series = shape if isinstance(shape, SeriesLaw) else None
        return Answer(law, proof, self.name, proof.meets(self.tolerance, tol), series)


class ClosedForm(Solver):
    """Formulas with a source, certified as every other law is: from the density alone."""

    name = box = line = "exact"
    # Certificates take the rules of quadrature for series of so many terms.
    terms: ClassVar[int] = 48

    def fits(self, program: Program) -> bool:
        """Return whether a closed form is known."""
        return program.closed_form is not None

    def refusal(self, program: Program) -> CollapseError:
        """Return NoClosedForm."""
        return NoClosedForm(
            f"no closed form of the limit law is known for {program.utility}; "
            'ct.limit(u, domain) with method="auto" computes it'
        )

    def __call__(self, program: Program, tol: float | None) -> Answer:
        """Return the closed form with its certificate."""
        law, series = program.closed_form, None
        assert law is not None
        part = law.parts[0] if law.parts else None
        if isinstance(part, BetaDensity) or (part and program.walled):
            series = self._series(program, law)
            proof = certify(program.utility, series, program.kappa)
        elif isinstance(part, Density) and program.kappa is not None:
            edges = part.edges  # of a density that is constant between them
            cells = grid.Cells(edges, part.pdf(0.5 * (edges[1:] + edges[:-1])))
            proof = cells.certify(program.utility, program.kappa)
        elif program.walled:
            proof = grid.Points(*law.atoms.T).certify(program.utility)
        else:
            proof = Certificate(law.objective or 0.0, 0.0, 0.0)  # U' <= 0: all rewards are 0
        if not program.walled:
            proof = proof._replace(objective=law.objective)
        return Answer(law, proof, self.name, proof.meets(self.tolerance, tol), series)

    def _series(self, program: Program, law: RewardLaw) -> SeriesLaw:
        """Return the law as a series of one term, or as one that asks the density itself."""
        part, utility = law.parts[0], program.utility
        coefficients = np.zeros(self.terms if program.walled else self.terms // 2)
        if len(law.atoms) or not isinstance(part, BetaDensity):
            grading = Grading(second_kind.layer(utility, 1.0))
            return _Given(grading, 0.0, coefficients, float(law.atoms[0, 1]), part=part)
        coefficients[0] = 1.0 / special.beta(part.a, part.a)
        order = first_kind.ends_of(utility, self.terms, program.walled).order
        grading = Grading(0.0, order) if utility.exponent < 1 else Grading(1.0)
        support = part.low, part.high - part.low
        return SeriesLaw(grading, part.a - 1.0, coefficients, 0.0, *support)


@dataclass(frozen=True, eq=False)
class _Given(SeriesLaw):
    """A law of the unit box whose density is a formula."""

    part: Any = None

    def density(self, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        # By symmetry, so that the upper end is as exact as the lower.
        return self.part.pdf(np.minimum(y, c))


class SecondKind(Solver):
    """U'(0) finite: a Fredholm equation; in a box two atoms and a density."""

    name = box = "regular"
    line = "series"
    kind = "utilities without kinks and with a finite slope at 0"
    # Below the tolerance; rounding alone is about 1e-14.
    aim = 5e-13
    patience = 1

    def fits(self, program: Program) -> bool:
        """Return whether U'(0) is finite, and nothing kinked."""
        return program.utility.exponent >= 1 and program.smooth

    def candidates(self, program: Program) -> Iterator[tuple[Shape, Certificate]]:
        """Yield series of more and more terms in a box, the one for R without."""
        if program.kappa is None:
            kind = first_kind if program.utility.exponent < 1 else second_kind
            laws = kind.walled(program.utility)
        else:
            laws = iter([self._free(program, program.kappa)])
        for law in laws:
            yield law, certify(program.utility, law, program.kappa)

    def _free(self, program: Program, kappa: float) -> SeriesLaw:
        try:
            law = free_support.free(program.utility, kappa, program.start)
        except np.linalg.LinAlgError as error:
            raise SolverFailed(f"no series has a level potential for {program.utility}") from error
        if program.kinked(law.length):
            raise self.refusal(program)
        return law


class FirstKind(SecondKind):
    """U'(0) infinite: a level potential, and a density with algebraic ends."""

    name = box = "singular"
    kind = "utilities without kinks whose slope at 0 is infinite and whose energy is finite"
    aim = 5e-11
    patience = 2

    def fits(self, program: Program) -> bool:
        """Return whether U'(0) is infinite, the energy finite, and nothing kinked."""
        return -1 < program.utility.exponent < 1 and program.smooth


class Panels(Solver):
    """What no series resolves in a box, slower."""

    name = box = "panels"
    kind = "utilities of finite energy without kinks"
    tolerance = 1e-8
    aim = 1e-9
    patience = 1

    def fits(self, program: Program) -> bool:
        """Return whether there is a box, the energy finite, and nothing kinked."""
        return program.walled and not program.divergent and program.smooth

    def candidates(self, program: Program) -> Iterator[tuple[Shape, Certificate]]:
        """Yield laws on narrower and narrower panels."""
        return panels.walled(program.utility)


class Conic(Solver):
    """Kinks in a box: masses of points or of cells by a convex program; a reference for all."""

    name = box = "conic"
    kind = "utilities whose energy isn't -inf for every law"
    tolerance = 2e-2
    reach = 1e-5

    def fits(self, program: Program) -> bool:
        """Return whether there is a box, and the energy finite."""
        return program.walled and not program.divergent

    def candidates(self, program: Program) -> Iterator[tuple[Shape, Certificate]]:
        """Yield one law."""
        with np.errstate(all="ignore"):
            finite = np.isfinite(program.utility(0.0))
        yield (grid.walled_points if finite else grid.walled_cells)(program.utility)


class Cells(Solver):
    """Kinks without a box: a density constant on cells."""

    name = line = "cells"
    tolerance = 1e-2
    reach = 1e-5

    def fits(self, program: Program) -> bool:
        """Return whether there is no box."""
        return not program.walled

    def candidates(self, program: Program) -> Iterator[tuple[Shape, Certificate]]:
        """Yield laws of a few hundred cells, then of a thousand."""
        assert program.kappa is not None
        return grid.free(program.utility, program.kappa, program.start)


SOLVERS: tuple[Solver, ...] = (
    ClosedForm(),
    SecondKind(),
    FirstKind(),
    Panels(),
    Conic(),
    Cells(),
)
METHODS = tuple(solver.box for solver in SOLVERS if solver.box)


def best(program: Program, method: str, tol: float | None) -> Answer:
    """Return the best law of the solvers that fit the program, in their order."""
    ways = [solver for solver in SOLVERS if solver.asked(program)]
    if method not in ("auto", *(solver.asked(program) for solver in ways)):
        known = ", ".join(dict.fromkeys(repr(solver.asked(program)) for solver in ways))
        raise CollapseError(f"unknown method {method!r}; known methods: 'auto', {known}")
    if method != "auto":
        ways = [solver for solver in ways if solver.asked(program) == method]
        fitting = [solver for solver in ways if solver.fits(program)]
        if not fitting:
            raise ways[0].refusal(program)
        return fitting[0](program, tol)
    found: Answer | None = None
    failed: Exception | None = None
    for solver in ways:
        if not solver.fits(program) or (found and found.proof.relative_gap < solver.reach):
            continue
        try:
            other = solver(program, tol)
        except (SolverFailed, CollapseError) as error:  # also a kink that R turned out to reach
            failed = error
            continue
        found = min(found or other, other, key=lambda one: (not one.optimal, one.proof.gap))
        if found.optimal or isinstance(solver, ClosedForm):
            return found
    if found is None:
        assert failed is not None
        raise failed
    return found
