"""Sums over the pairs of very many completions whose gaps are smooth along the index.

From a target outward, to the right and by mirror to the left: its neighbours one by one, then
segments no longer than a part of their distance, each by Gauss-Legendre nodes with the
Euler-Maclaurin correction. Distances are sums of gaps from the target outward, so nothing is ever
subtracted. Whole panels are shared between targets. The number of terms grows with log n.

With F_i the sum of U' to the right of reward i less that to the left, G_k = F_1 + ... + F_k sums U'
over the pairs that straddle the cell k. F is smooth on a panel: its values at P rewards interpolate
it. Where U' has a pole that gaps add up to infinity (p <= 0) the pairs of near neighbours, whose
parts in F cancel but for little, are summed apart, all terms positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from collapse_theory.programs.smooth_gaps import NEAR, Layout, P, rules, spread
from collapse_theory.utilities import Utility


class Rule(NamedTuple):
    """How sums are taken: `near` neighbours one by one, then segments of `growth` times as far."""

    near: int
    growth: float


PLAIN = Rule(NEAR, 1.0)


def interpolated(rows: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Return gaps (k, q) by rows (k, q, P) from their logarithms (k, P) at nodes.

    What logarithms have in common is kept out of the sums: their rounding would be noise in gaps.
    """
    level = logs[:, :1]
    return np.exp(np.matmul(rows, (logs - level)[:, :, None])[:, :, 0]) * np.exp(level)


