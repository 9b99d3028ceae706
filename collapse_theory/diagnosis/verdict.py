"""From what was measured to an outcome, its reason, what to do about it, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from collapse_theory.data.reward_log import Note, RewardLog, counted
from collapse_theory.diagnosis.diagnosis import Diagnosis
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.kinds import Groups
from collapse_theory.diagnosis.likeness import View
from collapse_theory.diagnosis.parts import Part, is_trained

# Calibrated by benchmarks/calibrate_diagnosis.py; docs/diagnosis.md has the error rates.
COLLAPSED = 0.12  # up to here, with its whole interval, W / R says that prompts share their rewards
ONE_LAW = 0.75, 1.5  # between these, that they differ as draws of one law do
CHANCE, DOUBT = 0.01, 0.05  # up to this p prompts, or kinds, differ; above that they needn't
ALIKE = 0.98  # with a p above that prompts are more alike than draws of one law
NO_SPREAD = 0.95  # from so large a share of prompts without a spread on, the log has none,
MIXED = 0.5  # and from this one on the vector that prompts share is that of no spread
LEAST_REWARDS = 150  # beside the first of each prompt: of fewer, the test misses different spreads
LEAST_PROMPTS = 10
KIND_PROMPTS = 5  # a kind with fewer is summarised and not judged

_MATERIAL, _NEAR = 0.01, 0.02  # of the scale: closer kinds share a law, whatever the noise; kinds
# further apart, and not by chance, aren't said to share one
_OWN, _EXPLAINED = 0.025, 0.5  # of R, of K + W: so large a variance K makes laws of their own
# Two groups: so many standard deviations apart along one component, explaining so much of how
# prompts differ; a group of fewer than KIND_PROMPTS must stand out more, and isn't judged.
_GROUPS, _FEW = (5.0, 0.25), (7.0, 0.6)
_LEVELS, _FURTHER = 1.75, 0.12  # they differ at more levels than one; by more of R, squared
_SATURATED = 0.6  # of the rewards at an end: a two-valued law has a half at each
_FLAT = 0.1  # from so large a share on, prompts without a spread are told of
_LEVELLED = 2.0  # times as large as that of centred rewards must W / R be if levels are its cause


class Verdict(NamedTuple):
    """The outcome (None: not decided), the reason, and advice."""

    outcome: str | None
    reason: str
    advice: str


def judged(view: View, rewards: int) -> View:
    """Return a view with the outcome that it has by itself, of so many rewards beside the first."""
    low, high = view.ratio.low, view.ratio.high
    outcome: str | None = None
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


def verdict_of(
    found: Diagnosis,
    *,
    kinds: int,
    variance: float | None,
    groups: Groups | None,
    normalised: str | None,
    wild: int,
    hides: str,
) -> Verdict:
    """Return the verdict on a log, of a diagnosis that has all but that.

    `kinds` are compared, with a `variance` between them on the scale (None where no two can be);
    `groups` is the best split of the prompts in two; `wild` prompts have wild rewards; `hides` is a
    sentence on what the log may hide.
    """
    view = found.counts
    if found.spread.flat.value >= NO_SPREAD:
        return _no_spread(found)
    if view is None or found.compared < LEAST_PROMPTS:
        few = counted(found.compared or found.prompts, "prompt")
        return Verdict(
            None,
            f"Only {few} with two or more completions to judge by; at least {LEAST_PROMPTS} are "
            f"needed, and of each kind {KIND_PROMPTS}.",
            "Log the rewards of more prompts, some hundred for a narrow interval.",
        )
    if normalised is not None:
        return Verdict(
            None,
            f"Each prompt's rewards were normalised ({normalised}), as advantages are: that "
            "takes away what prompts could differ in.",
            "Log the rewards before they are normalised. Of these, the scaled line says how alike "
            "the shapes are.",
        )
    if variance is not None and _kinds_differ(found, view, variance):
        return _own_kinds(found, view)
    if groups is not None and _grouped(found, view, groups):
        return _two_groups(found, groups)
    if view.outcome == "collapsed":
        return _collapsed(found, view, kinds)
    if view.outcome == "own laws":
        return _own_laws(found, view)
    if view.outcome == "one law":
        return Verdict(
            "one law",
            f"Prompts differ as draws of one law do (p = {view.p:.2g}, W/R = {view.ratio}): these "
            f"{_rewards(view)} hold nothing of the prompt, and no fixed vector either.",
            "That is no collapse, and no good news: noise looks so. Check that rewards and prompts "
            "belong together, and whether pairs are ranked right.",
        )
    return _unsure(found, view, wild, hides)


def _kinds_differ(found: Diagnosis, view: View, variance: float) -> bool:
    """Tell whether kinds have laws of their own: far apart, or by little and more than noise."""
    apart, p = found.kinds_apart, found.kinds_p
    if apart is None or p is None or p > CHANCE or apart.value < _MATERIAL:
        return False
    return variance >= _OWN * view.reference or variance >= _EXPLAINED * (variance + view.within)


def _grouped(found: Diagnosis, view: View, groups: Groups) -> bool:
    """Tell whether prompts are of two groups, though nobody named them.

    Draws of one law that is nearly two-valued fall into groups by chance, and so do prompts that
    share nothing but their rounding.
    """
    unlike = view.ratio.high < ONE_LAW[0] or (view.p is not None and view.p <= CHANCE)
    far, explained = _GROUPS if groups.smaller >= KIND_PROMPTS else _FEW
    return (
        unlike
        and groups.apart >= far
        and groups.explained >= explained
        and groups.levels >= _LEVELS
        and groups.square >= _FURTHER * view.reference * found.width**2
    )


def _rewards(view: View) -> str:
    return "rewards" if view.name == "as they are" else "rewards less their prompt's mean"


def _varies(found: Diagnosis, view: View) -> str:
    if not view.within and found.completions[0] < found.completions[1]:
        return "varies over prompts by no more than missing completions explain"
    return f"varies by {view.within**0.5:.2g} over prompts"


def _no_spread(found: Diagnosis) -> Verdict:
    spread = found.spread
    equal = "equal rewards for all their completions"
    if spread.gap.value > 0:
        equal = (
            f"rewards no further apart than {spread.rounding}, which is rounding "
            f"({spread.resolution:.1g} at their size, {spread.level:.3g})"
        )
    return Verdict(
        "no spread",
        f"{round(spread.flat.value * found.prompts)} of {found.prompts} prompts have {equal}: "
        "inside a prompt the model ranks nothing.",
        "Check that the log holds the model's own rewards, that its head is trained and loaded, "
        "and, where a sigmoid saturates, log the logits. Without a spread there is no advantage, "
        "and no pair to train on.",
    )


def _own_kinds(found: Diagnosis, view: View) -> Verdict:
    assert found.kinds_apart is not None
    fixed = view.ratio.high <= COLLAPSED
    advice = "Within a kind, too, prompts differ: diagnose each kind by itself (--where)."
    if fixed:
        advice = (
            "That is what prompt-aware training aims at. Within a kind rewards tell the rank "
            "alone; if that isn't enough, split the kinds further."
        )
    return Verdict(
        "own laws",
        f"The kinds differ, each with its own {'fixed ' if fixed else ''}law: their mean rewards "
        f"are {found.kinds_apart.value:.2g} apart (p = {found.kinds_p:.2g}), while within a kind "
        f"the reward of each rank {_varies(found, view)}.",
        advice,
    )


def _two_groups(found: Diagnosis, groups: Groups) -> Verdict:
    distance = f"{groups.square**0.5 / found.width:.2g} from those of the others"
    if groups.smaller < KIND_PROMPTS:
        stand = "stands" if groups.smaller == 1 else "stand"
        return Verdict(
            None,
            f"{counted(groups.smaller, 'prompt')} of {found.compared} {stand} apart, with rewards "
            f"{distance}: too few to be called a group, and too far off for one vector.",
            "Log the rewards of more prompts, and look at these: they may be of another kind.",
        )
    return Verdict(
        "own laws",
        f"Prompts fall into two groups ({groups.share:.0%} and {1 - groups.share:.0%}) or more, "
        f"each with its own rewards: those of the smaller are {distance} on average.",
        "If prompts are of different kinds, give the kind (--kind, kinds=): the diagnosis then "
        "looks at each.",
    )


def _collapsed(found: Diagnosis, view: View, kinds: int) -> Verdict:
    flat, apart = found.spread.flat.value, found.kinds_apart
    if flat >= MIXED:
        return Verdict(
            None,
            f"{flat:.0%} of the prompts have no spread inside, and share that; the others have "
            "one: that is no single vector, and too few prompts with a spread to say more.",
            "Diagnose the prompts with a spread by themselves; the others rank nothing.",
        )
    if kinds > 1 and apart is None:
        return Verdict(
            None,
            "Within each kind all prompts share one vector of rewards, but no two kinds have "
            "prompts of the same number of completions, so that kinds can't be compared: optima "
            "of different numbers differ by themselves.",
            "Log prompts of each kind with the same number of completions.",
        )
    if apart and (found.kinds_p or 0.0) <= DOUBT and apart.value > _NEAR:
        return Verdict(
            None,
            "Within each kind all prompts share one vector, and the kinds' mean rewards are "
            f"{apart.value:.2g} apart: too much for chance (p = {found.kinds_p:.2g}), too little "
            "beside the noise for laws of their own.",
            "Compare both kinds with what their utilities predict. Trained with one utility, the "
            "kinds come together as training goes on; with two, they stay apart: diagnose a later "
            "step.",
        )
    end = f", and the kinds' mean rewards are {apart.value:.2g} apart." if apart else "."
    if found.completions[1] <= 3:
        end += (
            " With two or three completions a prompt every strictly concave utility ends there, so "
            "this says nothing of the loss."
        )
    near = _nearest(found)
    return Verdict(
        "collapsed",
        f"{'All kinds share one law' if kinds > 1 else 'All prompts share one vector'}: in "
        f"{_rewards(view)}, the reward of each rank {_varies(found, view)}, where those of prompts "
        f"drawn at random from this log would vary by {view.reference**0.5:.2g}{end}",
        (f"The rewards look like those of {near}. " if near else "")
        + "Rewards tell the rank and nothing of the prompt. Give each kind of prompt its own "
        "utility (collapse_theory.training.PromptAwareRankingLoss; ct.recommend and "
        "collapse-theory design choose them), and don't compare rewards between prompts.",
    )


def _nearest(found: Diagnosis) -> str | None:
    """Return the utility that all kinds' rewards look like."""
    best = [kind.predictions[0] for kind in found.kinds if kind.predictions]
    alike = len({near.utility for near in best}) == 1 and all(near.error <= 0.05 for near in best)
    return best[0].utility if alike and found.completions[1] > 3 else None


