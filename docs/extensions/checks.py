"""What is asked of the built site: that its search finds things, that no page shows the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from extensions.notebooks import ROOT
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish

LOOKED_FOR = (
    *("DPO", "tutorial", "pandas", "read_log", "FAQ", "reward hacking", "TRL", "OpenRLHF"),
    *("LLaMA", "ties", "PlackettLuce", "margin", "memory", "atom", "sweep", "glossary", "gallery"),
)
# Reprs of modules and objects, and what garbled properties begin with.
UNWANTED = ("&lt;module", " at 0x", "TYPE:", "Traceback (most recent", str(ROOT), sys.prefix)
SHOWN_ON_PURPOSE = {"Traceback (most recent": "reference"}  # doctests of errors


def check(app: Sphinx, error: Exception | None) -> None:
    """Raise where the search finds nothing for a phrase, or a page shows what it shouldn't."""
    if error is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    text = (out / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    words = SearchEnglish({})
    found = index["terms"].keys() | index["titleterms"].keys()
    for phrase in LOOKED_FOR:
        if not all(words.stem(word.lower()) in found for word in phrase.split()):
            raise ExtensionError(f"the search finds nothing for {phrase!r}")
    for page in app.env.found_docs:
        text = (out / f"{page}.html").read_text("utf-8")
        for unwanted in UNWANTED:
            if unwanted in text and not page.startswith(SHOWN_ON_PURPOSE.get(unwanted, "-")):
                raise ExtensionError(f"{page} shows {unwanted!r}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Check after the build."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
