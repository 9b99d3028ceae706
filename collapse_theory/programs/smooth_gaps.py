"""The gaps of very many completions as exponentials of polynomials of the index.

Along the index the logarithm of the optimal gap is smooth on the scale of the distance to the end
(to the edge of the tied group, where there is one; only the first gaps are out of line). So the
first cells, a cell being the gap between neighbours, stand for themselves, and panels that double
in length away from each end hold polynomials, given at Gauss-Legendre nodes: some hundred numbers
tell all n rewards. The right half mirrors the left (docs/theory.md#very-many-completions).

Sums over whole numbers are integrals with the Euler-Maclaurin correction. With D the derivative by
the index times the length of a cell, the sum of f over the middles of cells is the integral of
(D/2)/sinh(D/2) f, and over their far edges that of D/(1 - exp(-D)) f.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from collapse_theory.utilities import Utility
from collapse_theory.values import Array, Value

P = 16  # nodes of a panel
NEAR = 16  # cells: no sum by nodes is over fewer
FIRST = 3 * NEAR  # cells at each end that stand for themselves
# The series of (D/2)/sinh(D/2) - 1 in D**2, D**4, ... and of D/(1 - exp(-D)) - 1 - D/2: Bernoulli
# numbers. At lengths of 16 and more the next terms are below 1e-13 of the whole.
_MIDDLES = (-1 / 24, 7 / 5760, -31 / 967680, 127 / 154828800)
_EDGES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600)
_BLOCK = 8192  # gaps that are written out at once: they stay in the cache


@dataclass(frozen=True)
class Rules:
    """Matrices on the P nodes of [-1, 1], for a panel [0, L]: cell k has its middle at k + 1/2.

    Term j of the three sums scales with a power of L/2.

    Attributes
    ----------
    x : (P,)
    coefficients : (P, P) to Legendre coefficients
    inner, whole : (5, P, P) and (5, P) partial sums over middles up to each node, and up to L
    outer : (6, P) sums over far edges
    """

    x: np.ndarray
    barycentric: np.ndarray
    coefficients: np.ndarray
    inner: np.ndarray
    whole: np.ndarray
    outer: np.ndarray

    def partial(self, length: np.ndarray | int) -> np.ndarray:
        """Return (..., P, P): the sum of the gaps from the near edge to each node."""
        flat = _powers(length, 1 - 2 * np.arange(5)) @ self.inner.reshape(5, -1)
        return flat.reshape(*np.shape(length), P, P)

    def total(self, length: np.ndarray | int) -> np.ndarray:
        """Return (..., P): the weights of the sum over all cells."""
        return _powers(length, 1 - 2 * np.arange(5)) @ self.whole

    def sources(self, length: np.ndarray | int) -> np.ndarray:
        """Return (..., P): the weights of the sum over k = 1, ..., L of a function of the place."""
        return _powers(length, np.array([1, 0, -1, -3, -5, -7])) @ self.outer

    def last_term(self, length: np.ndarray | int) -> np.ndarray:
        """Return (..., P): the weights of the last Euler-Maclaurin term of `sources`."""
        return _powers(length, np.array([-7])) @ self.outer[-1:]

    def rows(self, at: np.ndarray) -> np.ndarray:
        """Return the interpolation (..., P) from the nodes to points of [-1, 1]."""
        apart = at[..., None] - self.x
        np.copyto(apart, 1e-300, where=apart == 0)
        part = self.barycentric / apart
        part /= part.sum(axis=-1, keepdims=True)
        return part

    def tail(self, values: np.ndarray) -> np.ndarray:
        """Return |c_14| + |c_15| (...) of the Legendre coefficients of values (..., P) at nodes."""
        return np.abs(values @ self.coefficients[-2:].T).sum(axis=-1)


def _powers(length: np.ndarray | int, exponents: np.ndarray) -> np.ndarray:
    return (np.asarray(length, float)[..., None] / 2) ** exponents


@lru_cache
def rules() -> Rules:
    """Return the rules, made once."""
    leg = np.polynomial.legendre
    x, w = leg.leggauss(P)
    to = np.linalg.inv(leg.legvander(x, P - 1))
    diff = leg.legvander(x, P - 2) @ np.array([leg.legder(c) for c in np.eye(P)]).T @ to
    integral = leg.legvander(x, P) @ np.array([leg.legint(c, lbnd=-1) for c in np.eye(P)]).T @ to
    low, high = leg.legvander(np.array([-1.0, 1.0]), P - 1) @ to
    inner, whole, outer = [integral], [w], [w, 0.5 * (high - low)]
    odd = diff
    for middle, edge in zip(_MIDDLES, _EDGES, strict=True):
        inner.append(middle * (odd - low @ odd))
        whole.append(middle * ((high - low) @ odd))
        outer.append(edge * ((high - low) @ odd))
        odd = odd @ diff @ diff
    barycentric = (-1.0) ** np.arange(P) * np.sqrt((1 - x**2) * w)  # Wang, Xiang 2012
    return Rules(x, barycentric, to, np.array(inner), np.array(whole), np.array(outer))


# -- where the numbers are ---------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Pieces of the cells 0, ..., N-2 of N rewards, the tied ones counted once at each end.

    Attributes
    ----------
    N : int
    cuts : (k,) ends of the panels in the left half, the first where the single cells end
    first, length : (pieces,) cells; a single cell has the length 1
    unknown : (pieces,) the first of its numbers; mirrored pieces have those of the left
    mirrored : (pieces,) whether its nodes run backwards
    m : int
        How many numbers there are.
    """

    N: int
    cuts: np.ndarray
    first: np.ndarray
    length: np.ndarray
    unknown: np.ndarray
    mirrored: np.ndarray
    m: int

    @classmethod
    def of(cls, N: int, cuts: np.ndarray) -> Layout:
        """Return single cells up to the first cut, and a panel between each two."""
        cuts = np.asarray(cuts, np.int64)
        first = np.concatenate([np.arange(cuts[0]), cuts[:-1]])
        length = np.concatenate([np.ones(cuts[0], np.int64), np.diff(cuts)])
        unknown = np.concatenate([[0], np.cumsum(np.where(length == 1, 1, P))])
        middle = np.arange((N - 1) // 2, N // 2)  # with an even N a cell of its own
        own = unknown[: len(first) + len(middle)]
        return cls(
            N,
            cuts,
            np.concatenate([first, middle, (N - 1 - first - length)[::-1]]),
            np.concatenate([length, np.ones_like(middle), length[::-1]]),
            np.concatenate([own, unknown[:-1][::-1]]),
            np.concatenate([np.zeros(len(own), bool), np.ones(len(first), bool)]),
            int(unknown[-1]) + len(middle),
        )

    @classmethod
    def growing(cls, N: int, ratio: float = 2.0) -> Layout:
        """Return panels that each end about `ratio` times as far from the end as they begin."""
        half = (N - 1) // 2
        cuts = [FIRST if half - FIRST >= NEAR else half]
        while cuts[-1] < half:
            ahead = cuts[-1] + max(int((cuts[-1] - NEAR) * (ratio - 1)), NEAR)
            cuts.append(half if half - ahead < NEAR else ahead)
        return cls.of(N, np.array(cuts))

    @property
    def own(self) -> Iterator[tuple[int, int, int]]:
        """The first cell, the length and the first number of each piece that isn't mirrored."""
        count = int((~self.mirrored).sum())
        columns = (c[:count].tolist() for c in (self.first, self.length, self.unknown))
        return zip(*columns, strict=True)

    @property
    def panels(self) -> list[tuple[int, int, int]]:
        """The pieces of the left half that are panels."""
        return [piece for piece in self.own if piece[1] > 1]

    @cached_property
    def places(self) -> np.ndarray:
        """Where the numbers (m,) are along the cells."""
        x = rules().x
        return np.concatenate(
            [[f + 0.5] if n == 1 else f + n * (x + 1) / 2 for f, n, _ in self.own]
        )

    @cached_property
    def mass(self) -> np.ndarray:
        """The weights (m,) with which the gaps at the numbers add up to all gaps."""
        r, middle = rules(), self.N - 2  # twice the place of a cell in the middle
        return np.concatenate(
            [2.0 * r.total(n) if n > 1 else [2.0 - (2 * f == middle)] for f, n, _ in self.own]
        )

    def halved(self, which: np.ndarray | None = None) -> Layout:
        """Return the layout with those panels cut in two, all unless given.

        What is too short for two panels falls into single cells, unless all are asked for.
        """
        ends, chosen = (
            self.cuts.tolist(),
            iter(np.ones(len(self.cuts), bool) if which is None else which),
        )
        cuts = ends[:1]
        for f, stop in pairwise(ends):
            if stop - f > 1 and next(chosen):
                single = () if which is None else range(f + 1, stop)
                cuts.extend([(f + stop) // 2] if stop - f >= 2 * NEAR else single)
            cuts.append(stop)
        return Layout.of(self.N, np.array(cuts))

    def tails(self, z: np.ndarray) -> np.ndarray:
        """Return the last Legendre coefficients of `z` on each panel: how far it is from smooth."""
        return np.array([float(rules().tail(z[u : u + P])) for _, _, u in self.panels])

    def resampled(self, z: np.ndarray, finer: Layout) -> np.ndarray:
        """Return the same polynomials at the places of a layout with halved panels."""
        cell = np.minimum(finer.places.astype(np.int64), self.N - 2)
        unknown, rows = self.rows(cell, finer.places - cell)
        return np.einsum("kp,kp->k", rows, z[unknown])

    def rows(self, cell: np.ndarray, beside: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers (k, P) and rows (k, ..., P) that give log gaps at cell + beside.

        Each place, of the shape (k,) or (k, nodes), is in the same piece as its cell.
        """
        piece = np.searchsorted(self.first, cell, side="right") - 1
        single, back = self.length[piece] == 1, np.where(self.mirrored[piece], -1.0, 1.0)
        shape = (-1,) + (1,) * (np.ndim(beside) - 1)
        offset = np.reshape(cell - self.first[piece], shape) + beside
        local = (2 * offset.T / self.length[piece] - 1) * back
        rows = rules().rows(np.where(single, 0.5, local).T)
        rows[single] = np.eye(1, P)
        return self.unknown[piece][:, None] + np.where(single[:, None], 0, np.arange(P)), rows


# -- the gaps ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class SmoothGaps(Value):
    """The n-1 symmetric gaps of a full ranking of the unit box, in a few hundred numbers.

    Attributes
    ----------
    n : int
    tied : int
        How many completions share each end.
    cuts : (k,) array
        See `Layout`.
    logs : (m,) array
        The logarithms of gaps: of the first cells, then at the nodes of each panel.
    """

    n: int
    tied: int
    cuts: Array
    logs: Array

    @cached_property
    def layout(self) -> Layout:
        """Where the numbers are along the cells between the tied groups."""
        return Layout.of(self.n - 2 * (self.tied - 1), self.cuts)

    def gaps(self) -> np.ndarray:
        """Return all n-1 gaps."""
        skip, lay = self.tied - 1, self.layout
        cells = lay.N - 1
        gaps = np.zeros(self.n - 1)
        inside, half = gaps[skip : skip + cells], (cells + 1) // 2
        for f, n, u in lay.own:
            if n == 1:
                inside[f] = np.exp(self.logs[u])
                continue
            for a in range(0, n, _BLOCK):
                stop = min(a + _BLOCK, n)
                inside[f + a : f + stop] = self._at(u, n, np.arange(a, stop) + 0.5)
        inside[half:] = inside[: cells - half][::-1]
        return gaps

    def _at(self, u: int, n: int, place: np.ndarray) -> np.ndarray:
        """Return gaps at places of a panel; what is common to them is kept out of the sums."""
        c = rules().coefficients @ (self.logs[u : u + P] - self.logs[u])
        return np.exp(np.polynomial.legendre.legval(2 * place / n - 1, c)) * np.exp(self.logs[u])

    def below_top(self, k: np.ndarray) -> np.ndarray:
        """Return how far completions k = 0, ..., n//2 of the upper half are below the best one."""
        lay, rule = self.layout, rules()
        cell = np.clip(np.asarray(k, np.int64) - (self.tied - 1), 0, None).ravel()
        pieces = list(lay.own)
        sums = [
            np.exp(self.logs[u]) if n == 1 else rule.total(n) @ np.exp(self.logs[u : u + P])
            for _, n, u in pieces
        ]
        before = np.concatenate([[0.0], np.cumsum(sums)])
        piece = np.searchsorted([f for f, _, _ in pieces], cell, side="right") - 1
        found = before[piece]
        for j in np.unique(piece):
            f, n, u = pieces[j]
            into = (piece == j) & (cell > f)
            if n == 1:
                found[into] += sums[j]  # the last cell's far end: the middle
            elif into.any():
                # The sum up to a whole number is a smooth function of it, known at the nodes.
                part = rule.partial(n) @ np.exp(self.logs[u : u + P])
                found[into] += rule.rows(2.0 * (cell[into] - f) / n - 1) @ part
        return found

    def ranks(self, each: int) -> np.ndarray:
        """Return ranks from 0 of the upper half, about `each` on every panel."""
        half = (self.n - 1) // 2
        steps = [np.array([self.tied - 1, half])]
        for f, n, _ in self.layout.own:
            into = np.linspace(0, n, min(each, n) + 1).astype(np.int64)
            steps.append(self.tied - 1 + f + into)
        found = np.unique(np.concatenate(steps))
        return found[found <= half]

    @classmethod
    def fitted(cls, gaps: np.ndarray, ratio: float) -> tuple[SmoothGaps, float]:
        """Return polynomials through symmetric gaps (n-1,), and how far the logarithms are off.

        The second is the largest difference of logarithms, over all gaps; inf where gaps between
        others are 0.
        """
        tied = int(np.argmax(gaps > 0)) + 1
        inside = gaps[tied - 1 : len(gaps) - tied + 1]
        if not np.all(inside > 0):
            return cls(len(gaps) + 1, 1, np.zeros(1), np.empty(0)), np.inf
        logs = np.log(inside)
        odd = float(np.abs(logs - logs[::-1]).max())
        lay, z = Layout.growing(len(inside) + 1, ratio), []
        for f, n, _ in lay.own:
            at = f + spread(n) if n > 1 else np.array([f])
            rows = rules().rows(2 * (at - f + 0.5) / n - 1) if n > 1 else np.eye(1)
            z.append(np.linalg.solve(rows, (logs[at] + logs[len(logs) - 1 - at]) / 2))
        found = cls(len(gaps) + 1, tied, lay.cuts, np.concatenate(z))
        with np.errstate(all="ignore"):
            off = found.gaps()[tied - 1 : len(gaps) - tied + 1] / inside
            return found, float(np.abs(np.log(off)).max()) + odd


def spread(n: int, at: np.ndarray | None = None) -> np.ndarray:
    """Return P different cells of a panel of n near its nodes, or near points of [-1, 1]."""
    at = rules().x if at is None else at
    found = np.unique(np.clip((n * (at + 1) / 2).astype(np.int64), 0, n - 1))
    while len(found) < P:
        free = np.setdiff1d(np.arange(n), found)
        found = np.sort(np.append(found, free[np.abs(free[:, None] - found).min(1).argmax()]))
    return found


def panel_ratio(utility: Utility, n: int) -> float:
    """Return how fast panels may grow: gaps rise like the power (1+p)/(1-p) of the index.

    p is the largest local exponent of U that the gaps of n completions meet where U'(0) = inf.
    """
    if np.isfinite(utility.slope_at_zero):
        return 2.0
    x = np.geomspace(0.01 / n, 0.3, 40)
    with np.errstate(all="ignore"):
        first, second = utility.derivatives(x)
        p = float(np.nanmax(np.where(first > 0, 1 + x * second / first, np.nan)))
    return 1.0 + float(np.clip(2.5 * (1.0 - p), 0.1, 1.0))
