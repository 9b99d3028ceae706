"""The answer to a program: rewards, the gaps between them and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, cmp_to_key
from itertools import pairwise
from typing import Any

import numpy as np

from collapse_theory.display import latex_number, latex_text
from collapse_theory.errors import CollapseError, NoOptimum
from collapse_theory.laws import Density, RewardLaw, empirical_law
from collapse_theory.lazy import polars
from collapse_theory.numerics.checks import MOST_COUNTED, numbers
from collapse_theory.numerics.checks import answer as answer_of
from collapse_theory.numerics.linear import components, least_tree_paths
from collapse_theory.programs.certificate import MOST_PATHS, certify
from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.domain import Domain
from collapse_theory.programs.drawing import draw_rewards, drawn_ranks, tied
from collapse_theory.programs.program import Answer, ListwiseProgram, Program, centred
from collapse_theory.programs.reward_error import MOST_FORCES, error_by_gap, rewards_error
from collapse_theory.programs.smooth_gaps import SmoothGaps
from collapse_theory.utilities import Loss
from collapse_theory.values import Array, Value, encoded

# The relative gap up to which an answer is called optimal, unless a tolerance is given: of our own
# methods, and of conic solvers or at kinks.
TOLERANCE, LOOSE = 1e-9, 1e-6
_CELLS = 256  # of a law of more, on each panel: within 1e-6 of the rewards in the mean
FEW_SHOWN = 12  # rewards that a formula lists
FEW_DIGITS = 1e-6  # of a reward: smaller differences have less than ten digits
WELL_KNOWN = 1e-6  # of the largest reward: an error above it can be seen in a figure of rewards


@dataclass(frozen=True, eq=False)
class Solution(Value):
    """The optimal rewards of n completions.

    Attributes
    ----------
    rewards : numpy.ndarray, shape (n,)
        Best first; no units.
    gaps : numpy.ndarray, shape (n-1,)
        Between neighbours. They can be far below 1e-16, where differences of `rewards` are 0.
    objective : float
        The mean of U over pairs; of PlackettLuce, the mean log-likelihood of a pick.
    gap : float
        A bound: no feasible rewards have an objective above ``objective + gap``, rounding included.
    relative_gap : float
        How far the answer itself can be from the optimum, over U(largest gap) - objective in a box
        or the spread of U over the pairs; unchanged under U -> cU + d (docs/theory.md
        #the-certificate).
    status : str
        "optimal", "inaccurate" (the certificate is short of the tolerance) or "max_iterations".
    method : str
        What found the rewards.
    iterations : int
    unique : bool
        Whether no other rewards are as good.
    utility, domain
        The program.
    reference : str or None
        The source of a closed form.
    comparisons : Comparisons or None
        The pairs that count; None for the full ranking, best first. With them the rewards are in
        the completions' own order, and `gaps` are those between the sorted rewards; without, under
        Anchored, `gaps` may be negative.
    undetermined : tuple of int
        Completions whose reward is a convention: in no pair, or in a part of the comparisons that
        nothing ties to the largest part (Free).
    smooth : SmoothGaps or None
        Of very many completions, the few hundred numbers that `rewards` and `gaps` are written out
        from when they are asked for, up to n = 100,000,000.

    Examples
    --------
    An objective that is optimal to its last digit doesn't say that the rewards are: log-sigmoid
    with a steep margin is flat.

    >>> import collapse_theory as ct
    >>> steep = ct.solve("logsigmoid(210*(x - 0.5))", 4)
    >>> steep.status, steep.ill_conditioned, ct.solve("log(x + 0.1)", 4).rewards_error < 1e-14
    ('optimal', True, True)
    """

    rewards: Array
    gaps: Array
    objective: float
    gap: float
    relative_gap: float
    status: str
    method: str
    iterations: int
    unique: bool
    utility: Loss
    domain: Domain
    reference: str | None = None
    comparisons: Comparisons | None = None
    undetermined: tuple[int, ...] = ()
    smooth: SmoothGaps | None = None

    def __post_init__(self) -> None:
        if self.smooth is not None:  # they follow from it
            self._set(rewards=None, gaps=None)
        super().__post_init__()

    @classmethod
    def of(
        cls,
        program: Program | ListwiseProgram,
        answer: Answer,
        *,
        method: str,
        tol: float | None = None,
    ) -> Solution:
        """Return the certified solution that a solver's answer is."""
        certificate = certify(program, answer)
        if tol is None:
            tol = LOOSE if method == "conic" or program.kinked else TOLERANCE
        short = "inaccurate" if answer.converged else "max_iterations"
        none = np.empty(0), np.empty(0), ()
        rewards, gaps, undetermined = none if answer.smooth else _placed(program, answer)
        return cls(
            rewards=rewards,
            gaps=gaps,
            objective=certificate.objective,
            gap=certificate.gap,
            relative_gap=certificate.relative_gap,
            status="optimal" if certificate.relative_gap <= tol else short,
            method=method,
            iterations=answer.iterations,
            unique=answer.unique is not False and not undetermined,
            utility=program.loss,
            domain=program.domain,
            reference=answer.reference,
            comparisons=program.comparisons,
            undetermined=undetermined,
            smooth=answer.smooth,
        )

    @property
    def n(self) -> int:
        """The number of completions."""
        return len(self.rewards) if self.smooth is None else self.smooth.n

    @cached_property
    def _listed(self) -> dict[str, np.ndarray]:
        if self.n > MOST_COUNTED:
            raise CollapseError(
                f"rewards and gaps are written out for n up to {MOST_COUNTED:,}; of {self.n:,} "
                "completions solution.reward(i) gives that of rank i, solution.quantile(p) the "
                "quantiles and solution.law their law"
            )
        assert self.smooth is not None
        gaps = self.smooth.gaps()
        rewards = self.domain.placed(as_rewards(gaps))
        gaps *= self.domain.unit
        for array in (rewards, gaps):
            array.setflags(write=False)
        return {"rewards": rewards, "gaps": gaps}

    def reward(self, i: Any) -> Any:
        """Return the reward of the completion of rank `i`, the best having rank 1.

        Parameters
        ----------
        i : int or array of int
            Ranks from 1 to n; of comparisons, ranks among the rewards.

        Returns
        -------
        float or array, as `i`

        Examples
        --------
        >>> import collapse_theory as ct
        >>> many = ct.solve("log(x + 0.1)", 10**9)
        >>> many.reward(1), round(many.reward(3 * 10**8), 6), many.status
        (1.0, 0.868165, 'optimal')
        """
        rank = np.asarray(i)
        if rank.dtype.kind not in "iu" or not np.all((rank >= 1) & (rank <= self.n)):
            raise CollapseError(f"ranks must be whole numbers from 1 to n = {self.n}, not {i!r}")
        if self.smooth is None or self.n <= MOST_COUNTED:
            return answer_of(np.sort(self.rewards)[::-1][rank - 1])
        upper = np.minimum(rank - 1, self.n - rank)
        below = self.smooth.below_top(upper)
        middle = 2 * upper + 1 == self.n
        unit = np.where(middle, 0.5, np.where(upper == rank - 1, 1.0 - below, below))
        return answer_of(self.domain.placed(unit).reshape(rank.shape))

    def quantile(self, p: Any) -> Any:
        """Return the smallest reward that at least a share `p` of the completions don't exceed.

        Parameters
        ----------
        p : float or array
            Probabilities in [0, 1].

        Returns
        -------
        float or array, as `p`

        Examples
        --------
        >>> import collapse_theory as ct
        >>> ct.solve("log(x)", 4).quantile([0.25, 0.5]).round(6)
        array([0.      , 0.276393])
        """
        share = numbers(p, "probabilities")
        if not np.all((share >= 0) & (share <= 1)):
            raise CollapseError(f"probabilities must lie in [0, 1], not {p!r}")
        # p n is rounded: what is a whole number but for that counts as one.
        rank = np.ceil(share * self.n * (1 - 2 * np.finfo(float).eps)).astype(np.int64)
        return self.reward(self.n + 1 - np.clip(rank, 1, self.n))

    @cached_property
    def law(self) -> RewardLaw:
        """The empirical law of the rewards: mass 1/n at each.

        Beyond n = 100,000,000 those that aren't tied are spread evenly on cells between rewards
        that are known: up to 1/n its distribution function is that of the rewards there.
        """
        if self.n <= MOST_COUNTED:
            return empirical_law(self.rewards)
        assert self.smooth is not None
        rank = self.smooth.ranks(_CELLS)
        below, share = self.smooth.below_top(rank), (rank + 0.5) / self.n
        below, first = np.unique(1.0 - (1.0 - below), return_index=True)  # as near 1 as near 0
        share, middle = share[first], below[-1] == 0.5
        edges = np.concatenate([below, 1.0 - below[::-1][int(middle) :]])
        share = np.concatenate([share, 1.0 - share[::-1][int(middle) :]])
        ends = self.domain.placed(np.array([0.0, 1.0]))
        heights = np.diff(share) / np.diff(edges) / self.domain.unit
        cells = Density.steps(self.domain.placed(edges), heights)
        return RewardLaw(np.column_stack([ends, [share[0], 1.0 - share[-1]]]), (cells,))

    @cached_property
    def rewards_error(self) -> float:
        """A bound of |reward - optimal reward|, for each completion that is in a pair.

        It follows from U's curvature at the gaps, and its kinks (docs/theory.md
        #the-error-of-the-rewards), is computed when it is asked for, in the time of a few steps of
        Newton's method, and holds for rounding too. Beyond 1500 completions it follows from the
        penalty alone, in a box from the least curvature of a smooth U, and beyond 3000 there from
        that and `gap`: more is not known in a few seconds. inf where nothing can be said: where the
        optimum isn't the only one, where U is flat at the gaps that decide, where weights put gaps
        some 30 orders below each other; and beyond 1500 completions for kinks and graphs in a box,
        where each reward would take a system of its own.
        """
        try:
            program = Program.of(self.utility, self.n, self.domain, self.comparisons)
        except NoOptimum:
            # Of least norm (max_margin): its objective -mean r**2 is strongly concave.
            return float(np.sqrt(self.n * self.gap))
        if self.n > MOST_FORCES and program.box:
            return error_by_gap(program, None if self.smooth else self.gaps, self.gap)
        return rewards_error(program, self.rewards, self.gaps)

    @property
    def ill_conditioned(self) -> bool:
        """Whether rewards as good as these, up to rounding, may differ from them visibly.

        That is by more than a millionth of the largest reward, as far as `rewards_error` tells.
        """
        return not self.rewards_error <= WELL_KNOWN * float(np.abs(self.rewards).max())

    def to_dict(self) -> dict[str, Any]:
        """Return the solution as a dict that JSON can hold, `rewards_error` included."""
        listed = {}
        if self.smooth is not None and self.n <= MOST_COUNTED:
            listed = {"rewards": encoded(self.rewards), "gaps": encoded(self.gaps)}
        return super().to_dict() | listed | {"rewards_error": encoded(self.rewards_error)}

    @classmethod
    def _decoded(cls, data: dict[str, Any]) -> dict[str, Any]:
        # The error follows from the rest.
        return super()._decoded({k: v for k, v in data.items() if k != "rewards_error"})

    def __repr__(self) -> str:
        with np.printoptions(precision=4, suppress=True, threshold=12, edgeitems=3):
            ends = (
                f"from {self.reward(self.n)} to {self.reward(1)}" if self.n > MOST_COUNTED else ""
            )
            rewards = ends or str(self.rewards).replace("\n", "")
        note = "" if self.unique else ", one optimum of several"
        return (
            f"Solution({self.utility}, n={self.n}: rewards {rewards}, objective "
            f"{self.objective:.6g}, relative gap {self.relative_gap:.1e}, {self.status} by "
            f"{self.method}{note})"
        )

    def _columns(self) -> dict[str, np.ndarray]:
        return {} if self.n > MOST_COUNTED else self._listing

    @property
    def _listing(self) -> dict[str, np.ndarray]:
        if self.comparisons is not None:
            return {"completion": np.arange(self.n), "reward": self.rewards}
        gaps = np.append(self.gaps, np.nan)  # nobody is below the last
        return {"rank": np.arange(1, self.n + 1), "reward": self.rewards, "gap": gaps}

    def _latex(self) -> str:
        rewards = self.rewards if self.n <= FEW_SHOWN else self.reward(np.array([1, 2, self.n]))
        texts = [latex_number(round(r, 4)) for r in rewards.tolist()]
        if self.n > FEW_SHOWN:
            texts[2:2] = [r"\dots"]
        domain = latex_text(str(self.domain))
        told = rf"U = {self.utility._latex()},\quad n = {self.n},\quad {domain}"
        return rf"{told},\quad r = \left({', '.join(texts)}\right)"

    def to_frame(self) -> polars.DataFrame:
        """Return the rewards as a Polars frame, best first; ``.to_pandas()`` makes one of pandas.

        Its columns are rank, reward and the gap to the next, null for the last. Of comparisons they
        are completion and reward, in the completions' own order.

        Examples
        --------
        >>> import collapse_theory as ct
        >>> ct.solve("log(x)", 4).to_frame().rows()[0]
        (1, 1.0, 0.276393...)
        """
        return polars.DataFrame(self._listing, nan_to_null=True)

    def plot(self, ax: Any = None, *, label: str | None = None, color: Any = None) -> Any:
        """Draw the rewards against their rank; hollow points are tied with a neighbour.

        Solutions drawn on the same axes stay apart by colour and marker; `ax.legend()` names them,
        by `label`. Without `ax` it opens a pyplot figure. Returns the axes.
        `collapse_theory.figures.finite_optimum` has the limit law behind them.
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(layout="constrained")[1]
        ranks = drawn_ranks(self.n)
        hollow = tied(self.gaps) if ranks.size == self.n else np.zeros(ranks.size, dtype=bool)
        name = f"{self.utility}, n = {self.n}" if label is None else label
        size = float(np.clip(150 / self.n, 1.0, 5.0))
        draw_rewards(ax, ranks, self.reward(ranks), hollow, label=name, color=color, size=size)
        ax.set(xlabel="rank of the completion, 1 the best", ylabel="reward")
        return ax


@dataclass(frozen=True)
class _Listed:
    """A field with a number a completion, written out of `smooth` where that holds them."""

    name: str

    def __get__(self, solution: Any, owner: type | None = None) -> Any:
        if solution is None:
            return self
        held = vars(solution)[self.name]
        return solution._listed[self.name] if held is None else held

    def __set__(self, solution: Any, value: Any) -> None:
        vars(solution)[self.name] = value


for _name in ("rewards", "gaps"):
    setattr(Solution, _name, _Listed(_name))


def _placed(
    program: Program | ListwiseProgram, answer: Answer
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return rewards in the domain and the completions' order, gaps, and who is undetermined."""
    domain = program.domain
    if program.full:
        gaps = np.asarray(answer.gaps)
        ranked = ranked_rewards(domain, gaps)
        order = None if program.comparisons is None else program.comparisons.full_order()
        rewards = ranked if order is None else ranked[np.argsort(order)]
        return rewards, domain.unit * gaps, ()
    assert isinstance(program, Program)
    graph, r = program.graph, np.asarray(answer.rewards)
    r = graph.centred(r) if program.floating else r
    alone = graph.floating if program.floating else graph.node_of < 0
    # What is in no pair lies in the middle; a penalty on squares is what ties it there.
    middle = 0.5 if domain.bounded else 0.0 if domain.anchors is None else domain.anchors
    rewards = domain.placed(np.where(graph.node_of >= 0, r[graph.node_of], middle))
    missing = () if program.kappa > 0 or domain.own else tuple(np.flatnonzero(alone).tolist())
    if program.comparisons is None:
        return rewards, -np.diff(rewards), missing
    if answer.edge_gaps is None or graph.k < program.n or graph.k > MOST_PATHS:
        return rewards, -np.diff(np.sort(rewards)[::-1]), missing
    return rewards, domain.unit * _sorted_gaps(program, r, answer.edge_gaps), missing


def _sorted_gaps(program: Program, r: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Return the gaps between the sorted rewards, by the edges' gaps where these have more digits.

    Near each other, rewards differ by the gaps on a path of least ones; the box is one node.
    """
    graph, k = program.graph, program.graph.k
    node = np.where(((r == 0) | (r == 1)) & program.box, 0, np.arange(1, k + 1))
    edges, paths = least_tree_paths(node[graph.a], node[graph.b], k + 1, apart)
    paths = paths.toarray()
    part = components(node[graph.a], node[graph.b], k + 1)[node]

    def rise(i: int, j: int) -> float:
        far = abs(r[i] - r[j]) > FEW_DIGITS * abs(r[i]) or part[i] != part[j]
        return float(r[i] - r[j] if far else (paths[node[i]] - paths[node[j]]) @ apart[edges])

    order = sorted(range(k), key=cmp_to_key(lambda i, j: np.sign(rise(j, i))))
    return np.array([max(rise(i, j), 0.0) for i, j in pairwise(order)])


def ranked_rewards(domain: Domain, gaps: np.ndarray) -> np.ndarray:
    """Return the rewards of full rankings in their domain, best first, from gaps (..., n-1)."""
    return domain.placed(as_rewards(gaps)) if domain.bounded else centred(gaps)


def as_rewards(gaps: np.ndarray) -> np.ndarray:
    """Return rewards from 1 (best) to 0 along the last axis, each as its distance to the nearer
    end.

    Examples
    --------
    >>> import numpy as np
    >>> from collapse_theory.programs import as_rewards
    >>> as_rewards(np.array([0.25, 0.5, 0.25]))
    array([1.  , 0.75, 0.25, 0.  ])
    """
    n, end = gaps.shape[-1] + 1, np.zeros((*gaps.shape[:-1], 1))
    below_top = np.concatenate([end, gaps.cumsum(axis=-1)], axis=-1)
    above_bottom = np.concatenate([gaps[..., ::-1].cumsum(axis=-1)[..., ::-1], end], axis=-1)
    rewards = np.where(np.arange(n) < n / 2, 1.0 - below_top, above_bottom)
    if n % 2:  # by symmetry, whichever end the middle is counted from
        middle = rewards[..., n // 2]
        near = np.abs(middle - 0.5) < 4 * np.finfo(float).eps
        rewards[..., n // 2] = np.where(near, 0.5, middle)
    return np.minimum(np.maximum(rewards, 0.0), 1.0)
