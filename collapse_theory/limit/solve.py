"""The limit law of a utility: the program, the solvers that fit it, and what comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from collapse_theory.errors import CollapseError, NoClosedForm, NoOptimum, SolverFailed
from collapse_theory.exact import exact_law
from collapse_theory.exact.confined import confined_limit_form
from collapse_theory.laws import BetaDensity, RewardLaw, uniform_law
from collapse_theory.lazy import special
from collapse_theory.limit import first_kind, free_support, grid, panels, plackett_luce, second_kind
from collapse_theory.limit.certificate import Certificate, certify
from collapse_theory.limit.coordinate import Grading, SeriesLaw
from collapse_theory.limit.prediction import predict
from collapse_theory.numerics.checks import count
from collapse_theory.programs import Box, Domain, unit_utility
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss, require_concave

__all__ = ["METHODS", "SOLVERS", "LimitLaw", "Program", "limit"]

UNIT = Box()
DIVERGENT = "the energy of every law is -inf; this law is the limit of the finite optima"
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
            'method="auto" computes it'
        )

    def __call__(self, program: Program, tol: float | None) -> Answer:
        """Return the closed form with its certificate."""
        law, series = program.closed_form, None
        assert law is not None
        part = law.parts[0] if law.parts else None
        if isinstance(part, BetaDensity) or (part and program.walled):
            series = self._series(program, law)
            proof = certify(program.utility, series, program.kappa)
        elif part and program.kappa is not None:
            edges = part.knots()  # of a density that is constant between them
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
        if not isinstance(part, BetaDensity):
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


def _solve(program: Program, method: str, tol: float | None) -> Answer:
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
    best, failed = None, None
    for solver in ways:
        if not solver.fits(program) or (best and best.proof.relative_gap < solver.reach):
            continue
        try:
            found = solver(program, tol)
        except (SolverFailed, CollapseError) as error:  # also a kink that R turned out to reach
            failed = error
            continue
        best = min(best or found, found, key=lambda answer: (not answer.optimal, answer.proof.gap))
        if best.optimal or isinstance(solver, ClosedForm):
            return best
    if best is None:
        assert failed is not None
        raise failed
    return best


# -- the law ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class LimitLaw(RewardLaw):
    """A `RewardLaw` with the utility and the domain whose optima tend to it.

    Attributes
    ----------
    utility : Utility or PlackettLuce
    domain : Box, Confined, Centered or Free
    series : SeriesLaw or None
        The solution of the equation of the law, where it is one: in units of the box.
    """

    utility: Loss | None = None
    domain: Domain = UNIT
    series: SeriesLaw | None = None

    def rewards(self, n: int) -> np.ndarray:
        """Return the rewards predicted for n completions, corrected for finite n, best first.

        See `collapse_theory.limit.prediction` for the formula and its measured accuracy: 1e-3
        from n = 32 on for ordinary utilities.

        Raises
        ------
        CollapseError
            A ValueError, for utilities with kinks, for -1/x and what falls faster, and outside a
            box, where the limit law doesn't say; `ct.solve` computes them.

        Examples
        --------
        >>> import collapse_theory as ct
        >>> predicted = ct.limit("log(x + 0.1)").rewards(32)
        >>> bool(abs(predicted - ct.solve("log(x + 0.1)", 32).rewards).max() < 1e-3)
        True
        """
        if self.utility is None:
            raise CollapseError(
                "this law doesn't know its utility; ct.limit(u) gives one that does"
            )
        if not isinstance(self.domain, Box):
            raise CollapseError(
                f"the rewards of n completions are predicted in a Box only, not under "
                f"{self.domain}; ct.solve(u, n, domain) computes them"
            )
        n = count(n)
        if isinstance(self.utility, PlackettLuce):
            return plackett_luce.predict(self, self.utility, n)
        program = Program.of(self.utility, self.domain)
        if program.divergent or not program.smooth:
            raise CollapseError(
                f"the limit law of {self.utility} predicts no rewards of n completions (kinks, or "
                "an energy of -inf); ct.solve(u, n) computes them"
            )
        if self.method == Conic.name:  # too coarse for a prediction
            return limit(self.utility, self.domain).rewards(n)
        if program.utility.exponent >= 1:
            rewards = (self.quantiles(n) - self.domain.low) / self.domain.width
        else:
            series = self.series or FirstKind()(program, None).series
            assert series is not None
            rewards = predict(program.utility, series, n)
        rewards[0], rewards[-1] = 1.0, 0.0
        if n % 2:
            rewards[n // 2] = 0.5  # by symmetry: a two-valued law has no quantile there
        return self.domain.low + self.domain.width * rewards

    def mapped(self, low: float, scale: float) -> RewardLaw:
        """Return the law of low + scale X, for scale > 0, as a plain law."""
        return RewardLaw(**_fields(self)).mapped(low, scale)


def _fields(law: RewardLaw) -> dict[str, Any]:
    return {f.name: getattr(law, f.name) for f in dataclasses.fields(RewardLaw) if f.init}


def limit(
    u: Loss | str,
    domain: Domain | None = None,
    method: str = "auto",
    tol: float | None = None,
) -> LimitLaw:
    r"""Return the law that the optimal rewards of n completions tend to as n grows.

    It is the one maximiser over probability laws on the box (Song, Cai, Lee, Su, arXiv:2305.17608,
    theorem 2; Saff and Totik, Logarithmic Potentials with External Fields, ch. I) of

        J(mu) = ∫∫ U(|x-y|) dmu(x) dmu(y),

    and its potential V(x) = ∫ U(|x-y|) dmu(y) is level.

    Parameters
    ----------
    u : Utility, PlackettLuce or str
        The utility of a gap, concave and increasing over the gaps that the domain allows; or the
        listwise loss, whose J and law are in `collapse_theory.limit.plackett_luce`.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given. Without a box a penalty
        kappa ∫ x**2 dmu is taken from J, the law has mean 0 and no atoms, and its support is
        [-R, R], with R unknown (`collapse_theory.limit.free_support`).
    method : {"auto", "exact", "regular", "singular", "panels", "conic"}
        "exact" for closed forms; "regular" for a finite U'(0) (two atoms and a density);
        "singular" for an infinite one; "panels", slower, for either; "conic" for kinks, and as a
        reference for all. "auto" takes these in their order, those that fit, until a certificate
        meets the tolerance, and keeps the best. Without a box: {"auto", "exact", "series",
        "cells"}; the law then says "regular" or "singular" for a series.
    tol : float, optional
        The relative gap up to which the law is called optimal; unless given 1e-9, 1e-8 for
        "panels", 0.02 for "conic" (a grid of 240 cells) and 0.01 for "cells". The series go on
        until about 1e-12, or until rounding stops them, whatever `tol` is.

    Returns
    -------
    LimitLaw
        A `RewardLaw` with `objective` J, `gap` (no law has a J above objective + gap),
        `relative_gap` (the gap over U(width) - objective, without a box over E |U(gap) - U(R)|),
        `method`, `status` ("optimal", or "inaccurate" where the certificate is short of the
        tolerance) and `.rewards(n)`. Where
        U(x) falls like -1/x or faster every law has J = -inf: the law is then uniform, the limit
        of the finite optima, with objective -inf, gap NaN, and a status that says so.

    Raises
    ------
    CollapseError
        A ValueError: a utility that isn't concave or falls, a method that doesn't fit.
    NoClosedForm
        For method="exact", where none is known.
    NoOptimum
        Where nothing holds the rewards; without a box also where U(x) falls like -1/x or faster at
        0, as every law has the objective -inf.
    NotConcave
        Where U is convex at a gap in the box, or within about three times the support.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> law = ct.limit("log(x + 0.1)")
    >>> law.atoms.round(6)
    array([[0.      , 0.183988],
           [1.      , 0.183988]])
    >>> law.relative_gap < 1e-12
    True
    >>> law = ct.limit("logsigmoid(x)", ct.Confined(0.02))
    >>> law.support.round(6), round(law.var(), 6), law.status
    (array([-3.849832,  3.849832]), 4.094419, 'optimal')
    """
    u, domain = as_loss(u), Box() if domain is None else domain
    if not isinstance(domain, Domain):
        raise CollapseError(f"domain must be a Box, Confined, Centered or Free, got {domain!r}")
    if tol is not None and not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    status = None
    if isinstance(u, PlackettLuce):
        law, proof = plackett_luce.solve(u, domain, method)
        answer = Answer(law, proof, ClosedForm.name, proof.meets(ClosedForm.tolerance, tol))
        if proof.objective == np.inf:
            status = plackett_luce.UNBOUNDED
    else:
        program = Program.of(u, domain)
        if program.divergent and method in ("auto", ClosedForm.name):
            answer, status = _divergent(program, method), DIVERGENT
        else:
            with np.errstate(all="ignore"):
                answer = _solve(program, method, tol)
        if isinstance(domain, Box) and domain != UNIT:
            answer = answer._replace(law=answer.law.mapped(domain.low, domain.width))
    reached = {
        "objective": answer.proof.objective,
        "gap": answer.proof.gap,
        "relative_gap": answer.proof.relative_gap,
        "method": answer.method,
        "status": status or ("optimal" if answer.optimal else "inaccurate"),
    }
    fields = _fields(answer.law) | reached
    return LimitLaw(**fields, utility=u, domain=domain, series=answer.series)


def _divergent(program: Program, method: str) -> Answer:
    """Return the limit of the finite optima where every law has the objective -inf."""
    law = program.closed_form
    if law is None and method != "auto":
        raise ClosedForm().refusal(program)
    name = "divergent" if method == "auto" else method
    return Answer(law or uniform_law(), Certificate(-np.inf, np.nan, np.nan), name, False)
