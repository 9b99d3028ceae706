"""The memory law: one number leads from a model's held-out rewards to its training rewards.

On a prompt that a model has learned from, its rewards are argmax of f(r) - |r - xi|**2/(2 gamma),
xi what it says without (`prox`; docs/capacity.md#the-memory-law). The mean of f rises with gamma
from that of the held-out rewards to that of total collapse, so that the mean utility on the
training prompts tells gamma, and all else is a prediction to hold against what is measured.

The interval is a bootstrap over prompts: gamma is below x in those resamples whose mean of f at x
is at least that in training, so that its quantiles are zeros of quantiles of the difference.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.capacity.prox import Ranked, proximal
from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.numerics.checks import numbers, whole
from collapse_theory.programs import DomainLike, Free, as_domain
from collapse_theory.programs.program import WIDEST_CHECKED
from collapse_theory.utilities import (
    Continued,
    Loss,
    PlackettLuce,
    Utility,
    as_loss,
    continued,
    require_concave,
)
from collapse_theory.values import Array, Value

FEWEST = 20  # prompts on either side: with fewer the interval holds less than it claims
LEAST, LARGEST = math.log(1e-12), math.log(1e16)  # of log gamma: 0 and infinity to float64
WORST_ORDER = 0.45  # of the training pairs right: a coin has a half, up to chance
AT_ONCE = 4_000_000  # counts of resamples at once, 32 MB
LEVELS = (0.975, 0.025)  # of the difference: the low end of gamma, and the high one


@dataclass(frozen=True, eq=False)
class ByRank(Value):
    """Rewards of many prompts by rank, each prompt's less their mean: gaps alone count."""

    mean: Array  # over prompts, best first
    std: Array
    explained: float  # the share of the rewards' variance that the rank explains: 1 is collapse
    spread: float  # the mean of `std` over the standard deviation of all rewards: 0 is collapse

    @classmethod
    def of(cls, rewards: np.ndarray) -> ByRank:
        """Return it for rewards of shape (N, n), best first.

        >>> ByRank.of(np.array([[3.0, 1.0], [2.0, 2.0]])).explained
        0.5
        """
        centred = rewards - rewards.mean(axis=1, keepdims=True)
        mean, std = centred.mean(axis=0), centred.std(axis=0)
        whole = float(np.mean(centred**2))
        if whole == 0:
            return cls(mean, std, math.nan, math.nan)
        return cls(mean, std, float(np.mean(mean**2)) / whole, float(std.mean()) / math.sqrt(whole))


@dataclass(frozen=True, eq=False, repr=False)
class Memory(Value):
    """How much of what a model says of its training prompts it has learned by heart.

    Attributes
    ----------
    gamma : float
        The memory: 0 where the training prompts are no better ranked than held-out ones, inf where
        no memory is large enough for their utility.
    interval : tuple of float
        Of 95%, by a bootstrap over prompts.
    utility : Utility
    trained_utility, held_out_utility : float
        The mean over prompts of f on either side; the first is what gamma is matched on.
    trained_prompts, held_out_prompts : int
    completions : int
        How many the prompts of `predicted`, `trained` and `held_out` have: the commonest number.
    predicted, trained, held_out : ByRank
        What the law makes of the held-out rewards at `gamma`, and what is measured. For gamma = inf
        the prediction is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> rng = np.random.default_rng(0)
    >>> unseen = rng.normal([[0.5, 0.0, -0.5]], 1.0, (400, 3))
    >>> learned = [ct.solve("logsigmoid(x)", domain=ct.Anchored(xi, 3.0)) for xi in unseen[:200]]
    >>> ct.memory([one.rewards for one in learned], unseen[200:], "logsigmoid(x)")
    Memory(logsigmoid(x): gamma 3.46, 95% from 2.81 to 4.22, of 200 prompts trained and 200 held
    out; explained by rank: trained 0.657, law 0.709, held out 0.119)
    """

    gamma: float
    interval: tuple[float, float]
    utility: Utility
    trained_utility: float
    held_out_utility: float
    trained_prompts: int
    held_out_prompts: int
    completions: int
    predicted: ByRank
    trained: ByRank
    held_out: ByRank

    def rewards(self, held_out: Any) -> np.ndarray:
        """Return what the model would say of prompts had it learned from them, by the law.

        Parameters
        ----------
        held_out : array_like, shape (N, n) or (n,)
            What it says without, best first.
        """
        rows = numbers(held_out, "held_out")
        table = np.atleast_2d(rows)
        return _learned(continued(self.utility), table, self.gamma).reshape(rows.shape)

    @property
    def text(self) -> str:
        """The memory and the shares explained by rank, in words."""
        low, high = self.interval
        sides = ("trained", self.trained), ("law", self.predicted), ("held out", self.held_out)
        shares = ", ".join(f"{name} {one.explained:.3f}" for name, one in sides)
        return (
            f"gamma {self.gamma:.3g}, 95% from {low:.3g} to {high:.3g}, of {self.trained_prompts} "
            f"prompts trained and {self.held_out_prompts} held out; explained by rank: {shares}"
        )

    def __repr__(self) -> str:
        return f"Memory({self.utility}: {self.text})"


