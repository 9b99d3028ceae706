"""Integrals of a kernel |x - y| against Legendre polynomials on panels graded toward both ends."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from collapse_theory.errors import SolverFailed
from collapse_theory.numerics.quadrature import gauss, log_rule, power_rule
from collapse_theory.utilities.base import Utility

__all__ = ["Mesh", "graded_mesh", "kernel_breaks", "legendre"]

_FIT = 13
_ROWS = 24
_MOST_BREAKS = 20_000


class Mesh(NamedTuple):
    """Panels [edges_j, edges_j+1] of [0, 1/2] and their mirror images; edges_0 = 0.

    The first panel holds the one function x**power, the others `degree` Legendre polynomials
    times `scales_j`; the law is symmetric.
    """

    edges: np.ndarray
    degree: int
    power: float
    breaks: np.ndarray

    @property
    def scales(self) -> np.ndarray:
        """The sizes at which the density is expected on the panels after the first."""
        return (0.5 * (self.edges[1:-1] + self.edges[2:])) ** self.power

    def rows(self, utility: Utility, x: np.ndarray, nodes: int = 10) -> np.ndarray:
        """Return T(x) of each function, for x in [0, 1/2] with its mirror image counted."""
        out = np.empty((x.size, 1 + (self.edges.size - 2) * self.degree))
        for start in range(0, x.size, _ROWS):
            part = slice(start, start + _ROWS)
            out[part, 0] = self._first(utility, x[part])
            out[part, 1:] = self._others(utility, x[part], nodes)
        return out

    def _first(self, utility: Utility, x: np.ndarray) -> np.ndarray:
        """Return ∫ (U(1) - U(|x-y|)) y**power dy over the first panel and its mirror image."""
        h, p, q = float(self.edges[1]), utility.exponent, self.power
        y, w = power_rule(np.array([h]), q, 12, 24)
        out = utility.shortfall((1.0 - x)[:, None] - y, 1.0) @ (w * y**q)[0]
        # Graded toward the end, toward x or the panel's edge from below, and from x on.
        top = np.minimum(x, h)
        y, w = power_rule(0.5 * top, q, 12, 24)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = utility.shortfall(x[:, None] - y, 1.0) * w * y**q
            out += np.where(x > 0, part.sum(axis=1), 0.0)
            r, w = power_rule(0.5 * top, p, 12, 24)
            part = utility.shortfall((x - top)[:, None] + r, 1.0) * w * (top[:, None] - r) ** q
            out += np.where(x > 0, part.sum(axis=1), 0.0)
        zero, inside = x == 0.0, (x > 0.0) & (x < h)
        if zero.any():
            r, w = power_rule(np.array([h]), min(p, 0.0) + q, 12, 40)
            out[zero] += float((utility.shortfall(r, 1.0) * w * r**q).sum())
        if inside.any():
            here = x[inside]
            near = np.minimum(here, h - here)
            rules = [power_rule(near, p, 12, 24)]
            spread = float(np.log(((h - here) / near).max()))
            rules.append(log_rule(near, h - here, 12 + int(3.0 * spread)))
            for r, w in rules:
                part = utility.shortfall(r, 1.0) * w * (here[:, None] + r) ** q
                out[inside] += part.sum(axis=1)
        return out

    def _others(self, utility: Utility, x: np.ndarray, nodes: int) -> np.ndarray:
        row, panel, t, s = self._pieces(x)
        z, w = gauss(nodes)
        gap = 0.5 * (t.sum(axis=1)[:, None] + np.diff(t, axis=1) * z)
        place = 0.5 * (s.sum(axis=1)[:, None] + np.diff(s, axis=1) * z)
        weight = 0.5 * np.diff(t, axis=1) * w
        # Pieces that touch x, where the kernel may be singular.
        at = t[:, 0] == 0.0
        length = t[at, 1]
        u, v = power_rule(np.ones(1), utility.exponent, 12, 24)
        near = length[:, None] * u
        near_place = s[at, :1] + np.diff(s[at], axis=1) * u
        value = legendre(place, self.degree) * (weight * utility.shortfall(gap, 1.0))
        sums = value.sum(axis=2)
        own = utility.shortfall(near, 1.0) * length[:, None] * v
        sums[:, at] = (legendre(near_place, self.degree) * own).sum(axis=2)
        panels = self.edges.size - 2
        out = np.empty((x.size, panels, self.degree))
        index = row * panels + panel
        for k in range(self.degree):
            out[:, :, k] = np.bincount(index, sums[k], x.size * panels).reshape(x.size, panels)
        return (out * self.scales[:, None]).reshape(x.size, -1)

    def _pieces(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return row, panel, gaps (lower, upper) and places in the panel, of each piece."""
        edges, parts = self.edges[1:], []
        # Doubling from the distance of the next edge, beyond which a panel sees x as singular.
        nearest = np.abs(x[:, None] - edges).min(axis=1)
        local = nearest[:, None] * 2.0 ** np.arange(10)
        inner = np.concatenate([local, np.tile(self.breaks, (x.size, 1))], axis=1)
        for which in ("below", "above", "mirror"):
            if which == "mirror":
                marks = (1.0 - x)[:, None] - edges[::-1]
            else:
                marks = edges - x[:, None] if which == "above" else (x[:, None] - edges)[:, ::-1]
            low = np.maximum(marks[:, :1], 0.0)
            cuts = np.sort(np.concatenate([marks, inner], axis=1))
            cuts = np.clip(cuts, low, np.maximum(marks[:, -1:], low))
            parts.append(self._on_side(x, cuts, which))
        row, panel, t, s = (np.concatenate(part) for part in zip(*parts, strict=True))
        return row, panel, t, s

    def _on_side(self, x: np.ndarray, cuts: np.ndarray, which: str) -> tuple[np.ndarray, ...]:
        row, at = np.nonzero(np.diff(cuts, axis=1) > 0)
        t = np.stack([cuts[row, at], cuts[row, at + 1]], axis=1)
        here = x[row, None]
        y = {"below": here - t, "above": here + t, "mirror": (1.0 - here) - t}[which]
        panel = np.searchsorted(self.edges, 0.5 * y.sum(axis=1), side="right") - 1
        panel = np.clip(panel, 1, self.edges.size - 2)
        low, high = self.edges[panel, None], self.edges[panel + 1, None]
        s = np.clip((2.0 * y - low - high) / (high - low), -1.0, 1.0)
        return row, panel - 1, t, s


