"""What the registries of the package write themselves: tables, the gallery, the commands."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from extensions.notebooks import BUILD, ROOT, state_of_the_package
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Written(SphinxDirective):
    """A directive that writes Markdown."""

    def run(self) -> list[Any]:
        """Return the nodes of what is written."""
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)

    def lines(self) -> Iterable[str]:
        """Return the Markdown."""
        raise NotImplementedError


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"


class UtilityLaws(Written):
    """Utilities with their laws in closed form, and the rule that each is a case of."""

    def lines(self) -> Iterable[str]:
        """Return the table."""
        from collapse_theory.cli.table import law_rows

        rows = ((f"`{r['utility']}`", r["law"], _linked(r["reference"])) for r in law_rows())
        return _table(("utility", "limit law in [0, 1]", "source"), rows)


def _linked(reference: str) -> str:
    """Return a source with links to the pages here, and the paper by its short name."""
    short = re.sub(r"Song, Cai, Lee, Su \(2023\).*?arXiv:2305.17608", "the paper", reference)
    short = re.sub(r":? ?docs/(\w+)\.md(#[\w-]+)?", r" ([\1](/\1.md\2))", short)
    return re.sub(r"([*_])", r"\\\1", short) if "](" not in short else short.replace("**", "^")


class LossesInUse(Written):
    """The losses that people train with, and what becomes of eight completions."""

    def lines(self) -> Iterable[str]:
        """Return the table."""
        from collapse_theory.cli.table import law_text, rewards_text
        from collapse_theory.limit.presets import PRESETS

        for one in PRESETS:
            solution, law = one.solve(8), one.law()
            yield f"**{one.name}**: {one.formula.replace('$$', '')}"
            yield ": " + (f"`{rewards_text(solution.rewards)}`" if solution else one.none(8))
            if law:
                yield f": as n grows: {law_text(law)}"
            yield ""


class Gallery(Written):
    """Every figure of `figures.FIGURES`, with the code that draws it."""

    def lines(self) -> Iterable[str]:
        """Return a section a figure."""
        from collapse_theory.figures import FIGURES

        for entry in FIGURES:
            words = inspect.cleandoc(entry.draw.__doc__ or "").split("\n\n")[0]
            yield f"## {entry.name}"
            yield f"\n{' '.join(words.split())}\n"
            size = "one-panel" if entry.into == "ax" else "panels"
            for page, picture in zip(("light", "dark"), drawn(entry), strict=True):
                yield f"```{{image}} /{picture}\n:alt: {entry.name}"
                yield f":class: only-{page} {size}\n```\n"
            yield f"```python\nct.figures.{entry.name}()\n```\n"
            yield f"{{py:func}}`Arguments <collapse_theory.figures.{entry.name}>`, and its numbers:"
            yield f"{{py:func}}`~collapse_theory.figures.{entry.name}_data`.\n"


def drawn(entry: Any) -> list[str]:
    """Draw a figure, for light pages and dark ones, where this state of the package hasn't.

    Return the paths from docs/.
    """
    import matplotlib as mpl

    from collapse_theory.figures import figure_of, save

    docs = ROOT / "docs"
    pages = [docs / "gallery" / f"{entry.name}{end}.png" for end in ("", "_dark")]
    kept = [BUILD / "figures" / state_of_the_package() / page.name for page in pages]
    if not kept[1].exists():
        with mpl.rc_context({"backend": "Agg"}):
            figure = figure_of(entry.draw())
            for path, dark in zip(kept, (False, True), strict=True):
                save(figure, path, dark=dark)
            mpl.pyplot.close("all")
    for page, path in zip(pages, kept, strict=True):
        page.parent.mkdir(exist_ok=True)
        if not page.exists() or page.read_bytes() != path.read_bytes():
            page.write_bytes(path.read_bytes())
    return [page.relative_to(docs).as_posix() for page in pages]


class Report(Written):
    """The report of benchmarks, where it has been written."""

    def lines(self) -> Iterable[str]:
        """Return what includes it, or how it is made."""
        if (ROOT / "benchmarks" / "REPORT.md").exists():
            yield "```{include} ../benchmarks/REPORT.md"
            yield ":relative-images:\n:heading-offset: 1\n```"
        else:
            yield "`python benchmarks/report.py` writes a report beside other software."


class Commands(Written):
    """Every command of the Typer app: what it does, its arguments and options, examples."""

    def lines(self) -> Iterable[str]:
        """Return a section a command."""
        import typer.main

        from collapse_theory.cli import app

        group: Any = typer.main.get_command(app)
        context = typer.Context(group)
        for name in sorted(group.list_commands(context)):
            command = group.get_command(context, name)
            if not command.hidden:
                yield from _command(name, command)


def _command(name: str, command: Any) -> Iterable[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    places = " ".join(_metavar(p) if p.required else f"[{_metavar(p)}]" for p in arguments)
    yield f"## {name}\n"
    yield f"```sh\ncollapse-theory {name} {places}\n```\n"
    yield f"{_prose(command.help)}\n"
    for p in arguments:
        yield f"`{_metavar(p)}`\n: {_prose(getattr(p, 'help', '')) or '.'}\n"
    for p in options:
        value = "" if p.is_flag else f" {_metavar(p)}"
        names = ", ".join(f"`{option}{value}`" for option in [*p.opts, *p.secondary_opts])
        shown = "" if p.is_flag or p.default in (None, (), []) else f" Default: `{p.default}`."
        yield f"{names}\n: {_prose(p.help)}{shown}\n"
    lines = [line.strip() for line in (command.epilog or "").splitlines()]
    shell = [line for line in lines if line.startswith("collapse-theory")]
    if shell:
        yield "\n".join(["```sh", *shell, "```", ""])


def _metavar(parameter: Any) -> str:
    given = parameter.metavar or parameter.name
    return str(given).upper().replace("_", "-") if parameter.metavar is None else str(given)


def _prose(text: str | None) -> str:
    """Return help text as Markdown: what Markdown would take for markup is escaped."""
    words = " ".join(textwrap.dedent(text or "").split())
    return re.sub(r"([*_<\[\]|~$])", r"\\\1", words)


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    written = {
        "utility-laws": UtilityLaws,
        "losses-in-use": LossesInUse,
        "gallery": Gallery,
        "report": Report,
        "commands": Commands,
    }
    for name, directive in written.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
