"""Limit laws of several utilities: densities as curves, atoms as stems on a second scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.figures import look
from collapse_theory.laws import RewardLaw
from collapse_theory.laws.curves import Curves, draw
from collapse_theory.limit import LimitLaw, Method, limit
from collapse_theory.programs import Box, DomainLike, as_domain
from collapse_theory.utilities import Loss, as_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = ("x", "log(x + 0.1)", "log(x)", "-1/(x + 0.1)", "logsigmoid(4*x)")
Given = RewardLaw | Loss | str


@dataclass(frozen=True, eq=False)
class LimitLaws(Curves):
    """What `limit_laws` draws: the curves, and of which utilities they are, or the laws' names."""

    utilities: tuple[str, ...] = ()


def limit_laws_data(
    laws: Given | Sequence[Given] = EXAMPLES,
    *,
    domain: DomainLike | None = None,
    method: Method = "auto",
) -> LimitLaws:
    """Return the densities and atoms of limit laws.

    Parameters
    ----------
    laws : Utility, PlackettLuce, str or RewardLaw, or a sequence of them
        Utilities, whose limit laws are drawn, and laws as they are.
    domain, method
        Of utilities, as `collapse_theory.limit` takes them; laws have their own.

    Raises
    ------
    CollapseError
        A ValueError, for an empty sequence, or a utility without a limit law.

    Examples
    --------
    >>> from collapse_theory.figures import limit_laws_data
    >>> data = limit_laws_data(["x", "1 - exp(-2*x)"])
    >>> data.atoms[1].tolist(), float(data.densities[1, 200].round(3))
    ([[0.0, 0.25], [1.0, 0.25]], 0.5)
    """
    given = [laws] if isinstance(laws, RewardLaw | Loss | str) else laws
    chosen = [
        each if isinstance(each, RewardLaw) else limit(as_loss(each), domain, method)
        for each in look.several(given, "limit_laws", "utilities or laws")
    ]
    boxes = [law.domain for law in chosen if isinstance(law, LimitLaw)]
    inside = len(boxes) == len(chosen) and all(isinstance(box, Box) for box in boxes)
    ends = [end for box in boxes if isinstance(box, Box) for end in (box.low, box.high)]
    return LimitLaws.of(
        chosen,
        (min(ends), max(ends)) if inside else None,
        utilities=tuple(_named(law) for law in chosen),
    )


def _named(law: RewardLaw) -> str:
    return str(law.utility) if isinstance(law, LimitLaw) and law.utility else law.name


def limit_laws(
    laws: Given | Sequence[Given] = EXAMPLES,
    ax: Axes | None = None,
    *,
    domain: DomainLike | None = None,
    method: Method = "auto",
    colors: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
) -> Axes:
    """Draw the limit laws of utilities, and laws.

    Densities are curves on the left scale. Atoms are stems on the right scale, the height the
    mass; stems that would hide each other stand side by side, those at the ends outside the box.
    Densities that grow without bound leave the picture at the top. `ax` needs room for the key
    above; `colors` and `labels` (texts of the key in place of the utilities) are one a law. Returns
    the Axes of the densities, of which the scale of the masses is a twin.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from collapse_theory import figures
    >>> axes = figures.limit_laws(["x", "log(x)"], Figure().subplots())
    >>> axes.get_legend_handles_labels()[1]
    ['x', 'log(x)']
    """
    data = limit_laws_data(laws, domain=domain, method=method)
    texts = [look.formula(text) for text in data.utilities]
    looks = [
        look.cycled(i, marker=look.MARKERS[i % len(look.MARKERS)], label=text)
        for i, text in enumerate(texts)
    ]
    for name, given in (("color", colors), ("label", labels)):
        if given is not None and len(given) != len(looks):
            raise CollapseError(f"{len(looks)} laws need as many {name}s, got {given!r}")
        for each, value in zip(looks, given or (), strict=False):
            each[name] = value
    with look.axes_or_new(ax, look.SINGLE, 2.9) as axes:
        draw(axes, data, looks)
        box = as_domain(domain)
        if isinstance(box, Box) and (box.low, box.high) == (data.places[0], data.places[-1]):
            axes.set_xticks(np.linspace(box.low, box.high, 6))
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=2,
            columnspacing=1.2,
            handlelength=2.6,
            frameon=False,
        )
    return axes
