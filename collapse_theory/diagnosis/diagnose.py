"""`ct.diagnose`: from a log's rewards to a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from collapse_theory.data.reward_log import RewardLog
from collapse_theory.diagnosis.curves import Curves, sorted_prompts
from collapse_theory.diagnosis.distances import between, predictions_of
from collapse_theory.diagnosis.groups import Groups, two_groups
from collapse_theory.diagnosis.index import Index, collapse_index
from collapse_theory.diagnosis.pairs import pairs_right
from collapse_theory.diagnosis.result import Diagnosis
from collapse_theory.diagnosis.scale import RewardMap, map_of
from collapse_theory.diagnosis.summary import KindSummary, summary_of
from collapse_theory.diagnosis.verdict import KIND_PROMPTS, Evidence, Verdict, counted, verdict_of
from collapse_theory.errors import CollapseError
from collapse_theory.programs import Box, Domain
from collapse_theory.utilities import Utility, utility

__all__ = ["DEFAULT_UTILITIES", "diagnose"]

DEFAULT_UTILITIES = ("x", "log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4*x)")
"""What the paper's experiments trained; a log is compared with these unless others are given."""

_SATURATED = 0.6  # a two-valued law has a half at each end


def diagnose(
    rewards: Any,
    prompts: Any = None,
    kinds: Any = None,
    utility: Utility | str | Sequence[Utility | str] | None = None,
    *,
    ranks: Any = None,
    domain: Domain | None = None,
    scale: tuple[float, float] | None = None,
    rng: np.random.Generator | int = 0,
) -> Diagnosis:
    """Tell from a log of rewards whether the model has collapsed.

    index = max(0, 1 - (W + 10 K) / R) on the scale from 0 to 1, with W the variance of order
    statistics between prompts of a kind, K the variance between kinds' means and R the variance
    between prompts whose completions are drawn at random from the pooled log. docs/diagnosis.md
    has the formulas, the verdict's rule and its measured error rates.

    Parameters
    ----------
    rewards : (rows,) array, (P, n) array, or RewardLog
        One reward a completion. A table has a prompt a row.
    prompts : (rows,) array, optional
        Which prompt each reward is of: numbers or text. Not needed with a table or a log.
    kinds : (rows,) array, or (P,) with a table, optional
        Each prompt's kind: numbers or text.
    utility : Utility, str or a sequence of them, optional
        What to compare the log with; the paper's four unless given, () for none.
    ranks : array like `rewards`, optional
        Each completion's true rank, 0 the best.
    domain : Box, Confined, Centered or Free, optional
        Where the utilities' rewards lie; Box() unless given.
    scale : (low, high), optional
        The rewards to call 0 and 1; by default the median prompt's worst and best.
    rng : numpy.random.Generator or int, optional
        For the bootstrap; a seed.

    Returns
    -------
    Diagnosis

    Raises
    ------
    CollapseError
        A ValueError, for rewards that aren't finite, lengths that differ, a prompt of two kinds,
        or no prompt with two completions.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> rng = np.random.default_rng(0)
    >>> optimum = ct.solve("log(x + 0.1)", 8).rewards
    >>> rewards = optimum + 0.02 * rng.standard_normal((50, 8))
    >>> found = ct.diagnose(rewards)
    >>> found.collapsed, found.kinds[0].predictions[0].utility
    (True, 'log(x + 0.1)')
    """
    log = (
        rewards if isinstance(rewards, RewardLog) else RewardLog.of(rewards, prompts, kinds, ranks)
    )
    if isinstance(rewards, RewardLog) and not (prompts is kinds is ranks is None):
        raise CollapseError("a RewardLog has its own prompts, kinds and ranks; give it alone")
    utilities = _utilities(utility)
    curves = sorted_prompts(log.rewards, log.prompts, log.kinds)
    if not curves.count:
        raise CollapseError(
            f"none of the {log.count} prompts has two completions: is the prompt column the right "
            "one? Collapse is about the rewards of several completions of one prompt"
        )
    mapped = RewardMap(*scale) if scale is not None else map_of(curves)
    generator = np.random.default_rng(rng)
    right = pairs_right(log.rewards, log.prompts, log.ranks) if log.ranks is not None else None
    return _diagnosis(log, curves, mapped, utilities, domain or Box(), generator, right)


def _utilities(given: Any) -> list[Utility]:
    if given is None:
        given = DEFAULT_UTILITIES
    several = [given] if isinstance(given, Utility | str) else list(given)
    return list(dict.fromkeys(utility(u) for u in several))


