"""A loss from what a user gives: a utility of a gap or a listwise loss, as a value or as text."""

from __future__ import annotations

import re
from typing import Any

from collapse_theory.errors import ParseError
from collapse_theory.utilities.base import Utility
from collapse_theory.utilities.expression import utility
from collapse_theory.utilities.listwise import PlackettLuce

__all__ = ["Loss", "as_loss"]

_NAME = re.compile(r"\s*plackett[ _-]?luce(?![A-Za-z0-9])(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_FIELDS = re.compile(r"\s*(?:\((?P<inside>[^()]*)\))?\s*")
_FIELD = re.compile(r"\s*(?P<name>[a-z]+)\s*=\s*(?P<value>[^\s=]+)\s*")
_KNOWN = "PlackettLuce(), PlackettLuce(top=1), PlackettLuce(beta=2), PlackettLuce(top=1, beta=2)"

Loss = Utility | PlackettLuce


def as_loss(given: Loss | str) -> Loss:
    """Return the utility of a gap or the listwise loss that `given` is, or that its text says.

    Nothing is evaluated: the text is ``PlackettLuce(top=..., beta=...)``, or a formula.

    Parameters
    ----------
    given : Utility, PlackettLuce or str

    Raises
    ------
    ParseError
        Where the text is neither.

    Examples
    --------
    >>> from collapse_theory.utilities import as_loss
    >>> as_loss("plackett-luce"), as_loss("PlackettLuce(top=1, beta=2)")
    (PlackettLuce(), PlackettLuce(top=1, beta=2))
    >>> as_loss("logsigmoid(x)")
    LogSigmoid(beta=1.0)
    """
    if isinstance(given, PlackettLuce):
        return given
    named = _NAME.fullmatch(given) if isinstance(given, str) else None
    return utility(given) if named is None else _parsed(named["rest"])


def _parsed(rest: str) -> PlackettLuce:
    bracket, fields = _FIELDS.fullmatch(rest), {}
    if bracket is None:
        raise ParseError(f"found {rest.strip()[:40]!r} after PlackettLuce; write {_KNOWN}")
    inside = bracket["inside"] or ""
    for piece in inside.split(",") if inside.strip() else ():
        found = _FIELD.fullmatch(piece)
        name = found["name"] if found else None
        if found is None or name not in ("top", "beta") or name in fields:
            raise ParseError(f"found {piece.strip()!r} in PlackettLuce(...); write {_KNOWN}")
        fields[name] = _number(name, found["value"])
    return PlackettLuce(**fields)


def _number(name: str, text: str) -> Any:
    try:
        return None if (name, text) == ("top", "None") else (int if name == "top" else float)(text)
    except ValueError:
        kind = "a whole number" if name == "top" else "a number"
        raise ParseError(
            f"{name} of PlackettLuce is {kind}, got {text!r}; write {_KNOWN}"
        ) from None