def _own_laws(found: Diagnosis, view: View) -> Verdict:
    centred = next((other for other in found.views if other.name == "centred"), None)
    if view.name == "as they are" and centred is not None and centred.outcome == "collapsed":
        return Verdict(
            "own laws",
            f"Prompts differ by their levels: W/R = {view.ratio}, and {centred.ratio} less each "
            "prompt's mean.",
            "But for their level all prompts share one vector (centred line). A pairwise loss "
            "without a box never sees the level: if that was the loss (--confined, --centered or "
            "--free; domain=), this is a collapse.",
        )
    beyond = "in spread or shape" if view.name == "centred" else "in level, spread or shape"
    return Verdict(
        "own laws",
        f"Prompts differ {beyond} by more than draws of one law do (p = {view.p:.2g}): the reward "
        f"of each rank {_varies(found, view)}, W/R = {view.ratio}.",
        "Rewards hold something of the prompt beside the rank: no collapse here.",
    )


def _unsure(found: Diagnosis, view: View, wild: int, hides: str) -> Verdict:
    low, high = view.ratio.low, view.ratio.high
    between = f"W/R = {view.ratio}"
    if low > COLLAPSED and (high < ONE_LAW[0] or (view.p or 0.0) > ALIKE):
        reason = (
            f"In between ({between}): prompts are more alike than draws of one law, yet the "
            f"reward of each rank {_varies(found, view)}, more than after a complete collapse."
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
    elif high > 1.5 * low or found.compared < 100:
        reason = f"Too few prompts: {between} is too wide to tell."
        advice = "Log the rewards of more prompts."
    else:
        reason = f"Not decided: {between} is on the border of two outcomes."
        advice = (
            "Log more prompts, or diagnose a later step; the other views and the notes may help."
        )
    least, most = found.completions
    if wild:
        reason += f" {counted(wild, 'prompt')} with wild rewards may be why."
    elif least < most:
        reason += (
            f" Prompts have {least} to {most} completions: missing ones make prompts of one vector "
            "differ."
        )
    return Verdict(None, reason + hides, advice)


# -- notes ---------------------------------------------------------------------------------------


def notes_of(
    log: RewardLog,
    found: Diagnosis,
    single: int,
    small: dict[str, int],
    normalised: str | None,
    level_off: bool,
    wild: tuple[int, int],
) -> tuple[Note, ...]:
    """Return the notes of a log: of its reading, its prompts, its rewards.

    Of the prompts `single` have one completion; `small` kinds have few prompts; `wild` are how many
    prompts have wild rewards, and how many these are.
    """
    notes = list(log.notes)
    if aside := (*log.bad, *log.left_out):
        unused, what = sum(rows.count for rows in aside), "rewards" if log.lists else "rows"
        text = f"{unused:,} of {log.read:,} {what} aren't used: {'; '.join(map(str, aside))}"
        notes.insert(0, Note("rows left out", text))

    def add(code: str, text: str) -> None:
        notes.append(Note(code, text))

    if single:
        add("single", f"{counted(single, 'prompt')} of one completion left out: it ranks nothing")
    if small:
        listed = ", ".join(f"{name} ({counted(n, 'prompt')})" for name, n in small.items())
        add("small kinds", f"too few prompts to judge: {listed}")
    least, most = found.completions
    if least < most:
        add(
            "missing",
            f"prompts have {least} to {most} completions; those of one number are compared with "
            "each other, and if some are missing at random, that is allowed for",
        )
    spread, flat = found.outcome != "no spread", found.spread.flat.value
    if spread and flat >= _FLAT:
        add(
            "flat",
            f"{flat:.0%} of the prompts have no spread inside: they give no advantage and no pair "
            "to train on",
        )
    if normalised:
        add(
            "normalised",
            f"each prompt's rewards were normalised ({normalised}): what that takes away of how "
            "prompts differ can't be seen in them",
        )
    if wild[1]:
        add(
            "wild",
            f"{counted(wild[1], 'reward')} of {counted(wild[0], 'prompt')} further from the "
            "prompt's median than five times the typical distance; they don't decide how alike "
            "prompts are",
        )
    if found.ranked_right is not None and found.ranked_right.low <= 0.5:
        add("sign", _of_ranks(found.ranked_right))
    for kind in found.kinds if spread else ():
        share, end = max((kind.at_low, "lowest"), (kind.at_high, "highest"))
        if share > _SATURATED:
            add(
                "saturated",
                f"{share:.0%} of the rewards of {kind.name!r} are within 0.01 of the {end} on the "
                "scale, and hardly rank anything there; if they are probabilities, their log-odds "
                "spread them out, else a map of ranks (collapse-theory design) does",
            )
    if level_off and spread:
        add(
            "normalised",
            "all prompts have the same mean reward, or the same best or worst: if their level was "
            "taken off, it can't be seen here; centred rewards count",
        )
    return tuple(notes)


def _of_ranks(right: Measure) -> str:
    if right.high < 0.5:
        return (
            f"only {right.percent()} of the pairs are ranked right: is the sign flipped, or is "
            "rank 0 not the best?"
        )
    return (
        f"{right.percent()} of the pairs are ranked right: no better than chance, as far as this "
        "log tells"
    )


def of_splits(log: RewardLog, splits: Sequence[Part]) -> list[Note]:
    """Return a note on what was trained on and what was held out; or that the log doesn't say."""
    if not splits:
        silent = log.columns and log.splits is None
        text = (
            "the log doesn't say which prompts were trained on (a column split; --split): training "
            "prompts collapse first, and held-out ones of real data may not at all"
        )
        return [Note("split", text)] if silent else []
    lines = [
        f"{part.name or 'no split'}: {part.outcome or 'not decided'}"
        + (f", W/R = {part.ratio}" if part.ratio else "")
        for part in splits
    ]
    trained = [part for part in splits if is_trained(part.name)]
    others = [part for part in splits if not is_trained(part.name)]
    text = "; ".join(lines)
    if not trained:
        text += "; none is called train: all are judged together"
    elif all(part.outcome == "collapsed" for part in trained):
        if others and all(part.outcome in ("one law", "own laws") for part in others):
            text += ": what collapsed was learned by heart, prompt by prompt"
        elif others and all(part.outcome == "collapsed" for part in others):
            text += ": prompts that weren't trained on collapsed, too"
    return [Note("split", text)]