def _diagnosis(
    log: RewardLog,
    curves: Curves,
    scale: RewardMap | None,
    utilities: list[Utility],
    domain: Domain,
    rng: np.random.Generator,
    right: float | None,
) -> Diagnosis:
    names = log.kind_names if log.kinds is not None else ("all",)
    there = [kind for kind in range(len(names)) if (curves.kinds == kind).any()]
    counts = {kind: int((curves.kinds == kind).sum()) for kind in there}
    judged = [kind for kind in there if counts[kind] >= KIND_PROMPTS]
    measured = _measured(curves, judged, scale, rng)
    # Where all rewards are equal any scale will do: it only has a place to stand.
    drawn = scale or RewardMap(float(curves.rewards[0]), float(curves.rewards[0]) + 1.0)
    kinds = tuple(
        summary_of(
            names[kind],
            kind,
            curves,
            drawn,
            predictions_of(utilities, curves, kind, drawn, domain) if scale else (),
        )
        for kind in there
    )
    apart = between(curves, drawn, judged) if len(judged) > 1 else None
    verdict = _verdict(curves, measured, judged, names, apart, scale is None, kinds)
    index = measured[0]
    return Diagnosis(
        collapsed=verdict.collapsed,
        reason=verdict.reason,
        advice=verdict.advice,
        index=index and index.value,
        interval=[index.low, index.high] if index else [],
        within=index and index.within,
        kind_variance=index and index.kinds,
        reference=index and index.reference,
        between_kinds=apart,
        scale=scale,
        kinds=kinds,
        prompts=curves.count,
        rows=int(curves.rewards.size),
        completions=(int(curves.sizes.min()), int(curves.sizes.max())),
        pairs_right=right,
        read=log.read,
        bad=log.bad,
        notes=log.notes + _notes(curves, index, names, counts, judged) + _saturated(kinds),
        step=log.step,
    )


def _measured(
    curves: Curves, judged: list[int], scale: RewardMap | None, rng: np.random.Generator
) -> tuple[Index | None, Groups]:
    chosen = curves.only(judged)
    if scale is None or chosen.count < 2:
        return None, Groups(0.0, 0.0)
    chosen = replace(chosen, rewards=np.asarray(scale(chosen.rewards)))
    index = collapse_index(chosen, rng)
    if chosen.sizes.min() < chosen.sizes.max():
        # Optima of odd and even numbers of completions would make two groups by themselves.
        return index, Groups(0.0, 0.0)
    return index, two_groups(np.clip(chosen.at_levels, -1.0, 2.0))


def _verdict(
    curves: Curves,
    measured: tuple[Index | None, Groups],
    judged: list[int],
    names: tuple[str, ...],
    apart: float | None,
    constant: bool,
    kinds: tuple[KindSummary, ...],
) -> Verdict:
    nearest = {k.predictions[0].utility for k in kinds if k.predictions}
    close = all(k.predictions[0].error <= 0.05 for k in kinds if k.predictions)
    sizes = curves.sizes
    return verdict_of(
        Evidence(
            index=measured[0],
            groups=measured[1],
            prompts=int(np.isin(curves.kinds, judged).sum()) or curves.count,
            kinds=tuple(names[kind] for kind in judged),
            between=apart,
            sizes=(int(sizes.min()), int(sizes.max())),
            constant=constant,
            nearest=nearest.pop() if len(nearest) == 1 and close and sizes.max() > 3 else None,
        )
    )


def _notes(
    curves: Curves,
    index: Index | None,
    names: tuple[str, ...],
    counts: dict[int, int],
    judged: list[int],
) -> tuple[str, ...]:
    notes = []
    if curves.single:
        notes.append(
            f"{counted(curves.single, 'prompt')} of one completion left out: it ranks nothing"
        )
    small = [
        f"{names[kind]} ({counted(n, 'prompt')})"
        for kind, n in counts.items()
        if kind not in judged
    ]
    if small:
        notes.append(f"too few prompts to judge: {', '.join(small)}")
    if index is not None and index.clipped:
        notes.append(
            f"{counted(index.clipped, 'reward')} further out than one width of the scale; "
            "in the index such rewards count as at that distance"
        )
    return tuple(notes)


def _saturated(kinds: tuple[KindSummary, ...]) -> tuple[str, ...]:
    """Return a note for each kind whose rewards are nearly all at one end."""
    notes = []
    for kind in kinds:
        share, end = max((kind.at_low, "lowest"), (kind.at_high, "highest"))
        if share > _SATURATED:
            notes.append(
                f"{share:.0%} of the rewards of {kind.name!r} are within 0.01 of the {end} on the "
                "scale, and hardly rank anything there; if they are probabilities, their log-odds "
                "spread them out, else a map of ranks (collapse-theory design) does"
            )
    return tuple(notes)
