"""Where rewards may lie, and what holds them: the domain of a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import bracketless, finite, finite_array, positive
from collapse_theory.utilities.expression import Tree, jet
from collapse_theory.utilities.language import NoFormula, traced
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MIN_WIDTH = 1e-150  # a smaller width has a square whose reciprocal is outside float64


class Domain(Value):
    """What holds the rewards of n completions: a box, a penalty, or the utility alone.

    A penalty of one's own, mean cost(r_i) with a convex cost, is a subclass with two methods:
    `cost`, and its `conjugate`, which certifies the answer. A third, `cost_slopes`, is needed where
    the cost isn't made of the functions that formulas know. ``ct.solve`` takes it in a domain's
    place; closed forms, ``limit``, training and listwise losses know the four domains alone.

    Attributes
    ----------
    bounded : bool
        Whether it is a box.
    width, unit : float
        The largest gap that the domain allows, and what a program measures gaps in: the width of a
        box.
    squares, sums : float
        The weights of the penalties mean (r_i - anchor_i)**2, and mean over pairs of
        (r_i + r_j)**2.
    anchors : numpy.ndarray or None
        Where the penalty on squares pulls each completion; 0 unless given.
    ordered : bool
        Whether a better completion can't have less than a worse one.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> class Quartic(ct.Domain):
    ...     def cost(self, r):
    ...         return r**4
    ...     def conjugate(self, y):  # the largest y r - r**4
    ...         return 3 * np.abs(y / 4) ** (4 / 3)
    >>> found = ct.solve("log(x + 0.1)", 4, Quartic())
    >>> found.rewards.round(3), found.relative_gap < 1e-12
    (array([ 0.808,  0.35 , -0.35 , -0.808]), True)
    """

    bounded: bool = False
    width: float = math.inf
    unit: float = 1.0
    squares: float = 0.0
    sums: float = 0.0
    ordered: bool = True

    @property
    def anchors(self) -> np.ndarray | None:
        """Where the penalty on squares pulls each completion; None for 0."""
        return None

    def placed(self, rewards: np.ndarray) -> np.ndarray:
        """Return a program's rewards, in the box between 0 and 1, where the domain has them."""
        return rewards

    def penalty(self, n: int | None = None) -> float:
        """Return the kappa of a full ranking of n completions with mean 0, or of their limit.

        Over all pairs of n rewards with mean 0, sum (r_i + r_j)**2 = (n-2) sum r_i**2, so that the
        penalty on sums is one on squares, with 2c (n-2)/(n-1).
        """
        return self.squares + 2 * self.sums * (1.0 if n is None else (n - 2) / (n - 1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # of a dataclass, its own

    # -- a penalty of one's own --------------------------------------------------------------

    @property
    def own(self) -> bool:
        """Whether the penalty is one's own."""
        return type(self).cost is not Domain.cost

    def cost(self, r: Any) -> Any:
        """Return what each reward costs, convex; the penalty is the mean over completions."""
        raise CollapseError(
            f"{type(self).__name__} needs the methods cost(r), a convex function, and conjugate(y) "
            "= sup over r of y r - cost(r); see ct.Domain"
        )

    def conjugate(self, y: Any) -> Any:
        """Return sup over r of y r - cost(r), inf where nothing bounds it."""
        raise CollapseError(f"{type(self).__name__} needs conjugate(y) beside its cost(r)")

    def cost_slopes(self, r: Any) -> tuple[Any, Any]:
        """Return the first two derivatives of the cost; unless written, those of its formula."""
        if isinstance(self._formula, str):
            raise CollapseError(
                f"{type(self).__name__} needs cost_slopes(r), which returns the first two "
                f"derivatives of its cost: {self._formula}"
            )
        return jet(self._formula, r)[1:]

    @cached_property
    def _formula(self) -> Tree | str:
        try:
            return traced(self.cost)
        except NoFormula as fault:
            return str(fault)

    @cached_property
    def strict(self) -> bool:
        """Whether a penalty of one's own is strictly convex, as far as is seen; checked before.

        Raises
        ------
        CollapseError
            A ValueError, where the cost isn't convex or the conjugate isn't its own.
        """
        r = np.concatenate([-TRIED[::-1], [0.0], TRIED])
        with np.errstate(all="ignore"):
            cost = np.asarray(self.cost(r), dtype=np.float64) + 0 * r
            first = np.asarray(self.cost_slopes(r)[0]) + 0 * r
            conjugate = np.asarray(self.conjugate(first), dtype=np.float64)
            size = np.abs(cost) + np.abs(first * r)
            known = np.isfinite(size)
            steep = np.abs(first) + np.abs(np.roll(first, 1))
            falls = (first - np.roll(first, 1) < -1e-9 * steep) & np.roll(known, 1)
            falls[0] = False
            off = ~(np.abs(conjugate + cost - first * r) <= 1e-9 * size + 1e-12)
        near = np.abs(r) <= 5  # farther out slopes may round to their limits
        for wrong, what in (
            (~known & (np.abs(r) <= 1), "has no value or no slope"),
            (known & falls, "isn't convex"),
            (known & off & near, "needs conjugate(cost'(r)) = r cost'(r) - cost(r): it isn't so"),
        ):
            if np.any(wrong):
                raise CollapseError(f"the cost of {self} {what} at r = {r[np.argmax(wrong)]:.4g}")
        return bool(np.all(np.diff(first[known & near]) > 0))

    def require_known(self, what: str) -> None:
        """Raise where the penalty is one's own, or of one prompt, which `what` doesn't know."""
        if self.anchors is not None:
            raise CollapseError(
                f"{what} doesn't know Anchored: its centers are those of the completions of one "
                "prompt, so that no law is common to all prompts, or to all numbers of "
                "completions; ct.solve takes it, and RankingLoss"
            )
        if self.own:
            raise CollapseError(
                f"{what} knows Box, Confined, Centered and Free alone; ct.solve takes {self}"
            )


# Rewards at which a cost is looked at, of either sign.
TRIED = np.geomspace(1e-3, 100.0, 60)


# What a domain can be given as: a pair of numbers is a Box, as bounds are in SciPy.
DomainLike: TypeAlias = Domain | Sequence[float]


def as_domain(given: DomainLike | None) -> Domain:
    """Return the domain that `given` is: a pair (low, high) is a Box, None the box [0, 1].

    Examples
    --------
    >>> from collapse_theory.programs import as_domain
    >>> as_domain((0, 2)), as_domain(None)
    (Box(low=0.0, high=2.0), Box(low=0.0, high=1.0))
    """
    if given is None:
        return UNIT
    if isinstance(given, Domain):
        if type(given).__module__ != __name__:
            given.strict  # noqa: B018 - checks it, once
        return given
    if isinstance(given, type) and issubclass(given, Domain):
        raise CollapseError(bracketless(given))
    listed = given.tolist() if isinstance(given, np.ndarray) else given
    if isinstance(listed, Sequence) and not isinstance(listed, str | bytes) and len(listed) == 2:
        return Box(*listed)
    raise CollapseError(
        "domain must be ct.Box(0, 1) or a pair (0, 1), or ct.Confined(0.1), ct.Centered(0.1) or "
        f"ct.Free(); not {given!r}"
    )


def as_box(given: DomainLike | None) -> Box:
    """Return the box that `given` is, for what is known in a box alone.

    Examples
    --------
    >>> from collapse_theory.programs import as_box
    >>> as_box((0, 2))
    Box(low=0.0, high=2.0)
    """
    domain = as_domain(given)
    if not isinstance(domain, Box):
        raise CollapseError(f"domain must be a box, ct.Box(0, 1) or a pair (0, 1); not {domain!r}")
    return domain


@dataclass(frozen=True, eq=False)
class Box(Domain):
    """Rewards in [low, high], as a sigmoid on top of a reward model gives them.

    Parameters
    ----------
    low, high : float
        The ends of the box, low < high.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.Log(), 3, domain=ct.Box(-1, 1)).rewards
    array([ 1.,  0., -1.])
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("low", "high"):
            self._set(**{name: finite(getattr(self, name), f"Box needs finite ends: {name}")})
        if not self.low < self.high:
            raise CollapseError(f"Box needs low < high, got low={self.low}, high={self.high}")
        width = self.high - self.low
        if not MIN_WIDTH <= width < math.inf:
            raise CollapseError(
                f"Box needs a width between {MIN_WIDTH:g} and 1.8e308, got low={self.low}, "
                f"high={self.high}"
            )

        self._set(bounded=True, width=width, unit=width)

    def placed(self, rewards: np.ndarray) -> np.ndarray:
        """Return rewards in [0, 1] mapped to the box, the best to `high` exactly."""
        if self.low == 0 and self.high == 1:
            return rewards
        top = self.high - self.width * (1.0 - rewards)  # measured from the upper end
        mapped = np.where(rewards > 0.5, top, self.low + self.width * rewards)
        return np.minimum(np.maximum(mapped, self.low), self.high)


UNIT = Box()


@dataclass(frozen=True, eq=False)
class Confined(Domain):
    """Rewards in all of R, held by a penalty: mean U(r_i - r_j) - kappa mean r_i**2.

    Parameters
    ----------
    kappa : float
        The weight of the penalty, positive.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.Linear(), 3, domain=ct.Confined(0.5)).rewards
    array([ 2.,  0., -2.])
    """

    kappa: float

    def __post_init__(self) -> None:
        super().__post_init__()
        kappa = positive(self.kappa, "kappa of Confined")
        self._set(kappa=kappa, squares=kappa)


@dataclass(frozen=True, eq=False)
class Centered(Domain):
    """Rewards in all of R, held as TRL's center_rewards_coefficient does.

    The objective is the mean over pairs of U(r_i - r_j) - c (r_i + r_j)**2. With n completions it
    is that of Confined(2c (n-2)/(n-1)) with mean 0; in the limit that of Confined(2c).

    Parameters
    ----------
    c : float
        The coefficient, positive.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve("logsigmoid(x)", 3, ct.Centered(0.1)).rewards.round(3)
    array([ 1.348,  0.   , -1.348])
    """

    c: float

    def __post_init__(self) -> None:
        super().__post_init__()
        c = positive(self.c, "c of Centered")
        self._set(c=c, sums=c)


@dataclass(frozen=True, eq=False)
class Anchored(Domain):
    """Rewards in all of R, pulled to centers: mean U(r_i - r_j) - |r - centers|**2/(2 memory).

    What a model says of a prompt that it has learned from, where the centers are what it says
    without (docs/capacity.md): it may still have an order wrong, so that no order is kept and gaps
    may be negative. Below gap 0 a utility keeps its formula where that is concave (log-sigmoid,
    1 - exp(-b x)), and goes on along its tangent elsewhere; one with an infinite slope there keeps
    all gaps positive.

    Parameters
    ----------
    centers : array_like, shape (n,)
        One a completion, in the completions' own order: best first unless comparisons say more.
    memory : float
        Positive; near 0 the rewards are the centers, at infinity those of total collapse.

    Notes
    -----
    It is the proximal map of the program (Moreau, Bulletin de la SMF 93 (1965), 273-299). With all
    centers 0 it is Confined(n/(2 memory)) without the order. The objective is strongly concave: no
    rewards have one above it by more than memory/2 times the square of its gradient.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve("logsigmoid(x)", domain=ct.Anchored([0.3, -0.2, 0.5], 1.0)).rewards.round(3)
    array([ 0.549, -0.122,  0.173])
    """

    centers: Array
    memory: float

    if TYPE_CHECKING:  # more is taken than is kept

        def __init__(self, centers: ArrayLike, memory: float) -> None: ...

    ordered = False

    def __post_init__(self) -> None:
        centers = finite_array(self.centers, "the centers of Anchored", 1)
        if len(centers) < 2:
            raise CollapseError(f"Anchored needs 2 centers or more, one a completion: {centers}")
        memory = positive(self.memory, "memory of Anchored")
        self._set(centers=centers, memory=memory, squares=len(centers) / (2 * memory))
        super().__post_init__()

    @property
    def anchors(self) -> np.ndarray:
        """The centers."""
        return self.centers


@dataclass(frozen=True, eq=False)
class Free(Domain):
    """Rewards in all of R, held by nothing but the utility; given with mean 0.

    It has an optimum for utilities with a maximum: LabelSmoothing, Squared.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.LabelSmoothing(0.1), 3, ct.Free()).rewards.round(3)
    array([ 1.634,  0.   , -1.634])
    """
