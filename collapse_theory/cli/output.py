"""What commands print: JSON, or text for people."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "print_json"]


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: NaN and infinities are null."""
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(content: dict[str, Any]) -> None:
    print(json.dumps(plain(content), indent=2, allow_nan=False))


def console() -> Console:
    from rich.console import Console

    # No markup and no highlighting: the user's own text is shown as it is.
    return Console(markup=False, highlight=False, emoji=False)
