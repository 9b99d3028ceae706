"""From the index to a verdict, with its reason in a sentence and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from collapse_theory.data.reward_log import counted
from collapse_theory.diagnosis.index import KIND_WEIGHT, Groups, Index

# Calibrated by benchmarks/calibrate_diagnosis.py; docs/diagnosis.md has the error rates.
COLLAPSED = 0.88
"""From here on up, with its whole interval, the index says that prompts share their rewards."""
NOT_COLLAPSED = 0.65
"""From here on down, with its whole interval, it says that they don't."""
OWN_LAWS = 0.25
"""From here on up, with its whole interval, 10 kinds / reference says that kinds differ."""
EXPLAINED = 0.5
"""So much of how prompts differ must the kind explain where kinds differ but little."""
LEAST_PROMPTS = 10
KIND_PROMPTS = 5
"""A kind with fewer prompts is summarised and not judged."""

_MATERIAL = 0.01  # a hundredth of the scale: what is closer is one law, whatever the noise
_NEAR = 0.02  # kinds that are further apart, and not by chance, aren't said to be one law
# Two groups: a split explains so much (of Gaussian variation 2/pi at most), each has so large a
# share, and the index leaves room for a difference. Calibrated as those above.
_GROUPED, _GROUP, _ALIKE = 0.85, 0.1, 0.97


