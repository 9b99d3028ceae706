"""The torch bridge: losses that lead to predicted rewards, data, the Trainer's plumbing.

Names come at first use, so that the losses load torch alone. Everything here needs the extra
``pip install ".[training]"``. From here on transformers' Auto classes know how to
load what `serve` saved.

>>> from collapse_theory.training import RankingLoss
>>> RankingLoss("log(x + 0.1)").predict(3).rewards
array([1. , 0.5, 0. ])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collapse_theory.lazy import names_at_use
from collapse_theory.training.registration import register

if TYPE_CHECKING:
    from collapse_theory.data.dataset import RankingDataset
    from collapse_theory.data.ranking import Ranking
    from collapse_theory.data.ranking_rows import ranking_of
    from collapse_theory.training.callback import CollapseCallback, UtilitySchedule
    from collapse_theory.training.collator import RankingCollator
    from collapse_theory.training.loss import RankingLoss
    from collapse_theory.training.parts import CrossEncoderRankingLoss, in_parts, rows_of
    from collapse_theory.training.prompt_aware import PromptAwareRankingLoss
    from collapse_theory.training.ranking_trainer import RankingTrainer
    from collapse_theory.training.serving import serve
    from collapse_theory.training.trainer import keep_best, trainer_loss

__all__ = [
    "CollapseCallback",
    "CrossEncoderRankingLoss",
    "PromptAwareRankingLoss",
    "Ranking",
    "RankingCollator",
    "RankingDataset",
    "RankingLoss",
    "RankingTrainer",
    "UtilitySchedule",
    "in_parts",
    "keep_best",
    "ranking_of",
    "rows_of",
    "serve",
    "trainer_loss",
]

names_at_use(
    __name__,
    {
        "collapse_theory.data.dataset": "RankingDataset",
        "collapse_theory.data.ranking_rows": "ranking_of",
        "collapse_theory.data.ranking": "Ranking",
        f"{__name__}.callback": "CollapseCallback UtilitySchedule",
        f"{__name__}.collator": "RankingCollator",
        f"{__name__}.loss": "RankingLoss",
        f"{__name__}.parts": "CrossEncoderRankingLoss in_parts rows_of",
        f"{__name__}.prompt_aware": "PromptAwareRankingLoss",
        f"{__name__}.ranking_trainer": "RankingTrainer",
        f"{__name__}.serving": "serve",
        f"{__name__}.trainer": "keep_best trainer_loss",
    },
)

register()