def memory(
    train: Any,
    held_out: Any,
    utility: Loss | str,
    *,
    domain: DomainLike | None = None,
    paired: bool = False,
    resamples: int = 1000,
    rng: np.random.Generator | int = 0,
) -> Memory:
    """Return how much of what a model says of its training prompts it has learned by heart.

    Parameters
    ----------
    train, held_out : array_like of shape (N, n) and (M, n), or sequences of rows
        Rewards of full rankings, best first: of prompts that the model was trained on, and of ones
        that it wasn't, which are alike otherwise. Rows may differ in length; NaN at the end of a
        row is a completion that isn't there.
    utility : Utility or str
        What a gap is worth in training, offset included.
    domain : Domain, optional
        What held the rewards in training, where that was more than the training's end: the law
        knows rewards that nothing else holds, and a domain other than Free is refused.
    paired : bool
        Whether row p of both is the same prompt, as left out by a linear head: prompts are then
        resampled together.
    resamples : int
        Of the bootstrap.
    rng : numpy.random.Generator or int
        Of the bootstrap.

    Raises
    ------
    CollapseError
        A ValueError: fewer than 20 prompts on a side, a domain, rewards that all lie in [0, 1] as
        those of a sigmoid do, a listwise loss, a utility with kinks or an infinite slope at gap 0.

    Notes
    -----
    The memory is measured, never known in advance: it depends on the model, the optimiser and the
    time. Training and held-out prompts must be drawn alike, and no text be part of another.
    docs/capacity.md#the-memory-law has what was measured, and where the law says nothing.

    Examples
    --------
    Rewards that a model with memory 2 makes of what it says of prompts that it didn't learn from:

    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> held_out = np.sin(np.outer(np.arange(1, 31), np.arange(1, 5)))
    >>> laws = (ct.Anchored(row, 2) for row in held_out)
    >>> train = [ct.solve("1 - exp(-x)", domain=law).rewards for law in laws]
    >>> round(ct.memory(train, held_out, "1 - exp(-x)").gamma, 8)
    2.0
    """
    _require_unheld(domain)
    u = _smooth(as_loss(utility))
    learned, unseen = _rows(train, "train"), _rows(held_out, "held_out")
    if all(row.min() >= 0 and row.max() <= 1 for row in (*learned, *unseen)):
        raise CollapseError(
            "all rewards lie in [0, 1], as those of a sigmoid do, and in a box the memory law says "
            "nothing (a mixture of held-out rewards and the optimum does as well); give the logits "
            "of a model that was trained without a sigmoid"
        )
    if paired and len(learned) != len(unseen):
        raise CollapseError(f"{len(learned)} rows for {len(unseen)}: paired rows are of one prompt")
    trained, law = _Law(u, learned).floor, _Law(u, unseen)
    _warn_of_order(learned)
    n = _commonest(learned, unseen)
    gamma = law.crossing(lambda f: float(f.mean() - trained.mean()), 0.0)
    draws = whole(resamples, "resamples", 100)
    target, weights = _resampled(len(unseen), trained, paired, draws, np.random.default_rng(rng))
    begin = math.log(gamma) if 0 < gamma < math.inf else 0.0
    low, high = (
        law.crossing(lambda f, at=level: float(np.quantile(weights @ f - target, at)), begin)
        for level in LEVELS
    )
    common = np.array([row for row in unseen if len(row) == n])
    return Memory(
        gamma=gamma,
        interval=(low, high),
        utility=u.of,
        trained_utility=float(trained.mean()),
        held_out_utility=float(law.floor.mean()),
        trained_prompts=len(learned),
        held_out_prompts=len(unseen),
        completions=n,
        predicted=ByRank.of(_learned(u, common, gamma)),
        trained=ByRank.of(np.array([row for row in learned if len(row) == n])),
        held_out=ByRank.of(common),
    )


