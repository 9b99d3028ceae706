"""What stopping early, and late, amounts to: a penalty, and a distance that falls like 1/t."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.capacity.prox import Ranked
from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import finite_array, numbers
from collapse_theory.programs import Box, Solution
from collapse_theory.programs.pair_sums import pair_gaps
from collapse_theory.programs.program import Program
from collapse_theory.utilities import Loss, PlackettLuce, as_loss, continued


def penalty_of(rewards: Any, utility: Loss | str) -> Any:
    """Return the kappa of which rewards are the optimum, as far as their scale tells.

    kappa = <r, grad f> / (2 mean r**2), f the mean of U over pairs and r less its mean: exact for
    an optimum of `Confined(kappa)`, and for free rewards stopped at any time if U is homogeneous
    (x, log x, x**g, -x**-g). Of log-sigmoid, stopped at any time, the rewards of that penalty are
    within .0091 and .0201 of the top reward at n = 8 and 32 (docs/capacity.md#early-stopping).

    Parameters
    ----------
    rewards : array_like, shape (n,) or (N, n)
        Best first.
    utility : Utility or str
        As it is trained.

    Returns
    -------
    float, or numpy.ndarray of shape (N,)
        One a row. Negative where rewards are past a maximum of the utility, or
        rank their pairs wrong on the whole: no penalty has those as its optimum.

    Raises
    ------
    CollapseError
        A ValueError: rewards that are all equal or aren't finite, a listwise loss.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> held = ct.solve("logsigmoid(x)", 8, ct.Confined(0.02))
    >>> round(ct.penalty_of(held.rewards, "logsigmoid(x)"), 12)
    0.02
    """
    shape = numbers(rewards, "rewards").shape
    rows = finite_array(np.atleast_2d(numbers(rewards, "rewards")), "rewards", 2)
    if rows.shape[1] < 2:
        raise CollapseError(f"rewards must be of 2 completions or more, got the shape {shape}")
    u = as_loss(utility)
    if isinstance(u, PlackettLuce):
        raise CollapseError(f"penalty_of takes a utility of a gap, and {u} is a listwise loss")
    rows = rows - rows.mean(axis=1, keepdims=True)
    square = np.mean(rows**2, axis=1)
    if not np.all(square > 0):
        raise CollapseError("equal rewards have no scale, and are the optimum of no penalty")
    finite = np.isfinite(u.slope_at_zero)
    if not finite and np.any(np.diff(rows, axis=1) >= 0):
        raise CollapseError(
            f"{u} has no slope at a gap of these rewards: they must fall, best first"
        )
    force = Ranked(continued(u) if finite else u, rows.shape[1]).derivatives(rows)[0]
    found = (rows * force).sum(axis=1) / (2 * square)
    return found if len(shape) == 2 else float(found[0])


def late_distance(solution: Solution) -> float:
    """Return A, where a model with a sigmoid is A/t from its collapse, late in training.

    mean_i |r_i(t) - r_i| = A/t + o(1/t) for gradient flow of one prompt's logits, of what is left
    at the ends of the box and what follows between them (docs/capacity.md#late-in-training).

    Parameters
    ----------
    solution : Solution
        Of a full ranking in a box, by `ct.solve`.

    Raises
    ------
    CollapseError
        A ValueError: another domain, comparisons, a utility with kinks.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.capacity import late_distance
    >>> round(late_distance(ct.solve("-1/(x + 0.1)", 8)), 9)
    0.364445822
    """
    domain, u = solution.domain, solution.utility
    if not isinstance(domain, Box) or solution.comparisons is not None:
        raise CollapseError("the distance is known for full rankings in a box")
    program = Program.of(u, solution.n, domain)
    if not isinstance(program, Program) or program.kinked:
        raise CollapseError(f"the distance is known for utilities without kinks, not for {u}")
    # In units of the box; gaps keep the digits of small ones.
    gaps = solution.gaps / domain.width
    below = np.concatenate([[0.0], np.cumsum(gaps)])
    r = 1.0 - below
    pairs = pair_gaps(gaps)[np.triu_indices(solution.n, 1)]
    force, minus = (of[0] for of in Ranked(program.utility, solution.n).at_gaps(pairs[None]))
    high, low = below == 0, np.abs(r) <= 4 * np.finfo(float).eps
    ends, inside = high | low, ~(high | low)
    push = np.where(high, force, -force)
    if np.any(push[ends] <= 0):
        raise CollapseError(
            f"a reward of {u} at an end of the box isn't pushed there: it gets there slower than "
            "1/t"
        )
    off = np.zeros(solution.n)
    off[ends] = np.where(high, -1.0, 1.0)[ends] / push[ends]
    if inside.any():
        pulled = -minus[np.ix_(inside, ends)] @ off[ends]
        off[inside] = np.linalg.solve(minus[np.ix_(inside, inside)], pulled)
    return domain.width * float(np.abs(off).mean())
