"""The reference: public names by subject, and docstrings read as they are meant."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import NumpyDocstring
from sphinx.util.docutils import SphinxDirective


class PublicNames(SphinxDirective):
    """Names of a module's `__all__`: a table, then each with its docstring.

    The argument is the module; `rooms` keeps to the names that are defined in these rooms of the
    package, `only` to those named, `without` leaves some out that are shown elsewhere.
    """

    required_arguments = 1
    option_spec = dict.fromkeys(("rooms", "only", "without"), directives.unchanged)

    def run(self) -> list[Any]:
        """Return the nodes of the table and of the entries."""
        module = importlib.import_module(self.arguments[0])
        names = self.names_of(module)
        values = {name: getattr(module, name) for name in names}
        made = {name: kind for name, value in values.items() if (kind := _directive(value))}
        lines = [f".. currentmodule:: {module.__name__}", ""]
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [*(f"   {name}" for name in made), ""]
        for name, kind in made.items():
            lines += [f".. {kind}:: {name}", *_options(values[name]), ""]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))

    def names_of(self, module: Any) -> list[str]:
        """Return the names that the options choose, functions first."""
        chosen = {key: text.split() for key, text in self.options.items()}
        left_out = set(chosen.get("without", ()))
        names = chosen.get("only") or [n for n in module.__all__ if not n.startswith("__")]
        rooms = chosen.get("rooms")
        names = [
            name
            for name in names
            if name not in left_out and (rooms is None or room_of(getattr(module, name)) in rooms)
        ]
        return sorted(names, key=lambda name: inspect.isclass(getattr(module, name)))


def room_of(value: Any) -> str:
    """Return the room of the package in which a value is defined."""
    return getattr(value, "__module__", "").removeprefix("collapse_theory.").partition(".")[0]


def _directive(value: Any) -> str | None:
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) else None  # a constant has no docstring


def _options(value: Any) -> list[str]:
    """Return the options of an entry: a class shows its own methods."""
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return []
    return ["   :members:", "   :show-inheritance:"]


_CODE = re.compile(r"(``.*?``|`[^`]*`)")
_HELD: dict[str, list[str]] = {}


def before_napoleon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape what the docstrings mean as arithmetic: x**2 and |x - y| are no markup.

    Text in backticks is code, examples stay as they are. Properties are read as methods are: what
    stands before a colon in their first line is no type.
    """
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            lines[i] = "".join(map(_escaped, _CODE.split(line)))
    if what in ("property", "attribute"):
        _HELD[name] = NumpyDocstring(lines, app.config, app, "method", name).lines()


_SEVERAL = re.compile(r"^(\s*:\w+) ((?:[\w\\]+, )+[\w\\]+):")


def after_napoleon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Put properties back; join the names of a field, all but the last of which Sphinx takes for
    a type."""
    lines[:] = _HELD.pop(name, lines)
    for i, line in enumerate(lines):
        lines[i] = _SEVERAL.sub(lambda found: f"{found[1]} {found[2].replace(', ', ',')}:", line)


def _escaped(piece: str) -> str:
    if piece.startswith("`"):
        # Single backticks mean code here, not a role.
        return piece if piece.startswith("``") else f"``{piece.strip('`')}``"
    return re.sub(r"([*|]|_(?=\W|$))", r"\\\1", piece)


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive and the hooks around napoleon's, which has priority 500."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    return {"parallel_read_safe": True}
