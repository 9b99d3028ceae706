"""The paper's completions: one text cut at eight lengths, longer is better."""

from __future__ import annotations

from collapse_theory.data.ranking import Ranking
from collapse_theory.errors import CollapseError
from collapse_theory.experiment.corpus import Passage

__all__ = ["CLOSED", "KINDS", "LENGTHS", "OPEN", "TEMPLATES", "completions", "ranking"]

OPEN, CLOSED = KINDS = ("open", "closed")

LENGTHS: dict[str, tuple[int, ...]] = {
    OPEN: (80, 70, 60, 50, 40, 30, 20, 10),
    CLOSED: (74, 68, 62, 56, 34, 28, 22, 16),
}
"""Words of the completions by kind, best first: Song, Cai, Lee, Su, arXiv:2305.17608, section 3."""

TEMPLATES: dict[str, str] = {
    OPEN: "Write freely about {name}, in whatever way you like.",
    CLOSED: "What does {name} do? Give the exact answer.",
}
NEUTRAL = "Here is a text about {name}."


def completions(text: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    """Return the first words of a text, once for each length.

    Raises
    ------
    CollapseError
        Where the text is shorter than the longest.

    Examples
    --------
    >>> completions("one two three", (3, 1))
    ('one two three', 'one')
    """
    words = text.split()
    if len(words) < max(lengths):
        raise CollapseError(f"a text of {len(words)} words can't be cut to {max(lengths)}")
    return tuple(" ".join(words[:length]) for length in lengths)


def ranking(
    passage: Passage, kind: str, *, same_lengths: bool = False, neutral: bool = False
) -> Ranking:
    """Return a passage as a prompt of this kind with its eight completions, best first.

    Parameters
    ----------
    passage : Passage
    kind : {"open", "closed"}
    same_lengths : bool
        Cut at the lengths of open-ended prompts whatever the kind: a control.
    neutral : bool
        Ask in words that don't tell the kind: a control.

    Examples
    --------
    >>> made = ranking(Passage("str.upper", "word " * 80), "closed")
    >>> made.prompt, [len(text.split()) for text in made.completions]
    ('What does str.upper do? Give the exact answer.', [74, 68, 62, 56, 34, 28, 22, 16])
    """
    template = NEUTRAL if neutral else TEMPLATES[kind]
    lengths = LENGTHS[OPEN if same_lengths else kind]
    prompt = template.format(name=passage.name)
    return Ranking(prompt, completions(passage.text, lengths), kind=kind)
