"""A diagnosis on one page: each kind's law and order statistics, beside the nearest prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.diagnosis import Diagnosis, KindSummary, Part, diagnose
from collapse_theory.diagnosis.summary import QUANTILES
from collapse_theory.errors import CollapseError
from collapse_theory.figures import look
from collapse_theory.finite import solve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_MAX_KINDS = 4  # of more kinds, those with the most prompts
_PREDICTION: dict[str, Any] = {"color": look.BLACK, "linewidth": 0.9, "linestyle": (0, (4, 1.5))}
_VERDICTS = {
    "collapsed": "Collapsed",
    "one law": "One law",
    "own laws": "Laws of their own",
    "no spread": "No spread",
    None: "Not decided",
}


def diagnosis_data(found: Diagnosis | None = None) -> Diagnosis:
    """Return a diagnosis to draw: `found`, or that of a simulated log.

    The simulated log has 100 open-ended and 100 closed-ended prompts of eight completions. All
    were trained with log(x + 0.1): the optimum, and noise of standard deviation 0.05.

    Examples
    --------
    >>> from collapse_theory.figures import diagnosis_data
    >>> diagnosis_data().collapsed
    True
    """
    if found is None:
        rng = np.random.default_rng(2305)
        rewards = solve("log(x + 0.1)", 8).rewards + 0.05 * rng.standard_normal((200, 8))
        return diagnose(rewards, kinds=["open", "closed"] * 100)
    if not isinstance(found, Diagnosis):
        raise CollapseError(
            f"a diagnosis is drawn, as ct.diagnose returns it, not a {type(found).__name__}"
        )
    return found


def diagnosis(found: Diagnosis | None = None, fig: Figure | SubFigure | None = None) -> Any:
    """Draw a diagnosis: a row for each kind, its law beside its order statistics.

    The law is drawn as a distribution function; the shaded area between it and the dashed one is
    the Wasserstein-1 distance to the nearest prediction. On the right is the mean reward of each
    rank with the band that nine tenths of the prompts lie in: a narrow band is what collapse means.
    A log of several steps has another row: how alike prompts are, and how well they are ranked, by
    step with 95% intervals. Returns the (kinds, 2) array of Axes, with that row.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.diagnosis(fig=Figure()).shape
    (2, 2)
    """
    data = diagnosis_data(found)
    course = 1.6 if data.steps else 0.0
    kinds = sorted(data.kinds, key=lambda kind: (-kind.prompts, kind.name))[:_MAX_KINDS]
    with look.figure_or_new(fig, look.DOUBLE, 0.75 + 1.75 * len(kinds) + course) as figure:
        axes = figure.subplots(len(kinds) + bool(course), 2, squeeze=False)
        laws = axes[: len(kinds)]
        for row in laws[:-1]:
            for above, below in zip(row, laws[-1], strict=True):
                above.sharex(below)
                above.tick_params(labelbottom=False)
        for row, kind, colour in zip(laws, kinds, look.COLOURS, strict=False):
            _draw_law(row[0], kind, colour)
            _draw_ranks(row[1], kind, colour, by_rank=_same_size(data, kind))
        by_rank = _same_size(data, kinds[0])
        laws[-1, 0].set_xlabel("reward" if data.view == "as they are" else f"reward, {data.view}")
        laws[-1, 1].set_xlabel(
            "rank, 1 the best" if by_rank else "share of completions, best first"
        )
        axes[0, 0].set_title("share of rewards up to x")
        axes[0, 1].set_title("reward by rank: mean, and the middle 90% of prompts")
        if course:
            _draw_course(axes[-1, 0], data.steps, "ratio", "W/R: 0 collapsed, 1 one law")
            name = "right" if all(part.right for part in data.steps) else "level"
            texts = {"right": "share of pairs ranked right", "level": "share of variance: levels"}
            _draw_course(axes[-1, 1], data.steps, name, texts[name])
        figure.suptitle(
            _heading(data, len(kinds)), x=0.01, ha="left", fontsize=look.note_size() + 1
        )
    return axes


def _same_size(data: Diagnosis, kind: KindSummary) -> bool:
    """Whether all prompts have as many completions as the kind's curve has points."""
    return tuple(data.completions) == (kind.curve.size, kind.curve.size)


