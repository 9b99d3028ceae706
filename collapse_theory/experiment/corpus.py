"""Real text that every machine has: the documentation of Python, NumPy and SciPy.

Docstrings are read from source files, never from imported modules: nothing of theirs is run.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collapse_theory.errors import CollapseError
from collapse_theory.values import Value

__all__ = ["MODULES", "WORDS", "Passage", "corpus", "passages"]

WORDS = 80  # of a passage: the longest completion
OPENING = 12  # words by which a text counts as the same as another

# Files with plenty of prose, which Python 3.11 and later, NumPy 2 and SciPy 1.14 all have. One that
# another version lacks is passed over.
_STANDARD = """
argparse ast asyncio.events asyncio.locks asyncio.streams asyncio.tasks base64 bdb cmd code
collections concurrent.futures._base configparser copy dataclasses datetime difflib dis doctest
email.header email.message email.policy email.utils fileinput fractions ftplib functools graphlib
gzip heapq hmac html.parser http.client http.cookiejar http.server imaplib importlib.abc inspect
ipaddress json.encoder locale logging logging.config logging.handlers mimetypes optparse pdb
pickletools pkgutil platform plistlib poplib profile pstats pyclbr pydoc random sched selectors
shelve shutil smtplib socket socketserver ssl statistics string subprocess sysconfig tarfile
tempfile textwrap threading timeit tokenize trace traceback types typing unittest.case unittest.mock
urllib.parse urllib.request uuid warnings wave wsgiref.handlers xml.etree.ElementTree xmlrpc.client
xmlrpc.server zipfile
"""
_NUMPY = """
numpy._core.fromnumeric numpy._core.numeric numpy.fft._pocketfft numpy.lib._arraysetops_impl
numpy.lib._function_base_impl numpy.lib._nanfunctions_impl numpy.lib._npyio_impl
numpy.lib._shape_base_impl numpy.lib._twodim_base_impl numpy.linalg._linalg numpy.ma.core
numpy.polynomial.chebyshev numpy.polynomial.polynomial
"""
_SCIPY = """
scipy.cluster.hierarchy scipy.integrate._quadpack_py scipy.interpolate._bsplines scipy.linalg._basic
scipy.linalg._decomp scipy.ndimage._filters scipy.ndimage._morphology scipy.optimize._minimize
scipy.optimize._root scipy.signal._filter_design scipy.signal._signaltools
scipy.sparse.linalg._isolve.iterative scipy.spatial.distance scipy.special._basic
scipy.stats._stats_py
"""
MODULES = tuple(f"{_STANDARD} {_NUMPY} {_SCIPY}".split())
"""The modules whose docstrings are read, in this order; Python's own topics come before them."""

_DOCTEST = (">>>", "... ")


@dataclass(frozen=True, eq=False)
class Passage(Value):
    """A piece of documentation.

    Attributes
    ----------
    name : str
        What it is about, as a person would say it: "textwrap.shorten".
    text : str
        Its first words, one space between two of them.
    """

    name: str
    text: str


@functools.cache
def corpus() -> tuple[Passage, ...]:
    """Return every passage of the documentation that is installed here.

    `pydoc_data.topics` and the docstrings of `MODULES`: those of at least 80 words, doctest and
    underline lines dropped, cut to 80 words; of texts with the same first 12 words the first.
    What comes back depends on the installed versions, and on nothing else.
    """
    return passages(_documents())


def passages(documents: Iterable[tuple[str, str]], words: int = WORDS) -> tuple[Passage, ...]:
    """Return the passages of (name, text) documents: long enough, and no two alike.

    Parameters
    ----------
    documents : iterable of (str, str)
    words : int
        How many words a document must have, and a passage has.

    Examples
    --------
    >>> passages([("a", ">>> 1 + 1\\nOne and two."), ("b", "One"), ("c", "one AND two. Three")], 3)
    (Passage(name='a', text='One and two.'),)
    """
    seen: set[tuple[str, ...]] = set()
    found = []
    for name, text in documents:
        kept = _words(text)[:words]
        opening = tuple(word.lower() for word in kept[:OPENING])
        if len(kept) == words and opening not in seen:
            seen.add(opening)
            found.append(Passage(name, " ".join(kept)))
    return tuple(found)


def require(found: tuple[Passage, ...], count: int) -> None:
    """Raise unless there are `count` passages."""
    if len(found) < count:
        raise CollapseError(
            f"{count} prompts are wanted, and the documentation installed here makes "
            f"{len(found)}; ask for fewer, or bring rankings of your own with --data"
        )


def _words(text: str) -> list[str]:
    words: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        # Rules and underlines have no letter; "%(" is filled in when the module is imported.
        if re.search(r"\w", bare) and not bare.startswith(_DOCTEST) and "%(" not in bare:
            words += bare.split()
    return words


def _documents() -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"Python's topic {name!r}", topics[name]
    for module in MODULES:
        tree = _parsed(module)
        if tree is not None:
            yield from _docstrings(module, tree)


def _parsed(module: str) -> ast.Module | None:
    """Return a module's syntax tree; None where this installation has no source of it."""
    path = _source(module)
    if path is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the file's own escapes, no business of ours
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _source(module: str) -> Path | None:
    # Only the top package's place is looked up: for a submodule find_spec imports its parents.
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.has_location and spec.origin else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def _docstrings(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (name, docstring) of a module, its public functions, classes and their methods."""
    todo: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]
    todo = [(_public(module), tree)]
    for name, node in todo:  # grows while it is walked
        text = ast.get_docstring(node)
        if text:
            yield name, text
        if isinstance(node, ast.Module | ast.ClassDef):
            todo += [
                (f"{name}.{child.name}", child)
                for child in node.body
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not child.name.startswith("_")
            ]


def _public(module: str) -> str:
    """Return a module's name without its private parts: numpy.linalg._linalg is numpy.linalg."""
    return ".".join(part for part in module.split(".") if not part.startswith("_"))
