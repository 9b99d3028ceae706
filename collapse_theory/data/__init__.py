"""Rankings and reward logs, from files and from arrays."""

from __future__ import annotations

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
