"""Many programs at once: a grid of utilities, numbers of completions and domains, as a table."""

from __future__ import annotations

from collapse_theory.sweeps.sweep import sweep

__all__ = ["sweep"]


def __dir__() -> list[str]:
    return __all__
