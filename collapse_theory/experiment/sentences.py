"""What was found, in sentences: each follows from the numbers beside it, or says what is open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from collapse_theory.capacity.head import FEW
from collapse_theory.experiment.measure import HELD_OUT, LEFT_OUT, RULES, TRAIN, Findings
from collapse_theory.experiment.setting import CERTIFIED, LINEAR, NEUTRAL, SAME_LENGTHS, Run

# Rewards are at a vector, or near it, whose distance is this share of how far it is from its mean:
# .04 and .09 for log(x + 0.1) in the box, while the kinds' optima are .19 apart.
AT, NEAR = 0.1, 0.25
LEARNED = 0.55  # of the pairs right: below it an order isn't learned, however many prompts show it
STILL = 0.1  # the share by which a distance falls, over the last quarter, that is still falling
SIDES = ((TRAIN, "training"), (HELD_OUT, "held-out"))


def sentences(found: Findings) -> list[str]:
    """Return what was found; nothing is said that the table of rewards doesn't hold."""
    runs = [run for run in found.of() if found.end(run)[0]]
    fixed, aware = ([r for r in runs if r.objective.aware == is_so] for is_so in (False, True))
    boxed = [run for run in fixed if run.objective.domain.bounded]
    parts = (
        _verdicts(found, fixed, "With one utility for all prompts"),
        _verdicts(found, aware, "With a utility for each kind"),
        _against(found, boxed, aware),
        _held_out(found, fixed, "one utility"),
        _held_out(found, aware, "a utility for each kind"),
        _early(found, boxed, aware),
        _controls(found),
        _heads(found),
    )
    return [text for part in parts for text in part] or ["No training prompt was measured."]


def spread(values: Iterable[Any], digits: int = 3) -> str:
    """Return the least and the largest value as text, or the one they are.

    >>> spread([0.0123, 0.2]), spread([0.5, 0.5]), spread([float("nan")])
    ('0.012 to 0.200', '0.500', 'not known')
    """
    texts = sorted({f"{value:.{digits}f}" for value in values if not math.isnan(value)}, key=float)
    return " to ".join(dict.fromkeys((texts[0], texts[-1]))) if texts else "not known"


# -- where training ended ----------------------------------------------------------------


class Verdict(NamedTuple):
    """What a run ended at, on training prompts: all of them, the worst kind, and each kind.

    `moving` is how its distance from the optimum moved over the last quarter of the steps.
    """

    outcome: str
    moving: str
    ends: dict[str, Any]
    kinds: list[dict[str, Any]]


def verdict(found: Findings, run: Run) -> Verdict:
    """Return what a run ended at: what is decided, before what isn't."""
    ends, kinds = found.end(run)
    aware, apart = run.objective.aware, ends["between"] if len(kinds) > 1 else -1.0
    at_it = all(one["off"] <= AT * one["scale"] for one in kinds)
    alike = all(one["std"] <= AT * one["scale"] for one in kinds)
    # Ties can make the optima of two kinds differ a little, even under one utility.
    asked = np.nan_to_num(ends["between_predicted"])
    by_chance = not apart > ends["chance"] + (0.0 if aware else asked)
    outcomes = {
        "reversed": any(map(_reversed, kinds)),
        "coin": any(one["right"] <= max(LEARNED, 0.5 + _coin(one)) for one in kinds),
        "same optima": aware and len(kinds) > 1 and asked <= 1e-9,
        "own optima": aware and at_it,
        "another's": aware and any(map(_lured, kinds)),
        "not apart": aware and by_chance,
        "nearer": aware,
        "collapsed": at_it,
        "near": all(one["off"] <= NEAR * one["scale"] for one in kinds),
        "one vector": alike and apart <= AT * ends["scale"],
        "alike": by_chance,
        "apart": True,
    }
    outcome = next(name for name, so in outcomes.items() if so)
    return Verdict(outcome, _moving(found.course(run)), ends, kinds)


def _coin(one: dict[str, Any]) -> float:
    """Return three standard errors of the pairs right in random orders: those of Kendall's tau."""
    n = len(one["mean_by_rank"])
    return 3 / 2 * math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)) / one["prompts"])


def _reversed(one: dict[str, Any]) -> bool:
    return not one["right"] >= 0.5 - _coin(one)


def _lured(one: dict[str, Any]) -> bool:
    return one["error"] > one["other"]


def _moving(course: pl.DataFrame) -> str:
    before = course.filter(pl.col("step") > 0, pl.col("step") <= 0.75 * course["step"][-1])["off"]
    if not len(before) or course["off"].is_nan().all():
        return "unknown"
    fell = 1 - course["off"][-1] / before[-1] if before[-1] > 0 else 0.0
    return "falling" if fell > STILL else "rising" if fell < -STILL else "still"


