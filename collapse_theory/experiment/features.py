"""Features of all prompts: encoded once, kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from collapse_theory.experiment.cache import Cache
from collapse_theory.experiment.encoder import Encoder
from collapse_theory.experiment.progress import Progress
from collapse_theory.experiment.prompts import PromptSet
from collapse_theory.experiment.workers import spread

__all__ = ["Table", "tables"]

CHUNK = 256  # texts in a file of the cache, and what an interruption can cost
BATCH = 16  # texts that go through the encoder together: more is slower on a CPU
FORMAT = "means of first and last hidden state, 1"

Tokens = dict[str, list[int]]


@dataclass(frozen=True, eq=False)
class Table:
    """A set of prompts as numbers.

    Attributes
    ----------
    features : numpy.ndarray, shape (N, K, W), float32
        0 where a prompt has fewer completions.
    ranks : numpy.ndarray, shape (N, K)
        0 the best, -1 for padding.
    kinds : tuple of str
        Of each prompt.
    train : int
        The first so many are trained on.
    cut : int
        Completions that were longer than the encoder was let to read.
    """

    features: np.ndarray
    ranks: np.ndarray
    kinds: tuple[str, ...]
    train: int
    cut: int = 0

    def last_layer(self) -> Table:
        """Return the table with the last hidden state alone."""
        half = self.features.shape[2] // 2
        return Table(self.features[:, :, half:], self.ranks, self.kinds, self.train, self.cut)


def tables(
    encoder: Encoder, sets: dict[str, PromptSet], max_length: int, cache: Cache, progress: Progress
) -> dict[str, Table]:
    """Return the table of each set of prompts, in their order; the same text is encoded once.

    Which texts are encoded together, and so the last bits of their features, depends on the texts
    alone: not on what the cache holds, nor on where an earlier start was interrupted.
    """
    tokens = {name: encoder.tokens(of.rankings, max_length) for name, of in sets.items()}
    chunks = list(_chunks(encoder, tokens))
    progress.begin("encoding the texts", sum(len(chunk) for _, chunk in chunks))

    def encoded(part: tuple[str, dict[str, Tokens]], told: Progress) -> np.ndarray:
        key, chunk = part
        found = cache.get(key, (len(chunk), 2 * encoder.width))
        if found is None:
            found = _encoded(encoder, list(chunk.values()), told)
            cache.put(key, found)
        else:
            told.advance(len(chunk))
        return found

    known: dict[str, np.ndarray] = {}
    for (_, chunk), found in zip(chunks, spread(encoded, chunks, progress), strict=True):
        known.update(zip(chunk, found, strict=True))
    return {name: _table(sets[name], tokens[name], known, max_length) for name in sets}


def _chunks(
    encoder: Encoder, tokens: dict[str, list[Tokens]]
) -> Iterator[tuple[str, dict[str, Tokens]]]:
    """Yield (cache key, texts by name): of each set the texts that no set before it has."""
    seen: set[str] = set()
    for texts in tokens.values():
        new = {_name(text): text for text in texts if _name(text) not in seen}
        seen.update(new)
        # By length, so that little of a batch is padding.
        ordered = sorted(new, key=lambda name: (len(new[name]["input_ids"]), name))
        for start in range(0, len(ordered), CHUNK):
            part = ordered[start : start + CHUNK]
            content = [FORMAT, encoder.fingerprint, str(BATCH), *part]
            key = hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]
            yield key, {name: new[name] for name in part}


def _encoded(encoder: Encoder, texts: Sequence[Tokens], progress: Progress) -> np.ndarray:
    parts = []
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        parts.append(encoder.features(part))
        progress.advance(len(part))
    return np.concatenate(parts)


def _table(
    prompts: PromptSet, texts: Sequence[Tokens], known: dict[str, np.ndarray], max_length: int
) -> Table:
    ranks = prompts.ranks
    rows = np.stack([known[_name(text)] for text in texts])
    features = np.zeros((*ranks.shape, rows.shape[1]), dtype=np.float32)
    features[ranks >= 0] = rows
    cut = sum(len(text["input_ids"]) >= max_length for text in texts)
    return Table(features, ranks, prompts.kinds, len(prompts.train), cut)


def _name(text: Tokens) -> str:
    content = json.dumps([text["input_ids"], text.get("token_type_ids")])
    return hashlib.sha256(content.encode()).hexdigest()
