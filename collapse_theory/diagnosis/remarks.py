"""What else bears on a diagnosis: notes, each with a code that programs can look for."""

from __future__ import annotations

from collections.abc import Sequence

from collapse_theory.data.reward_log import Note, RewardLog, counted
from collapse_theory.diagnosis.diagnosis import Diagnosis
from collapse_theory.diagnosis.intervals import Measure
from collapse_theory.diagnosis.parts import Part, is_trained

_SATURATED = 0.6  # a two-valued law has a half at each end
_FLAT = 0.1  # from so large a share on, prompts without a spread are told of


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
