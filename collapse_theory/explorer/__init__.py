"""The explorer: a local page on which utility, law and rewards move.

`state` is what the page shows and what a link holds, `answers` what is computed for it, both
without a widget; `page` puts them on the screen, and needs the extra "explorer".
"""

from __future__ import annotations

from collapse_theory.explorer.answers import Answer, answers_of, designed, figure_bytes
from collapse_theory.explorer.state import MOST, State, moved, numbers_in
from collapse_theory.lazy import names_at_use

__all__ = [
    "MOST",
    "Answer",
    "State",
    "answers_of",
    "designed",
    "figure_bytes",
    "moved",
    "numbers_in",
    "serve",
]

__getattr__, _ = names_at_use(__name__, {"collapse_theory.explorer.page": ("serve",)})
