"""The ranking losses: minus the objective of the programs, on tensors of logits."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from collapse_theory.design import Design, Link
from collapse_theory.design.slope import trained_utility
from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.numerics.checks import count
from collapse_theory.programs import Box, Comparisons, DomainLike, Solution, as_domain
from collapse_theory.programs.by_rank import by_rank
from collapse_theory.training.objective import Objective
from collapse_theory.training.predictions import Predictions
from collapse_theory.training.tensors import (
    as_batch,
    as_ranks,
    compared,
    looked_at,
    mean_over_prompts,
    nearest,
    of_pairs,
    require_several,
)
from collapse_theory.utilities import LogSigmoid, Loss, PlackettLuce, as_loss
from collapse_theory.values import Value, encoded, reading

logger = logging.getLogger(__name__)

# A prompt with all its logits beyond it has its rewards within 1.8% of one end of the box.
SATURATED = 4.0

# Beyond it a sigmoid has less than half its slope at 0 (0.105 of 0.25). With 0, 1 and 2 pairs right
# came within .004 of each other in six settings of benchmarks/saturation.py's kind.
AT_ONE_END = 2.0

# The pull of such a prompt's mean to 0: the slope there. Of 0.03, 0.1, 0.25 and 1 it alone
# has heads at 20 back in the box, or on the way, at no loss of pairs right (docs/training.md).
PULL = 0.105

# Computed with in float32: their own digits don't tell two rewards apart.
HALF = (torch.float16, torch.bfloat16)

# Rewards outside the box by more than this share of its width, the rounding of float32 with some
# room, are no rewards of it.
ROUNDING = 1e-5

# All that a loss depends on: what is compared, hashed and saved.
SETTINGS = ("utility", "domain", "pair_weights", "offset", "normalize", "link")


class PromptLoss(nn.Module, ABC):
    """A loss of prompts, each by itself; it compares, and hashes, by its settings."""

    kinds: tuple[str, ...] | None = None  # one utility for all

    @abstractmethod
    def _settings(self) -> tuple[Any, ...]:
        """Return all that the loss depends on."""

    @abstractmethod
    def _parts(self, kinds: Any, batch: Tensor) -> Sequence[tuple[RankingLoss, Tensor | None]]:
        """Return the losses of a batch's prompts, each with which prompts are its own, (B, 1)."""

    @abstractmethod
    def _where(self, *given: Any, **more: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the kinds, the ranks and what else a method was given."""

    def loss_and_counts(
        self, logits: Tensor, kinds: Any, ranks: Any, margins: Any = None, pair_weights: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return `per_prompt` and `comparable` in one pass, each kind's of the whole batch."""
        batch = as_batch(logits)
        each = [
            loss._of_batch(batch, own, margins, pair_weights)
            for loss, own in self._each_kind(batch, kinds, ranks)
        ]
        losses, counts = (torch.stack(part) for part in zip(*each, strict=True))
        return losses.sum(0), counts.any(0)

    def _each_kind(self, batch: Tensor, kinds: Any, ranks: Any) -> list[tuple[RankingLoss, Tensor]]:
        """Return each kind's loss with the ranks of its prompts, those of others as padding."""
        order = as_ranks(ranks, batch)
        require_several(order.expand(batch.shape))
        parts = self._parts(kinds, batch)
        return [(of, order if own is None else torch.where(own, order, -1)) for of, own in parts]

    def per_prompt(self, logits: Tensor, *given: Any, **more: Any) -> Tensor:
        """Return each prompt's loss, shape (B,); 0 and no gradient where no pair is compared.

        What is given is that of the call, here and in `comparable`, `gap` and `prompt_gaps`: ranks,
        or kinds and ranks, then by name margins and pair_weights.
        """
        kinds, ranks, pairs = self._where(*given, **more)
        return self.loss_and_counts(logits, kinds, ranks, **pairs)[0]

    def comparable(self, logits: Tensor, *given: Any, **more: Any) -> Tensor:
        """Return which prompts have a pair to compare, bool, shape (B,): the mean is over those."""
        kinds, ranks, pairs = self._where(*given, **more)
        return self.loss_and_counts(logits.detach(), kinds, ranks, **pairs)[1]

    def gap(self, rewards: Any, *given: Any, **more: Any) -> float:
        """Return how far a batch's mean objective is from its optimum, in the scale of U.

        0 is total collapse. The optimum is each prompt's own: of its number of completions, its
        ties, its margins and its weights. `rewards`, (B, K) or (K,), are as the method of that name
        makes them, no logits. NaN where no prompt has a pair to compare.
        """
        return mean_of_known(self.prompt_gaps(rewards, *given, **more))

    def prompt_gaps(self, rewards: Any, *given: Any, **more: Any) -> np.ndarray:
        """Return `gap` for each prompt, shape (B,); NaN where no pair is compared."""
        kinds, ranks, pairs = self._where(*given, **more)
        if not isinstance(rewards, Tensor):
            rewards = torch.from_numpy(np.array(rewards, dtype=np.float64))
        made = as_batch(rewards.detach().to("cpu", torch.float64), "rewards")
        found = np.full(len(made), np.nan)
        for loss, own in self._each_kind(made, kinds, ranks):
            gaps = loss.against(made.numpy(), own.expand(made.shape).numpy(), **pairs)[1]
            found = np.where(np.isnan(found), gaps, found)
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PromptLoss) or type(other) is not type(self):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._settings()))


