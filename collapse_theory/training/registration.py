"""Registers served models with transformers' Auto classes, once transformers is loaded.

Importing `collapse_theory.training` loads neither torch nor transformers, and whoever loads a saved
model imports only that: so what `serving` does waits for transformers to load its Auto classes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

AUTO = "transformers.models.auto.modeling_auto"
SERVING = "collapse_theory.training.serving"


class _AfterAuto(MetaPathFinder):
    """Finds the module of the Auto classes as others do, and has `serving` loaded after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that others find, its loader extended; None of any other module."""
        if fullname != AUTO:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_both(module: ModuleType) -> None:
                load(module)
                importlib.import_module(SERVING)

            spec.loader.exec_module = load_both
        return spec


def register() -> None:
    """Have `serving` register its model: now if the Auto classes are there, else with them."""
    if AUTO in sys.modules:
        importlib.import_module(SERVING)
    elif not any(isinstance(finder, _AfterAuto) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterAuto())
