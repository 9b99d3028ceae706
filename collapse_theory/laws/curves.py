"""How laws are drawn: densities as curves, atoms as stems on a second scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_theory.values import Array, Value, frozen_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Share of the picture next to each end in which a singular density is left to run out of it.
ENDS_SHARE = 0.02
# The mass left out at the end of a law that has a long tail there.
TAIL_MASS = 1e-4
# Marks the entries that stand for a law in a legend, and the scale of the masses.
_LAW = "law"
# Of laws that are drawn one after the other.
_LINES, _MARKERS = ("-", "--", "-.", ":"), "os^Dv"
# The room of a stem that stands beside its place, of the picture's width.
_STEM_WIDTH = 0.03


@dataclass(frozen=True, eq=False)
class Curves(Value):
    """The numbers of a drawing of k laws."""

    places: Array  # (m,) rewards, crowded at the ends of the picture
    densities: Array  # (k, m), of the continuous parts; inf where they are
    atoms: tuple[np.ndarray, ...]  # k times (j, 2), locations and masses
    top: float  # where the axis ends: above every density but the ends of singular ones

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(atoms=tuple(frozen_array(a) for a in self.atoms))

    @classmethod
    def of(cls, laws: Sequence[Any], ends: Sequence[float] | None = None, **more: Any) -> Any:
        """Return those of laws over `ends`, or over their supports without their long tails."""
        shares = np.sin(np.linspace(0, np.pi / 2, 401)) ** 2
        low, high = _supports(laws) if ends is None else ends
        places = low + (high - low) * shares
        densities = np.array([law.pdf(places) for law in laws])
        bottoms, tops = np.array([law.support for law in laws]).T[:, :, None]
        margin = ENDS_SHARE * (high - low)
        inside = densities[(places >= bottoms + margin) & (places <= tops - margin)]
        return cls(
            places=places,
            densities=densities,
            atoms=tuple(law.atoms for law in laws),
            top=1.05 * float(inside.max(initial=0.0)) or 1.0,
            **more,
        )


def _supports(laws: Sequence[Any]) -> tuple[float, float]:
    ends = np.array([law.support for law in laws])
    most = np.array([law.ppf([TAIL_MASS, 1 - TAIL_MASS]) for law in laws])
    margin = 0.1 * np.ptp(most, axis=1) + 1e-12
    low = np.where(most[:, 0] - ends[:, 0] > margin, most[:, 0], ends[:, 0])
    high = np.where(ends[:, 1] - most[:, 1] > margin, most[:, 1], ends[:, 1])
    margin = 0.0 if np.ptp([low, high]) else 1.0  # a law of one point
    return float(low.min()) - margin, float(high.max()) + margin


def draw(axes: Axes, curves: Curves, looks: Sequence[dict[str, Any]]) -> None:
    """Draw laws on axes, beside those drawn there before; each has an entry for a legend.

    Densities that grow without bound leave the picture at the top. Stems of atoms that would hide
    each other stand side by side, those at the ends of the picture outside it; their scale is a
    twin of the axes. `looks` has of each law the properties of its line, its `label`, and the
    `marker` of its atoms.
    """
    low, high = float(curves.places[0]), float(curves.places[-1])
    groups = axes.get_shared_x_axes(), axes.get_shared_y_axes()
    there = [line for group in groups for other in group.get_siblings(axes) for line in other.lines]
    first = not any(line.get_gid() == _LAW for line in there)
    top = curves.top if first else max(curves.top, axes.get_ylim()[1])
    twin = _twin(axes) if any(map(len, curves.atoms)) else None
    stems = twin.lines if twin else ()
    taken = {round(x, 6) for line in stems for x in np.asarray(line.get_xdata()).tolist()}
    for i, look in enumerate(looks):
        density, atoms = curves.densities[i], curves.atoms[i]
        kind = {"markersize": 4} if len(atoms) else {"marker": ""}
        kind |= {} if density.any() else {"linestyle": "none"}
        line: Any = look | kind
        (entry,) = axes.plot([], [], gid=_LAW, **line)
        own: Any = {**look, "color": entry.get_color(), "label": None}
        if density.any():
            shown = np.where((density > 0) & (density <= 2 * top), density, np.nan)
            axes.plot(curves.places, shown, **own | {"marker": ""})
        if twin and len(atoms):
            x = _beside(atoms[:, 0], low, high, taken)
            twin.vlines(x, 0, atoms[:, 1], colors=own["color"], linewidth=1.1)
            heads = {"linestyle": "none", "markersize": 4, "clip_on": False}
            twin.plot(x, atoms[:, 1], **own | heads)
            before = twin.get_ylim()[1] if len(twin.lines) > 1 else 0.0
            twin.set_ylim(0, max(before, 1.08 * float(atoms[:, 1].max())))
    step = _STEM_WIDTH * (high - low)
    span = [low, high, *(() if first else axes.get_xlim())]
    span += [min(taken) - step, max(taken) + step] if taken else []
    for end in (low, high) if taken else ():
        axes.axvline(end, color="#c4c4c4", linewidth=0.6, zorder=0)
    axes.set(xlim=(min(span), max(span)), ylim=(0, top), xlabel="reward", ylabel="density")


def turn(axes: Axes) -> dict[str, Any]:
    """Return the line and the marker of the next law on axes, which tell it apart in grey too."""
    before = sum(line.get_gid() == _LAW for line in axes.lines)
    return {"linestyle": _LINES[before % len(_LINES)], "marker": _MARKERS[before % len(_MARKERS)]}


def _twin(axes: Axes) -> Axes:
    """Return the scale of the masses over the axes: the one there, or a new one."""
    place = axes.get_position(original=True).bounds
    for other in axes.figure.axes:
        if other.get_gid() == _LAW and other.get_position(original=True).bounds == place:
            return other
    twin = axes.twinx()
    twin.set_gid(_LAW)
    twin.spines["right"].set_visible(True)
    twin.set_ylabel("mass of an atom (stems;\nbeyond an end: at it)")
    return twin


def _beside(places: np.ndarray, low: float, high: float, taken: set[float]) -> np.ndarray:
    """Return where stems stand: at their places, or as near as no other stem is.

    Those at the ends of the picture stand outside. `taken` takes them in.
    """
    stands = []
    for place in places.tolist():
        outward = {low: -1, high: 1}.get(place)
        steps = ((k + 1) * outward if outward else (k + 1) // 2 * (-1) ** k for k in count())
        near = (place + step * _STEM_WIDTH * (high - low) for step in steps)
        stands.append(next(stand for stand in near if round(stand, 6) not in taken))
        taken.add(round(stands[-1], 6))
    return np.array(stands)
