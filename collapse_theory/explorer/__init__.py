"""The explorer: `state` is what its page shows, `page` the widgets, which need the extra."""

from collapse_theory.lazy import names_at_use

__all__ = ["serve"]
__getattr__, _ = names_at_use(__name__, {"collapse_theory.explorer.page": ("serve",)})
