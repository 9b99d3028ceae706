"""What an import loads, and that imports run one way through the house, without circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import collapse_theory

PACKAGE = Path(collapse_theory.__file__).parent
ROOT = PACKAGE.name

# Upward only: a folder imports from those before it, and from itself. `values` is what all frozen
# values share, `lazy` imports SciPy at first use; both know nothing of the rest.
HOUSE = (
    "errors",
    "display",
    "values",
    "files",
    "lazy",
    "numerics",
    "utilities",
    "laws",
    "programs",
    "exact",
    "finite",
    "limit",
    "data",
    "design",
    "sweeps",
    "capacity",
    "testing",
    "diagnosis",
    "figures",
    "training",
    "experiment",
    "explorer",
    "cli",
)

# Loaded where they are used, never by `import collapse_theory`.
HEAVY = (
    "cvxpy",
    "matplotlib",
    "torch",
    "sympy",
    "transformers",
    "accelerate",
    "safetensors",
    "polars",
    "typer",
    "rich",
    "pandas",
    "scipy.stats",
    "scipy.optimize",
    "scipy.integrate",
)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def house_of(module: str) -> str | None:
    """Return the part of the house that a module belongs to; None for the public face."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module of the package that a file imports, at any level of it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports name the whole module"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == ROOT:
                yield name, node.lineno


def test_every_part_of_the_house_has_its_place():
    parts = {house_of(module_of(path)) for path in sources()} - {None}
    # `python -m collapse_theory` enters by the command line's door.
    assert parts - {"__main__"} <= set(HOUSE)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_upward(path):
    here = house_of(module_of(path))
    if here is None or here == "__main__":
        return
    for name, line in imported(path):
        there = house_of(name)
        if there is None or there not in HOUSE:
            # The public face is behind all of the house but its doors.
            assert here in ("explorer", "cli"), f"{path.name}:{line} imports {name}"
            continue
        assert HOUSE.index(there) <= HOUSE.index(here), f"{path.name}:{line} imports {name}"


# A method that makes a value of a later module imports it when it is called: at most three.
LATER = frozenset(
    {
        ("collapse_theory.utilities.base", "collapse_theory.utilities.custom"),
        ("collapse_theory.laws.law", "collapse_theory.laws.policy"),
        ("collapse_theory.laws.law", "collapse_theory.laws.reading"),
    }
)


def edges() -> dict[str, set[str]]:
    """Return which files of the package each file imports, at any level, but for LATER."""
    modules = {module_of(path): path for path in sources()}
    found: dict[str, set[str]] = {module: set() for module in modules}
    for module, path in modules.items():
        for name, _ in imported(path):
            there = name if name in modules else name.rpartition(".")[0]
            if there in modules and there != module and (module, there) not in LATER:
                found[module].add(there)
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of more than one file."""

    def reached(start: str) -> set[str]:
        seen, todo = set[str](), [start]
        while todo:
            todo.extend(new := graph[todo.pop()] - seen)
            seen |= new
        return seen

    reach = {module: reached(module) for module in graph}
    rings = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return [set(ring) for ring in rings]


def test_no_circle_of_imports():
    assert circles(edges()) == []


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_is_imported_at_the_top(path):
    module = module_of(path)
    if house_of(module) is None:
        return  # the public face imports its heavy rooms at first use
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body} | {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in top:
            name = str(node.module)
            if name.split(".")[0] == ROOT:
                assert (module, name) in LATER, f"{path.name}:{node.lineno} imports {name}"


def test_few_methods_import_a_later_module():
    assert len(LATER) <= 3


def names_at_import(tree: ast.Module) -> Iterator[str]:
    """Yield what is imported when a module is: outside functions and TYPE_CHECKING."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize(
    "folder",
    [
        part
        for part in HOUSE
        if part not in ("testing", "training", "experiment", "explorer", "cli")
    ],
)
def test_heavy_packages_are_imported_where_they_are_used(folder):
    for path in sources():
        if house_of(module_of(path)) != folder:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name in names_at_import(tree):
            heavy = [h for h in HEAVY if name == h or name.startswith(f"{h}.")]
            assert not heavy, f"{path.name} imports {name} when it is imported"


def run(code: str, *flags: str) -> str:
    """Run `code` in a new interpreter in which warnings are errors, but for what flags say."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light():
    loaded = run(f"import sys, {ROOT}; print(*sys.modules)").split()
    assert "numpy" not in loaded
    assert {house_of(name) for name in loaded if name.partition(".")[0] == ROOT} == {
        *(None, "errors", "lazy")
    }


def test_a_room_never_stands_for_a_function():
    code = f"import {ROOT}.limit.solve, {ROOT}.design.link, {ROOT} as ct; from {ROOT} import *; "
    code += "print(ct.limit.__module__, design.__module__, ct.figures.__name__)"
    assert run(code).split() == [f"{ROOT}.{m}" for m in ("limit.solve", "design.design", "figures")]


def test_the_import_is_quick():
    code = (
        "import time; start = time.process_time(); import collapse_theory; "
        "print(time.process_time() - start)"
    )
    # .02 s at a desk and .2 s promised; processors differ.
    assert min(float(run(code)) for _ in range(3)) < 0.5


@pytest.mark.parametrize("words", [["-h"], ["predict", "-h"], ["diagnose", "-h"]], ids=" ".join)
def test_help_is_light(words):
    # As a command that runs its file alone: `-h` .28 s of CPU, `predict` .5 s where numpy takes .1.
    code = (
        f"import sys, {ROOT}.cli as cli; sys.argv[1:] = {words}; shown = sys.stdout\n"
        "sys.stdout = sys.stderr\ntry:\n    cli.main()\nexcept SystemExit:\n"
        "    print(*sys.modules, file=shown)"
    )
    # Old versions of Typer use what newer ones of Click deprecate.
    loaded = run(code, "-W", "ignore::DeprecationWarning").split()
    allowed = {"typer", "rich"}
    assert not [name for name in loaded if name.partition(".")[0] == "scipy"]
    assert not [name for name in loaded if name in HEAVY and name not in allowed]
    rooms = {house_of(name) for name in loaded if name.partition(".")[0] == ROOT}
    assert not rooms & {"capacity", "diagnosis", "figures"}


def test_solving_needs_no_heavy_package():
    code = (
        f"import sys, {ROOT} as ct; ct.solve('log(x + 0.1)', 8); ct.solve('x**0.5', 8); "
        f"ct.closed_form('log(x)', 8); ct.closed_form('log(x)'); print(*sys.modules)"
    )
    loaded = run(code).split()
    assert not [name for name in loaded if name in HEAVY]


def test_the_public_face():
    for name in collapse_theory.__all__:
        assert getattr(collapse_theory, name) is not None
    assert collapse_theory.__all__ == sorted(collapse_theory.__all__)
    assert (PACKAGE / "py.typed").exists()