@dataclass(frozen=True)
class Verdict:
    """`collapsed` (None: not decided), the reason, and advice."""

    collapsed: bool | None
    reason: str
    advice: str


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made of; `index` is None where nothing can be compared."""

    index: Index | None
    groups: Groups
    prompts: int
    kinds: tuple[str, ...]
    between: float | None
    sizes: tuple[int, int]
    constant: bool
    nearest: str | None


def verdict_of(evidence: Evidence) -> Verdict:
    """Return the verdict on a log."""
    if evidence.constant:
        return Verdict(
            None,
            "All rewards are equal: the model ranks nothing, and nothing can be compared.",
            "Check that the log holds the model's own rewards; a model that gives one reward to "
            "all has not trained.",
        )
    if evidence.index is None or evidence.prompts < LEAST_PROMPTS:
        return Verdict(
            None,
            f"Only {counted(evidence.prompts, 'prompt')} with two or more completions to judge by; "
            f"at least {LEAST_PROMPTS} are needed, and of each kind {KIND_PROMPTS}.",
            "Log the rewards of more prompts, some hundred for a narrow interval.",
        )
    index = evidence.index
    if len(evidence.kinds) < 2 and _grouped(index, evidence.groups):
        return _two_groups(index, evidence.groups)
    if _kinds_differ(index, evidence.between):
        return _no(index, evidence)
    if index.low >= COLLAPSED:
        if evidence.between is not None and index.explained_low > 0 and evidence.between > _NEAR:
            return _near(evidence.between)
        return _yes(index, evidence)
    if index.high <= NOT_COLLAPSED:
        return _no(index, evidence)
    return _unsure(index)


def _kinds_differ(index: Index, between: float | None) -> bool:
    """Tell whether kinds have laws of their own: far apart, or by little and more than noise."""
    if between is None:
        return False
    small = index.explained_low >= EXPLAINED and between >= _MATERIAL
    return index.kinds_low >= OWN_LAWS or small


def _grouped(index: Index, groups: Groups) -> bool:
    return index.value <= _ALIKE and groups.explained >= _GROUPED and groups.smaller >= _GROUP


def _spread(index: Index) -> str:
    return f"{index.within**0.5:.2g}"


def _chance(index: Index) -> str:
    return f"{index.reference**0.5:.2g}"


def _yes(index: Index, evidence: Evidence) -> Verdict:
    who = "All kinds share one law" if len(evidence.kinds) > 1 else "All prompts share one vector"
    reason = (
        f"{who}: the reward of each rank varies by {_spread(index)} over prompts, where rewards "
        f"drawn at random from this log would vary by {_chance(index)}"
    )
    if evidence.between is not None:
        reason += f", and the kinds' mean rewards are {evidence.between:.2g} apart"
    reason += "."
    if evidence.sizes[1] <= 3:
        reason += (
            " With two or three completions a prompt every strictly concave utility ends there, so "
            "this says nothing of the loss."
        )
    advice = (
        "Rewards tell the rank and nothing of the prompt. Give each kind of prompt its own utility "
        "(collapse_theory.training.PromptAwareRankingLoss; ct.recommend and collapse-theory design "
        "choose them), and don't compare rewards between prompts."
    )
    if evidence.nearest is not None:
        advice = f"The rewards look like those of {evidence.nearest}. {advice}"
    return Verdict(True, reason, advice)


def _no(index: Index, evidence: Evidence) -> Verdict:
    alike = 1 - index.within / index.reference
    if len(evidence.kinds) > 1 and alike > NOT_COLLAPSED:
        return _own_laws(index, evidence, alike)
    kinds = len(evidence.kinds) > 1
    ratio = index.within / index.reference
    against = "more than" if ratio > 1.1 else "about" if ratio > 0.9 else "against"
    reason = (
        f"Prompts{' of one kind' if kinds else ''} differ: the reward of each rank varies by "
        f"{_spread(index)} over them, {against} the {_chance(index)} of rewards drawn at random "
        "from this log"
    )
    if kinds and KIND_WEIGHT * index.kinds > 0.1 * index.reference:
        reason += f"; and the kinds' mean rewards are {evidence.between:.2g} apart"
    return Verdict(
        False,
        f"{reason}.",
        "No sign of collapse here: rewards tell prompts apart. If these aren't the prompts that "
        "the model was trained on, diagnose those too: collapse shows there first.",
    )


def _own_laws(index: Index, evidence: Evidence, alike: float) -> Verdict:
    fixed = alike >= COLLAPSED
    reason = (
        f"The kinds differ, each with its own {'fixed ' if fixed else ''}law: their mean rewards "
        f"are {evidence.between:.2g} apart, while the reward of each rank varies by "
        f"{_spread(index)} over the prompts of a kind."
    )
    advice = (
        "That is what prompt-aware training aims at. Within a kind rewards tell the rank alone; if "
        "that isn't enough, split the kinds further."
    )
    if not fixed:
        advice = "Within a kind prompts are alike, yet not the same: diagnose a later step too."
    return Verdict(False, reason, advice)


def _two_groups(index: Index, groups: Groups) -> Verdict:
    return Verdict(
        False,
        f"Prompts fall into two groups ({groups.smaller:.0%} and {1 - groups.smaller:.0%}), each "
        f"with its own rewards: the split explains {groups.explained:.0%} of how they differ.",
        "If prompts are of different kinds, give the kind (--kind, kinds=): the diagnosis "
        "then looks at each.",
    )


def _near(between: float) -> Verdict:
    return Verdict(
        None,
        "Within each kind all prompts share one vector, and the kinds' mean rewards are "
        f"{between:.2g} apart: too much for chance, too little beside the noise for laws of their "
        "own.",
        "Compare both kinds with what their utilities predict. Trained with one utility, the kinds "
        "come together as training goes on; with two, they stay apart: diagnose a later step.",
    )


def _unsure(index: Index) -> Verdict:
    wide = index.high - index.low > 0.5 * (COLLAPSED - NOT_COLLAPSED)
    if wide:
        reason = (
            f"Too few prompts: the index lies between {index.low:.2f} and {index.high:.2f}, too "
            "wide to tell."
        )
        return Verdict(None, reason, "Log the rewards of more prompts.")
    return Verdict(
        None,
        f"In between: the reward of each rank varies by {_spread(index)} over prompts, less than "
        f"the {_chance(index)} of rewards drawn at random from this log, yet more than after a "
        "complete collapse.",
        "Diagnose a later step: if the index rises, the collapse is under way. Prompts that were "
        "not trained on collapse less.",
    )
