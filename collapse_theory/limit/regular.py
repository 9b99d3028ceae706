"""Utilities with a finite slope at 0: two atoms and a density, by a Fredholm equation."""

from __future__ import annotations

import numpy as np

from collapse_theory.limit.certificate import Certificate, Found, Trial, certify
from collapse_theory.limit.coordinate import Grading
from collapse_theory.numerics.quadrature import Nodes, layered_sides
from collapse_theory.numerics.series import contract, contract_difference
from collapse_theory.utilities.base import Utility

__all__ = ["layer", "solve_regular"]

_COUNTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
# Aim below the default tolerance; rounding alone is about 1e-14.
_AIM = 5e-13
# Where U' falls this far, the differences g(x) - g(y) are formed without cancellation.
_STEEP = 1e-4


def solve_regular(utility: Utility) -> Found:
    r"""Return the limit law of a utility with U'(0) finite and no kinks, on [0, 1].

    With a the mass at each end and g the density over a,

        2 U'(0) g(x) + ∫ U''(|x-y|) g(y) dy = -(U''(x) + U''(1-x)),    a = 1/(2 + ∫ g),

    which says that the potential V has V'' = 0 (DESIGN 2.2). g is a Chebyshev series in a
    coordinate that resolves the layers at the ends; its degree grows until the certificate
    holds, or stops improving.
    """
    grading = Grading(layer(utility))
    best: Found | None = None
    for count in _COUNTS:
        trial, resolved = _collocate(utility, grading, count)
        if not resolved and count < _COUNTS[-1]:
            continue
        found = Found(trial, _certificate(utility, trial))
        if best is None or found.certificate.gap < best.certificate.gap:
            stalled = best is not None and found.certificate.gap > 0.5 * best.certificate.gap
            best = found
        else:
            stalled = True
        if best.certificate.relative_gap <= _AIM or stalled:
            break
    assert best is not None
    return best


def layer(utility: Utility) -> float:
    """Return the width of the layers at the ends: the least U'(0)/|U''(0)| of a term of weight."""
    with np.errstate(all="ignore"):
        slopes = [w * u.slope_at_zero for w, u in utility.terms]
        bends = [-w * float(u.d2(0.0)) for w, u in utility.terms]
    total = sum(slopes)
    widths = [s / b for s, b in zip(slopes, bends, strict=True) if b > 0 and s > 1e-6 * total]
    return float(np.clip(min(widths, default=1.0), 1e-14, 1.0))


def _collocate(utility: Utility, grading: Grading, count: int) -> tuple[Trial, bool]:
    """Solve the Fredholm equation with `count` coefficients; say whether the series has settled."""
    angle = (np.arange(count) + 0.5) * (np.pi / count)
    x, values = grading.place(np.cos(0.5 * angle)), np.cos(np.outer(angle, np.arange(count)))
    nodes = Nodes.joined(*layered_sides(x, grading.scale, _rule_size(count)))
    kernel = -utility.curvature(nodes.gap) * nodes.weight
    # 2 U'(0) = ∫ -U''(|x-y|) dy + U'(x) + U'(1-x): with the integral by the same rule, the
    # equation is one for differences g(x) - g(y), and the rule can be checked.
    rest = utility.slope(x) + utility.slope(1.0 - x)
    row = kernel.sum(axis=1)
    sigma = grading.sigma(nodes.y, nodes.c)
    exact = 2.0 * utility.slope_at_zero
    if rest.min() < _STEEP * exact and count <= 128:
        apart = grading.difference(x, nodes.y, nodes.gap)
        matrix = contract_difference(kernel, grading.sigma(x, 1.0 - x), sigma, apart, count)
    else:
        matrix = row[:, None] * values - contract(kernel, sigma, count)
    matrix += rest[:, None] * values
    right = -(utility.curvature(x) + utility.curvature(1.0 - x))
    g = np.linalg.solve(matrix, right)
    ends = Nodes.joined(*layered_sides(np.array([0.0]), grading.scale, _rule_size(count)))
    masses = contract(ends.weight, grading.sigma(ends.y, ends.c), count)[0]
    atom = 1.0 / (2.0 + float(masses @ g))
    missed = float(np.abs((row + rest) / exact - 1.0).max())
    tail = float(np.abs(g[-3:]).max() / np.abs(g).max()) if g.any() else 0.0
    return Trial(grading, 0.0, atom * g, atom), tail < 1e-11 and missed < 1e-11


def _rule_size(count: int) -> int:
    """Return the nodes on each side of x that integrate the kernel times `count` terms."""
    return count + count // 4 + 16


def _certificate(utility: Utility, trial: Trial) -> Certificate:
    count, scale = _rule_size(trial.size) + 7, trial.grading.scale
    return certify(
        utility,
        trial,
        lambda x: layered_sides(x, scale, count),
        lambda x: layered_sides(x, scale, 2 * count),
    )
