"""Limit laws of several utilities: densities as curves, atoms as stems on a second scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.figures import look
from collapse_theory.laws import RewardLaw
from collapse_theory.limit import Method, limit
from collapse_theory.programs import Box, Domain, DomainLike, as_domain
from collapse_theory.utilities import Loss, as_loss
from collapse_theory.values import Array, Value, frozen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = ("x", "log(x + 0.1)", "log(x)", "-1/(x + 0.1)", "logsigmoid(4*x)")
# Share of the box next to each end in which a singular density is left to run out of the picture.
ENDS = 0.02
# The mass left out at the end of a law that has a long tail there.
TAIL = 1e-4


@dataclass(frozen=True, eq=False)
class LimitLaws(Value):
    """What `limit_laws` draws.

    Parameters
    ----------
    utilities : tuple of str
    places : (m,) array
        Rewards, crowded at the ends of the box, or of the supports where there is no box.
    densities : (len(utilities), m) array
        The laws' continuous parts, per unit of reward; inf where they are.
    atoms : tuple of (k, 2) array
        Location and mass of each law's atoms.
    top : float
        Where the axis of the densities ends: above every density but the ends of singular ones.
    """

    utilities: tuple[str, ...]
    places: Array
    densities: Array
    atoms: tuple[np.ndarray, ...]
    top: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(atoms=tuple(frozen_array(a) for a in self.atoms))


def limit_laws_data(
    utilities: Sequence[Loss | str] = EXAMPLES,
    *,
    domain: DomainLike | None = None,
    method: Method = "auto",
) -> LimitLaws:
    """Return the densities and atoms of limit laws.

    Parameters
    ----------
    utilities : sequence of Utility, PlackettLuce or str
        One law each.
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given.
    method : str, optional
        The method of `collapse_theory.limit`.

    Raises
    ------
    CollapseError
        A ValueError, for an empty sequence, a single text, or a utility without a limit law.

    Examples
    --------
    >>> from collapse_theory.figures import limit_laws_data
    >>> data = limit_laws_data(["x", "1 - exp(-2*x)"])
    >>> data.atoms[1].tolist(), float(data.densities[1, 200].round(3))
    ([[0.0, 0.25], [1.0, 0.25]], 0.5)
    """
    chosen = [as_loss(u) for u in look.several(utilities, "limit_laws", "utilities")]
    laws = [limit(u, domain, method) for u in chosen]
    shares = np.sin(np.linspace(0, np.pi / 2, 401)) ** 2
    low, high = _range(laws, as_domain(domain))
    places = low + (high - low) * shares
    densities = np.array([law.pdf(places) for law in laws])
    inside = densities[:, (shares >= ENDS) & (shares <= 1 - ENDS)]
    return LimitLaws(
        utilities=tuple(str(u) for u in chosen),
        places=places,
        densities=densities,
        atoms=tuple(law.atoms for law in laws),
        top=1.05 * float(inside.max()) or 1.0,
    )


def _range(laws: Sequence[RewardLaw], domain: Domain) -> tuple[float, float]:
    """Return the ends of the picture: of the box, or of the supports without their long tails."""
    if isinstance(domain, Box):
        return domain.low, domain.high
    ends = np.array([law.support for law in laws])
    most = np.array([law.ppf([TAIL, 1 - TAIL]) for law in laws])
    room = 0.1 * np.ptp(most, axis=1) + 1e-12
    low = np.where(most[:, 0] - ends[:, 0] > room, most[:, 0], ends[:, 0])
    high = np.where(ends[:, 1] - most[:, 1] > room, most[:, 1], ends[:, 1])
    margin = 0.0 if np.ptp([low, high]) else 1.0  # a law of one point
    return float(low.min()) - margin, float(high.max()) + margin


def limit_laws(
    utilities: Sequence[Loss | str] = EXAMPLES,
    ax: Axes | None = None,
    *,
    domain: DomainLike | None = None,
    method: Method = "auto",
) -> Axes:
    """Draw the limit laws of several utilities.

    Densities are curves on the left scale. Atoms are stems on the right scale, the height the
    mass; stems that would hide each other stand side by side, those at the ends outside the box.
    Densities that grow without bound leave the picture at the top.

    Parameters
    ----------
    utilities, domain, method
        As `limit_laws_data` takes them.
    ax : matplotlib.axes.Axes, optional
        Where to draw, with room for the key above; a new figure of one column's width unless
        given.

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the densities; the scale of the masses is a twin of it.
    """
    data = limit_laws_data(utilities, domain=domain, method=method)
    low, high = data.places[0], data.places[-1]
    with look.axes_or_new(ax, look.SINGLE, 2.9) as axes:
        for i, density in enumerate(data.densities):
            if density.any():
                shown = np.where(density <= 2 * data.top, density, np.nan)
                axes.plot(data.places, shown, **look.cycled(i))
        axes.set_ylim(0, data.top)
        axes.set_xlabel("reward")
        axes.set_ylabel("density")
        outside = _draw_atoms(axes, data) if any(len(a) for a in data.atoms) else 0.0
        axes.set_xlim(low - outside, high + outside)
        if isinstance(as_domain(domain), Box):
            axes.set_xticks(np.linspace(low, high, 6))
        _draw_key(axes, data)
    return axes


def _draw_atoms(axes: Axes, data: LimitLaws) -> float:
    """Draw the atoms on a twin scale; return the room that they need outside the box."""
    low, high = data.places[0], data.places[-1]
    step = 0.03 * (high - low)
    offsets = _offsets(data)
    twin = axes.twinx()
    twin.spines["right"].set_visible(True)
    for i, (atoms, offset) in enumerate(zip(data.atoms, offsets, strict=True)):
        x = atoms[:, 0] + step * offset
        twin.vlines(x, 0, atoms[:, 1], colors=look.COLOURS[i % len(look.COLOURS)], linewidth=1.1)
        twin.plot(x, atoms[:, 1], **_stem_head(i, linestyle="none"))
    twin.set_ylim(0, 1.08 * max(a[:, 1].max() for a in data.atoms if len(a)))
    twin.set_ylabel("mass of an atom (stems)")
    for end in (low, high):
        axes.axvline(end, color=look.PALE, linewidth=0.6, zorder=0)
    return step * (max(np.abs(o).max() for o in offsets if o.size) + 1)


def _offsets(data: LimitLaws) -> list[np.ndarray]:
    """Return how far each atom's stem stands from its place, in widths of a stem."""
    ends = data.places[0], data.places[-1]
    taken: dict[float, int] = {}
    offsets = []
    for atoms in data.atoms:
        own = []
        for place in np.round(atoms[:, 0], 6).tolist():
            k = taken[place] = taken.get(place, -1) + 1
            if place in ends:
                own.append((k + 1) * (-1 if place == ends[0] else 1))
            else:
                own.append((k + 1) // 2 * (-1) ** k)
        offsets.append(np.array(own, dtype=float))
    return offsets


def _stem_head(i: int, **more: Any) -> dict[str, Any]:
    return look.cycled(
        i, marker=look.MARKERS[i % len(look.MARKERS)], markersize=4, clip_on=False, **more
    )


def _draw_key(axes: Axes, data: LimitLaws) -> None:
    handles = []
    for i, text in enumerate(data.utilities):
        seen = _stem_head(i) if len(data.atoms[i]) else look.cycled(i)
        if not data.densities[i].any():
            seen["linestyle"] = "none"
        handles.append(look.handle(look.formula(text), **seen))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        columnspacing=1.2,
        handlelength=2.6,
        frameon=False,
    )
