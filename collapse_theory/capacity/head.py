"""A linear head on given features: certified, with what it would say of each prompt unseen.

The program of `head_program` is strongly concave, -Hess F >= 2 lambda I, so at any weights w

    F(w*) - F(w) <= |grad F|**2 / (4 lambda),    |w - w*| <= |grad F| / (2 lambda),

and a reward phi.w is off by at most |phi| |grad F| / (2 lambda): of a new completion, too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from collapse_theory.capacity.features import as_features, prompts_of
from collapse_theory.capacity.head_newton import left_out, newton
from collapse_theory.capacity.head_program import HeadProgram
from collapse_theory.capacity.head_ties import held_equal
from collapse_theory.design.slope import trained_utility
from collapse_theory.display import latex_number
from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.laws import RewardLaw, empirical_law
from collapse_theory.lazy import polars
from collapse_theory.numerics.checks import finite_array, positive, whole
from collapse_theory.programs import Domain, Free, as_domain
from collapse_theory.programs.program import EPS
from collapse_theory.utilities import PlackettLuce, Utility, as_loss, continued
from collapse_theory.utilities.latex import latex
from collapse_theory.values import Array, Value, shown_by_repr

FEW = 50  # prompts below which the one-step formula was off by 5% to 60% of the shift it predicts
TOLERANCE = 1e-9  # the relative gap up to which a head is optimal, as of `solve`
ITERATIONS = 100
PENALTIES = tuple(float(f"{x:.6g}") for x in np.geomspace(10.0, 1e-5, 13))


@dataclass(frozen=True, eq=False, repr=False)
class Head(Value):
    """A linear head, r = phi.w, that maximises F(w) = mean_p f_p - penalty |w|**2.

    Attributes
    ----------
    weights : numpy.ndarray, shape (d,)
    rewards : numpy.ndarray, shape (N, n), or (M,) for features (M, d)
        Of the training completions, as the features came; NaN where a prompt has fewer.
    held_out : numpy.ndarray, as `rewards`
        What the head would say of each prompt had it not been trained on it, the others' weights
        kept: one step of Newton's method from the optimum of all. Against exact refits the shift
        from `rewards` is right within 5% from 50 prompts on and 3% from 200, where U'' has no jump
        at gap 0 and less than a third of the freedom is used (docs/capacity.md#left-out). Below 50
        prompts it is poor, and asking for it warns.
    reward_error : numpy.ndarray, as `rewards`
        A bound of |reward - reward of the optimal head|, rounding included.
    weights_error : float
        A bound of |w - w*|.
    objective, gap, relative_gap : float
        F; a bound of what F can still gain, rounding included; that without the rounding of F, in
        units of the spread of U over the pairs.
    mean_utility, held_out_utility : float
        The mean over prompts of f_p, and that at `held_out`, which the penalty is chosen by.
    freedom : float
        The degrees of freedom that the head uses.
    reward_freedom : int
        Those that the rewards have, up to a level a prompt: N (n - 1).
    memory : float
        gamma of the memory law before its left-out correction: what prompts learn of themselves.
    prompts : int
        Those with a pair to compare.
    status : str
        "optimal", "inaccurate" or "max_iterations".
    iterations : int
    utility : Utility
        As it is trained: with the offset, if one was given.
    penalty : float

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> p, i, k = np.ogrid[1:61, 1:5, 1:6]
    >>> head = ct.fit_head(np.cos(p * i * k), penalty=0.1)
    >>> head
    Head(logsigmoid(x), 60 prompts, 5 features, penalty 0.1: mean utility -0.692927, left out
    -0.705958, freedom 2.75 of 180, memory 0.0916, relative gap ..., optimal)
    >>> bool(head.reward_error.max() < 1e-12), head.predict(np.eye(5)[:2]).round(3)
    (True, array([-0.003,  0.015]))
    """

    weights: Array
    rewards: Array
    one_step: Array
    reward_error: Array
    weights_error: float
    objective: float
    gap: float
    relative_gap: float
    mean_utility: float
    held_out_utility: float
    freedom: float
    reward_freedom: int
    memory: float
    prompts: int
    status: str
    iterations: int
    utility: Utility
    penalty: float

    @property
    def held_out(self) -> np.ndarray:
        """What the head would say of each prompt had it not been trained on it."""
        if self.prompts < FEW:
            warnings.warn(
                f"left-out rewards come from one step of Newton's method, which takes {FEW} "
                f"prompts or more; with {self.prompts} they may be far off: fit the head again "
                "without the prompt",
                stacklevel=2,
            )
        return self.one_step

    @cached_property
    def law(self) -> RewardLaw:
        """The empirical law of the training rewards, each prompt's less their mean.

        Gaps alone count in training, so that a prompt's mean says nothing.
        """
        rows = self.rewards if self.rewards.ndim == 2 else self.rewards[None]
        rows = rows - np.nanmean(rows, axis=1, keepdims=True)
        return empirical_law(rows[np.isfinite(rows)])

    def predict(self, features: Any) -> np.ndarray:
        """Return the rewards of completions: of features (..., d) those of the shape (...)."""
        return self._features(features) @ self.weights

    def predict_error(self, features: Any) -> np.ndarray:
        """Return a bound of |predicted reward - that of the optimal head|, rounding included."""
        norms = np.linalg.norm(self._features(features), axis=-1)
        d, long = len(self.weights), float(np.linalg.norm(self.weights))
        return norms * (self.weights_error + (d + 4) * EPS * long) * (1 + d * EPS)

    def _features(self, features: Any) -> np.ndarray:
        found = as_features(features).astype(np.float64, copy=False)
        if not found.ndim or found.shape[-1] != len(self.weights):
            raise CollapseError(
                f"the head has {len(self.weights)} features, these have the shape {found.shape}"
            )
        return found

    def to_linear(self, dtype: Any = None) -> Any:
        """Return the head as a ``torch.nn.Linear(d, 1, bias=False)``, in float64 unless told.

        In float32 each weight is rounded to 6e-8 of its size: rewards move by up to 6e-8 |phi| |w|.
        ``fit_head(features, start=layer, max_iterations=0, ...)`` reads a layer back, trained or
        not, and says how far from optimal it is.
        """
        import torch

        layer = torch.nn.Linear(
            len(self.weights), 1, bias=False, dtype=torch.float64 if dtype is None else dtype
        )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weights.copy())[None])
        return layer

    _repr_pretty_ = shown_by_repr

    def __repr__(self) -> str:
        return (
            f"Head({self.utility}, {self.prompts} prompts, {len(self.weights)} features, penalty "
            f"{self.penalty:g}: mean utility {self.mean_utility:.6g}, left out "
            f"{self.held_out_utility:.6g}, freedom {self.freedom:.3g} of {self.reward_freedom}, "
            f"memory {self.memory:.3g}, relative gap {self.relative_gap:.1e}, {self.status})"
        )

    def _latex(self) -> str:
        given = latex(self.utility.tree()), latex_number(self.penalty)
        told = r",\quad U(x) = {},\quad \lambda = {}".format(*given)
        return r"\max_w\ \frac{1}{N}\sum_p f_p(\Phi_p w) - \lambda |w|^2" + told


def _of_each(name: str) -> Any:
    """Return the property of a path that has this of each head."""
    return property(lambda self: np.array([getattr(head, name) for head in self.heads]))


@dataclass(frozen=True, eq=False, repr=False)
class HeadPath(Value):
    """The heads of one set of rankings under several penalties, the largest first.

    Attributes
    ----------
    heads : tuple of Head
    penalties, mean_utility, held_out_utility, freedom, memory : numpy.ndarray, shape (heads,)
        Of each head.
    best : Head
        That of the highest left-out utility.
    at_an_end : bool
        Whether the best penalty is the largest or the smallest tried, so that others may be better.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(60, 4, 3))
    >>> order = np.argsort(-features[..., 0] - rng.logistic(size=(60, 4)), axis=1)
    >>> path = ct.head_path(np.take_along_axis(features, order[..., None], 1))
    >>> path
    HeadPath(13 penalties from 10 to 1e-05; left-out utility is highest at ...)
    >>> path.best.penalty in path.penalties, path.at_an_end
    (True, False)
    """

    heads: tuple[Head, ...]

    penalties = _of_each("penalty")
    mean_utility = _of_each("mean_utility")
    held_out_utility = _of_each("held_out_utility")
    freedom = _of_each("freedom")
    memory = _of_each("memory")

    @property
    def best(self) -> Head:
        """The head of the highest left-out utility."""
        return self.heads[int(np.argmax(self.held_out_utility))]

    @property
    def at_an_end(self) -> bool:
        """Whether the best penalty is the largest or the smallest tried."""
        return self.best in (self.heads[0], self.heads[-1])

    _repr_pretty_ = shown_by_repr

    def __repr__(self) -> str:
        first, last = self.heads[0].penalty, self.heads[-1].penalty
        end = ", at an end of the path: try others" if self.at_an_end else ""
        return (
            f"HeadPath({len(self.heads)} penalties from {first:g} to {last:g}; left-out utility is "
            f"highest at {self.best.penalty:g}{end})"
        )

    def _columns(self) -> dict[str, np.ndarray]:
        told = "mean_utility", "held_out_utility", "freedom", "memory"
        return {"penalty": self.penalties} | {name: getattr(self, name) for name in told}

    def to_frame(self) -> polars.DataFrame:
        """Return a row a penalty as a Polars frame; ``.to_pandas()`` makes one of pandas."""
        return polars.DataFrame(self._columns())


def fit_head(
    features: Any,
    utility: Utility | str = "logsigmoid(x)",
    *,
    penalty: float,
    comparisons: Any = None,
    weights: Any = None,
    domain: Domain | None = None,
    offset: float | None = None,
    start: Any = None,
    max_iterations: int = ITERATIONS,
) -> Head:
    """Return the linear head that training on these rankings with an L2 penalty ends at.

    It maximises F(w) = (1/N) sum_p f_p(Phi_p w) - penalty |w|**2 with f_p the mean over prompt p's
    pairs of U(r_i - r_j), by Newton's method; the certificate comes from the weights alone.

    Parameters
    ----------
    features : array_like, list or iterable
        (N, n, d), best first; or (M, d) with comparisons; a list of arrays (n, d), a prompt each;
        or batches (B, n, d) that can be read again, where features don't fit in memory. Of NumPy,
        torch or Arrow, in float32 or float64 (computed with in float64).
    utility : Utility or str
        Below gap 0 it keeps its own formula where that is concave, else goes on by its tangent.
    penalty : float
        lambda > 0. L2 in a loss of mean -f is lambda |w|**2; torch's ``weight_decay`` of SGD and
        Adam is 2 lambda; AdamW's is no penalty.
    comparisons : Comparisons or list of Comparisons, optional
        One graph for all prompts, or one a prompt; of features (M, d) one of all M completions,
        whose connected parts are the prompts. Weights count within a prompt, in one graph of all M
        over all. The head says the same of completions that are held equal, whatever their
        features: it is orthogonal to their differences. It may have pairs wrong.
    weights : array_like, shape (N,), optional
        How much each prompt counts; the same unless given.
    domain : Domain, optional
        Free(), as nothing but the penalty holds a head; others are refused with the reason.
    offset : float, optional
        Trains U(x + offset): needed where U'(0) is infinite.
    start : array_like of shape (d,), Head or torch.nn.Linear, optional
        Where to begin; with ``max_iterations=0`` it is what gets certified.
    max_iterations : int

    Raises
    ------
    CollapseError
        A ValueError: features and comparisons that don't match, a utility with an infinite slope at
        gap 0 or kinks, a sigmoid.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> head = ct.fit_head(np.eye(4)[None], "log(x + 0.1)", penalty=0.05)
    >>> expected = ct.solve("log(x + 0.1)", 4, ct.Confined(4 * 0.05))
    >>> bool(abs(head.rewards[0] - expected.rewards).max() < 1e-12)
    True
    """
    program = _program(features, utility, comparisons, weights, domain, offset)
    return _fitted(program, positive(penalty, "penalty"), start, max_iterations)


def head_path(
    features: Any,
    utility: Utility | str = "logsigmoid(x)",
    *,
    penalties: Iterable[float] | None = None,
    comparisons: Any = None,
    weights: Any = None,
    domain: Domain | None = None,
    offset: float | None = None,
    max_iterations: int = ITERATIONS,
) -> HeadPath:
    """Return the heads of several penalties, each begun where the one before it ended.

    Parameters
    ----------
    features, utility, comparisons, weights, domain, offset, max_iterations
        As of `fit_head`.
    penalties : iterable of float, optional
        Sorted, the largest first; 13 in a geometric series from 10 to 1e-5 unless given.

    Raises
    ------
    CollapseError
        As `fit_head` does, and for penalties that aren't positive.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> features = np.random.default_rng(0).normal(size=(60, 4, 3))
    >>> features[..., 0] += [0.9, 0.6, 0.3, 0]  # best first
    >>> path = ct.head_path(features, penalties=[10, 1, 0.1, 0.01, 0.001])
    >>> path.best.penalty, path.at_an_end
    (0.01, False)
    """
    given = PENALTIES if penalties is None else penalties
    listed = list(given) if isinstance(given, Iterable) else [given]
    values = np.unique(finite_array(listed, "penalties", 1))[::-1]
    if not values.size or values[-1] <= 0:
        raise CollapseError(f"penalties must be positive, one or more; got {listed}")
    program = _program(features, utility, comparisons, weights, domain, offset)
    heads: list[Head] = []
    for penalty in values.tolist():
        heads.append(_fitted(program, penalty, heads[-1] if heads else None, max_iterations))
    if heads[0].prompts < FEW:
        warnings.warn(
            f"the penalty is chosen by left-out rewards, which come from one step of Newton's "
            f"method and take {FEW} prompts or more; there are {heads[0].prompts}",
            stacklevel=2,
        )
    return HeadPath(tuple(heads))


def _program(
    features: Any,
    utility: Utility | str,
    comparisons: Any,
    weights: Any,
    domain: Domain | None,
    offset: float | None,
) -> HeadProgram:
    """Return the checked program of a head, for all penalties."""
    domain = Free() if domain is None else as_domain(domain)
    if domain.bounded:
        raise CollapseError(
            f"rewards in {domain} need a sigmoid on the head, which makes the program non-concave: "
            "its local optima differ (by up to 1 in single rewards at penalty 1e-4), and nothing "
            "can be certified. Leave domain out: the head's rewards are the logits"
        )
    if domain != Free():
        raise CollapseError(
            f"a head is held by penalty |w|**2, not by {domain}; give penalty= alone. For features "
            "that are the identity of n completions, penalty is Confined(n * penalty)"
        )
    loss = as_loss(utility)
    if isinstance(loss, PlackettLuce):
        raise InvalidUtility(f"a head is fitted to a utility of gaps; {loss} is one of rankings")
    if loss.kinks:
        raise InvalidUtility(
            f"{loss} has a kink at the gap {loss.kinks[0]:g}, where its slope jumps: neither "
            "Newton's method nor the certificate of a head works there; take a smooth one, such as "
            "logsigmoid(4*x)"
        )
    trained, _ = trained_utility(loss, domain, offset)
    if isinstance(comparisons, Iterable) and not isinstance(comparisons, str):
        comparisons = tuple(comparisons)  # looked at more than once
    prompts = held_equal(prompts_of(features, comparisons, weights))
    if not trained.everywhere and prompts.edges.margins.any():
        raise InvalidUtility(
            f"margins need values of U below gap 0, and {trained} is continued there by its "
            "tangent; use log-sigmoid or another utility that has them"
        )
    return HeadProgram(prompts, continued(trained))


@np.errstate(all="ignore")  # gaps on the way may be beyond what U has values for
def _fitted(program: HeadProgram, penalty: float, start: Any, max_iterations: int) -> Head:
    """Return the head of a program under one penalty."""
    inner, basis = program.reduced
    prompts, along = program.prompts, program.prompts.along
    weights = np.zeros(prompts.d) if start is None else _start(start, prompts.d)
    if along is not None:
        weights = weights - along @ (along.T @ weights)
    at = weights if basis is None else basis.T @ weights
    found = newton(inner, penalty, at, whole(max_iterations, "max_iterations", 0))
    if found.iterations:
        weights = found.weights if basis is None else basis @ found.weights
    check = program.checked(weights, penalty)
    left = left_out(inner, found.factor, check.rewards)
    steep = math.inf if math.isnan(check.slope) else check.slope
    bound, error = (x * (1 + 4 * EPS) for x in (steep**2 / (4 * penalty), steep / (2 * penalty)))
    relative = bound / check.spread if check.spread > 0 else (0.0 if bound == 0 else math.inf)
    short = "inaccurate" if found.converged else "max_iterations"
    return Head(
        weights=weights,
        rewards=prompts.placed(check.rewards),
        one_step=prompts.placed(left.rewards),
        reward_error=prompts.placed(check.norms * error + check.off),
        weights_error=error,
        objective=check.objective,
        gap=bound + check.rounding,
        relative_gap=relative,
        mean_utility=math.fsum(program.utilities(check.rewards)),
        held_out_utility=math.fsum(program.utilities(left.rewards)),
        freedom=left.freedom,
        reward_freedom=left.reward_freedom,
        memory=left.memory,
        prompts=left.prompts,
        status="optimal" if relative <= TOLERANCE else short,
        iterations=found.iterations,
        utility=getattr(program.utility, "of", program.utility),
        penalty=penalty,
    )


def _start(start: Any, d: int) -> np.ndarray:
    """Return weights to begin at: those of a head or of a layer of torch, or numbers."""
    bias = getattr(start, "bias", None)
    if bias is not None:
        raise CollapseError(
            "the layer has a bias, which a head has not: it moves all rewards alike and no gap. "
            "Give start=layer.weight"
        )
    weights = getattr(start, "weights", getattr(start, "weight", start))
    found = finite_array(np.asarray(as_features(weights, "start"), np.float64).ravel(), "start", 1)
    if len(found) != d:
        raise CollapseError(f"start has {len(found)} weights, the features {d}")
    return found
