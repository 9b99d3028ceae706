"""From what was measured to an outcome, with its reason in a sentence and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from collapse_theory.data.reward_log import counted
from collapse_theory.diagnosis.inside import Spread
from collapse_theory.diagnosis.kinds import Apart, Groups
from collapse_theory.diagnosis.likeness import View

# Calibrated by benchmarks/calibrate_diagnosis.py; docs/diagnosis.md has the error rates.
COLLAPSED = 0.12
"""Up to here, with its whole interval, W / R says that prompts share their rewards."""
ONE_LAW = 0.75, 1.5
"""Between these, with its whole interval, it says that they differ as draws of one law do."""
CHANCE = 0.01
"""A permutation test with a smaller p says that prompts, or kinds, differ."""
DOUBT = 0.05
"""With a larger p it doesn't."""
ALIKE = 0.98
"""With a p above that prompts are more alike than draws of one law."""
NO_SPREAD = 0.95
"""From so large a share of prompts without a spread on, the log has none."""
MIXED = 0.5
"""From so large a share on, the vector that prompts share is that of no spread, not of a loss."""
LEAST_REWARDS = 150
"""Of fewer, the first of each prompt not counted, the test misses prompts of different spreads."""
LEAST_PROMPTS = 10
KIND_PROMPTS = 5
"""A kind with fewer prompts is summarised and not judged."""

_MATERIAL, _NEAR = 0.01, 0.02  # of the scale: closer kinds share a law, whatever the noise; kinds
# further apart, and not by chance, aren't said to share one
_OWN, _EXPLAINED = 0.025, 0.5  # of R, of K + W: so large a variance K makes laws of their own
# Two groups: so many standard deviations apart along one component, explaining so much of how
# prompts differ; a group of fewer than KIND_PROMPTS must stand out more, and isn't judged.
_GROUPS, _FEW = (5.0, 0.25), (7.0, 0.6)
_LEVELS, _FURTHER = 1.75, 0.12  # they differ at more levels than one; by more of R, squared

_LEVELLED = 2.0  # times as large as that of centred rewards must W / R be if levels are its cause

Outcome = str | None


