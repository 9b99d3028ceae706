"""What else bears on a diagnosis: notes, each with a code that programs can look for."""

from __future__ import annotations

from collections.abc import Sequence

from collapse_theory.data.reward_log import Note, RewardLog, counted
from collapse_theory.diagnosis.inside import Spread
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.order_statistics import OrderStatistics
from collapse_theory.diagnosis.parts import Part, is_trained
from collapse_theory.diagnosis.summary import KindSummary

_SATURATED = 0.6  # a two-valued law has a half at each end


LEVEL_OFF = Note(
    "normalised",
    "all prompts have the same mean reward: if their level was taken off, it can't be seen here; "
    "centred rewards count",
)


def notes_of(
    log: RewardLog,
    stats: OrderStatistics,
    spread: Spread,
    normalised: str | None,
    wild: tuple[int, int],
    small: dict[str, int],
    kinds: Sequence[KindSummary],
    right: Measure | None,
    outcome: str | None,
) -> tuple[Note, ...]:
    """Return the notes of a log."""
    notes = [*(_of_reading(log)), *_of_prompts(stats, spread, small, outcome)]
    if normalised:
        notes.append(
            Note(
                "normalised",
                f"each prompt's rewards were normalised ({normalised}): what that takes away of "
                "how prompts differ can't be seen in them",
            )
        )
    if wild[1]:
        rewards = f"{counted(wild[1], 'reward')} of {counted(wild[0], 'prompt')}"
        notes.append(
            Note(
                "wild",
                f"{rewards} further from the prompt's median than five times the typical "
                "distance; they don't decide how alike prompts are",
            )
        )
    if right is not None:
        notes += _of_ranks(right)
    return (*notes, *(() if outcome == "no spread" else _saturated(kinds)))


def _of_reading(log: RewardLog) -> list[Note]:
    aside = (*log.bad, *log.left_out)
    if not aside:
        return list(log.notes)
    unused = sum(rows.count for rows in aside)
    what = f"{unused:,} of {log.read:,} {'rewards' if log.lists else 'rows'} aren't used: "
    return [Note("rows left out", what + "; ".join(map(str, aside))), *log.notes]


def _of_prompts(
    stats: OrderStatistics, spread: Spread, small: dict[str, int], outcome: str | None
) -> list[Note]:
    notes = []
    if stats.single:
        notes.append(
            Note(
                "single",
                f"{counted(stats.single, 'prompt')} of one completion left out: it ranks nothing",
            )
        )
    if small:
        listed = ", ".join(f"{name} ({counted(n, 'prompt')})" for name, n in small.items())
        notes.append(Note("small kinds", f"too few prompts to judge: {listed}"))
    least, most = int(stats.sizes.min()), int(stats.sizes.max())
    if least < most:
        notes.append(
            Note(
                "missing",
                f"prompts have {least} to {most} completions; those of one number are compared "
                "with each other, and if some are missing at random, that is allowed for",
            )
        )
    if spread.flat.value >= 0.1 and outcome != "no spread":
        notes.append(
            Note(
                "flat",
                f"{spread.flat.value:.0%} of the prompts have no spread inside: they give no "
                "advantage and no pair to train on",
            )
        )
    return notes


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


def _of_ranks(right: Measure) -> list[Note]:
    if right.high < 0.5:
        text = f"only {right.percent()} of the pairs are ranked right: is the sign flipped, or is "
        return [Note("sign", f"{text}rank 0 not the best?")]
    if right.low <= 0.5:
        return [
            Note(
                "sign",
                f"{right.percent()} of the pairs are ranked right: no better than chance, as far "
                "as this log tells",
            )
        ]
    return []


def _saturated(kinds: Sequence[KindSummary]) -> list[Note]:
    """Return a note for each kind whose rewards are nearly all at one end."""
    notes = []
    for kind in kinds:
        share, end = max((kind.at_low, "lowest"), (kind.at_high, "highest"))
        if share > _SATURATED:
            notes.append(
                Note(
                    "saturated",
                    f"{share:.0%} of the rewards of {kind.name!r} are within 0.01 of the {end} on "
                    "the scale, and hardly rank anything there; if they are probabilities, their "
                    "log-odds spread them out, else a map of ranks (collapse-theory design) does",
                )
            )
    return notes
