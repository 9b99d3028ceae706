"""What was found, in sentences: each follows from the numbers beside it, or says what is open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from collapse_theory.experiment.measure import HELD_OUT, LEFT_OUT, RULES, TRAIN, Findings, grids
from collapse_theory.experiment.setting import CERTIFIED, LINEAR, NEUTRAL, SAME_LENGTHS, Run

# Rewards are at a vector that they are this near to, as a share of how far it is from its mean: an
# error of .04 for log(x + 0.1) in the box, while the kinds' optima are .19 apart.
NEAR = 0.1
LEARNED = 0.55  # of the pairs right: below it an order isn't learned, however many prompts show it
STILL = 0.1  # the share by which a distance falls, over the last quarter, that is still falling


def sentences(found: Findings) -> list[str]:
    """Return what was found; nothing is said that the table of rewards doesn't hold."""
    runs = [run for run in found.of() if found.end(run)[0]]
    fixed, aware = ([r for r in runs if r.objective.aware == is_so] for is_so in (False, True))
    parts = (
        _verdicts(found, fixed, "With one utility for all prompts"),
        _verdicts(found, aware, "With a utility for each kind"),
        _parted(found, fixed, aware),
        _held_out(found, fixed, aware),
        _early(found, fixed, aware),
        _controls(found),
        _heads(found),
    )
    return [text for part in parts for text in part] or ["No training prompt was measured."]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the least and the largest value as text, or the one they are.

    >>> spread([0.0123, 0.2]), spread([0.5, 0.5]), spread([float("nan")])
    ('0.012 to 0.200', '0.500', 'not known')
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "not known"
    texts = [f"{value:.{digits}f}" for value in (min(known), max(known))]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


# -- where training ended ----------------------------------------------------------------


class Verdict(NamedTuple):
    """What a run ended at, on training prompts."""

    run: Run
    outcome: str  # of `OUTCOMES`
    moving: str  # how its distance from the optimum moved over the last quarter
    ends: dict[str, Any]  # of all prompts, the worst kind
    kinds: list[dict[str, Any]]


def verdict(found: Findings, run: Run, split: str = TRAIN) -> Verdict:
    """Return what a run ended at: what is decided, before what isn't."""
    ends, kinds = found.end(run, split)
    at_it = all(one["off"] <= NEAR * one["scale"] for one in kinds)
    # One kind alone has nothing to be apart from.
    apart = -1.0 if len(kinds) == 1 else ends["between"]
    together = apart <= NEAR * ends["scale"]
    # Ties can make the optima of two kinds differ a little, even under one utility.
    asked = 0.0 if run.objective.aware else np.nan_to_num(ends["between_predicted"])
    by_chance = not apart > ends["chance"] + asked
    if any(_reversed(one) for one in kinds):
        outcome = "reversed"
    elif any(one["right"] <= max(LEARNED, 0.5 + _coin(one)) for one in kinds):
        outcome = "coin"
    elif run.objective.aware and ends["between_predicted"] <= 1e-9:
        outcome = "same optima"
    elif run.objective.aware and at_it:
        outcome = "own optima"
    elif run.objective.aware and any(one["error"] > one["other"] for one in kinds):
        outcome = "another's optimum"
    elif run.objective.aware:
        outcome = "not apart" if by_chance else "nearer"
    elif at_it:
        outcome = "collapsed"
    elif all(one["std"] <= NEAR * one["scale"] for one in kinds) and together:
        outcome = "one vector"
    else:
        outcome = "alike" if by_chance else "apart"
    return Verdict(run, outcome, _moving(found, run), ends, kinds)


def _coin(one: dict[str, Any]) -> float:
    """Return three standard errors of the pairs right in random orders: those of Kendall's tau."""
    n = len(one["mean_by_rank"])
    return 3 / 2 * math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)) / one["prompts"])


def _reversed(one: dict[str, Any]) -> bool:
    return not one["right"] >= 0.5 - _coin(one)


def _moving(found: Findings, run: Run) -> str:
    course = found.course(run)
    steps, off = course["step"].to_numpy(), course["off"].to_numpy()
    before = np.flatnonzero((steps > 0) & (steps <= 0.75 * steps[-1]))
    if not len(before) or np.isnan(off).all():
        return "unknown"
    fell = 1 - off[-1] / off[before[-1]] if off[before[-1]] > 0 else 0.0
    return "falling" if fell > STILL else "rising" if fell < -STILL else "still"


MOVING = {
    "unknown": "whether it still falls isn't known",
    "falling": "still falling: training has not ended",
    "rising": "rising: training leads away from it",
    "still": "no longer falling, as the learning rate goes to 0: training stands short of its end",
}


def _ranges(verdicts: Sequence[Verdict], *names: str) -> dict[str, str]:
    return {name: spread([one.ends[name] for one in verdicts]) for name in names}


