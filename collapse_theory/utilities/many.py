"""Many utilities as they are given: a list of them, or what makes them of parameters."""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import finite, numbers
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.normal_form import Loss, as_loss
from collapse_theory.utilities.plackett_luce import PlackettLuce


@dataclass(frozen=True)
class Many:
    """Utilities, and the parameters that they were made of, (m, names), if they were."""

    utilities: tuple[Loss, ...]
    names: tuple[str, ...] = ()
    parameters: np.ndarray | None = None

    @classmethod
    def of(cls, given: Any, parameters: dict[str, Any]) -> Self:
        """Return the utilities of a list, or of a family, a function or a text and parameters.

        Raises
        ------
        CollapseError
            A ValueError that says which utility is at fault.
        """
        if parameters:
            names, columns = tuple(parameters), _columns(parameters)
            make = _maker(given, names)
            rows = [dict(zip(names, row, strict=True)) for row in columns.tolist()]
            made = [named(i, row, lambda row: _loss(make(**row))) for i, row in enumerate(rows)]
        else:
            names, columns = (), None
            one = isinstance(given, str | Utility | PlackettLuce)
            if one or not isinstance(given, Iterable):
                raise CollapseError(
                    f"utilities must be many, as a list of them, not {given!r}; or a family, a "
                    "function or a text, with parameters beside it: beta=[1, 2] for ct.LogSigmoid"
                )
            made = [named(i, row, _loss) for i, row in enumerate(given)]
        if not made:
            raise CollapseError("there are no utilities: at least one is needed")
        return cls(tuple(made), names, columns)

    def columns(self) -> dict[str, Any]:
        """Return the columns of a data frame: the utilities as text, and each parameter."""
        given = {} if self.parameters is None else zip(self.names, self.parameters.T, strict=True)
        return {"utility": [str(u) for u in self.utilities], **dict(given)}


def named(i: int, given: Any, make: Callable[[Any], Any]) -> Any:
    """Return what is made of utility i; an error says of which."""
    try:
        return make(given)
    except CollapseError as fault:
        shown = reprlib.repr(given if isinstance(given, dict) else str(given))
        raise type(fault)(f"utilities[{i}], {shown}: {fault}") from fault


def _loss(given: Any) -> Loss:
    return given if isinstance(given, Utility) and given.known else as_loss(given)


def _columns(parameters: dict[str, Any]) -> np.ndarray:
    """Return the parameters, a row a program."""
    columns = [numbers(values, name) for name, values in parameters.items()]
    try:
        together = np.stack(np.broadcast_arrays(*columns), axis=-1)
    except ValueError:
        together = np.empty(())
    if together.ndim != 2:
        shapes = ", ".join(f"{k}: {c.shape}" for k, c in zip(parameters, columns, strict=True))
        raise CollapseError(f"parameters must be arrays of one length, or numbers, not {shapes}")
    return together


def _maker(utilities: Any, names: tuple[str, ...]) -> Callable[..., Any]:
    """Return what makes a utility of its parameters."""
    if isinstance(utilities, str):
        missing = [name for name in names if not re.search(rf"\b{name}\b", utilities)]
        if missing or "x" in names:
            wrong = f"{missing[0]} isn't in it" if missing else "x is the gap"
            raise CollapseError(f"the text {utilities!r} and the parameters don't fit: {wrong}")
        word = re.compile(rf"\b({'|'.join(names)})\b")

        def make(**values: float) -> str:
            for name, value in values.items():
                finite(value, name)
            return word.sub(lambda found: f"({values[found[0]]!r})", utilities)

        return make
    if not callable(utilities) or isinstance(utilities, Utility):
        raise CollapseError(
            f"parameters go with a family, a function or a text, not with {utilities!r}"
        )
    try:
        inspect.signature(utilities).bind(**dict.fromkeys(names))
    except TypeError as fault:
        raise CollapseError(f"{utilities!r} and the parameters don't fit: {fault}") from None
    return utilities
