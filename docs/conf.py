"""Sphinx's settings: `sphinx-build -W -b html docs OUT`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
notebooks = importlib.import_module("extensions.notebooks")

project = "collapse_theory"
author = "The collapse_theory developers"
copyright = author
version = release = importlib.import_module("collapse_theory").__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "examples"]

# Cells run at build; one that fails, fails it.
nb_execution_mode = "cache"
nb_execution_cache_path = str(notebooks.prepare(Path(__file__).parents[1] / "build" / "docs-cells"))
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

html_theme = "furo"
html_title = f"collapse_theory {release}"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


class PublicNames(SphinxDirective):
    """All names in a module's `__all__`: a table, then each with its docstring.

    The argument is the module; the content may hold names to leave out, shown elsewhere. Where a
    package that the module needs isn't installed (torch is large), the page says so.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[Any]:
        """Return the nodes of the table and of the entries."""
        module = importlib.import_module(self.arguments[0])
        left_out = {name for line in self.content for name in line.split()}
        names = [n for n in module.__all__ if n not in left_out and not n.startswith("__")]
        try:
            made = {name: _directive(getattr(module, name)) for name in names}
        except ImportError as missing:
            return self.parse_text_to_nodes(f"Not shown here: {missing}.")
        lines = [f".. currentmodule:: {module.__name__}", ""]
        lines += [".. autosummary::", "   :nosignatures:"]
        lines += ["", *(f"   {name}" for name, kind in made.items() if kind), ""]
        for name, kind in made.items():
            if kind:
                lines += [f".. {kind}:: {name}", *_options(getattr(module, name)), ""]
        return self.parse_text_to_nodes(_as_rst(lines))


def _as_rst(lines: list[str]) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])


def _directive(value: Any) -> str | None:
    if inspect.ismodule(value):
        return None
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) else "autodata"


def _options(value: Any) -> list[str]:
    """Return the options of an entry: a class shows its own methods."""
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return []
    return ["   :members:", "   :show-inheritance:"]


_CODE = re.compile(r"(``.*?``|`[^`]*`)")


def plain_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape what the docstrings mean as arithmetic: x**2 and |x - y| are no markup.

    Text in backticks is code. Examples stay as they are.
    """
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            lines[i] = "".join(map(_escaped, _CODE.split(line)))


_SEVERAL = re.compile(r"^(\s*:\w+) ((?:[\w\\]+, )+[\w\\]+):")


def several_names(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Join the names of a field: Sphinx takes all but the last of "law, trained" for a type."""
    for i, line in enumerate(lines):
        lines[i] = _SEVERAL.sub(lambda found: f"{found[1]} {found[2].replace(', ', ',')}:", line)


def _escaped(piece: str) -> str:
    if piece.startswith("`"):
        # Single backticks mean code here, not a role.
        return piece if piece.startswith("``") else f"``{piece.strip('`')}``"
    return re.sub(r"([*|]|_(?=\W|$))", r"\\\1", piece)


_CONTENTS = re.compile(r"(```\{toctree\}\n(?::.*\n)*\n)((?:[\w-]+\n)+)(```)")


def existing_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Keep the contents of the first page to the pages that are there, and miss none of them."""
    if docname != "index":
        return

    def kept(found: re.Match[str]) -> str:
        there = {path.stem for path in Path(app.srcdir).glob("*.md")} - {"index"}
        listed = [name for name in found[2].split() if name in there]
        names = [*listed, *sorted(there - set(listed))]
        return found[1] + "".join(f"{name}\n" for name in names) + found[3]

    source[0] = _CONTENTS.sub(kept, source[0])


def setup(app: Sphinx) -> None:
    """Add the directive and the hooks; that for docstrings runs before napoleon's."""
    app.add_directive("public-names", PublicNames)
    app.connect("source-read", existing_pages)
    app.connect("autodoc-process-docstring", plain_docstring, priority=100)
    app.connect("autodoc-process-docstring", several_names, priority=900)  # after napoleon
