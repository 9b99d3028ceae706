"""The summary page: one HTML file beside its figures, without scripts or outside links."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from collapse_theory.experiment.findings import Findings
from collapse_theory.experiment.words import COLUMNS, NOTES, rows, sentences

__all__ = ["page"]

STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 Georgia, serif; }
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 2rem 0; } img { width: 100%; } .note { color: #555; font-size: 0.85rem; }
"""


def page(findings: Findings, figures: Sequence[tuple[Path, str]]) -> str:
    """Return the page: sentences, the table, the figures (file, caption), the setting."""
    said = "\n".join(f"<li>{escape(text)}</li>" for text in sentences(findings))
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in rows(findings)
    )
    shown = "\n".join(
        f'<figure><img src="{escape(file.name)}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for file, caption in figures
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reward collapse on real text</title>
<style>{STYLE}</style></head><body>
<h1>Reward collapse on real text</h1>
<p>{escape(_what(findings))}</p>
<ul>
{said}
</ul>
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table>
<p class="note">{escape(NOTES)}</p>
{shown}
<p class="note">{escape(_made(findings))}</p>
</body></html>
"""


def _what(findings: Findings) -> str:
    setting = findings.setting
    kinds = ", ".join(
        f"{train} {kind} to train on and {held} held out" for kind, train, held in findings.prompts
    )
    what = (
        "all weights of the encoder are trained"
        if setting.full
        else "a small head is trained on the features of a frozen encoder"
    )
    text = setting.data or "the documentation of Python, NumPy and SciPy"
    return (
        f"Prompts from {text}: {kinds}; {what}, {setting.steps} steps of {setting.batch} prompts."
    )


def _made(findings: Findings) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in findings.versions)
    return (
        f"Made with {versions}. {findings.cut} of {findings.texts} completions were cut at "
        f"{findings.setting.max_length} tokens."
    )


def _cell(text: str) -> str:
    return escape(text).replace("\n", "<br>")
