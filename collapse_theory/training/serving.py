"""Reward models that are served as they were trained: their logits are the predicted rewards.

A model gives logits; what a loss under a box, or with the link of a design, was trained for is a
function of them. `serve` has ``save_pretrained`` write that down in config.json, and the Auto
classes, with which this module registers itself, load a model that gives the rewards. The weights
are those of the model, in their own file; no code is saved.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.configuration_utils import PretrainedConfig

from collapse_theory.errors import CollapseError
from collapse_theory.programs import Box
from collapse_theory.training.loss import RankingLoss
from collapse_theory.training.prompt_aware import AnyLoss, PromptAwareRankingLoss
from collapse_theory.training.trainer import each

CONFIG = "config.json"
SETTINGS = "collapse_theory.json"


class ServedConfig(PretrainedConfig):
    """The config of a served model: that of the model itself, and the settings of its loss.

    `kind` is the one that all prompts are of, where kinds have different boxes or links.
    """

    model_type = "collapse_theory_reward"

    def __init__(
        self,
        base: dict[str, Any] | None = None,
        loss: dict[str, Any] | None = None,
        kind: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.base, self.loss, self.kind = base or {}, loss or {}, kind


class ServedModel(PreTrainedModel):
    """A reward model whose ``logits``, shape (N, 1), are the rewards of its loss.

    It is for use, not for training: ``served.model`` is the model that was trained.
    """

    config_class = ServedConfig

    def __init__(self, config: ServedConfig, model: PreTrainedModel) -> None:
        super().__init__(config)
        self.model = model
        aware = config.loss.get("type") == PromptAwareRankingLoss.__name__
        self.loss = (PromptAwareRankingLoss if aware else RankingLoss).from_dict(config.loss)
        config.pad_token_id = model.config.pad_token_id

    def forward(self, *args: Any, kinds: Any = None, **kwargs: Any) -> Any:
        """Return what the model returns, its logits mapped to rewards; `kinds` are one a row."""
        if self.training and torch.is_grad_enabled():
            raise CollapseError(
                "this model gives rewards, as it is served; to train it on take its .model"
            )
        outputs = self.model(*args, **kwargs)
        if kinds is None and self.config.kind is not None:
            kinds = [self.config.kind] * len(outputs.logits)
        outputs.logits = self.loss.report(outputs.logits, kinds)
        return outputs

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Load the model with the weights and the config of a folder that `serve` had written."""
        config = config or ServedConfig.from_pretrained(name)
        base = AutoConfig.for_model(**config.base)
        model = AutoModelForSequenceClassification.from_pretrained(
            name, *args, config=base, **kwargs
        )
        served = cls(config, model)
        served.name_or_path = config.name_or_path = str(name)
        return served.eval()

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Save the model and the settings, as they were loaded."""
        serve(self.model, self.loss).save_pretrained(save_directory, *args, **kwargs)


AutoConfig.register(ServedConfig.model_type, ServedConfig, exist_ok=True)
AutoModelForSequenceClassification.register(ServedConfig, ServedModel, exist_ok=True)


def serve(model: Any, loss: AnyLoss) -> Any:
    """Have a model be saved so that what is loaded gives the rewards of the loss.

    ``serve(model, loss).save_pretrained(folder)`` writes the model's weights as ever, and a
    config.json with the settings of the loss. In a process that has imported
    `collapse_theory.training`, ``AutoModelForSequenceClassification.from_pretrained(folder)`` is
    then a `ServedModel`. `CollapseCallback` and `RankingTrainer` do this to what they train.

    Returns
    -------
    model
        Itself. Under a loss whose rewards are the logits it is saved as ever; then, and for
        adapters, which have no config.json, the settings are in collapse_theory.json beside the
        weights.
    """
    model.save_pretrained = partial(_save, model, loss)
    return model


def _save(model: Any, loss: AnyLoss, folder: Any, *args: Any, **kwargs: Any) -> Any:
    done = type(model).save_pretrained(model, folder, *args, **kwargs)
    if kwargs.get("is_main_process", True):
        path = Path(folder) / CONFIG
        if path.exists() and any(isinstance(one.domain, Box) for one in each(loss)):
            base = json.loads(path.read_text(encoding="utf-8"))
            config = ServedConfig(base, loss.to_dict(), architectures=[ServedModel.__name__])
            config.save_pretrained(folder)
        else:
            settings = json.dumps(loss.to_dict(), indent=1)
            (Path(folder) / SETTINGS).write_text(settings, encoding="utf-8")
    return done
