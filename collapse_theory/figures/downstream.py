"""What a policy makes of a collapsed reward, and of prompt-aware ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.laws import PolicyLaw, RewardLaw
from collapse_theory.limit import limit
from collapse_theory.utilities import Utility, utility
from collapse_theory.values import Array, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Prices of a nat from none that matters to nearly none at all, and best-of-k as people use it.
BETAS = np.geomspace(10.0, 0.001, 65)
DRAWS = (2, 4, 8, 16, 64)
SHOWN = 0.4
MARKED = (1.0, 0.4, 0.2)
LEAST = 0.02  # further down the effective sample size hardly changes
KINDS = ("one reward for all prompts", "closed-ended", "open-ended")
COLOURS, MARKERS = (look.BLACK, look.VERMILION, look.BLUE), ("o", "s", "^")


@dataclass(frozen=True, eq=False)
class Downstream(Value):
    """What `downstream` draws; rows are the collapsed, the closed-ended and the open-ended reward.

    Parameters
    ----------
    utilities : tuple of str
        What each reward was trained with.
    betas : (b,) array
        Prices of a nat of KL divergence, falling.
    shares : (3, b) array
        Effective sample size of the completions, as a share of them.
    good : (3, b) array
        Probability of the better half of the completions.
    kl, means : (3, b) array
        Divergence from the base policy in nats, and mean reward.
    draws : (k,) array
        Numbers of draws for best-of-k.
    best_kl, best_means : (3, k) array
        Divergence and mean reward of best-of-k.
    beta : float
        The price at which the policies are shown.
    ranks : (t,) array
        Ranks as shares of the completions, 0 the worst and 1 the best.
    ratios : (3, t) array
        Probability of the completions there, in units of that under the base policy.
    """

    utilities: tuple[str, ...]
    betas: Array
    shares: Array
    good: Array
    kl: Array
    means: Array
    draws: Array
    best_kl: Array
    best_means: Array
    beta: float
    ranks: Array
    ratios: Array


def downstream_data(
    collapsed: Utility | str = "log(x + 0.1)",
    closed_ended: Utility | str = "x",
    open_ended: Utility | str = "-1/(x + 0.1)",
    *,
    beta: float = SHOWN,
) -> Downstream:
    """Return what policies make of three rewards: one for all prompts, and one for each kind.

    The base policy gives all completions of a prompt the same probability, and their rewards
    follow the limit law of the utility. So the completion of rank t has the reward Q(t), Q the
    law's quantile function, and the tilted policy gives it exp(Q(t) / beta) / Z times as much;
    `beta` is the price of a nat at which probabilities by rank are given.

    Examples
    --------
    >>> from collapse_theory.figures import downstream_data
    >>> data = downstream_data()
    >>> one = np.interp(0.9, data.good[0], data.shares[0])  # open-ended, where closed-ended has 0.9
    >>> aware = np.interp(0.9, data.good[1], data.shares[2])
    >>> print(f"{one:.2f}, {aware:.2f}")
    0.53, 0.67
    """
    texts = tuple(str(utility(u)) for u in (collapsed, closed_ended, open_ended))
    tilted, best = zip(*map(_curves, texts), strict=True)
    shares, good, kl, means = np.stack(tilted, axis=1)
    best_kl, best_means = np.stack(best, axis=1)
    ranks = np.linspace(0.0, 1.0, 401)
    policies = [_law(text).tilted(beta) for text in texts]
    ratios = np.array([policy.ratio(policy.base.ppf(ranks)) for policy in policies])
    return Downstream(
        utilities=texts,
        betas=BETAS,
        shares=shares,
        good=good,
        kl=kl,
        means=means,
        draws=np.array(DRAWS),
        best_kl=best_kl,
        best_means=best_means,
        beta=float(beta),
        ranks=ranks,
        ratios=ratios,
    )


@lru_cache(maxsize=16)
def _law(text: str) -> RewardLaw:
    return limit(text)


# A tenth of a second a utility: kept, as the data function and the draw function both ask for it.
@lru_cache(maxsize=16)
def _curves(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (sample size, better half, divergence, mean) by beta; (divergence, mean) by draws."""
    tilted = [_law(text).tilted(beta) for beta in BETAS.tolist()]
    best = [_law(text).best_of(k) for k in DRAWS]
    by_beta = [(q.effective_sample_size, _better_half(q), q.kl, q.mean()) for q in tilted]
    return np.array(by_beta).T, np.array([(q.kl, q.mean()) for q in best]).T


def _better_half(law: PolicyLaw) -> float:
    """Return the probability of the better half of the completions."""
    median = law.base.ppf(0.5)
    # Of an atom at the median, the part that the better half takes.
    tied = law.base.cdf(median) - 0.5
    return float(1.0 - law.cdf(median) + tied * law.ratio(median))