_MOVING = {
    "unknown": "whether it still falls isn't known",
    "falling": "still falling: training has not ended",
    "rising": "rising: training leads away from it",
    "still": "no longer falling, as the learning rate goes to 0: training stands short of its end",
}
_OUTCOMES = {
    "reversed": "most pairs of {wrong} prompts are the wrong way round on training prompts "
    "({right} right): check the ranks; nothing is said of collapse.",
    "coin": "the order of training prompts isn't learned ({right} of the pairs right, a coin has a "
    "half): nothing is said of collapse.",
    "collapsed": "reward collapse: all training prompts end at the one computed optimum, within "
    "{off} of it, whatever their kind; {apart}.",
    "one vector": "reward collapse: all training prompts have the same rewards, up to an s.d. over "
    "prompts of {std}; {apart}. Their mean is {error} from the computed optimum. {far}",
    "apart": "no collapse so far: {apart}. {far}",
    "alike": "no collapse so far: prompts differ (s.d. {std}), kinds don't: {apart}. {far}",
    "same optima": "nothing is asked to be apart, as the kinds' optima are the same. {far}",
    "own optima": "each kind ends at its own optimum, within {off}; {apart}, {between_predicted} "
    "computed.",
    "near": "reward collapse is near, and not reached: prompts differ by an s.d. of {std}, and "
    "{apart}. {far}",
    "nearer": "each kind ends nearer to its own optimum ({error} at most) than to another's "
    "({other} at least); {apart}, {between_predicted} computed. {far}",
    "another's": "{lured} prompts end no nearer to their own optimum ({own}) than to another "
    "kind's ({others}), though {apart}. {far}",
    "not apart": "the kinds aren't held apart: {apart}. {far}",
}


def _said(group: Sequence[Verdict]) -> str:
    """Return what is said of runs with the same outcome, after who they are."""
    names = ("off", "std", "between", "between_predicted", "chance", "right", "error", "other")
    n = {name: spread([one.ends[name] for one in group]) for name in names}
    kinds = [one for verdict in group for one in verdict.kinds]
    lured = [one for one in kinds if _lured(one)]
    far = f"Each prompt is {n['off']} from the computed optimum, {_MOVING[group[0].moving]}."
    if group[0].outcome == "apart":
        far += " One utility has one optimum: this is what training leaves between the kinds."
    if n["off"] == "not known":
        far = "Nothing holds the rewards, so that there is no optimum to be near to."
    apart = f"the kinds are {n['between']} apart, of which chance makes up to {n['chance']}"
    return _OUTCOMES[group[0].outcome].format(
        **n,
        far=far,
        apart=apart if len(group[0].kinds) > 1 else "there is one kind of prompt",
        wrong=" and ".join(sorted({str(one["kind"]) for one in kinds if _reversed(one)})),
        lured=" and ".join(sorted({str(one["kind"]) for one in lured})),
        own=spread([one["error"] for one in lured]),
        others=spread([one["other"] for one in lured]),
    )


def _verdicts(found: Findings, runs: Sequence[Run], who: str) -> Iterator[str]:
    # What asks for the same: one utility in a domain, or the same utilities of the kinds.
    asked = [str(run.objective) if run.objective.aware else run.objective.domain for run in runs]
    for of in dict.fromkeys(asked):
        group = [verdict(found, run) for run, its in zip(runs, asked, strict=True) if its == of]
        where = f", {of}" if isinstance(of, str) else "" if of.bounded else f" under {of}"
        # How they moved parts those of which it is said.
        keys = [(one.outcome, one.moving * ("{far}" in _OUTCOMES[one.outcome])) for one in group]
        for key in dict.fromkeys(keys):
            same = [one for one, its in zip(group, keys, strict=True) if its == key]
            some = "" if len(same) == len(group) else f", in {len(same)} of {len(group)} runs"
            yield f"{who}{where}{some}: {_said(same)}"


# Of what, in words; and what is said where the prompt-aware loss has more of it, or less.
_AGAINST = {
    "between": ("the kinds' distance is", "parts them by more", "parts them by less"),
    "pairs": ("the share of pairs right is", "has more of them", "costs some of them"),
}