def _outcome(outcome: str, moving: str, group: Sequence[Verdict]) -> str:
    """Return what is said of runs with the same outcome, after who they are."""
    names = ("off", "std", "between", "between_predicted", "chance", "right", "error", "other")
    n = _ranges(group, *names)
    worst = [(one["kind"], one) for verdict in group for one in verdict.kinds]
    several = len(group[0].kinds) > 1
    far = f"Rewards are {n['off']} from the computed optimum, {MOVING[moving]}."
    if n["off"] == "not known":
        far = "Nothing holds the rewards, so that there is no optimum to be near to."
    apart = f"the kinds are {n['between']} apart, of which chance makes up to {n['chance']}"
    if not several:
        apart = "there is one kind of prompt"
    wrong = sorted({str(kind) for kind, one in worst if _reversed(one)})
    lured = sorted({str(kind) for kind, one in worst if one["error"] > one["other"]})
    own, other = (
        spread([one[name] for kind, one in worst if str(kind) in lured], 3)
        for name in ("error", "other")
    )
    return {
        "reversed": f"most pairs of {' and '.join(wrong)} prompts are the wrong way round on "
        f"training prompts ({n['right']} right): check the ranks; nothing is said of collapse.",
        "coin": f"the order of training prompts isn't learned ({n['right']} of the pairs right, a "
        "coin has a half): nothing is said of collapse.",
        "collapsed": "reward collapse: all training prompts end at the one computed optimum, "
        f"within {n['off']} of it, whatever their kind"
        + (f"; the kinds are {n['between']} apart." if several else "."),
        "one vector": "reward collapse: all training prompts have the same rewards (s.d. over "
        f"prompts {n['std']}"
        + (f", the kinds {n['between']} apart)" if several else ")")
        + f", but not those of the finished training. {far}",
        "apart": f"no collapse so far: {apart}. "
        + ("One utility has one optimum, so that this is what training leaves between them. ")
        + far,
        "alike": f"no collapse so far: prompts differ (s.d. {n['std']}), kinds don't: {apart}. "
        f"{far}",
        "same optima": f"nothing is asked to be apart, as the kinds' optima are the same. {far}",
        "own optima": f"each kind ends at its own optimum, within {n['off']}"
        + (f"; they are {n['between']} apart, of {n['between_predicted']} computed." * several),
        "nearer": f"each kind ends nearer to its own optimum ({n['error']} at most) than to "
        f"another's ({n['other']} at least), and {apart}, {n['between_predicted']} computed. {far}",
        "another's optimum": f"{' and '.join(lured)} prompts end no nearer to their own optimum "
        f"({own}) than to another kind's ({other}), though {apart}. {far}",
        "not apart": f"the kinds aren't held apart: {apart}. {far}",
    }[outcome]


def _verdicts(found: Findings, runs: Sequence[Run], who: str) -> Iterator[str]:
    made = [verdict(found, run) for run in runs]
    for held in dict.fromkeys(run.objective.domain for run in runs):
        group = [one for one in made if one.run.objective.domain == held]
        where = "" if held.bounded else f" under {held}"
        for key in dict.fromkeys((one.outcome, one.moving) for one in group):
            same = [one for one in group if (one.outcome, one.moving) == key]
            some = "" if len(same) == len(group) else f", in {len(same)} of {len(group)} runs"
            yield f"{who}{where}{some}: {_outcome(*key, same)}"


def _parted(found: Findings, fixed: Sequence[Run], aware: Sequence[Run]) -> Iterator[str]:
    """Say whether the prompt-aware loss holds the kinds farther apart than one utility does."""
    fixed = [run for run in fixed if run.objective.domain.bounded]
    for split, where in ((TRAIN, "training"), (HELD_OUT, "held-out")):
        one, each = (found.ends(runs, "between", split) for runs in (fixed, aware))
        if not one or not each or np.isnan(one + each).any():
            continue
        said = "the runs don't decide whether the loss parts them"
        if min(each) > max(one):
            said = "in every run the prompt-aware loss parts them by more"
        elif max(each) < min(one):
            said = "it isn't the prompt-aware loss that parts them"
        yield (
            f"On {where} prompts one utility leaves the kinds {spread(one)} apart, a utility for "
            f"each {spread(each)}: {said}."
        )


# -- held-out prompts --------------------------------------------------------------------


def _pairs_right(found: Findings, run: Run, split: str) -> float:
    _, kinds = found.end(run, split)
    weights = [one["prompts"] for one in kinds]
    return float(np.average([one["right"] for one in kinds], weights=weights)) if kinds else np.nan


