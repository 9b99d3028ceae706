"""Reward logs of real models: read, summarised, and told whether they have collapsed."""

from __future__ import annotations

from collapse_theory.data.reading import read_log
from collapse_theory.data.reward_log import BadRows, Note, RewardLog
from collapse_theory.diagnosis.diagnose import DEFAULT_UTILITIES, diagnose
from collapse_theory.diagnosis.diagnosis import Diagnosis
from collapse_theory.diagnosis.inside import Spread
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.likeness import Shares, View
from collapse_theory.diagnosis.order_statistics import RewardMap
from collapse_theory.diagnosis.parts import Change, Part, changes
from collapse_theory.diagnosis.proposal import KindProposal, Split, propose_kinds
from collapse_theory.diagnosis.summary import KindSummary, Prediction

__all__ = [
    "DEFAULT_UTILITIES",
    "BadRows",
    "Change",
    "Diagnosis",
    "KindProposal",
    "KindSummary",
    "Measure",
    "Note",
    "Part",
    "Prediction",
    "RewardLog",
    "RewardMap",
    "Shares",
    "Split",
    "Spread",
    "View",
    "changes",
    "diagnose",
    "propose_kinds",
    "read_log",
]


def __dir__() -> list[str]:
    return __all__
