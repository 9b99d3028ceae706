"""The command line: `collapse-theory predict`, `atoms`, `table`, `figures`, one file each."""

from __future__ import annotations

from collapse_theory.cli import atoms, figures, predict, table
from collapse_theory.cli.app import app

__all__ = ["app", "atoms", "figures", "main", "predict", "table"]


def main() -> None:
    """Run the command line."""
    app(prog_name="collapse-theory")