def downstream(
    collapsed: Utility | str = "log(x + 0.1)",
    closed_ended: Utility | str = "x",
    open_ended: Utility | str = "-1/(x + 0.1)",
    fig: Figure | SubFigure | None = None,
    *,
    beta: float = SHOWN,
) -> Any:
    """Draw what policies make of a collapsed reward and of prompt-aware ones.

    A policy starts with all completions of a prompt equally likely and maximises mean reward less
    beta times its divergence. Top left: how it changes the probability of a completion by its
    rank, at one beta. Top right: how many completions it still uses, against beta. Bottom left:
    the probability of the better half in closed-ended prompts against the number of completions
    still used in open-ended ones; along each line beta falls, and the marks are beta = 1, 0.4 and
    0.2. Bottom right: mean reward against divergence, for beta (lines) and best-of-k (marks).
    Returns the (2, 2) array of Axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> figures.downstream(fig=Figure()).shape
    (2, 2)
    """
    data = downstream_data(collapsed, closed_ended, open_ended, beta=beta)
    with look.figure_or_new(fig, look.DOUBLE, 5.0) as figure:
        axes = figure.subplots(2, 2, gridspec_kw={"wspace": 0.08, "hspace": 0.08})
        _draw_ranks(axes[0, 0], data)
        _draw_shares(axes[0, 1], data)
        _draw_trade(axes[1, 0], data)
        _draw_rewards(axes[1, 1], data)
        handles = [
            look.handle(f"{kind}: {look.formula(text)}", **_line(i))
            for i, (kind, text) in enumerate(zip(KINDS, data.utilities, strict=True))
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.6)
    return axes


def _line(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i], "linestyle": look.LINES[i]}


def _draw_ranks(axes: Axes, data: Downstream) -> None:
    axes.axhline(1.0, color=look.PALE, linewidth=0.8, zorder=0)
    look.note(axes, 0.02, 1.0, "base policy", color=look.GREY, va="bottom")
    for i, row in enumerate(data.ratios):
        axes.plot(data.ranks, row, **_line(i))
    axes.set(xlim=(0, 1), ylim=(0, 1.06 * data.ratios.max()))
    axes.set_xlabel("rank among the completions (1 is best)")
    axes.set_ylabel("probability, times the base policy's")
    axes.set_title(rf"Sharpening by rank, $\beta$ = {data.beta:g}")


def _draw_shares(axes: Axes, data: Downstream) -> None:
    for i, row in enumerate(data.shares):
        axes.semilogx(data.betas, row, **_line(i))
    axes.axvline(data.beta, color=look.PALE, linewidth=0.8, zorder=0)
    axes.set(xlim=(data.betas[0], LEAST), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(r"price of divergence, $\beta$")
    axes.set_ylabel("effective sample size (share)")
    axes.set_title("Completions still in use")


def _draw_trade(axes: Axes, data: Downstream) -> None:
    # One beta for both kinds of prompt: a line's two numbers come from the same one.
    aware = look.COLOURS[2]
    for closed, opened, colour, line, marker in (
        (0, 0, look.BLACK, look.LINES[0], "o"),
        (1, 2, aware, look.LINES[4], "D"),
    ):
        good, share = data.good[closed], data.shares[opened]
        axes.plot(good, share, color=colour, linestyle=line)
        x, y = (np.interp(-np.array(MARKED), -data.betas, row) for row in (good, share))
        points: dict[str, Any] = look.mark(colour, marker, 4, filled=False)
        axes.plot(x, y, **points)
        if closed == 0:
            for beta, right, top in zip(MARKED, x - 0.012, y - 0.01, strict=True):
                text = rf"$\beta$ = {beta:g}"
                look.note(axes, right, top, text, color=look.GREY, ha="right", va="top")
    look.note(axes, 0.72, 0.66, "one reward for all", color=look.BLACK, ha="right")
    look.note(axes, 0.995, 0.93, "prompt-aware rewards", color=aware, ha="right")
    axes.set(xlim=(0.5, 1.003), ylim=(0, 1.02))
    axes.set_xlabel("closed-ended: probability of the better half")
    axes.set_ylabel("open-ended: effective sample size")
    axes.set_title(r"One $\beta$ for both kinds of prompt")


def _draw_rewards(axes: Axes, data: Downstream) -> None:
    for i, (colour, marker) in enumerate(zip(COLOURS, MARKERS, strict=True)):
        axes.plot(data.kl[i], data.means[i], **_line(i))
        points: dict[str, Any] = look.mark(colour, marker, 4, filled=False)
        axes.plot(data.best_kl[i], data.best_means[i], **points)
    last = int(np.argmax(data.best_kl[:, -1]))
    for k, x, y in zip(data.draws, data.best_kl[last], data.best_means[last], strict=True):
        look.note(axes, x + 0.04, y - 0.012, f"{k:.0f}", color=COLOURS[last], va="top")
    axes.set(xlim=(0, 1.05 * data.best_kl.max()), ylim=(0.49, 1.02))
    axes.set_xlabel("divergence from the base policy (nats)")
    axes.set_ylabel("mean reward")
    axes.set_title(r"Reward bought: by $\beta$ (lines), best of $k$ (marks)")
