"""A log from arrays in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.data.reward_log import RewardLog
from collapse_theory.errors import CollapseError

__all__ = ["log_of"]


def log_of(rewards: Any, prompts: Any = None, kinds: Any = None, ranks: Any = None) -> RewardLog:
    """Return the log of rewards in memory.

    Raises
    ------
    CollapseError
        A ValueError, for rewards that aren't finite numbers, lengths that differ, ranks that
        aren't whole, or a prompt of two kinds; it names the first row at fault, from 0.
    """
    values = _numbers(rewards, "rewards")
    if values.ndim == 2:
        return _table(values, prompts, kinds, ranks)
    if values.ndim != 1 or values.size == 0:
        raise CollapseError(
            f"rewards must be a list with one a completion, or a table with a prompt a row; this "
            f"has the shape {values.shape}"
        )
    if prompts is None:
        raise CollapseError("which prompt is each reward of? give prompts, as many as rewards")
    codes, _ = _codes(prompts, values.size, "prompts")
    kind_codes, names = None, ()
    if kinds is not None:
        kind_codes, names = _codes(kinds, values.size, "kinds")
        _check_kinds(codes, kind_codes, names)
    rank = None if ranks is None else _ranks(_numbers(ranks, "ranks"), values.shape)
    return RewardLog(values, codes, kind_codes, names, rank, read=values.size)


def _table(values: np.ndarray, prompts: Any, kinds: Any, ranks: Any) -> RewardLog:
    count, size = values.shape
    if not values.size:
        raise CollapseError(f"a table of the shape {values.shape} holds no rewards")
    if prompts is None:
        rows = np.arange(count)
    else:
        rows, _ = _codes(prompts, count, "prompts")
    codes, names = (None, ()) if kinds is None else _codes(kinds, count, "kinds")
    if codes is not None:
        _check_kinds(rows, codes, names)
    return RewardLog(
        values.ravel(),
        np.repeat(rows, size),
        None if codes is None else np.repeat(codes, size),
        names,
        None if ranks is None else _ranks(_numbers(ranks, "ranks"), values.shape).ravel(),
        read=values.size,
    )


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CollapseError(f"{what} must be numbers: {error}") from None
    bad = np.flatnonzero(~np.isfinite(array.ravel()))
    if bad.size:
        raise CollapseError(
            f"{bad.size} {what} aren't finite, the first at {bad[0]}: {array.ravel()[bad[0]]}; "
            "leave such rows out (collapse_theory.diagnosis.read_log does, and counts them)"
        )
    return array


def _codes(values: Any, count: int, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    array = np.asarray(values)
    if array.shape != (count,):
        raise CollapseError(f"{what} must be a list of {count}, not of the shape {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        where = int(np.flatnonzero(np.isnan(array))[0])
        raise CollapseError(f"{what} has no value at {where}")
    if array.dtype.kind == "O":
        array = array.astype(str)
    several, codes = np.unique(array, return_inverse=True)
    return codes, tuple(map(str, several.tolist())) if what == "kinds" else ()


def _check_kinds(prompts: np.ndarray, kinds: np.ndarray, names: tuple[str, ...]) -> None:
    kind_of = np.empty(prompts.max() + 1, dtype=kinds.dtype)
    kind_of[prompts] = kinds
    wrong = np.flatnonzero(kinds != kind_of[prompts])
    if wrong.size:
        first, second = names[kinds[wrong[0]]], names[kind_of[prompts[wrong[0]]]]
        raise CollapseError(
            f"the kind changes within a prompt: row {wrong[0]} is {first!r}, another row of its "
            f"prompt {second!r}; a prompt has one kind"
        )


def _ranks(ranks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if ranks.shape != shape:
        raise CollapseError(f"ranks must have the shape {shape} of the rewards, not {ranks.shape}")
    if (ranks < 0).any() or (ranks != np.floor(ranks)).any():
        raise CollapseError("ranks must be whole numbers from 0, the best")
    return ranks