def _heading(data: Diagnosis, shown: int) -> str:
    text = _VERDICTS[data.outcome]
    if data.counts is not None:
        text += f": index {data.counts.index}"
        text += "" if data.view == "as they are" else f" ({data.view})"
    low, high = data.completions
    text += f", {data.prompts} prompts of {low if low == high else f'{low} to {high}'} completions"
    if data.step is not None:
        text += f", step {data.step:g}"
    return text + (f"; {shown} of {len(data.kinds)} kinds" if shown < len(data.kinds) else "")


def _draw_course(axes: Axes, parts: Sequence[Part], field: str, title: str) -> None:
    for number, split in enumerate(dict.fromkeys(part.split for part in parts)):
        some = [p for p in parts if p.split == split and getattr(p, field) is not None]
        values = np.array([(m.value, m.low, m.high) for m in (getattr(p, field) for p in some)])
        if not some:
            continue
        value, low, high = values.T
        style = look.cycled(number, marker=look.MARKERS[number % len(look.MARKERS)], markersize=3)
        errors = np.maximum([value - low, high - value], 0.0)
        steps = np.array([part.step for part in some], dtype=float)
        axes.errorbar(steps, value, errors, **style, label=split)
    axes.set(xlabel="step", title=title)
    axes.set_ylim(bottom=0)
    if any(part.split for part in parts):
        axes.legend()


def _draw_law(axes: Axes, kind: KindSummary, colour: str) -> None:
    places = np.concatenate([kind.edges, kind.quantiles])
    shares = np.concatenate([[0.0], np.cumsum(kind.counts) / kind.rows, QUANTILES])
    order = np.lexsort((shares, places))
    places, shares = places[order], np.maximum.accumulate(shares[order])
    axes.plot(places, shares, color=colour)
    if kind.predictions:
        rewards = np.sort(kind.predictions[0].curve)
        grid = np.unique(np.concatenate([places, rewards, np.nextafter(rewards, -np.inf)]))
        theirs = np.searchsorted(rewards, grid, side="right") / rewards.size
        ours = np.interp(grid, places, shares, left=0.0, right=1.0)
        axes.fill_between(grid, ours, theirs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(grid, theirs, **_PREDICTION)
        distance = f"$W_1$ = {kind.predictions[0].distance:.3f}"
        look.note(axes, 0.98, 0.05, distance, inside=True, ha="right")
    axes.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    name = kind.name if len(kind.name) <= 16 else f"{kind.name[:15]}\u2026"
    # A dollar sign would begin a formula of matplotlib's.
    axes.set_ylabel(f"{name.replace('$', chr(92) + '$')} ({kind.prompts} prompts)")


def _draw_ranks(axes: Axes, kind: KindSummary, colour: str, by_rank: bool) -> None:
    count = kind.curve.size
    places = np.arange(1, count + 1) if by_rank else (np.arange(count) + 0.5) / count
    axes.fill_between(places, kind.low, kind.high, color=colour, alpha=0.2, linewidth=0)
    marker = "o" if count <= 32 else ""
    axes.plot(places, kind.curve, color=colour, marker=marker, markersize=3, linewidth=0.8)
    if kind.predictions:
        near = kind.predictions[0]
        label = f"nearest: {look.formula(near.utility)}, mean error {near.error:.3f}"
        axes.plot(places, near.curve, label=label, **_PREDICTION)
        top = max(kind.high.max(), near.curve.max())
        span = top - min(kind.low.min(), near.curve.min())
        # Rewards fall from the left to the right: room above them holds the key.
        axes.set_ylim(top=top + 0.28 * (span or 1.0))
        axes.legend(loc="upper right", borderaxespad=0.1)
    if by_rank and count <= 20:
        axes.set_xticks(places[:: max(count // 8, 1)])
