"""The explorer: a local page on which utility, law and rewards move.

`state` is what the page shows and a link holds, `answers` what is computed for it; neither knows
of a widget. `page` puts them on the screen, and needs the extra "explorer".
"""

from collapse_theory.lazy import names_at_use

__all__ = ["serve"]
__getattr__, _ = names_at_use(__name__, {"collapse_theory.explorer.page": ("serve",)})
