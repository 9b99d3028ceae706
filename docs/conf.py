"""Sphinx's settings: `sphinx-build -W -b html docs OUT`. Nothing is fetched from outside."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

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
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "extensions.checks",
    "extensions.mathjax",
    "extensions.names",
    "extensions.registries",
]
exclude_patterns = ["_build", "examples"]

# Cells run at build; one that fails, fails it.
nb_execution_mode = "cache"
nb_execution_cache_path = str(notebooks.prepare())
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

smartquotes = False  # options and code-like prose keep their dashes and quotes

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
mathjax_path = "mathjax/tex-chtml.js"
mathjax_config_path = "static/formulas.js"
html_title = f"collapse_theory {release}"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "fully-qualified"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
suppress_warnings = ["ref.python"]  # two rooms have a Part; annotations name it alone
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