@dataclass(frozen=True)
class Stretch:
    """Parts of walks that are alike: whose, which step of the walk, and how gaps follow.

    Attributes
    ----------
    target, place : (k,)
    unknown, rows : (k, P), (k, q, P)
        From the numbers to the log gaps at q nodes; `rows` None where they are the nodes.
    partial : (k, q, q) or (q, q) or None
        From gaps to the distances of sources from the near edge; None for a cell, whose far edge
        is the source.
    total, weight, last : (k, q) or (q,)
        The weights of the length, of the sum over sources, and of its last Euler-Maclaurin term.
    """

    target: np.ndarray
    place: np.ndarray
    unknown: np.ndarray
    rows: np.ndarray | None
    partial: np.ndarray | None
    total: np.ndarray
    weight: np.ndarray
    last: np.ndarray

    def gaps(self, z: np.ndarray) -> np.ndarray:
        """Return the gaps at the nodes, (k, q) or (1, q)."""
        if self.rows is None:
            return np.exp(z[self.unknown[:1]])
        return interpolated(self.rows, z[self.unknown])

    def inside(self, g: np.ndarray) -> np.ndarray:
        """Return how far sources are from the near edge."""
        if self.partial is None:
            return g
        if self.rows is None:
            return g @ self.partial.T
        return np.matmul(self.partial, g[:, :, None])[:, :, 0]

    def pulled_back(self, bend: np.ndarray, beyond: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return the derivative by the numbers `unknown`, (k, P).

        `bend` (k, q) is that by the distances of sources, `beyond` (k,) by the whole length.
        """
        own = bend
        if self.partial is not None:
            whole = self.rows is None
            own = bend @ self.partial if whole else np.matmul(bend[:, None], self.partial)[:, 0]
        on = (own + beyond[:, None] * self.total) * g
        return on if self.rows is None else np.matmul(on[:, None], self.rows)[:, 0]


class Seen(NamedTuple):
    """A stretch at given gaps: its gaps at nodes (k, q), and the gaps x (k, q) to its sources."""

    of: Stretch
    g: np.ndarray
    x: np.ndarray


@dataclass(frozen=True)
class Walks:
    """From each target, a reward, to the right end; the first stretch holds near neighbours."""

    lay: Layout
    targets: np.ndarray
    steps: int
    stretches: list[Stretch]

    @classmethod
    def of(cls, lay: Layout, targets: np.ndarray, tied: int, rule: Rule) -> Walks:
        """Return the walks between ends at which `tied` completions are."""
        target, place, cell, size, piece = _steps(lay, targets, rule)
        far = cell - targets[target]
        one = size == 1
        whole = (size == lay.length[piece]) & ~one
        found = []
        for which in (one & (far < rule.near), one & (far >= rule.near)):
            unknown, rows = lay.rows(cell[which], 0.5)
            weight = np.where(cell[which] == lay.N - 2, float(tied), 1.0)[:, None]
            plain = np.ones((1, 1))
            found.append(
                Stretch(
                    target[which],
                    place[which],
                    unknown,
                    rows[:, None],
                    None,
                    plain,
                    weight,
                    0 * plain,
                )
            )
        part, r = ~whole & ~one, rules()
        length = size[part]
        unknown, rows = lay.rows(cell[part], length[:, None] * (r.x + 1) / 2)
        of_lengths = r.partial(length), r.total(length), r.sources(length), r.last_term(length)
        found.append(Stretch(target[part], place[part], unknown, rows, *of_lengths))
        for j in np.unique(piece[whole]):
            which, n = whole & (piece == j), lay.length[j]
            unknown = lay.unknown[j] + np.arange(P)[:: -1 if lay.mirrored[j] else 1]
            of_length = r.partial(n), r.total(n), r.sources(n), r.last_term(n)
            shared = np.broadcast_to(unknown, (int(which.sum()), P))
            found.append(Stretch(target[which], place[which], shared, None, *of_length))
        return cls(lay, targets, int(place.max(initial=0)) + 1, found)

    def seen(self, z: np.ndarray) -> list[Seen]:
        """Return all stretches at the gaps exp(z)."""
        gaps = [s.gaps(z) for s in self.stretches]
        steps = np.zeros((len(self.targets), self.steps + 1))
        for s, g in zip(self.stretches, gaps, strict=True):
            steps[s.target, s.place + 1] = (g * s.total).sum(axis=1)
        before = steps.cumsum(axis=1)
        return [
            Seen(s, g, before[s.target, s.place][:, None] + s.inside(g))
            for s, g in zip(self.stretches, gaps, strict=True)
        ]

    def slopes(self, utility: Utility, z: np.ndarray, near: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum R (T,) of U' over the sources of each target, and dR/dz (T, m).

        Without `near` the first stretch is left out.
        """
        T, m = len(self.targets), self.lay.m
        R, pulls, bends, seen = np.zeros(T), np.zeros((T, self.steps + 1)), [], self.seen(z)
        for k, (s, _, x) in enumerate(seen):
            if k == 0 and not near:
                bends.append(np.zeros_like(x))
                continue
            first, second = utility.derivatives(x)
            R += np.bincount(s.target, (s.weight * first).sum(axis=1), T)
            bends.append(s.weight * second)
            pulls[s.target, s.place] = bends[-1].sum(axis=1)
        beyond = pulls[:, ::-1].cumsum(axis=1)[:, ::-1]  # a gap moves all sources beyond it
        J = np.zeros(T * m)
        for (s, g, _), bend in zip(seen, bends, strict=True):
            rows = s.pulled_back(bend, beyond[s.target, s.place + 1], g)
            at = s.target[:, None] * m + s.unknown
            if s.rows is None:
                J[at] += rows
            else:
                J += np.bincount(at.ravel(), rows.ravel(), T * m)
        return R, J.reshape(T, m)


def _steps(lay: Layout, targets: np.ndarray, rule: Rule) -> Iterator[np.ndarray]:
    """Return target, step, first cell, length and piece of all parts of the walks."""
    end = lay.N - 1
    at, place, alive = (
        targets.copy(),
        np.zeros(len(targets), np.int64),
        np.flatnonzero(targets < end),
    )
    found = [(np.empty(0, np.int64),) * 5]
    while len(alive):
        here = at[alive]
        piece = np.searchsorted(lay.first, here, side="right") - 1
        far = here - targets[alive]
        size = np.minimum(
            lay.first[piece] + lay.length[piece] - here, (rule.growth * far).astype(int)
        )
        size[(far < rule.near) | (size < NEAR)] = 1
        found.append((alive, place[alive], here, size, piece))
        at[alive] += size
        place[alive] += 1
        alive = alive[at[alive] < end]
    return (np.concatenate(c) for c in zip(*found, strict=True))


class Windows:
    """The pairs no more than `near` apart that straddle each of the cells `at`: no rewards tie."""

    def __init__(self, lay: Layout, at: np.ndarray, near: int) -> None:
        q, self.m = near, lay.m
        cells = at[:, None] + np.arange(1 - q, q)
        self.inside = (cells >= 0) & (cells < lay.N - 1)
        self.unknown, self.rows = lay.rows(np.clip(cells, 0, lay.N - 2).ravel(), 0.5)
        start, stop = np.arange(q)[:, None], np.arange(2 * q - 1)  # first and last cell of a pair
        self.open = stop >= start
        self.pair = (stop >= q - 1) & (stop - start < q)
        self.real = (self.inside[:, :q, None] & self.inside[:, None, :])[:, self.pair]

    def gaps(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells' gaps (k, 2 near - 1), and those of the pairs (k, pairs)."""
        g = interpolated(self.rows[:, None], z[self.unknown]).reshape(self.inside.shape)
        g = np.where(self.inside, g, 0.0)
        x = np.where(self.open, g[:, None, :], 0.0).cumsum(axis=2)[:, self.pair]
        return g, np.where(self.real, x, 1.0)

    def forces(self, utility: Utility, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return their part in G (k,), and its derivative (k, m)."""
        g, x = self.gaps(z)
        first, second = (np.where(self.real, d, 0.0) for d in utility.derivatives(x))
        k, count = g.shape
        bend = np.zeros((k, *self.pair.shape))
        bend[:, self.pair] = second
        # A pair's gap holds the cells from its first to its last.
        beyond = bend[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
        on = np.where(self.open, beyond, 0.0).sum(axis=1) * g
        rows = (on.reshape(-1, 1) * self.rows).ravel()
        owner = np.repeat(np.arange(k), count)[:, None] * self.m
        J = np.bincount((owner + self.unknown).ravel(), rows, k * self.m)
        return first.sum(axis=1), J.reshape(k, self.m)


@dataclass(frozen=True)
class Straddling:
    """How G at cells follows from sums over the sources right of rewards.

    Attributes
    ----------
    rewards : (m,) targets in the left half: of cells, and P of each panel
    sums : (m, m) from F there to G at the cells beside them
    to_nodes : (m, m) from G at those cells to G at the numbers
    count : (m,) the weights of a sum over the rewards of the left half
    """

    lay: Layout
    tied: int
    rule: Rule
    rewards: np.ndarray
    sums: np.ndarray
    to_nodes: np.ndarray
    count: np.ndarray

    @classmethod
    def of(
        cls,
        lay: Layout,
        tied: int,
        rule: Rule = PLAIN,
        at: np.ndarray | None = None,
    ) -> Straddling:
        """Return it with the rewards of a panel near its nodes, or near the points `at`."""
        r, m = rules(), lay.m
        rewards, count = np.empty(m, np.int64), np.zeros(m)
        sums, to_nodes = np.zeros((m, m)), np.eye(m)
        for f, n, u in lay.own:
            if n == 1:
                rewards[u], count[u] = f, float(tied) if f == 0 else 1.0
                sums[u] = count
                continue
            near, own = spread(n, at), slice(u, u + P)
            rewards[own] = f + near
            to_nodes[own, own] = np.linalg.inv(r.rows(2 * (near + 0.5) / n - 1))
            sums[own] = count
            sums[own, own] = r.rows(2 * (near + 1.0) / n - 1) @ r.partial(n) @ to_nodes[own, own]
            count[own] = r.total(n) @ to_nodes[own, own]
        return cls(lay, tied, rule, rewards, sums, to_nodes, count)

    @cached_property
    def walks(self) -> Walks:
        """To the right of each reward, of each one's mirror image, and of one in the middle."""
        lay = self.lay
        middle = np.full(lay.N % 2, (lay.N - 1) // 2)
        targets = np.concatenate([self.rewards, lay.N - 1 - self.rewards, middle])
        return Walks.of(lay, targets, self.tied, self.rule)

    @cached_property
    def windows(self) -> Windows:
        """The near pairs that straddle the cell beside each reward."""
        return Windows(self.lay, self.rewards, self.rule.near)

    def sides(self, values: np.ndarray) -> np.ndarray:
        """Return right less left (m, ...), of sums to the right of all targets (T, ...)."""
        m = self.lay.m
        return values[:m] - values[m : 2 * m]

    def over_pairs(self, values: np.ndarray) -> float:
        """Return the sum over all pairs, of sums to the right of all targets (T,)."""
        # Each pair once: all to the right of the left half, all to the right of the right half.
        m = self.lay.m
        return float(self.count @ (values[:m] + values[m : 2 * m]) + values[2 * m :].sum())
