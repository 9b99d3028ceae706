"""The ranking loss: minus the objective of the programs, on tensors of logits."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from collapse_theory.errors import CollapseError, InvalidUtility
from collapse_theory.programs import Box, Comparisons, Domain, Solution
from collapse_theory.training.batches import as_batch, mean_over_prompts, require_type
from collapse_theory.training.continuation import Continued, continued
from collapse_theory.training.objective import pair_value, penalty, stage_value
from collapse_theory.training.pairs import as_ranks, by_rank, compared, tables
from collapse_theory.training.predict import Predictions, gap_of, prompt_gaps
from collapse_theory.training.trained import as_domain, trained_utility, widest_gap
from collapse_theory.utilities import Loss, PlackettLuce, as_loss
from collapse_theory.values import registered

__all__ = ["RankingLoss"]

HALF = (torch.float16, torch.bfloat16)


class RankingLoss(nn.Module):
    """The loss whose optimum `collapse_theory.solve` predicts.

    For a prompt with rewards r, the weighted mean over its compared pairs, less the penalty of the
    domain, divided by the slope U'(0):

        loss = -(mean of U(r_i - r_j) over pairs in which i is better than j - penalty) / U'(0)

    with the penalty kappa mean r_i**2 for Confined(kappa), the mean over the pairs of
    c (r_i + r_j)**2 for Centered(c), none for Box and Free. The batch's loss is the mean over
    prompts. Below gap 0 utilities go on as `training.continuation` says.

    Parameters
    ----------
    utility : Utility, PlackettLuce or str
        What a pair's gap is worth; or the listwise loss, of which the mean over picks takes the
        place of the mean over pairs, and whose slope is that of a pair, beta/2.
    domain : Box, Confined, Centered or Free
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
    utility, domain, pair_weights, offset, normalize
        As given (`pair_weights` as Comparisons).
    trained : Utility or PlackettLuce
        The utility with its offset.
    slope : float
        What the objective is divided by; 1 without `normalize`.

    Raises
    ------
    CollapseError
        A utility that isn't concave, or falls, over the domain's gaps; one without a finite slope
        at 0 off the box and no offset; functions that don't take tensors.

    Notes
    -----
    Logits in float16 and bfloat16 are computed with in float32, under autocast too; rewards and
    loss come back in float32, the gradient in the logits' dtype. A NaN among the logits gives
    NaN, as in torch's own losses; in the padding it doesn't count.

    Song, Cai, Lee, Su, arXiv:2305.17608, section 2.

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
        utility: Loss | str,
        domain: Domain | None = None,
        *,
        pair_weights: Any = None,
        offset: float | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.utility: Loss = as_loss(utility)
        self.domain = as_domain(domain)
        self.pair_weights: Comparisons | None = by_rank(pair_weights)
        self.normalize = bool(normalize)
        self._worth: Continued | None = None
        if isinstance(self.utility, PlackettLuce):
            _require_plain(self.utility, self.pair_weights, offset)
            self.trained, self.offset = self.utility, 0.0
            slope = self.utility.beta / 2
        else:
            self.trained, self.offset = trained_utility(self.utility, self.domain, offset)
            self._worth = continued(self.trained, widest_gap(self.domain))
            slope = self._worth.slope
        self.slope = _scale(slope, self.trained) if self.normalize else 1.0
        self.predictions = Predictions(self.trained, self.domain, self.pair_weights)
        weights, margins = self._tables()
        # Settings and no weights of a model: a checkpoint holds none of it.
        self.register_buffer("_rank_weights", weights, persistent=False)
        self.register_buffer("_rank_margins", margins, persistent=False)

    def _tables(self) -> tuple[Tensor | None, Tensor | None]:
        if self.pair_weights is None:
            return None, None
        weights, margins = map(torch.from_numpy, tables(self.pair_weights))
        weights = weights / weights.max()  # in the range of float32, whatever their scale
        if not margins.any():
            return weights, None
        if self._worth is not None and self._worth.start is not None:
            raise InvalidUtility(
                f"margins need values of U below gap 0, and {self.trained} is continued there by "
                "its tangent; use log-sigmoid, a hinge or another utility that has them"
            )
        return weights, margins

    # -- the loss ------------------------------------------------------------------------

    def forward(self, logits: Tensor, ranks: Any = None, weights: Any = None) -> Tensor:
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

        Returns
        -------
        Tensor
            A scalar: the mean over the prompts that have a pair to compare; 0, with a gradient of
            0, where none has.
        """
        value, counts = self.loss_and_counts(logits, ranks)
        return mean_over_prompts(value, counts, weights)

    def per_prompt(self, logits: Tensor, ranks: Any = None) -> Tensor:
        """Return each prompt's loss, shape (B,); 0 and no gradient where no pair is compared."""
        return self.loss_and_counts(logits, ranks)[0]

    def comparable(self, logits: Tensor, ranks: Any = None) -> Tensor:
        """Return which prompts have a pair to compare, bool, shape (B,): the mean is over those."""
        logits = as_batch(logits)
        total = self._rank_pairs(as_ranks(ranks, logits, self._most), torch.float32)[1]
        return (total > 0).expand(len(logits))

    def rewards(self, logits: Tensor) -> Tensor:
        """Return the rewards that the logits stand for, in their shape.

        low + width sigmoid(logits) in a box, else the logits themselves; float32 for half types.
        """
        logits = logits.float() if logits.dtype in HALF else logits
        if isinstance(self.domain, Box):
            return self.domain.low + self.domain.width * torch.sigmoid(logits)
        return logits

    def loss_and_counts(self, logits: Tensor, ranks: Any = None) -> tuple[Tensor, Tensor]:
        """Return `per_prompt` and `comparable` in one pass."""
        logits = as_batch(logits)
        ranks = as_ranks(ranks, logits, self._most)
        # Before the sigmoid: a NaN in the padding would come back through its derivative.
        rewards = self.rewards(logits.masked_fill(ranks < 0, 0.0))
        objective, counts = self._objective(rewards, ranks)
        return objective / -self.slope, counts

    def objective(self, rewards: Tensor, ranks: Any = None) -> Tensor:
        """Return each prompt's objective in the scale of U, shape (B,), from its rewards."""
        rewards = as_batch(rewards)
        return self._objective(rewards, as_ranks(ranks, rewards, self._most))[0]

    def _objective(self, rewards: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        weights, total = self._rank_pairs(ranks, rewards.dtype)
        counts = total > 0
        weights = weights / torch.where(counts, total, 1.0)[:, None, None]
        if self._worth is None:
            value = stage_value(self._listwise, rewards, weights)
        else:
            margins = self._looked_up(self._rank_margins, ranks, rewards.dtype)
            value = pair_value(self._worth, rewards, weights, margins)
        value = value - penalty(self.domain, rewards, ranks, weights)
        counts = counts.expand(len(rewards))
        return torch.where(counts, value, 0.0), counts

    def _rank_pairs(self, ranks: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the weight of each pair (i, j), 0 where not compared, and each prompt's total."""
        pairs = compared(ranks).to(dtype)
        table = self._looked_up(self._rank_weights, ranks, dtype)
        weights = pairs if table is None else pairs * table
        return weights, weights.sum((1, 2))

    def _looked_up(self, table: Any, ranks: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Return the table's entry of each pair of ranks, (B, K, K); of padding anything."""
        if table is None:
            return None
        at = ranks.clamp(min=0)
        return table.to(ranks.device, dtype)[at[:, :, None], at[:, None, :]]

    # -- what it leads to ----------------------------------------------------------------

    def predict(self, n: int) -> Solution:
        """Return the rewards of n completions that this loss leads to, offset and weights included.

        Raises
        ------
        NoOptimum
            Where nothing holds the rewards: log-sigmoid under Free, say.
        CollapseError
            Where the pair weights pull a completion above a better one, or aren't given for n.

        Examples
        --------
        >>> from collapse_theory.training import RankingLoss
        >>> RankingLoss("log(x)").predict(4).rewards.round(3)
        array([1.   , 0.726, 0.274, 0.   ])
        """
        return self.predictions.solution(n)

    def gap(self, rewards: Any, ranks: Any = None) -> float:
        """Return how far a batch's mean objective is from its optimum, in the scale of U.

        0 is total collapse. The optimum is each prompt's own: of its number of completions, its
        ties and its weights. Not divided by the slope.

        Parameters
        ----------
        rewards : Tensor or array_like, shape (B, K) or (K,)
            Rewards as `rewards` makes them, no logits.
        ranks
            As in the call.

        Returns
        -------
        float
            NaN where no prompt has a pair to compare.
        """
        return gap_of(self.prompt_gaps(rewards, ranks))

    def prompt_gaps(self, rewards: Any, ranks: Any = None) -> np.ndarray:
        """Return `gap` for each prompt, shape (B,); NaN where no pair is compared."""
        return prompt_gaps(self, rewards, ranks)

    # -- values --------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can hold."""
        pairs = self.pair_weights
        return {
            "type": type(self).__name__,
            "utility": self.utility.to_dict(),
            "domain": self.domain.to_dict(),
            "pair_weights": None if pairs is None else pairs.to_dict(),
            "offset": self.offset,
            "normalize": self.normalize,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the loss whose settings `to_dict` wrote."""
        require_type(cls, data)
        made = {key: _from_dict(data[key]) for key in ("utility", "domain", "pair_weights")}
        return cls(**made, offset=data["offset"], normalize=data["normalize"])

    def extra_repr(self) -> str:
        """Return all settings, with what is really trained and the scale divided out."""
        parts = [f"{str(self.utility)!r}", f"domain={self.domain}"]
        if self.pair_weights is not None:
            parts.append(f"pair_weights={self.pair_weights}")
        if self.offset:
            parts.append(f"offset={self.offset:g}, trained={str(self.trained)!r}")
        return ", ".join([*parts, f"normalize={self.normalize}, slope={self.slope:g}"])

    @property
    def _listwise(self) -> PlackettLuce:
        assert isinstance(self.utility, PlackettLuce)
        return self.utility

    @property
    def _most(self) -> int | None:
        return None if self.pair_weights is None else self.pair_weights.n

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # Tables of settings go to the device, but keep their digits when a model is cast to half.
        for name, table in list(self._buffers.items()):
            if table is not None:
                device = fn(torch.empty(0, device=table.device)).device
                self._buffers[name] = table.to(device)
        return self


def _require_plain(model: PlackettLuce, pairs: Comparisons | None, offset: float | None) -> None:
    for name, given in (("pair_weights", pairs), ("offset", offset or None)):
        if given is not None:
            raise CollapseError(
                f"{name} belongs to utilities of a gap; {model} is one of the whole ranking and "
                "takes none"
            )


def _scale(slope: float, trained: Loss) -> float:
    if slope <= 0:
        raise InvalidUtility(
            f"the slope of {trained} at gap 0 is {slope:g}: there's no scale to divide by, since "
            "equal rewards are its optimum or past it; normalize=False trains it as it is"
        )
    return slope


def _from_dict(data: dict[str, Any] | None) -> Any:
    return None if data is None else registered(data["type"]).from_dict(data)