def _against(found: Findings, fixed: Sequence[Run], aware: Sequence[Run]) -> Iterator[str]:
    """Say what a utility for each kind does to the distance of the kinds, and to the pairs right.

    Three runs of each that agree are no chance; fewer must differ by more than it makes.
    """
    few = min(len(fixed), len(aware)) < 3
    for name, (what, more, less) in _AGAINST.items():
        for split, where in SIDES if fixed and aware else ():
            one, each = (found.ends(runs, name, split) for runs in (fixed, aware))
            if np.isnan(one + each).any():
                continue
            known = max(found.ends((*fixed, *aware), "chance", split))
            chance = 0.0 if not few else known if name == "between" else math.inf
            said = "these runs don't decide whether that is more than chance"
            if min(each) > max(one) + chance or max(each) + chance < min(one):
                said = f"in every run the prompt-aware loss {more if each > one else less}"
            yield (
                f"On {where} prompts {what} {spread(one)} with one utility and {spread(each)} with "
                f"a utility for each kind: {said}."
            )


# -- held-out prompts --------------------------------------------------------------------


def _held_out(found: Findings, runs: Sequence[Run], who: str) -> Iterator[str]:
    kinds = [(run, one) for run in runs for one in found.end(run, HELD_OUT)[1]]
    if kinds:
        by_kind = [
            f"{kind} {spread([one['right'] for _, one in kinds if one['kind'] == kind])}"
            for kind in dict.fromkeys(one["kind"] for _, one in kinds)
        ]
        error = [one["error"] for run, one in kinds if run.objective.domain.bounded]
        said = f", mean rewards {spread(error)} from the optimum in the box" if error else ""
        lured = sum(_lured(one) for _, one in kinds)
        said += f", {lured} of {len(kinds)} nearer to another kind's" * (lured > 0)
        yield f"Held-out pairs right with {who}: {', '.join(by_kind)}{said}."


# -- on the way, controls and heads ------------------------------------------------------


def _early(found: Findings, runs: Sequence[Run], aware: Sequence[Run]) -> Iterator[str]:
    stops = pl.DataFrame([stop for run in runs for stop in found.stops(run)])
    if not len(stops) or not stops["between"].is_not_nan().all():
        return
    train, held = (
        # The start is no training: there the kinds differ by chance.
        [max(found.course(run, split)["between"].to_list()[1:]) for run in runs]
        for split, _ in SIDES
    )
    designed = found.ends(aware, "between", HELD_OUT)
    less = bool(designed) and max(held) < min(designed)
    yield (
        f"{'Early stopping does not replace that: with' if less else 'With'} one utility the kinds "
        f"were at most {spread(train)} apart on training prompts at any measured step "
        f"({spread(held)} on held-out ones)."
    )
    for rule in RULES:
        here = stops.filter(rule=rule)
        yield (
            f"Stopping at {rule}: step {spread(here['step'], 0)}, kinds {spread(here['between'])} "
            f"apart, rewards {spread(here['distance'])} from those of the finished training."
        )


def _controls(found: Findings) -> Iterator[str]:
    for run in (run for of in (SAME_LENGTHS, NEUTRAL) for run in found.of(control=of)):
        said = []
        for split, where in SIDES:
            end, _ = found.end(run, split)
            more = "more" if end["between"] > end["chance"] else "no more"
            said.append(
                f"{end['between']:.3f} apart on {where} prompts ({more} than the "
                f"{end['chance']:.3f} of chance)"
            )
        who = "a utility for each" if run.objective.aware else "one utility"
        yield f"Control, {run.control}: {who} leaves the kinds {' and '.join(said)}."


def _heads(found: Findings) -> Iterator[str]:
    trained, best = (found.of(control=control) for control in (LINEAR, CERTIFIED))
    if not best:
        return

    def centred(run: Run, split: str) -> np.ndarray:
        own = pl.col("logit") - pl.col("logit").mean().over("prompt")
        return found.last(run, split).select(own)["logit"].to_numpy()

    off: dict[str, list[float]] = {split: [] for split, _ in SIDES}
    for runs in zip(trained, best, strict=True):
        for split in off:
            one, other = (centred(run, split) for run in runs)
            off[split].append(float(np.linalg.norm(one - other) / np.linalg.norm(other)))
    right, loss = (
        [spread(found.ends(best, name, split)) for split in (LEFT_OUT, HELD_OUT)]
        for name in ("right", "loss")
    )
    few = found.end(best[0])[0]["prompts"] < FEW
    penalties = sorted({found.last(run, TRAIN)["penalty"][0] for run in best})
    yield (
        f"Linear heads, L2 of {' or '.join(f'{of:.3g}' for of in penalties)} chosen by left-out "
        f"prompts: what AdamW reaches is {spread(off[TRAIN])} of the rewards' s.d. from the "
        f"certified optimum ({spread(off[HELD_OUT])} held out). Left out, the worse kind of "
        f"training prompts has {right[0]} of the pairs right, and all a loss of {loss[0]}; "
        f"held-out prompts have {right[1]} and {loss[1]}."
        + f" Left-out rewards take {FEW} training prompts or more: here they may be far off."
        * few
    )
