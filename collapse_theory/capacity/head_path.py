"""Heads over a path of penalties, and the one that left-out prompts choose."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.capacity.head import FEW, ITERATIONS, Head, fitted, program_of
from collapse_theory.errors import CollapseError
from collapse_theory.lazy import polars
from collapse_theory.numerics.checks import finite_array
from collapse_theory.programs import Domain
from collapse_theory.utilities import Utility
from collapse_theory.values import Value, shown_by_repr

PENALTIES = tuple(float(f"{x:.6g}") for x in np.geomspace(10.0, 1e-5, 13))


@dataclass(frozen=True, eq=False, repr=False)
class HeadPath(Value):
    """The heads of one set of rankings under several penalties, the largest first.

    Attributes
    ----------
    heads : tuple of Head
    penalties, mean_utility, held_out_utility, freedom, memory : numpy.ndarray, shape (heads,)
        Of each head.
    best : Head
        That of the highest left-out utility.
    at_an_end : bool
        Whether the best penalty is the largest or the smallest tried, so that others may be better.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(60, 4, 3))
    >>> order = np.argsort(-features[..., 0] - rng.logistic(size=(60, 4)), axis=1)
    >>> path = ct.head_path(np.take_along_axis(features, order[..., None], 1))
    >>> path
    HeadPath(13 penalties from 10 to 1e-05; left-out utility is highest at ...)
    >>> path.best.penalty in path.penalties, path.at_an_end
    (True, False)
    """

    heads: tuple[Head, ...]

    def _of_each(self, name: str) -> np.ndarray:
        return np.array([getattr(head, name) for head in self.heads])

    @property
    def penalties(self) -> np.ndarray:
        """The penalty of each head."""
        return self._of_each("penalty")

    @property
    def mean_utility(self) -> np.ndarray:
        """The mean utility of the training prompts."""
        return self._of_each("mean_utility")

    @property
    def held_out_utility(self) -> np.ndarray:
        """The mean utility of prompts left out."""
        return self._of_each("held_out_utility")

    @property
    def freedom(self) -> np.ndarray:
        """The degrees of freedom that each head uses."""
        return self._of_each("freedom")

    @property
    def memory(self) -> np.ndarray:
        """What prompts learn of themselves."""
        return self._of_each("memory")

    @property
    def _place(self) -> int:
        return int(np.argmax(self.held_out_utility))

    @property
    def best(self) -> Head:
        """The head of the highest left-out utility."""
        return self.heads[self._place]

    @property
    def at_an_end(self) -> bool:
        """Whether the best penalty is the largest or the smallest tried."""
        return self._place in (0, len(self.heads) - 1)

    _repr_pretty_ = shown_by_repr

    def __repr__(self) -> str:
        first, last = self.heads[0].penalty, self.heads[-1].penalty
        end = ", at an end of the path: try others" if self.at_an_end else ""
        return (
            f"HeadPath({len(self.heads)} penalties from {first:g} to {last:g}; left-out utility is "
            f"highest at {self.best.penalty:g}{end})"
        )

    def _columns(self) -> dict[str, np.ndarray]:
        shown = "mean_utility", "held_out_utility", "freedom", "memory", "relative_gap"
        return {"penalty": self.penalties} | {name: self._of_each(name) for name in shown}

    def to_frame(self) -> polars.DataFrame:
        """Return a row a penalty as a Polars frame; ``.to_pandas()`` makes one of pandas."""
        return polars.DataFrame(self._columns())


def head_path(
    features: Any,
    utility: Utility | str = "logsigmoid(x)",
    *,
    penalties: Iterable[float] | None = None,
    comparisons: Any = None,
    weights: Any = None,
    domain: Domain | None = None,
    offset: float | None = None,
    max_iterations: int = ITERATIONS,
) -> HeadPath:
    """Return the heads of several penalties, each begun where the one before it ended.

    Parameters
    ----------
    features, utility, comparisons, weights, domain, offset, max_iterations
        As of `fit_head`.
    penalties : iterable of float, optional
        Sorted, the largest first; 13 in a geometric series from 10 to 1e-5 unless given.

    Raises
    ------
    CollapseError
        As `fit_head` does, and for penalties that aren't positive.
    """
    given = PENALTIES if penalties is None else penalties
    listed = list(given) if isinstance(given, Iterable) else [given]
    values = np.unique(finite_array(listed, "penalties", 1))[::-1]
    if not values.size or values[-1] <= 0:
        raise CollapseError(f"penalties must be positive, one or more; got {listed}")
    program = program_of(features, utility, comparisons, weights, domain, offset)
    heads: list[Head] = []
    for penalty in values.tolist():
        start = heads[-1] if heads else None
        heads.append(fitted(program, penalty, start, max_iterations))
    if heads[0].prompts < FEW:
        warnings.warn(
            f"the penalty is chosen by left-out rewards, which come from one step of Newton's "
            f"method and take {FEW} prompts or more; there are {heads[0].prompts}",
            stacklevel=2,
        )
    return HeadPath(tuple(heads))
