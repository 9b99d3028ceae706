"""Sums of ultraspherical polynomials and their integrals, by recurrence from an end.

R_k is the polynomial of degree k orthogonal for the weight (1-s^2)^p on [-1, 1], with R_k(1) = 1:
R_k = P_k^{(p,p)} / binomial(k+p, k). With this norm every formula is free of gamma functions and
holds for all p > -1.
"""

from __future__ import annotations

import numpy as np

__all__ = ["end_values", "integral_from_end", "reflected", "times_coordinate", "ultraspherical_sum"]


def end_values(count: int, p: float) -> np.ndarray:
    """Return P_k^{(p,p)}(1) = binomial(k+p, k) for k < count."""
    k = np.arange(1, count)
    return np.concatenate([[1.0], np.cumprod((k + p) / k)])


def reflected(a: np.ndarray) -> np.ndarray:
    """Return the coefficients, along the last axis, of the series at -s."""
    signs = np.ones(a.shape[-1])
    signs[1::2] = -1.0
    return a * signs


def ultraspherical_sum(a: np.ndarray, delta: np.ndarray, p: float) -> np.ndarray:
    """Return sum_k a_k R_k(1 - delta).

    The recurrence runs on the differences R_{k+1} - R_k (Reinsch's form of it), in which delta
    enters as a product: accurate as delta -> 0, where 1 - delta would round.

    Parameters
    ----------
    a : (k,) or (k, n) array
        Coefficients, the same for all points or a column per point.
    delta : (n,) array
        Distances from s = 1.
    p : float
        Exponent of the weight.
    """
    value = np.ones_like(delta)
    step = -delta
    total = a[0] * value
    for k in range(1, len(a)):
        value = value + step
        total += a[k] * value
        step = (k * step - ((2 * k + 2 * p + 1) * delta) * value) / (k + 2 * p + 1)
    return total


def integral_from_end(
    a: np.ndarray, delta: np.ndarray, p: float, weight_integral: np.ndarray
) -> np.ndarray:
    """Return ∫ (1-t^2)^p sum_k a_k R_k(t) dt over t from 1 - delta to 1.

    From ∫_s^1 (1-t^2)^p R_k dt = (1-s^2)^(p+1) R^{(p+1)}_{k-1}(s) / (2p+2), k >= 1
    (Szego, Orthogonal Polynomials, eq. 4.10.1); `weight_integral` is the case k = 0.
    """
    total = a[0] * weight_integral
    if len(a) > 1:
        front = (delta * (2.0 - delta)) ** (p + 1) / (2 * p + 2)
        total = total + front * ultraspherical_sum(a[1:], delta, p + 1)
    return total


def times_coordinate(a: np.ndarray, p: float, center: float) -> np.ndarray:
    """Return the coefficients, along the first axis, of (t - center) sum_k a_k R_k(t)."""
    k = np.arange(len(a)).reshape((-1,) + (1,) * (a.ndim - 1))
    up = np.ones(k.shape)
    up[1:] = (k[1:] + 2 * p + 1) / (2 * k[1:] + 2 * p + 1)
    out = np.zeros((len(a) + 1, *a.shape[1:]))
    out[1:] += up * a
    out[: len(a) - 1] += ((1.0 - up) * a)[1:]
    out[:-1] -= center * a
    return out
