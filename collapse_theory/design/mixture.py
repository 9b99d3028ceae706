"""Smooth mixtures: log-sigmoids with margins, the smooth hinges that rankings are trained with.

log sigma(b (x - m)) is min(x, m) smoothed over a width 1/b. Its -U'' is a bump at m, so sums of
them with positive weights, and x, come near every concave increasing U; they are strictly concave,
smooth, defined for negative gaps too, and read back from their text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from collapse_theory.utilities import Hinge, Linear, LogSigmoid, Utility

# A term is (margin, rate); rate 0 stands for x itself.
Term = tuple[float, float]
# Digits kept of a weight, and the share of the largest below which weights are left out: what is
# lost moves laws by far less than the fit does. Laws of hinges hang on their weights.
DIGITS, LOST = 6, 1e-9
HINGE_DIGITS, HINGE_LOST = 10, 1e-7


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _plain(highest: float, per_octave: float) -> list[Term]:
    """Return log-sigmoids without margins, with geometric rates up to `highest`."""
    count = int(np.log2(highest) * per_octave) + 2
    return [(0.0, _round(b)) for b in np.geomspace(0.7, highest, count)]


def _bumps(count: int, sharpness: float) -> list[Term]:
    """Return log-sigmoids with the margins k/count, of the width 1/(sharpness count)."""
    return [(_round(k / count), float(sharpness * count)) for k in range(1, count)]


def _small(lowest: float, sharpness: float) -> list[Term]:
    """Return log-sigmoids with geometric margins below 1/10, of widths in proportion."""
    count = int(np.log2(0.1 / lowest)) + 1
    return [(_round(m), _round(sharpness / m)) for m in np.geomspace(lowest, 0.1, count)]


# From plain to detailed: the first stage that comes near enough is taken. Sharper terms ask for
# more points of the forward solver.
STAGES: tuple[tuple[Term, ...], ...] = (
    (*_plain(200.0, 1.0), (0.0, 0.0)),
    (*_plain(1e4, 1.0), *_bumps(5, 2.0), (0.0, 0.0)),
    (*_plain(1e4, 1.0), *_bumps(16, 3.0), *_small(0.005, 3.0), (0.0, 0.0)),
)


def term_utility(term: Term) -> Utility:
    """Return log sigma(b (x - m)), or x."""
    margin, rate = term
    if not rate:
        return Linear()
    family = LogSigmoid(rate)
    return family.shifted(-margin) if margin else family


@lru_cache(maxsize=32)
def as_hinges(terms: tuple[Term, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return margins (k,), and the weight of each one's hinge in each term, (k, terms).

    A term is taken as its own values at the margins, joined by straight lines, which are mixtures
    of hinges exactly.
    """
    fine = np.concatenate([np.geomspace(1e-8, 0.02, 120), np.linspace(0.02, 1.0, 200)[1:]])
    near = [m + np.linspace(-8, 8, 33) / b for m, b in terms if b > 100 and m > 8 / b]
    margins = np.unique(np.concatenate([fine, *near]))
    margins = margins[margins <= 1.0]
    nodes = np.append(0.0, margins)
    columns = []
    for term in terms:
        slopes = np.diff(term_utility(term)(nodes)) / np.diff(nodes)
        # Rounding could make a slope rise where the utility is all but straight.
        slopes = np.minimum.accumulate(slopes)
        columns.append(np.append(-np.diff(slopes), slopes[-1]))
    return margins, np.array(columns).T


def mixture(terms: Iterable[Term], weights: np.ndarray) -> Utility:
    """Return the sum of weighted terms."""
    return _mixed(term_utility, terms, weights, DIGITS, LOST)


def hinge(margin: float) -> Utility:
    """Return min(x, m), which is x from m = 1 on."""
    return Linear() if margin >= 1.0 else Hinge(margin)


def hinge_utility(margins: np.ndarray, weights: np.ndarray) -> Utility:
    """Return the mixture of hinges."""
    return _mixed(hinge, margins.tolist(), weights, HINGE_DIGITS, HINGE_LOST)


def _mixed(
    make: Callable[[Any], Utility],
    terms: Iterable[Any],
    weights: np.ndarray,
    digits: int,
    lost: float,
) -> Utility:
    """Return a weighted sum, weights rounded to a few digits, tiny ones left out."""
    shares = zip(terms, (weights / weights.max()).tolist(), strict=True)
    first, *more = [float(f"{w:.{digits}g}") * make(term) for term, w in shares if w > lost]
    return sum(more, start=first)


def smoothed_hinges(margins: np.ndarray, weights: np.ndarray, rate: float) -> Utility:
    """Return the mixture of hinges with log sigma(b (x - m))/b in place of min(x, m)."""
    terms = [(m, rate) if m < 1.0 else (0.0, 0.0) for m in margins.tolist()]
    return mixture(terms, np.where(margins < 1.0, weights / rate, weights))
