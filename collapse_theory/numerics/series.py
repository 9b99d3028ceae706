"""Even Chebyshev series in sigma: their values, and integrals against their terms.

T_2k(sigma) = cos(2k angle) with sigma = cos(angle). Short series go by the recurrence. Long ones,
which bumps inside the box need, are written as short series on panels of the angle first: then
a point costs 20 terms instead of hundreds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_LONG_SERIES = 72
# A panel spans 2 pi of the fastest cosine: its Chebyshev coefficients fall below 1e-16 by 22.
_TERMS = 22


def evaluate(coefficients: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return sum_k coefficients_k T_2k(sigma); trailing zeros cost nothing."""
    coefficients = coefficients[: 1 + int(np.flatnonzero(coefficients)[-1:].sum())]
    if coefficients.size <= _LONG_SERIES:
        return _clenshaw(coefficients, 2.0 * sigma * sigma - 1.0)
    local = (_panels(coefficients.size) @ coefficients).reshape(-1, _TERMS)
    panel, s = _located(sigma, coefficients.size)
    twice, one, two = 2.0 * s, np.zeros_like(s), np.zeros_like(s)
    for j in range(_TERMS - 1, 0, -1):
        one, two = local[panel, j] + twice * one - two, one
    return local[panel, 0] + s * one - two


def _clenshaw(coefficients: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the Chebyshev series at `z`, in place: twice as fast as NumPy's chebval."""
    twice, one, two, new = 2.0 * z, np.zeros_like(z), np.zeros_like(z), np.empty_like(z)
    for c in coefficients[:0:-1].tolist():
        np.multiply(twice, one, out=new)
        new -= two
        new += c
        one, two, new = new, one, two
    one *= z
    one -= two
    one += coefficients[0]
    return one


def contract(weight: np.ndarray, sigma: np.ndarray, count: int) -> np.ndarray:
    """Return sum_q weight[i, q] T_2k(sigma[i, q]) for k < count, shape (len(weight), count)."""
    if count > _LONG_SERIES:
        return _long_contract(weight, sigma, count)
    out = np.empty((weight.shape[0], count))
    out[:, 0] = weight.sum(axis=1)
    twice = 4.0 * sigma * sigma - 2.0
    before, now = np.ones_like(sigma), 0.5 * twice
    for k in range(1, count):
        out[:, k] = np.einsum("iq,iq->i", weight, now)
        after = twice * now
        after -= before
        before, now = now, after
    return out


def cosines(sigma: np.ndarray, count: int) -> np.ndarray:
    """Return T_2k(sigma) for k < count along a last axis."""
    out = np.empty((*sigma.shape, count))
    twice = 4.0 * sigma * sigma - 2.0
    before, now = 0.5 * twice, np.ones_like(sigma)
    for k in range(count):
        out[..., k] = now
        before, now = now, twice * now - before
    return out


def contract_difference(
    weight: np.ndarray, a: np.ndarray, b: np.ndarray, apart: np.ndarray, count: int
) -> np.ndarray:
    """Return sum_q weight[i, q] (cos 2k a[i, q] - cos 2k b[i, q]) for k < count.

    From cos 2ka - cos 2kb = -2 sin k(a+b) sin k(a-b), both by recurrence, with a - b from `apart`
    = cos b - cos a: near points keep the relative accuracy of their difference.
    """
    total = a + b
    between = 2.0 * np.arcsin(np.clip(0.5 * apart / np.sin(0.5 * total), -1.0, 1.0))
    out = np.zeros((weight.shape[0], count))
    sums = [np.zeros_like(total), np.sin(total), 2.0 * np.cos(total)]
    gaps = [np.zeros_like(total), np.sin(between), 2.0 * np.cos(between)]
    for k in range(1, count):
        out[:, k] = -2.0 * np.einsum("iq,iq,iq->i", weight, sums[1], gaps[1])
        for s in (sums, gaps):
            s[0], s[1] = s[1], s[2] * s[1] - s[0]
    return out


def _long_contract(weight: np.ndarray, sigma: np.ndarray, count: int) -> np.ndarray:
    panel, s = _located(sigma, count)
    panels, rows = _panels(count).shape[0] // _TERMS, weight.shape[0]
    index = (panel + panels * np.arange(rows)[:, None]).ravel()
    moments = np.empty((rows, panels, _TERMS))
    before, now, twice = np.zeros_like(s), weight, 2.0 * s
    for j in range(_TERMS):
        moments[:, :, j] = np.bincount(index, now.ravel(), rows * panels).reshape(rows, panels)
        before, now = now, (s * now if j == 0 else twice * now - before)
    return moments.reshape(rows, -1) @ _panels(count)


def _located(sigma: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the panel of each point and its coordinate in [-1, 1] there."""
    panels = _panels(count).shape[0] // _TERMS
    place = np.arccos(np.clip(np.abs(sigma), 0.0, 1.0)) * (2.0 * panels / np.pi)
    panel = np.minimum(place.astype(np.int64), panels - 1)
    return panel, 2.0 * (place - panel) - 1.0


@lru_cache(maxsize=8)
def _panels(count: int) -> np.ndarray:
    """Return the Chebyshev coefficients on each panel of each T_2k, shape (panels*terms, count)."""
    panels = -(-count // 2)
    angle = (np.arange(_TERMS) + 0.5) * (np.pi / _TERMS)
    places = (np.arange(panels)[:, None] + 0.5 + 0.5 * np.cos(angle)) * (0.5 * np.pi / panels)
    values = np.cos(2.0 * places[..., None] * np.arange(count))
    fit = (2.0 / _TERMS) * np.cos(np.outer(np.arange(_TERMS), angle))
    fit[0] *= 0.5
    return (fit @ values).reshape(-1, count)
