"""The limit laws of many utilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.limit.solve import LimitLaw, limit
from collapse_theory.limit.solvers import LimitProgram
from collapse_theory.programs import DomainLike
from collapse_theory.programs.table import Table, Utilities, asked
from collapse_theory.utilities import Utility, named


@dataclass(frozen=True, eq=False, kw_only=True)
class Laws(Table):
    """The limit laws of many utilities under a domain; ``laws[i]`` is a `LimitLaw`.

    Attributes
    ----------
    utilities : tuple of Utility or PlackettLuce
    domain : Domain
    laws : tuple of LimitLaw
    names : tuple of str
        Of the parameters that were given as arrays.
    parameters : numpy.ndarray, shape (m, len(names))

    Examples
    --------
    >>> import collapse_theory as ct
    >>> found = ct.limit_many(["x", "log(x)", "log(x + 0.1)"])
    >>> [law.name for law in found][:2]
    ['atoms: 0.5 at 0, 0.5 at 1', 'Beta(1/2, 1/2) on [0, 1]']
    """

    laws: tuple[LimitLaw, ...]

    def __getitem__(self, i: int) -> LimitLaw:
        return self.laws[i]

    def __iter__(self) -> Iterator[LimitLaw]:
        return iter(self.laws)

    def quantiles(self, n: int) -> np.ndarray:
        """Return the n quantiles of each law, best first, shape (m, n)."""
        return np.array([law.quantiles(n) for law in self.laws])

    def to_frame(self) -> Any:
        """Return a Polars data frame with a row a law.

        `low_mass` and `high_mass` are the masses of the atoms at the ends of its support.
        """
        ends = [[_mass_at(law, end) for end in law.support] for law in self.laws]
        low, high = zip(*ends, strict=True)
        return self._frame(
            {
                "low": [float(law.support[0]) for law in self.laws],
                "high": [float(law.support[1]) for law in self.laws],
                "low_mass": low,
                "high_mass": high,
                "variance": [law.var() for law in self.laws],
                **{
                    name: [getattr(law, name) for law in self.laws]
                    for name in ("objective", "gap", "relative_gap", "status", "method")
                },
            }
        )

    def _columns(self) -> dict[str, Any]:
        names, gaps, statuses = zip(
            *((law.name, law.relative_gap, law.status) for law in self.laws), strict=True
        )
        return {"utility": self.utilities, "law": names, "relative gap": gaps, "status": statuses}

    def __repr__(self) -> str:
        optimal = sum(law.status == "optimal" for law in self.laws)
        return f"Laws({len(self):,} laws, {self.domain}: {optimal:,} optimal)"


def _mass_at(law: LimitLaw, end: float) -> float:
    return float(law.atoms[law.atoms[:, 0] == end, 1].sum())


def limit_many(
    utilities: Utilities,
    domain: DomainLike | None = None,
    *,
    tol: float | None = None,
    **parameters: Any,
) -> Laws:
    """Return the limit laws of many utilities, each as `limit` gives it.

    They are solved one after the other, each a small system of its own; the points, the rules of
    quadrature and the terms of a series are made once for all utilities of a kind. A thousand with
    their certificates take 1 to 3 s, 4 to 6 s where a penalty holds sums of log(x) or powers.

    Parameters
    ----------
    utilities, domain, **parameters
        As in `solve_many`.
    tol : float, optional
        As in `limit`.

    Returns
    -------
    Laws

    Raises
    ------
    CollapseError
        A ValueError that names the first utility at fault; those in a box are all checked before
        one is solved.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> laws = ct.limit_many("log(x + c)", c=[0.01, 0.1, 1.0])
    >>> [round(float(law.atoms[0, 1]), 4) for law in laws]
    [0.0677, 0.184, 0.3676]
    """
    given = asked(utilities, parameters, domain, tol)
    losses, held = given["utilities"], given["domain"]
    for i, loss in enumerate(losses):
        if isinstance(loss, Utility):
            named(i, loss, lambda loss: LimitProgram.of(loss, held))
    laws = [named(i, u, lambda loss: limit(loss, held, tol=tol)) for i, u in enumerate(losses)]
    return Laws(laws=tuple(laws), **given)
