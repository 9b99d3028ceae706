"""How the experiment tells what it is doing: to a person, to a test, or to nobody."""

from __future__ import annotations

__all__ = ["Progress"]


class Progress:
    """What the experiment calls; this one keeps silent. A subclass shows it."""

    def begin(self, what: str, total: int) -> None:
        """A piece of work of `total` parts begins; the one before it has ended."""

    def advance(self, parts: int = 1) -> None:
        """So many parts more are done."""

    def say(self, text: str) -> None:
        """Something that the user should know: a damaged file, a bad row."""
