"""What comes at first use: SciPy, Polars, and the names of rooms that need heavy packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any


def names_at_use(
    package: str, modules: dict[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names come from these modules."""
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(homes[name]), name)
        except ModuleNotFoundError as fault:
            if fault.name is None or fault.name.startswith("collapse_theory"):
                raise
            extra = "trl" if fault.name.partition(".")[0] in ("trl", "datasets") else "training"
            raise ModuleNotFoundError(
                f"{name} needs the package {fault.name!r}, which is not installed; "
                f'pip install "collapse-theory[{extra}]"',
                name=fault.name,
            ) from fault

    return get, lambda: sorted(homes)


class _Lazy:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # found without __getattr__ from now on
        return value


blas: Any = _Lazy("scipy.linalg.blas")
lapack: Any = _Lazy("scipy.linalg.lapack")

if TYPE_CHECKING:
    import polars
    from scipy import special
else:
    polars, special = _Lazy("polars"), _Lazy("scipy.special")