def ranked_rows(rewards: np.ndarray, ranks: np.ndarray, prompts: np.ndarray) -> list[np.ndarray]:
    """Return each prompt's rewards, best first, as `memory` takes them, from a row a completion.

    Prompts with ties, or a rank that isn't known (below 0, NaN), or one completion are left out.

    >>> from collapse_theory.capacity import ranked_rows
    >>> ranked_rows(np.array([0.1, 0.9, 0.5, 0.4]), np.array([1, 0, 0, 0]), np.array([3, 3, 7, 7]))
    [array([0.9, 0.1])]
    """
    order = np.lexsort((ranks, prompts))
    starts = np.flatnonzero(np.diff(prompts[order])) + 1
    rows = (np.split(part[order], starts) for part in (rewards, ranks))
    return [
        row
        for row, rank in zip(*rows, strict=True)
        if len(rank) > 1 and rank[0] >= 0 and np.all(np.diff(rank) > 0)
    ]


def _learned(u: Utility, rows: np.ndarray, gamma: float) -> np.ndarray:
    """Return the law's rewards, NaN where nothing holds them."""
    if gamma == 0 or not math.isfinite(gamma):
        return rows if gamma == 0 else np.full_like(rows, np.nan)
    return proximal(Ranked(u, rows.shape[1]), rows, gamma)


# -- the held-out prompts under the law --------------------------------------------------------


class _Law:
    """Prompts under the law, at the gammas that are asked for; those of one size together."""

    def __init__(self, u: Utility, rows: list[np.ndarray]) -> None:
        sizes = np.array([len(row) for row in rows])
        places = ((int(n), np.flatnonzero(sizes == n)) for n in np.unique(sizes))
        self.groups = [(Ranked(u, n), np.array([rows[i] for i in at]), at) for n, at in places]
        self.last: list[Any] = [None] * len(self.groups)  # rewards, to start the next ones from
        self.floor = np.empty(len(rows))  # f of each prompt at gamma = 0
        for ranked, given, at in self.groups:
            self.floor[at] = ranked.value(given)

    def at(self, x: float) -> np.ndarray:
        """Return each prompt's f at log gamma = x."""
        value = np.empty(len(self.floor))
        for number, (ranked, given, at) in enumerate(self.groups):
            self.last[number] = r = proximal(ranked, given, math.exp(x), self.last[number])
            value[at] = ranked.value(r)
        return value

    def crossing(self, off: Callable[[np.ndarray], float], x: float) -> float:
        """Return the gamma at which `off`, which rises with each f, is 0: from log gamma = x on.

        It is 0 where `off` isn't below 0 even there, inf where nothing lifts it to 0.
        """
        from scipy.optimize import brentq

        known: dict[float, float] = {}  # brentq asks for the ends again, begun from elsewhere

        def rises(x: float) -> float:
            if x not in known:
                known[x] = off(self.at(x))
            return known[x]

        if off(self.floor) >= 0:
            return 0.0
        side, stride = 1.0 if rises(x) < 0 else -1.0, 1.0
        while side * rises(ahead := min(max(x + side * stride, LEAST), LARGEST)) < 0:
            if ahead in (LEAST, LARGEST):
                return math.inf if side > 0 else 0.0
            x, stride = ahead, 2 * stride
        tight = 4 * np.finfo(float).eps  # the least that brentq takes
        root: Any = brentq(rises, x, ahead, xtol=1e-15, rtol=tight)
        return math.exp(root)


