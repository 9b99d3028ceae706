"""SciPy and Polars at first use: importing them takes longer than importing all the rest."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class _Lazy:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # found without __getattr__ from now on
        return value


lapack: Any = _Lazy("scipy.linalg.lapack")

if TYPE_CHECKING:
    import polars
    from scipy import special
else:
    polars, special = _Lazy("polars"), _Lazy("scipy.special")
