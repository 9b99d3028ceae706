"""Closed forms of rewards in training: gradient flow of one prompt from equal rewards, at a time.

The flow is dr/dt = grad f(r) where rewards are free, and in a box that of the logits z, r =
sigmoid(z): dz/dt = r (1-r) grad f(r), f the mean of U over pairs. A form is called with a utility
(in the box in units of its width), the number of completions or None for the law as n grows,
whether there is a box, and the time: t, of a law tau = t/(n-1). It gives the rewards, best first,
or the law; None where it doesn't hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.exact.registry import Form, closed
from collapse_theory.laws import Density, RewardLaw
from collapse_theory.lazy import special
from collapse_theory.utilities import Linear, Log, LogSigmoid, NegativePower, Power, Utility

COURSE_FORMS: list[Form] = []
_SIGMOID = "separation of variables: docs/capacity.md#a-linear-utility-under-a-sigmoid"
_TWO = "separation of variables: docs/capacity.md#plain-log-sigmoid"


def _only(utility: Utility, kind: type[Utility]) -> tuple[float, Any] | None:
    """Return (weight, term) where the utility is one term of `kind`, up to a constant."""
    (weight, term), *others = utility.terms
    return (weight, term) if isinstance(term, kind) and not others else None


def logit_at(y: np.ndarray) -> np.ndarray:
    """Return z with z + sinh z = y: Newton's method from above, in full relative accuracy."""
    z = np.arcsinh(y)
    for _ in range(8):
        z = z - (z + np.sinh(z) - y) / (1.0 + np.cosh(z))
    return z


@closed(COURSE_FORMS, "linear, sigmoid", _SIGMOID, "x", "3*x")
def linear_under_a_sigmoid(
    utility: Utility, n: int | None, box: bool, time: float
) -> np.ndarray | RewardLaw | None:
    """a x: z_i + sinh z_i = a (n+1-2i) t / (n(n-1)).

    As n grows Z + sinh Z = a tau gives the best reward sigmoid(Z), and the law has the density
    1 / (4 a tau r**2 (1-r)**2) between it and its mirror image.
    """
    found = _only(utility, Linear)
    if found is None or not box:
        return None
    speed = found[0] * time
    if n is not None:
        place = n + 1.0 - 2.0 * np.arange(1, n + 1)
        return special.expit(logit_at(place * (speed / (n * (n - 1.0)))))
    low, high = special.expit(logit_at(np.array([-speed, speed])))

    def density(d: np.ndarray, upper: bool) -> np.ndarray:
        return 0.25 / speed / ((low + d) * (high - d)) ** 2

    part = Density.fit(density, low, high, finest=low, symmetric=True, mass=1.0)
    return RewardLaw((), (part,))


@closed(COURSE_FORMS, "log-sigmoid, two", _TWO, "logsigmoid(x)", "2*logsigmoid(3*x)")
def two_under_log_sigmoid(
    utility: Utility, n: int | None, box: bool, time: float
) -> np.ndarray | None:
    """a log sigma(b x), two completions: the gap y/b with y + exp(y) - 1 = 2 a b**2 t."""
    found = _only(utility, LogSigmoid)
    if found is None or n != 2 or box:
        return None
    beta = found[1].beta
    target = 2.0 * found[0] * beta**2 * time
    y = np.log(special.wrightomega(target + 1.0).real)
    for _ in range(3):
        y = y - (y + np.expm1(y) - target) / (1.0 + np.exp(y))
    return np.array([0.5, -0.5]) * (y / beta)


def stopped_penalty(utility: Utility, n: int | None, time: float) -> float | None:
    """Return the kappa of the penalty whose optimum free rewards are at a time, where one is.

    U homogeneous of degree g: r = (t/t0)**(1/(2-g)) r0 solves dr/dt = grad f(r), so that grad f =
    r / ((2-g) t), the condition for the optimum under kappa = n / (2 (2-g) t); as n grows 1 / (2
    (2-g) tau).
    """
    for kind in (Linear, Log, Power, NegativePower):
        found = _only(utility, kind)
        if found is not None:
            size = time if n is None else time / n
            degree = 1.0 if kind is Linear else found[1].exponent
            return 0.5 / ((2.0 - degree) * size)
    return None