def _resampled(
    unseen: int, trained: np.ndarray, paired: bool, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training utility of resampled prompts, and how much each unseen one counts."""

    def shares(count: int, rows: int) -> np.ndarray:
        return rng.multinomial(count, np.full(count, 1 / count), size=rows) / count

    target, weights = np.empty(draws), np.empty((draws, unseen))
    for rows in np.array_split(np.arange(draws), 1 + draws * len(trained) // AT_ONCE):
        drawn = shares(len(trained), len(rows))
        target[rows] = drawn @ trained
        weights[rows] = drawn if paired else shares(unseen, len(rows))
    return target, weights


# -- what is checked -----------------------------------------------------------------------


def _require_unheld(domain: DomainLike | None) -> None:
    if domain is None or isinstance(given := as_domain(domain), Free):
        return
    why = "it speaks of rewards that nothing but the end of training holds"
    if given.bounded:
        why = "a mixture of held-out rewards and the optimum does as well in a box"
    raise CollapseError(f"the memory law says nothing about rewards under {given}: {why}")


def _smooth(loss: Loss) -> Continued:
    if isinstance(loss, PlackettLuce):
        raise CollapseError(
            f"the memory law is known for utilities of a gap, and {loss} is one of the whole "
            "ranking; logsigmoid(x) is its likelihood of a pair"
        )
    if loss.kinks:
        raise InvalidUtility(
            f"the memory law is computed for smooth utilities, and {loss} has kinks at "
            f"{', '.join(map(str, loss.kinks))}"
        )
    require_concave(loss, WIDEST_CHECKED)
    return continued(loss)


def _rows(given: Any, what: str) -> list[np.ndarray]:
    """Return each prompt's rewards, those that aren't there left out at the end."""
    kept = []
    for number, row in enumerate(numbers(row, f"a row of {what}") for row in given):
        there = np.isfinite(row) if row.ndim == 1 else np.zeros(0, dtype=bool)
        count = int(there.sum())
        if count < 2 or not there[:count].all() or np.isinf(row).any():
            raise CollapseError(
                f"row {number} of {what} must be the rewards of 2 completions or more, best first, "
                f"NaN at the end for those that aren't there; got {row}"
            )
        kept.append(row[:count])
    if len(kept) < FEWEST:
        raise CollapseError(
            f"{what} has {len(kept)} prompts, and the memory of a model takes {FEWEST} or more: "
            "with fewer its interval would hold less than it claims"
        )
    return kept


def _warn_of_order(rows: list[np.ndarray]) -> None:
    right = np.mean([(row[:, None] > row)[np.triu_indices(len(row), 1)].mean() for row in rows])
    if right < WORST_ORDER:
        warnings.warn(
            f"the model has {right:.0%} of the pairs of its training prompts the right way round, "
            "where a coin has half: are the rewards best first?",
            stacklevel=3,
        )


def _commonest(*sides: list[np.ndarray]) -> int:
    """Return the number of completions that most prompts of both sides have."""
    most = 1 + max(len(row) for side in sides for row in side)
    both = np.prod([np.bincount([len(row) for row in side], minlength=most) for side in sides], 0)
    if not both.any():
        raise CollapseError("no training prompt has as many completions as a held-out one")
    return int(both.argmax())
