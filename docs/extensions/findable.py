"""What readers look for is found by the site's own search, which works without a network."""

from __future__ import annotations

import json
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish

LOOKED_FOR = (
    *("DPO", "tutorial", "pandas", "read_log", "FAQ", "reward hacking", "TRL", "OpenRLHF"),
    *("LLaMA", "ties", "PlackettLuce", "margin", "memory", "atom", "sweep", "glossary", "gallery"),
)


def check_search(app: Sphinx, error: Exception | None) -> None:
    """Raise where the built index has no page for one of these."""
    if error is not None or app.builder.format != "html":
        return
    text = Path(app.outdir, "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    words = SearchEnglish({})
    found = index["terms"].keys() | index["titleterms"].keys()
    for phrase in LOOKED_FOR:
        if not all(words.stem(word.lower()) in found for word in phrase.split()):
            raise ExtensionError(f"the search finds nothing for {phrase!r}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Check after the build."""
    app.connect("build-finished", check_search)
    return {"parallel_read_safe": True}
