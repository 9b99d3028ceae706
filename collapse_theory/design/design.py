"""The inverse problem: a utility, weights or a link for wanted rewards."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.design.result import Design
from collapse_theory.design.targets import target_of
from collapse_theory.errors import CollapseError
from collapse_theory.programs import count
from collapse_theory.utilities.base import Utility

__all__ = ["design"]


def design(
    target: Any,
    n: int | None = None,
    by: str = "utility",
    tol: float = 0.005,
    *,
    utility: Utility | str | None = None,
) -> Design:
    """Return a utility under which collapsed rewards have a wanted law.

    Every concave increasing utility is a mixture of hinges min(x, m), and a law is optimal for it
    exactly when its potential is nowhere above its energy: both are linear in the mixture, so
    whatever any concave utility can reach is found by a linear program, and the dual proves the
    rest unreachable. See docs/design.md.

    Parameters
    ----------
    target : str, RewardLaw, scipy.stats distribution, dict of quantiles, or array of rewards
        The wanted law, mapped affinely onto [0, 1]; see `collapse_theory.design.target_of`.
    n : int, optional
        For n completions instead of the limit law; `target` may then be the n rewards themselves.
        Of a law they are the quantiles at (i - 1/2)/n, mapped onto [0, 1].
    by : {"utility", "weights"}
        "utility" looks for a utility of all pairs. "weights" keeps a given utility and finds the
        weights of pairs, nearest to equal, under which the wanted rewards are the certified
        optimum; that reaches everything, and needs `n`.
    tol : float
        The Wasserstein-1 distance, on [0, 1], up to which the wanted law counts as reached.
    utility : Utility or str, optional
        For by="weights": strictly concave; log(x + 0.1) unless given.

    Returns
    -------
    Design
        With `.utility`, `.law`, `.distance`, `.reachable`, `.proof`, `.link`, `.comparisons`.

    Raises
    ------
    CollapseError
        A ValueError: a target that can't be read, an unknown `by`, n < 2.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> found = ct.design("atoms 0.3 + beta(0.5)")
    >>> found.reachable, found.distance < 1e-3, ct.utility(str(found.utility)) == found.utility
    (True, True, True)
    >>> ct.design("uniform").utility
    NegativePower(g=1.0)
    >>> ct.design("beta(2)").reachable
    False
    """
    # At first use: a lighter import of the package.
    from collapse_theory.design.laws import design_law
    from collapse_theory.design.rewards import design_rewards, design_weights

    if by not in ("utility", "weights"):
        raise CollapseError(f"by must be 'utility' or 'weights', got {by!r}")
    if isinstance(tol, bool) or not isinstance(tol, int | float | np.number) or not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    if utility is not None and by == "utility":
        raise CollapseError('a utility is given for by="weights" only; by="utility" finds one')
    size = None if n is None else count(n)
    if by == "weights" and size is None:
        raise CollapseError(
            'by="weights" needs the number of completions: design(target, n=8, ...)'
        )
    wanted = target_of(target, size)
    if by == "weights":
        assert size is not None
        return design_weights(wanted, size, float(tol), utility)
    if size is not None:
        return design_rewards(wanted, size, float(tol))
    return design_law(wanted, float(tol))
