"""The explorer: `state` is what its page shows, `page` the widgets, which need the extra."""

from typing import TYPE_CHECKING

from collapse_theory.lazy import names_at_use

if TYPE_CHECKING:
    from collapse_theory.explorer.page import serve

__all__ = ["serve"]
names_at_use(__name__, {"collapse_theory.explorer.page": "serve"})
