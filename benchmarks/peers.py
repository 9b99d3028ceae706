"""Other ways to the same optimum, each with the accuracies that it can be asked for.

A peer is a function of a `Task` and one of its own settings (a tolerance, a number of steps); what
it returns are rewards, and how far they are from optimal is told by their objective beside the
certified optimum. A new peer is one function with `@peer`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special

import collapse_theory as ct


@dataclass(frozen=True)
class Task:
    """A program: the mean over pairs of U(r_better - r_worse), in [0, 1] or less kappa mean r^2.

    Peers keep no order: the penalty on `pairs` is that of `ct.Anchored`, which keeps none either.
    """

    text: str
    n: int
    kappa: float | None = None
    pairs: ct.Comparisons | None = None

    @property
    def name(self) -> str:
        word = "Confined({:g})" if self.pairs is None else "{:g} mean r**2, no order kept"
        held = "" if self.kappa is None else f", {word.format(self.kappa)}"
        graph = "" if self.pairs is None else f", {len(self.pairs.better):,} pairs"
        return f"{self.text}{held}{graph}"

    @cached_property
    def utility(self) -> ct.Utility:
        return ct.utility(self.text)

    @property
    def domain(self) -> ct.Domain:
        if self.kappa is None:
            return ct.Box()
        if self.pairs is None:
            return ct.Confined(self.kappa)
        return ct.Anchored(np.zeros(self.n), self.n / (2 * self.kappa))

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        if self.pairs is None:
            return np.triu_indices(self.n, 1)
        return self.pairs.better, self.pairs.worse

    def solved(self) -> ct.Solution:
        if self.pairs is None:
            return ct.solve(self.utility, self.n, self.domain)
        return ct.solve(self.utility, domain=self.domain, comparisons=self.pairs)

    # -- what a user would write down --------------------------------------------------------

    def objective(self, r: np.ndarray) -> float:
        better, worse = self.ends
        with np.errstate(all="ignore"):
            total = math.fsum(self.utility(r[better] - r[worse])) / len(better)
        return total - (0.0 if self.kappa is None else self.kappa * math.fsum(r**2) / self.n)

    def gradient(self, r: np.ndarray) -> np.ndarray:
        better, worse = self.ends
        slopes = self.utility.d1(r[better] - r[worse]) / len(better)
        found = np.bincount(better, slopes, self.n) - np.bincount(worse, slopes, self.n)
        return found if self.kappa is None else found - 2 * self.kappa * r / self.n

    def hessian(self, r: np.ndarray) -> np.ndarray:
        better, worse = self.ends
        bends = self.utility.d2(r[better] - r[worse]) / len(better)
        found = np.zeros((self.n, self.n))
        np.add.at(found, (better, worse), -bends)
        found += found.T
        found -= np.diag(found.sum(axis=1))
        return found if self.kappa is None else found - 2 * self.kappa / self.n * np.eye(self.n)

    def short_of(self, r: np.ndarray, optimum: ct.Solution) -> float:
        """Return a bound of the relative gap of rewards, once they are brought into the domain."""
        r, (better, worse) = np.asarray(r, dtype=float), self.ends
        if self.domain.ordered and np.any(r[better] < r[worse] - 1e-6):
            return math.inf  # of another program
        if self.kappa is None:
            r = np.clip(r, 0.0, 1.0)
            scale = float(self.utility(1.0)) - optimum.objective
        else:
            scale = float(np.ptp(self.utility(optimum.rewards[better] - optimum.rewards[worse])))
        found = (optimum.objective + optimum.gap - self.objective(r)) / scale
        return found if found == found else math.inf


Ladder = Sequence[float]
TOLERANCES: Ladder = (1e-6, 1e-8, 1e-10, 1e-12, 1e-14)


@dataclass(frozen=True)
class Peer:
    """A way to rewards: its settings from quick to exact, and the tasks that it takes."""

    name: str
    solve: Callable[[Task, float], np.ndarray]
    settings: Ladder
    takes: Callable[[Task], bool]


PEERS: list[Peer] = []


def peer(name: str, settings: Ladder, takes: Callable[[Task], bool]) -> Callable[[Any], Any]:
    def add(solve: Callable[[Task, float], np.ndarray]) -> Callable[[Task, float], np.ndarray]:
        PEERS.append(Peer(name, solve, settings, takes))
        return solve

    return add


def full(most: int, boxed: bool | None = None) -> Callable[[Task], bool]:
    """Return whether a task is a full ranking of at most so many completions."""
    return lambda task: (
        task.pairs is None and task.n <= most and boxed in (None, task.kappa is None)
    )


# -- convex programs ------------------------------------------------------------------------


def modelled(solver: str, options: Callable[[float], dict[str, Any]]) -> Callable[..., np.ndarray]:
    def solve(task: Task, tolerance: float) -> np.ndarray:
        import cvxpy as cp

        r = cp.Variable(task.n)
        better, worse = task.ends
        utility = task.utility.conic(cp, r[better] - r[worse], np.ones(len(better)))
        value = cp.sum(utility) / len(better)
        if task.kappa is None:
            limits = [r <= 1, r >= 0, *([] if task.pairs else [r[:-1] >= r[1:]])]
        else:
            value, limits = value - task.kappa * cp.sum_squares(r) / task.n, []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cp.Problem(cp.Maximize(value), limits).solve(solver=solver, **options(tolerance))
        if r.value is None:
            raise ArithmeticError("no rewards")
        return r.value

    return solve


peer("CVXPY, Clarabel", TOLERANCES, lambda task: task.n <= 128)(
    modelled("CLARABEL", lambda tol: {"tol_gap_abs": tol, "tol_gap_rel": tol, "tol_feas": tol})
)
peer("CVXPY, SCS", TOLERANCES[:3], lambda task: task.n <= 32)(
    modelled("SCS", lambda tol: {"eps_abs": tol, "eps_rel": tol, "max_iters": 20_000})
)
peer("CVXPY, ECOS", TOLERANCES, lambda task: task.n <= 128 and task.kappa is None)(
    modelled("ECOS", lambda tol: {"abstol": tol, "reltol": tol, "feastol": tol})
)


# -- SciPy, in the gaps ---------------------------------------------------------------------


def from_gaps(gaps: np.ndarray) -> np.ndarray:
    """Return rewards from the gaps, best first; 0 is the worst."""
    return np.append(np.cumsum(gaps[::-1])[::-1], 0.0)


def by_gaps(task: Task, method: str, options: dict[str, Any], tol: float) -> np.ndarray:
    m = task.n - 1

    def value(gaps: np.ndarray) -> tuple[float, np.ndarray]:
        r = from_gaps(gaps)
        with np.errstate(all="ignore"):
            return -task.objective(r), -np.cumsum(task.gradient(r))[:-1]

    more: dict[str, Any] = {}
    if method == "trust-constr":
        sums = np.tri(task.n, m, -1).T  # r = S gaps
        more["hess"] = lambda gaps: -(sums @ task.hessian(from_gaps(gaps)) @ sums.T)
    found = scipy.optimize.minimize(
        value,
        np.full(m, 1 / m),
        jac=True,
        method=method,
        bounds=[(1e-300, 1.0)] * m,
        constraints=[scipy.optimize.LinearConstraint(np.ones((1, m)), 1.0, 1.0)],
        tol=tol,
        options=options,
        **more,
    )
    if not np.all(np.isfinite(found.x)):
        raise ArithmeticError(str(found.message))
    gaps = np.maximum(found.x, 0.0)
    return from_gaps(gaps / gaps.sum())


@peer("SciPy, SLSQP", TOLERANCES, full(128, boxed=True))
def slsqp(task: Task, tolerance: float) -> np.ndarray:
    return by_gaps(task, "SLSQP", {"maxiter": 1000}, tolerance)


@peer("SciPy, trust-constr", TOLERANCES[:4], full(32, boxed=True))
def trust_constr(task: Task, tolerance: float) -> np.ndarray:
    return by_gaps(task, "trust-constr", {"maxiter": 500}, tolerance)


@peer("SciPy, L-BFGS-B", TOLERANCES, lambda task: task.n <= 1000)
def l_bfgs(task: Task, tolerance: float) -> np.ndarray:
    """In the box of a full ranking the gaps are a softmax; else the rewards have bounds or none."""
    softened = task.pairs is None and task.kappa is None

    def value(z: np.ndarray) -> tuple[float, np.ndarray]:
        if not softened:
            return -task.objective(z), -task.gradient(z)
        gaps = scipy.special.softmax(z)
        r = from_gaps(gaps)
        slopes = np.cumsum(task.gradient(r))[:-1]
        return -task.objective(r), -gaps * (slopes - gaps @ slopes)

    with np.errstate(all="ignore"):
        found = scipy.optimize.minimize(
            value,
            np.zeros(task.n - 1 if softened else task.n),
            jac=True,
            method="L-BFGS-B",
            bounds=None if softened or task.kappa is not None else [(0.0, 1.0)] * task.n,
            options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": tolerance},
        )
    return from_gaps(scipy.special.softmax(found.x)) if softened else found.x


@peer("SciPy, Newton-CG", TOLERANCES, lambda task: task.kappa is not None and task.n <= 1000)
def newton_cg(task: Task, tolerance: float) -> np.ndarray:
    found = scipy.optimize.minimize(
        lambda r: -task.objective(r),
        np.zeros(task.n),
        jac=lambda r: -task.gradient(r),
        hess=lambda r: -task.hessian(r),
        method="Newton-CG",
        options={"xtol": tolerance, "maxiter": 1000},
    )
    return found.x


# -- descents -------------------------------------------------------------------------------


@peer("projected gradients", (100, 1000, 10_000), full(128, boxed=True))
def projected_gradients(task: Task, steps: float) -> np.ndarray:
    """On the simplex of gaps, with a step that doubles, and halves until the objective rises."""

    def projected(v: np.ndarray) -> np.ndarray:
        down = np.sort(v)[::-1]
        if not np.all(np.isfinite(down)):
            raise ArithmeticError("the slope at a gap of 0 isn't finite")
        excess = (np.cumsum(down) - 1) / np.arange(1, len(v) + 1)
        return np.maximum(v - excess[np.flatnonzero(down > excess)[-1]], 0.0)

    return ascended(task, int(steps), lambda gaps, slopes, step: projected(gaps + step * slopes))


@peer("mirror descent", (100, 1000, 10_000), full(128, boxed=True))
def mirror_descent(task: Task, steps: float) -> np.ndarray:
    """Exponentiated gradients of the gaps, with the same steps."""

    def moved(gaps: np.ndarray, slopes: np.ndarray, step: float) -> np.ndarray:
        return scipy.special.softmax(np.log(gaps) + step * slopes)

    return ascended(task, int(steps), moved)


def ascended(task: Task, steps: int, move: Callable[..., np.ndarray]) -> np.ndarray:
    gaps, step = np.full(task.n - 1, 1 / (task.n - 1)), 1.0
    value = task.objective(from_gaps(gaps))
    for _ in range(steps):
        slopes, step = np.cumsum(task.gradient(from_gaps(gaps)))[:-1], 2 * step
        while True:
            tried = move(gaps, slopes, step)
            found = task.objective(from_gaps(tried))
            if found > value or step < 1e-12:
                break
            step /= 2
        if not found > value:
            break
        gaps, value = tried, found
    return from_gaps(gaps)


def torched(task: Task, optimizer: Callable[[Any], Any], steps: int) -> np.ndarray:
    """Descend as in training: a logit for each completion, in the box a sigmoid on it."""
    import torch

    from collapse_theory.training import RankingLoss

    logits = torch.zeros(1, task.n, dtype=torch.float64)
    logits += torch.linspace(0.1, -0.1, task.n)  # best first; all equal is a stationary point
    logits.requires_grad_()
    loss = RankingLoss(task.utility, task.domain)
    descent = optimizer([logits])

    def closure() -> Any:
        descent.zero_grad()
        value = loss(logits)
        value.backward()
        return value

    for _ in range(steps):
        descent.step(closure)
    with torch.no_grad():
        return loss.rewards(logits)[0].numpy()


@peer("torch, Adam", (100, 1000, 5000), full(128))
def adam(task: Task, steps: float) -> np.ndarray:
    import torch

    return torched(task, lambda held: torch.optim.Adam(held, lr=0.05), int(steps))


@peer("torch, L-BFGS", (10, 100, 1000), full(128))
def torch_l_bfgs(task: Task, steps: float) -> np.ndarray:
    import torch

    def made(held: Any) -> Any:
        return torch.optim.LBFGS(held, line_search_fn="strong_wolfe")

    return torched(task, made, int(steps))


# -- those that know one utility ------------------------------------------------------------


def is_log(task: Task) -> bool:
    return task.text == "log(x)" and task.kappa is None and task.pairs is None and task.n <= 3000


@peer("scipy.special.roots_jacobi", (0,), is_log)
def roots_jacobi(task: Task, _: float) -> np.ndarray:
    nodes = scipy.special.roots_jacobi(task.n - 2, 1.0, 1.0)[0]
    return np.concatenate([[1.0], (1 + nodes[::-1]) / 2, [0.0]])


@peer("scipy.linalg.eigh_tridiagonal", (0,), is_log)
def eigh_tridiagonal(task: Task, _: float) -> np.ndarray:
    """The zeros of the Jacobi polynomial P^(1,1) as eigenvalues (Golub and Welsch 1969)."""
    k = np.arange(1.0, task.n - 2)
    beside = np.sqrt(k * (k + 2) / ((2 * k + 1) * (2 * k + 3)))
    nodes = scipy.linalg.eigh_tridiagonal(np.zeros(task.n - 2), beside, eigvals_only=True)
    return np.concatenate([[1.0], (1 + nodes[::-1]) / 2, [0.0]])


def is_bradley_terry(task: Task) -> bool:
    return task.text == "logsigmoid(x)" and task.kappa is not None and task.n <= 1000


def incidence(task: Task) -> np.ndarray:
    better, worse = task.ends
    rows = np.zeros((len(better), task.n))
    rows[np.arange(len(better)), better], rows[np.arange(len(better)), worse] = 1.0, -1.0
    return rows


def regressed(solver: str) -> Callable[[Task, float], np.ndarray]:
    def solve(task: Task, tolerance: float) -> np.ndarray:
        from sklearn.linear_model import LogisticRegression

        rows, sign = incidence(task), np.where(np.arange(len(task.ends[0])) % 2, 1, -1)
        model = LogisticRegression(
            C=task.n / (2 * float(task.kappa or 1) * len(rows)),
            fit_intercept=False,
            solver=solver,
            tol=tolerance,
            max_iter=10_000,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(rows * sign[:, None], sign).coef_[0]

    return solve


for name in ("lbfgs", "newton-cholesky"):
    peer(f"scikit-learn, {name}", TOLERANCES, is_bradley_terry)(regressed(name))


@peer("choix", TOLERANCES, is_bradley_terry)
def choix(task: Task, tolerance: float) -> np.ndarray:
    from choix import opt_pairwise

    pairs = list(zip(*(part.tolist() for part in task.ends), strict=True))
    alpha = float(task.kappa or 1) * len(pairs) / task.n
    return opt_pairwise(task.n, pairs, alpha=alpha, method="Newton-CG", tol=tolerance)