class RankingLoss(PromptLoss):
    """The loss whose optimum `collapse_theory.solve` predicts.

    For a prompt with rewards r, the weighted mean over its compared pairs, less the penalty of the
    domain, divided by the slope U'(0):

        loss = -(mean of U(r_i - r_j) over pairs in which i is better than j - penalty) / U'(0)

    with the penalties of docs/training.md (Song, Cai, Lee, Su, arXiv:2305.17608, section 2). The
    batch's loss is the mean over prompts. Below gap 0 utilities go on as `training.objective` says.

    Parameters
    ----------
    utility : Utility, PlackettLuce, str, Design or Link
        What a pair's gap is worth; or the listwise loss, of which the mean over picks takes the
        place of the mean over pairs, and whose slope is that of a pair, beta/2. A design is trained
        as it says, with its pair weights, and its link maps what `report` returns.
    domain : Box, Confined, Centered, Anchored or Free
        In a box the rewards are low + width sigmoid(logits), elsewhere the logits themselves.
    pair_weights : array_like of shape (K, K) or Comparisons, optional
        How much each pair of ranks counts, entry (p, q), p < q, for rank p above rank q; 1 unless
        given. Comparisons are read with the completion as its rank; their margins count too.
    offset : float, optional
        U(x + offset) is trained. Unless given 0, but for utilities with an infinite slope at gap 0
        a hundredth of the box's width.
    normalize : bool
        Whether to divide by U'(0), so that one learning rate serves all utilities. Utility and
        penalty are divided together: the optimum stays.

    Attributes
    ----------
    link : Link or None
    trained : Utility or PlackettLuce
        The utility with its offset.
    slope : float
        What the objective is divided by; 1 without `normalize`.

    Examples
    --------
    >>> import torch
    >>> from collapse_theory.training import RankingLoss
    >>> loss = RankingLoss("log(x + 0.1)")
    >>> logits = torch.zeros(2, 3, requires_grad=True)
    >>> loss(logits, ranks=[[0, 1, 2], [1, 1, 0]]).backward()
    >>> -logits.grad[1]  # tied, tied, best
    tensor([-0.0625, -0.0625,  0.1250])
    """

    def __init__(
        self,
        utility: Loss | str | Design | Link,
        domain: DomainLike | None = None,
        *,
        pair_weights: Any = None,
        offset: float | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.link: Link | None = None
        if isinstance(utility, Design):
            pair_weights = utility.comparisons if pair_weights is None else pair_weights
            self.link, utility = utility.link, utility.train_with
        elif isinstance(utility, Link):
            self.link, utility = utility, utility.utility
        if isinstance(pair_weights, Tensor):
            pair_weights = pair_weights.detach().cpu()
        self.utility: Loss = as_loss(utility)
        self.domain = as_domain(domain)
        if self.link is not None and not isinstance(self.domain, Box):
            raise CollapseError(
                f"a link maps the rewards of a Box, and the domain is {self.domain}"
            )
        self.pair_weights: Comparisons | None = by_rank(pair_weights)
        self.normalize = bool(normalize)
        if not isinstance(self.utility, PlackettLuce):
            self.trained, self.offset = trained_utility(self.utility, self.domain, offset)
        elif self.pair_weights is not None or offset:
            raise CollapseError(
                f"pair_weights and offset belong to utilities of a gap; {self.utility} is one of "
                "the whole ranking and takes none"
            )
        else:
            self.trained, self.offset = self.utility, 0.0
        if domain is None and self._in_a_box():
            logger.warning(
                "RankingLoss(%r) trains log-sigmoid of sigmoid(a) - sigmoid(b): its rewards are in "
                "the default box [0, 1]. For that of a - b, as Bradley-Terry, TRL and OpenRLHF "
                'have it, write RankingLoss("logsigmoid(x)", Free(), normalize=False), or '
                "Confined(kappa) for Free(); domain=Box() says that the box is meant",
                str(self.utility),
            )
        self._objective = Objective(self.trained, self.domain, self.pair_weights)
        self.slope = self._objective.slope if self.normalize else 1.0
        if self.slope <= 0:
            raise InvalidUtility(
                f"the slope of {self.trained} at gap 0 is {self.slope:g}: there's no scale to "
                "divide by, since equal rewards are its optimum or past it; normalize=False "
                "trains it as it is"
            )
        self.predictions = Predictions(self.trained, self.domain, self.pair_weights)
        self._calls, self._said = 0, set[str]()  # calls with gradients; warnings given
        self.step: int | None = None  # of a Trainer, as `trainer_loss` sees it

    def _in_a_box(self) -> bool:
        """Whether it is log-sigmoid, by itself, of rewards that are sigmoids themselves."""
        return self.utility == LogSigmoid() and isinstance(self.domain, Box)

    def of_kind(self, kind: str | None) -> RankingLoss:
        """Return the loss of the prompts of a kind: this one, for all kinds."""
        return self

    # -- the loss ------------------------------------------------------------------------

    def forward(
        self,
        logits: Tensor,
        ranks: Any = None,
        weights: Any = None,
        *,
        margins: Any = None,
        pair_weights: Any = None,
    ) -> Tensor:
        """Return the mean loss of a batch's prompts.

        Parameters
        ----------
        logits : Tensor, shape (B, K) or (K,)
            One per completion.
        ranks : Tensor or array_like of int, shape (B, K), (1, K) or (K,), optional
            0 is best, equal ranks are ties and not compared, below 0 is padding. Best first unless
            given.
        weights : Tensor or array_like, shape (B,), optional
            How much each prompt counts.
        margins : Tensor or array_like, shape (B,) or (B, K, K), optional
            U(r_i - r_j - margin) takes the place of U(r_i - r_j): one margin a prompt, or entry
            (b, i, j) for completion i above j. They add to those of `pair_weights` by rank.
        pair_weights : Tensor or array_like, shape (B, K, K), optional
            How much each pair counts within its prompt, times its weight by rank.

        Returns
        -------
        Tensor
            A scalar: the mean over the prompts that have a pair to compare; 0, with a gradient of
            0, where none has. A batch in which no prompt has two completions is an error.
        """
        found = self.loss_and_counts(logits, None, ranks, margins, pair_weights)
        return mean_over_prompts(*found, weights)

    def _where(self, ranks: Any = None, **pairs: Any) -> tuple[Any, Any, dict[str, Any]]:
        return None, ranks, pairs

    def _parts(self, kinds: Any, batch: Tensor) -> Sequence[tuple[RankingLoss, Tensor | None]]:
        return [(self, None)]

    def rewards(self, logits: Tensor, kinds: Any = None) -> Tensor:
        """Return the rewards that the logits stand for, in their shape; float32 for half types.

        Here and in `report` they are the same for all kinds.
        """
        logits = logits.float() if logits.dtype in HALF else logits
        if isinstance(self.domain, Box):
            return self.domain.low + self.domain.width * torch.sigmoid(logits)
        return logits

    def report(self, logits: Tensor, kinds: Any = None) -> Tensor:
        """Return the rewards to report: `rewards`, mapped by the link of a design that has one.

        Examples
        --------
        >>> import torch
        >>> import collapse_theory as ct
        >>> from collapse_theory.training import RankingLoss
        >>> loss = RankingLoss(ct.design("beta(4, 2)"))
        >>> str(loss.utility), loss.report(torch.tensor([-5.0, 0.0, 5.0]))
        ('log(x)', tensor([0.3466, 0.6862, 0.9218]))
        """
        rewards = self.rewards(logits)
        if self.link is None or not isinstance(self.domain, Box):
            return rewards
        return self.link((rewards - self.domain.low) / self.domain.width)

    def _of_batch(
        self, logits: Tensor, ranks: Tensor, margins: Any = None, pair_weights: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Return `loss_and_counts` of checked logits (B, K) and ranks, (B, K) or (1, K)."""
        # Before the sigmoid: a NaN in the padding would come back through its derivative.
        logits = logits.masked_fill(ranks < 0, 0.0)
        logits = logits.float() if logits.dtype in HALF else logits
        pairs = ranks, margins, pair_weights
        value, counts = self._objective.values(self.rewards(logits), *pairs)
        wrong = {"nan": value.isnan()}
        if isinstance(self.domain, Box):
            near = nearest(logits, ranks)
            some, beyond = near.isfinite(), near.isfinite() & (near > SATURATED)
            wrong["saturated"] = beyond & (2 * beyond.sum() > some.sum())
            value = self._pushed(value, some & (near > AT_ONE_END), logits, *pairs)
        if logits.requires_grad and not torch.compiler.is_compiling():
            self._calls += 1
            for what, rows in wrong.items():
                if what not in self._said and looked_at(rows.any()):
                    self._say(what, rows, logits, ranks)
        return value / -self.slope, counts

    def _pushed(
        self, value: Tensor, at_end: Tensor, logits: Tensor, ranks: Tensor, *tables: Any
    ) -> Tensor:
        """Return the same value; prompts at one end of the box have the gradient of centred ones.

        Their mean has a pull to 0 (docs/training.md#a-head-that-starts-at-one-end-of-the-box).
        """
        if looked_at(at_end.any()) is False:
            return value
        there = at_end[:, None] & (ranks >= 0)
        mean = torch.where(there, logits, 0.0).sum(1, True) / there.sum(1, True).clamp(min=1)
        centred = self.rewards(logits - mean.detach())
        pushed = self._objective.values(centred, ranks, *tables)[0]
        pushed = pushed - PULL * self._objective.slope * mean[:, 0].abs()
        return torch.where(at_end, value.detach() + (pushed - pushed.detach()), value)

    def _say(self, what: str, rows: Tensor, logits: Tensor, ranks: Tensor) -> None:
        """Say once what is wrong with rows of a batch that is trained on."""
        self._said.add(what)
        at = f"training call {self._calls}" if self.step is None else f"step {self.step}"
        if what == "nan":
            text = (
                f"the loss is NaN at the prompts {rows.nonzero()[:4, 0].tolist()} of the batch, "
                f"whose logits are {logits[rows][0].tolist()}; look at the model's learning rate, "
                "types and inputs"
            )
        else:
            mean = logits[rows[:, None] & (ranks >= 0)].mean().item()
            text = (
                f"most prompts have all their rewards within 2% of one end of {self.domain} (mean "
                f"logit {mean:.3g}): the head starts off centre. They are pushed as if they were "
                "centred, and back there; until they are, their rewards hardly tell completions "
                f"apart. A bias of {-mean:.3g} at the head would centre them"
            )
        logger.warning("%s of %s: %s (said once)", at, type(self).__name__, text)

    def require_tables(self, margins: bool, pair_weights: bool) -> None:
        """Raise for margins, or weights of pairs, that the loss has no use for."""
        self._objective.require_tables(margins, pair_weights)

    def objective(self, rewards: Tensor, ranks: Any = None, **pairs: Any) -> Tensor:
        """Return each prompt's objective in the scale of U, shape (B,), from its rewards."""
        rewards = as_batch(rewards)
        return self._objective.values(rewards, as_ranks(ranks, rewards), **pairs)[0]

    # -- what it leads to ----------------------------------------------------------------

    def predict(self, n: int, *, margins: Any = None, pair_weights: Any = None) -> Solution:
        """Return the rewards of n completions that this loss leads to, offset and weights included.

        `margins`, a number or (n, n), and `pair_weights`, (n, n), are as in the call, best first.

        It is an error where nothing holds the rewards (log-sigmoid under Free, say), where the pair
        weights pull a completion above a better one, or aren't given for n.

        Examples
        --------
        >>> from collapse_theory.training import RankingLoss
        >>> RankingLoss("log(x)").predict(4).rewards.round(3)
        array([1.   , 0.726, 0.274, 0.   ])
        """
        n = count(n)
        if self.pair_weights is not None and n > self.pair_weights.n:
            raise CollapseError(
                f"n = {n} completions: pair weights are given for the ranks 0, ..., "
                f"{self.pair_weights.n - 1} only"
            )
        ranks = torch.arange(n)[None]
        own = _tables(ranks, margins=margins, pair_weights=pair_weights)
        zeros = torch.zeros(ranks.shape, dtype=torch.float64)
        self._objective.values(zeros, ranks, **own)  # refuses what it doesn't take
        own = {name: of[0].numpy() for name, of in own.items()}
        found = self.predictions.of_prompt(np.arange(n), **own)
        if found is None:
            raise CollapseError(f"the pair weights compare none of the ranks 0, ..., {n - 1}")
        return found

    def against(
        self,
        rewards: np.ndarray,
        ranks: np.ndarray,
        margins: Any = None,
        pair_weights: Any = None,
        skip: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return each prompt's predicted rewards, best first, (B, K), and its gap, (B,).

        `rewards` and `ranks`, (B, K), are in float64 and whole numbers. Where there is no
        prediction it is an error, and with `skip` NaN, as where no pair is compared.
        """
        if isinstance(domain := self.domain, Box):
            there, slack = rewards[ranks >= 0], ROUNDING * domain.width
            outside = (there < domain.low - slack) | (there > domain.high + slack)
            if outside.any():
                raise CollapseError(
                    f"the reward {there[outside][0]:g} is outside {domain}; pass rewards, which "
                    "loss.rewards(logits) makes from logits"
                )
        # Padding may hold anything, and takes a reward that every utility has values for.
        made, order = torch.from_numpy(np.where(ranks < 0, 0.0, rewards)), torch.from_numpy(ranks)
        own = _tables(order, margins=margins, pair_weights=pair_weights)
        objective = self._objective.values(made, order, **own)[0].numpy()
        own = {name: of.numpy() for name, of in own.items()}
        expected, best = self.predictions.of_rows(ranks, **own, skip=skip)
        return expected, best - objective

    # -- values --------------------------------------------------------------------------

    def _settings(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in SETTINGS)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can hold."""
        settings = dict(zip(SETTINGS, map(encoded, self._settings()), strict=True))
        return {"type": type(self).__name__, **settings}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the loss whose settings `to_dict` wrote."""
        with reading(cls.__name__):
            require_type(cls, data)
            given: dict[str, Any] = {name: data[name] for name in SETTINGS}
            for name, of in given.items():
                given[name] = Value.from_dict(of) if isinstance(of, dict) else of
            given["utility"] = given.pop("link") or given["utility"]
            return cls(**given)

    def __repr__(self) -> str:
        """Return all settings, with what is really trained and the scale divided out."""
        parts = [f"{str(self.utility)!r}", f"domain={self.domain}"]
        if self._in_a_box():
            parts.append("of sigmoid(logits); of logits with domain=Free()")
        if self.pair_weights is not None:
            parts.append(f"pair_weights={self.pair_weights}")
        if self.link is not None:
            parts.append(f"link={self.link}")
        if self.offset:
            parts.append(f"offset={self.offset:g}, trained={str(self.trained)!r}")
        parts.append(f"normalize={self.normalize}, slope={self.slope:g}")
        return f"{type(self).__name__}({', '.join(parts)})"


def require_type(kind: type, data: dict[str, Any]) -> None:
    """Raise unless a dict is one of this kind of loss."""
    if data["type"] != kind.__name__:
        raise CollapseError(f"the dict holds a {data['type']!r}, not a {kind.__name__}")


def _tables(ranks: Tensor, **given: Any) -> dict[str, Any]:
    """Return the margins and weights of pairs that are given, (B, K, K) in float64."""
    zeros, which = torch.zeros(ranks.shape, dtype=torch.float64), compared(ranks)
    return {name: of_pairs(name, of, zeros, which) for name, of in given.items() if of is not None}


def mean_of_known(values: np.ndarray) -> float:
    """Return the mean of what isn't NaN; NaN for none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