def _held_out(found: Findings, fixed: Sequence[Run], aware: Sequence[Run]) -> Iterator[str]:
    for runs, who in ((fixed, "one utility"), (aware, "a utility for each kind")):
        ends = [(run, *found.end(run, HELD_OUT)) for run in runs]
        kinds = [(one["kind"], one) for _, _, each in ends for one in each]
        if not kinds:
            continue
        by_kind = [
            f"{kind} {spread([one['right'] for name, one in kinds if name == kind])}"
            for kind in dict.fromkeys(kind for kind, _ in kinds)
        ]
        error = spread([all_["error"] for _, all_, _ in ends])
        said = "" if error == "not known" else f", the mean rewards {error} from the optimum"
        lured = [one for run, _, each in ends for one in each if one["error"] > one["other"]]
        more = f"; {len(lured)} of {len(kinds)} kinds end nearer to another's" if lured else ""
        yield f"Held-out pairs right with {who}: {', '.join(by_kind)}{said}{more}."
    for split, where in ((TRAIN, "training"), (HELD_OUT, "held-out")):
        compared = [run for run in fixed if run.objective.domain.bounded]
        of = {run: _pairs_right(found, run, split) for run in (*compared, *aware)}
        seeds = sorted({run.seed for run in compared} & {run.seed for run in aware})
        both = [
            [np.mean([of[run] for run in runs if run.seed == seed]) for seed in seeds]
            for runs in (compared, aware)
        ]
        if not seeds or np.isnan(both).any():
            continue
        cost = np.subtract(*both)
        said = "which one seed doesn't tell from chance"
        if len(seeds) > 1:
            agree = min(cost) > 0 or max(cost) < 0
            said = "with all seeds of one sign" if agree else "which the seeds don't agree on"
        word = "costs" if cost.mean() > 0 else "gains"
        yield (
            f"Prompt-awareness {word} {abs(cost.mean()):.3f} of the pairs right on {where} prompts "
            f"({np.mean(both[0]):.3f} with one utility, {np.mean(both[1]):.3f} with one for each "
            f"kind), {said}."
        )


# -- on the way --------------------------------------------------------------------------


def _most_apart(found: Findings, runs: Sequence[Run], split: str) -> list[float]:
    # The start is no training: there the kinds differ by chance.
    return [max(found.course(run, split)["between"].to_list()[1:]) for run in runs]


def _early(found: Findings, fixed: Sequence[Run], aware: Sequence[Run]) -> Iterator[str]:
    runs = [r for r in fixed if r.objective.domain.bounded and len(found.stops(r)) > 1]
    runs = [run for run in runs if not np.isnan(found.ends([run], "between")[0])]
    if not runs:
        return
    train, held = (_most_apart(found, runs, split) for split in (TRAIN, HELD_OUT))
    designed = found.ends(aware, "between", HELD_OUT)
    less = bool(designed) and max(held) < min(designed)
    yield (
        f"{'Early stopping does not replace that: with' if less else 'With'} one utility the kinds "
        f"were at most {spread(train)} apart on training prompts at any measured step "
        f"({spread(held)} on held-out ones)."
    )
    stops = [stop for run in runs for stop in found.stops(run)]
    for rule in RULES:
        here = [stop for stop in stops if stop["rule"] == rule]
        yield (
            f"Stopping at {rule}: step {spread([stop['step'] for stop in here], 0)}, kinds "
            f"{spread([stop['between'] for stop in here])} apart, rewards "
            f"{spread([stop['distance'] for stop in here])} from those of the finished training."
        )


# -- controls and heads ------------------------------------------------------------------


def _controls(found: Findings) -> Iterator[str]:
    whos = {
        (SAME_LENGTHS, True): "With the same completion lengths for both kinds a utility for each",
        (SAME_LENGTHS, False): "With the same lengths and one utility the training",
        (NEUTRAL, True): "With the same lengths, and prompts that don't tell the kind, a utility "
        "for each",
    }
    for (control, aware), who in whos.items():
        for run in found.of(control=control, aware=aware):
            said = []
            for split, where in ((TRAIN, "training"), (HELD_OUT, "held-out")):
                ends, _ = found.end(run, split)
                more = ends["between"] > ends["chance"]
                said.append(
                    f"{ends['between']:.3f} on {where} prompts ({'' if more else 'no '}more than "
                    f"the {ends['chance']:.3f} of chance)"
                )
            yield f"{who} leaves the kinds apart by {' and '.join(said)}."


def centred(found: Findings, run: Run, split: str) -> np.ndarray:
    """Return a run's last logits, (N, K), each prompt's less their mean; NaN is padding."""
    logits, ranks, _ = grids(found.last(run, split))
    there = np.where(ranks >= 0, logits, np.nan)
    return there - np.nanmean(there, axis=1, keepdims=True)


def _heads(found: Findings) -> Iterator[str]:
    for trained, best in zip(found.of(control=LINEAR), found.of(control=CERTIFIED), strict=False):
        off = {}
        for split in (TRAIN, HELD_OUT):
            one, other = (centred(found, run, split) for run in (trained, best))
            size = math.sqrt(np.nanmean(other**2))
            off[split] = math.sqrt(np.nanmean((one - other) ** 2)) / size if size else math.nan
        right, loss = (
            [found.ends([best], name, split)[0] for split in (LEFT_OUT, HELD_OUT)]
            for name in ("right", "loss")
        )
        penalty = found.last(best, TRAIN)["penalty"][0]
        yield (
            f"A linear head, seed {best.seed}, L2 {penalty:.3g} chosen by left-out prompts: what "
            f"AdamW reaches is {off[TRAIN]:.1%} (held-out {off[HELD_OUT]:.1%}) of the rewards' "
            f"s.d. from the certified optimum. Left out, training prompts have {right[0]:.3f} of "
            f"the pairs right and a loss of {loss[0]:.4f}; held-out prompts have {right[1]:.3f} "
            f"and {loss[1]:.4f}."
        )
