"""Rankings and reward logs, from files and from arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collapse_theory.lazy import names_at_use

if TYPE_CHECKING:
    from collapse_theory.data.dataset import DatasetReport, RankingDataset
    from collapse_theory.data.log_summary import LogSummary
    from collapse_theory.data.ranking import Ranking
    from collapse_theory.data.reading import read_log
    from collapse_theory.data.reward_log import BadRows, RewardLog, RewardLogWriter

__all__ = [
    "BadRows",
    "DatasetReport",
    "LogSummary",
    "Ranking",
    "RankingDataset",
    "RewardLog",
    "RewardLogWriter",
    "read_log",
]

names_at_use(
    __name__,
    {
        f"{__name__}.dataset": "DatasetReport RankingDataset",
        f"{__name__}.log_summary": "LogSummary",
        f"{__name__}.ranking": "Ranking",
        f"{__name__}.reading": "read_log",
        f"{__name__}.reward_log": "BadRows RewardLog RewardLogWriter",
    },
)
