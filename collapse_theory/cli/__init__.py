"""The command line: `collapse-theory predict`, `atoms`, `table` and so on, one file each."""

from __future__ import annotations

from collapse_theory.cli import atoms, check, design, diagnose, experiment, figures, predict, table
from collapse_theory.cli.app import app

__all__ = [
    "app",
    "atoms",
    "check",
    "design",
    "diagnose",
    "experiment",
    "figures",
    "main",
    "predict",
    "table",
]


def main() -> None:
    """Run the command line."""
    app(prog_name="collapse-theory")
