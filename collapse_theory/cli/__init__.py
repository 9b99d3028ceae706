"""The command line: `collapse-theory predict`, `atoms`, `table` and so on, one file each."""

from __future__ import annotations

from importlib.metadata import entry_points

from collapse_theory.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line, with what other packages register for it.

    Their modules are those of the entry points in the group ``collapse_theory``.
    """
    for extension in entry_points(group="collapse_theory"):
        extension.load()
    app(prog_name="collapse-theory")