def legendre(s: np.ndarray, degree: int) -> np.ndarray:
    """Return P_k(s) for k < degree, shape (degree, *s.shape)."""
    out = np.empty((degree, *s.shape))
    out[0], out[1] = 1.0, s
    for k in range(1, degree - 1):
        out[k + 1] = ((2 * k + 1) * s * out[k] - k * out[k - 1]) / (k + 1)
    return out


def graded_mesh(smallest: float, widest: float) -> np.ndarray:
    """Return 0, `smallest`, and from there edges doubling up to 1/2, none wider than `widest`."""
    count = int(np.ceil(np.log2(0.5 / smallest)))
    edges = np.append(0.0, 0.5 * 2.0 ** -np.arange(count, -1.0, -1.0))
    parts = [
        np.linspace(a, b, 1 + max(1, int(np.ceil((b - a) / widest))))[1:]
        for a, b in pairwise(edges)
    ]
    return np.concatenate([[0.0], *parts])


def kernel_breaks(utility: Utility, smallest: float) -> np.ndarray:
    """Return gaps between which U is a polynomial of degree 12 to 1e-11.

    They double from `smallest` to 1 and are halved where U has more structure.
    """
    angle = (np.arange(_FIT) + 0.5) * (np.pi / _FIT)
    fit = np.cos(np.outer(np.arange(_FIT - 2, _FIT), angle)) * (2.0 / _FIT)
    count = int(np.ceil(-np.log2(smallest)))
    open_, done = [(2.0**-k, 2.0 ** (1 - k)) for k in range(1, count + 1)], [2.0**-count]
    while open_:
        if len(open_) + len(done) > _MOST_BREAKS:
            raise SolverFailed(
                f"{utility} has more structure, or more rounding in its values, than panels resolve"
            )
        low, high = np.array(open_).T
        t = 0.5 * (low + high + (high - low) * np.cos(angle)[:, None])
        values = utility.shortfall(t, 1.0)
        rough = np.abs(fit @ values).max(axis=0) > 1e-11 * np.abs(values).max()
        done += high[~rough].tolist()
        middle = 0.5 * (low + high)
        split = rough & (high - low > 1e-4 * high)
        done += high[rough & ~split].tolist()
        open_ = [*zip(low[split], middle[split], strict=True)]
        open_ += [*zip(middle[split], high[split], strict=True)]
    return np.unique(done)