@dataclass(frozen=True)
class Verdict:
    """The outcome (None: not decided), the reason, and advice."""

    outcome: Outcome
    reason: str
    advice: str


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made of; `view` is None where nothing can be compared.

    `prompts` of the `total` are compared.
    """

    view: View | None
    others: tuple[View, ...]
    spread: Spread
    total: int
    prompts: int
    kinds: tuple[str, ...]
    apart: Apart | None
    groups: Groups | None
    width: float
    sizes: tuple[int, int]
    normalised: str | None
    wild: int
    hiding: str
    nearest: str | None


def judged(view: View, rewards: int) -> View:
    """Return a view with the outcome that it has by itself, of so many rewards beside the first."""
    low, high = view.ratio.low, view.ratio.high
    outcome: Outcome = None
    if high <= COLLAPSED:
        outcome = "collapsed"
    elif view.p is not None and view.p <= CHANCE and low > COLLAPSED:
        outcome = "own laws"
    elif view.p is not None and DOUBT < view.p <= ALIKE:
        clear = low >= ONE_LAW[0] and high <= ONE_LAW[1] and rewards >= LEAST_REWARDS
        outcome = "one law" if clear else None
    return replace(view, outcome=outcome)


def with_levels(views: Sequence[View], fair: View | None = None) -> tuple[View, ...]:
    """Return views in which prompts that share one vector but for their level have own laws.

    Noise of each reward's own makes both ratios; only a level makes the first and not the second.
    Missing completions move the mean of those that are left: `fair` are rewards as they are with
    an allowance for that.
    """
    named = {view.name: view for view in views}
    raw, rest = named.get("as they are"), named.get("centred")
    alike = raw and rest and raw.outcome != "collapsed" and rest.outcome == "collapsed"
    if raw and rest and alike:
        fair = replace(fair or raw, p=raw.p)
        if fair.ratio.low > max(COLLAPSED, _LEVELLED * rest.ratio.high):
            named["as they are"] = replace(fair, outcome="own laws")
    return tuple(named.values())


def verdict_of(evidence: Evidence) -> Verdict:
    """Return the verdict on a log."""
    if evidence.spread.flat.value >= NO_SPREAD:
        return _no_spread(evidence)
    if evidence.view is None or evidence.prompts < LEAST_PROMPTS:
        few = counted(evidence.prompts or evidence.total, "prompt")
        return Verdict(
            None,
            f"Only {few} with two or more completions to judge by; at least {LEAST_PROMPTS} are "
            f"needed, and of each kind {KIND_PROMPTS}.",
            "Log the rewards of more prompts, some hundred for a narrow interval.",
        )
    view = evidence.view
    if evidence.normalised is not None:
        return _normalised(evidence.normalised)
    if len(evidence.kinds) > 1 and evidence.apart is not None and _kinds_differ(evidence):
        return _own_kinds(evidence, evidence.apart)
    if evidence.groups is not None and _grouped(evidence, evidence.groups):
        return _two_groups(evidence, evidence.groups)
    if view.outcome == "collapsed":
        return _collapsed(evidence)
    if view.outcome == "own laws":
        return _own_laws(evidence)
    if view.outcome == "one law":
        return _one_law(view)
    return _unsure(evidence)


def _kinds_differ(evidence: Evidence) -> bool:
    """Tell whether kinds have laws of their own: far apart, or by little and more than noise."""
    apart, view = evidence.apart, evidence.view
    if apart is None or view is None or apart.p > CHANCE:
        return False
    variance = apart.variance / evidence.width**2
    far = apart.distance.value >= _MATERIAL * evidence.width
    explained = variance >= _EXPLAINED * (variance + view.within)
    return far and (variance >= _OWN * view.reference or explained)


def _grouped(evidence: Evidence, groups: Groups) -> bool:
    """Tell whether prompts are of two groups, though nobody named them.

    Draws of one law that is nearly two-valued fall into groups by chance, and so do prompts that
    share nothing but their rounding.
    """
    view = evidence.view
    assert view is not None
    unlike = view.ratio.high < ONE_LAW[0] or (view.p is not None and view.p <= CHANCE)
    far, explained = _GROUPS if groups.smaller >= KIND_PROMPTS else _FEW
    return (
        unlike
        and groups.apart >= far
        and groups.explained >= explained
        and groups.levels >= _LEVELS
        and groups.square >= _FURTHER * view.reference * evidence.width**2
    )


def _rewards(view: View) -> str:
    return {"as they are": "rewards", "centred": "rewards less their prompt's mean"}.get(
        view.name, "rewards less their prompt's mean, by its standard deviation"
    )


def _varies(view: View) -> str:
    return f"varies by {view.within**0.5:.2g} over prompts"


def _no_spread(evidence: Evidence) -> Verdict:
    spread = evidence.spread
    equal = "have equal rewards for all their completions"
    if spread.gap.value > 0:
        equal = (
            f"have rewards no further apart than {spread.rounding}, which is rounding "
            f"({spread.resolution:.1g} at their size, {spread.level:.3g})"
        )
    return Verdict(
        "no spread",
        f"{round(spread.flat.value * evidence.total)} of {evidence.total} prompts {equal}: inside "
        "a prompt the model ranks nothing.",
        "Check that the log holds the model's own rewards, that its head is trained and loaded, "
        "and, where a sigmoid saturates, log the logits. Without a spread there is no advantage, "
        "and no pair to train on.",
    )


def _normalised(how: str) -> Verdict:
    return Verdict(
        None,
        f"Each prompt's rewards were normalised ({how}), as advantages are: that takes away what "
        "prompts could differ in.",
        "Log the rewards before they are normalised. Of these, the scaled line says how alike the "
        "shapes are.",
    )


def _collapsed(evidence: Evidence) -> Verdict:
    view = evidence.view
    assert view is not None
    flat = evidence.spread.flat.value
    if flat >= MIXED:
        return Verdict(
            None,
            f"{flat:.0%} of the prompts have no spread inside, and share that; the others have "
            "one: that is no single vector, and too few prompts with a spread to say more.",
            "Diagnose the prompts with a spread by themselves; the others rank nothing.",
        )
    several = len(evidence.kinds) > 1
    if several and evidence.apart is None:
        return Verdict(
            None,
            "Within each kind all prompts share one vector of rewards, but no two kinds have "
            "prompts of the same number of completions, so that kinds can't be compared: optima "
            "of different numbers differ by themselves.",
            "Log prompts of each kind with the same number of completions.",
        )
    apart = evidence.apart if several else None
    if apart is not None and apart.p <= DOUBT and apart.distance.value > _NEAR * evidence.width:
        return _near(apart, evidence.width)
    who = "All kinds share one law" if several else "All prompts share one vector"
    varies = _varies(view)
    if not view.within and evidence.sizes[0] < evidence.sizes[1]:
        varies = "varies over prompts by no more than missing completions explain"
    reason = (
        f"{who}: in {_rewards(view)}, the reward of each rank {varies}, where those of "
        f"prompts drawn at random from this log would vary by {view.reference**0.5:.2g}"
    )
    if apart is not None:
        reason += (
            f", and the kinds' mean rewards are {apart.distance.value / evidence.width:.2g} apart"
        )
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
    return Verdict("collapsed", reason, advice)


def _own_laws(evidence: Evidence) -> Verdict:
    view = evidence.view
    assert view is not None
    other = next((v for v in evidence.others if v.name == "centred"), None)
    levelled = view.name == "as they are" and other is not None and other.outcome == "collapsed"
    beyond = "in spread or shape" if view.name == "centred" else "in level, spread or shape"
    reason = (
        f"Prompts differ {beyond} by more than draws of one law do (p = {view.p:.2g}): the reward "
        f"of each rank {_varies(view)}, W/R = {view.ratio}."
    )
    advice = "Rewards hold something of the prompt beside the rank: no collapse here."
    if levelled and other is not None:
        reason = (
            f"Prompts differ by their levels: W/R = {view.ratio}, and {other.ratio} less each "
            "prompt's mean."
        )
        advice = (
            "But for their level all prompts share one vector (centred line). A pairwise loss "
            "without a box never sees the level: if that was the loss (--confined, --centered or "
            "--free; domain=), this is a collapse."
        )
    return Verdict("own laws", reason, advice)


def _one_law(view: View) -> Verdict:
    return Verdict(
        "one law",
        f"Prompts differ as draws of one law do (p = {view.p:.2g}, W/R = {view.ratio}): these "
        f"{_rewards(view)} hold nothing of the prompt, and no fixed vector either.",
        "That is no collapse, and no good news: noise looks so. Check that rewards and prompts "
        "belong together, and whether pairs are ranked right.",
    )


def _own_kinds(evidence: Evidence, apart: Apart) -> Verdict:
    view = evidence.view
    assert view is not None
    fixed = view.ratio.high <= COLLAPSED
    reason = (
        f"The kinds differ, each with its own {'fixed ' if fixed else ''}law: their mean rewards "
        f"are {apart.distance.value / evidence.width:.2g} apart (p = {apart.p:.2g}), while the "
        f"reward of each rank varies by {view.within**0.5:.2g} over the prompts of a kind."
    )
    advice = (
        "That is what prompt-aware training aims at. Within a kind rewards tell the rank alone; if "
        "that isn't enough, split the kinds further."
    )
    if not fixed:
        advice = "Within a kind, too, prompts differ: diagnose each kind by itself (--where)."
    return Verdict("own laws", reason, advice)


def _two_groups(evidence: Evidence, groups: Groups) -> Verdict:
    distance = f"{groups.square**0.5 / evidence.width:.2g} from those of the others"
    if groups.smaller < KIND_PROMPTS:
        stand = "stands" if groups.smaller == 1 else "stand"
        return Verdict(
            None,
            f"{counted(groups.smaller, 'prompt')} of {evidence.prompts} {stand} apart, with "
            f"rewards {distance}: too few to be called a group, and too far off for one vector.",
            "Log the rewards of more prompts, and look at these: they may be of another kind.",
        )
    return Verdict(
        "own laws",
        f"Prompts fall into two groups ({groups.share:.0%} and {1 - groups.share:.0%}), each with "
        f"its own rewards: those of the smaller are {distance} on average.",
        "If prompts are of different kinds, give the kind (--kind, kinds=): the diagnosis then "
        "looks at each.",
    )


def _near(apart: Apart, width: float) -> Verdict:
    return Verdict(
        None,
        "Within each kind all prompts share one vector, and the kinds' mean rewards are "
        f"{apart.distance.value / width:.2g} apart: too much for chance (p = {apart.p:.2g}), too "
        "little beside the noise for laws of their own.",
        "Compare both kinds with what their utilities predict. Trained with one utility, the kinds "
        "come together as training goes on; with two, they stay apart: diagnose a later step.",
    )


def _unsure(evidence: Evidence) -> Verdict:
    view = evidence.view
    assert view is not None
    low, high = view.ratio.low, view.ratio.high
    between = f"W/R = {view.ratio}"
    if low > COLLAPSED and (high < ONE_LAW[0] or (view.p or 0.0) > ALIKE):
        reason = (
            f"In between ({between}): prompts are more alike than draws of one law, yet the "
            f"reward of each rank {_varies(view)}, more than after a complete collapse."
        )
        advice = (
            "One vector with much noise looks so, and a collapse under way: diagnose a later step. "
            "Prompts that were not trained on collapse less."
        )
    elif view.p is None and view.name == "centred" and low > COLLAPSED:
        reason = (
            f"Not decided: {between}. Fewer than four completions, less their level, leave no test "
            "of whether prompts share one law."
        )
        advice = "Log four or more completions of each prompt."
    elif view.p is not None and CHANCE < view.p <= DOUBT:
        reason = (
            f"Not decided (p = {view.p:.2g}, {between}): draws of one law seldom differ so much, "
            "and too often to call these laws of their own."
        )
        advice = "Log the rewards of more prompts."
    elif view.p is not None and low >= ONE_LAW[0] and high <= ONE_LAW[1]:
        reason = (
            f"Too few rewards: {between} and p = {view.p:.2g} fit draws of one law, but so few "
            "would hide prompts of different spreads."
        )
        advice = "Log the rewards of more prompts, or of more completions."
    elif high > 1.5 * low or evidence.prompts < 100:
        reason = f"Too few prompts: {between} is too wide to tell."
        advice = "Log the rewards of more prompts."
    else:
        reason = f"Not decided: {between} is on the border of two outcomes."
        advice = (
            "Log more prompts, or diagnose a later step; the other views and the notes may help."
        )
    if evidence.wild:
        reason += f" {counted(evidence.wild, 'prompt')} with wild rewards may be why."
    elif evidence.sizes[0] < evidence.sizes[1]:
        reason += (
            f" Prompts have {evidence.sizes[0]} to {evidence.sizes[1]} completions: missing ones "
            "make prompts of one vector differ."
        )
    return Verdict(None, reason + evidence.hiding, advice)
