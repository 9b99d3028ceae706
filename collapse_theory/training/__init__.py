"""The torch bridge: losses that lead to predicted rewards, data, the Trainer's plumbing.

Names come at first use, so that the losses load torch alone. Everything here needs the extra
``pip install "collapse-theory[training]"``.

>>> from collapse_theory.training import RankingLoss
>>> RankingLoss("log(x + 0.1)").predict(3).rewards
array([1. , 0.5, 0. ])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapse_theory.data.dataset import RankingDataset
    from collapse_theory.data.ranking import Ranking
    from collapse_theory.training.collator import RankingCollator
    from collapse_theory.training.loss import PromptAwareRankingLoss, RankingLoss
    from collapse_theory.training.trainer import CollapseCallback, trainer_loss

__all__ = [
    "CollapseCallback",
    "PromptAwareRankingLoss",
    "Ranking",
    "RankingCollator",
    "RankingDataset",
    "RankingLoss",
    "trainer_loss",
]

# Public name: the module that makes it.
_MODULES: dict[str, str] = {
    "CollapseCallback": "collapse_theory.training.trainer",
    "PromptAwareRankingLoss": "collapse_theory.training.loss",
    "Ranking": "collapse_theory.data.ranking",
    "RankingCollator": "collapse_theory.training.collator",
    "RankingDataset": "collapse_theory.data.dataset",
    "RankingLoss": "collapse_theory.training.loss",
    "trainer_loss": "collapse_theory.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as fault:
        if fault.name is None or fault.name.startswith("collapse_theory"):
            raise
        raise ModuleNotFoundError(
            f"{name} needs the package {fault.name!r}, which is not installed; "
            'pip install "collapse-theory[training]"',
            name=fault.name,
        ) from fault


def __dir__() -> list[str]:
    return __all__
