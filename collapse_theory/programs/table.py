"""What is found for many utilities under one domain, a row each: what all such tables share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from collapse_theory.lazy import polars
from collapse_theory.numerics.checks import positive
from collapse_theory.programs.domain import Domain, DomainLike, as_domain
from collapse_theory.utilities import Loss, Many
from collapse_theory.values import Array, Value

# What many utilities can be given as: themselves, or what makes them of parameters.
Utilities: TypeAlias = Iterable[Loss | str] | Callable[..., Loss | str] | str


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Value):
    """Utilities, the domain, and the parameters that the utilities were made of, if they were."""

    utilities: tuple[Loss, ...]
    domain: Domain
    names: tuple[str, ...] = ()
    parameters: Array | None = None

    def __len__(self) -> int:
        return len(self.utilities)

    def _frame(self, columns: dict[str, Any]) -> Any:
        """Return a Polars data frame: the utilities, their parameters, and these columns."""
        given = Many(self.utilities, self.names, self.parameters).columns()
        return polars.DataFrame({**given, "domain": [str(self.domain)] * len(self), **columns})


def asked(
    utilities: Utilities, parameters: dict[str, Any], domain: DomainLike | None, tol: float | None
) -> dict[str, Any]:
    """Return the fields of a `Table` as they are asked for, checked."""
    held = as_domain(domain)
    if tol is not None:
        positive(tol, "tol")
    return {"domain": held, **vars(Many.of(utilities, parameters))}
