"""What is found by its name, and what is said where a name is nearly right."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import collapse_theory as ct
from collapse_theory import finite
from collapse_theory.limit import METHODS, Method
from collapse_theory.programs import Domain

# What takes a domain, of a utility that all of them take.
TAKERS = {
    "solve": lambda domain: ct.solve("log(x + 0.1)", 4, domain).rewards,
    "limit": lambda domain: ct.limit("log(x + 0.1)", domain).quantiles(9),
    "closed_form": lambda domain: ct.closed_form("log(x)", 4, domain).rewards,
    "closed_form_of_a_law": lambda domain: ct.closed_form("log(x)", domain=domain).quantiles(9),
    "predicted_rewards": lambda domain: ct.predicted_rewards("log(x + 0.1)", 8, domain),
    "atom_mass": lambda domain: ct.atom_mass("log(x + 0.1)", domain),
    "figure": lambda domain: ct.figures.limit_laws_data(["log(x)"], domain=domain).places,
}
takers = pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
classes = [value for name in ct.__all__ if isinstance(value := getattr(ct, name), type)]


def test_dir_lists_the_public_names():
    for path in Path(ct.__file__).parent.glob("*/__init__.py"):
        if path.parent.name in ("cli", "explorer", "numerics"):
            continue  # not for users
        room = importlib.import_module(f"collapse_theory.{path.parent.name}")
        assert dir(room) == sorted(room.__all__), room
    for room in (ct, ct.figures):
        assert dir(room) == sorted(room.__all__)
        assert all(getattr(room, name) is not None for name in dir(room))
    assert {"figures", "diagnose", "max_margin"} < set(dir(ct))


def test_rooms_are_there_without_an_import_of_their_own():
    rooms = "data", "diagnosis", "laws", "testing"
    code = f"import collapse_theory as ct; [getattr(ct, room).__all__ for room in {rooms}]"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


@takers
def test_a_pair_of_numbers_is_a_box(take):
    wanted = take(ct.Box(-1, 2))
    for pair in ((-1, 2), [-1, 2.0], np.array([-1.0, 2.0])):
        np.testing.assert_array_equal(take(pair), wanted)


@takers
@pytest.mark.parametrize("wrong", [3, "box", "ab", (0, 1, 2), [(0, 1)], {0: 1}, True], ids=repr)
def test_what_is_no_domain(take, wrong):
    with pytest.raises(ct.CollapseError, match=r"domain must be ct\.Box\(0, 1\) or a pair \(0, 1"):
        take(wrong)


@pytest.mark.parametrize(
    ("pair", "why"),
    [((1, 0), "low < high"), ((0, None), "number, not None"), ((0, np.inf), "finite, not inf")],
)
def test_pairs_that_are_no_box(pair, why):
    with pytest.raises(ct.CollapseError, match=why):
        ct.solve("x", 3, pair)


@takers
@pytest.mark.parametrize("kind", [k for k in classes if issubclass(k, Domain)])
def test_domains_without_brackets(take, kind):
    with pytest.raises(ct.CollapseError, match=rf"ct\.{kind.__name__} needs .*: ") as refusal:
        take(kind)
    assert isinstance(_written(refusal.value), kind)


@pytest.mark.parametrize("take", [ct.utility, ct.limit, ct.closed_form, lambda u: ct.solve(u, 3)])
@pytest.mark.parametrize(
    "kind", [k for k in classes if issubclass(k, ct.Utility | ct.PlackettLuce) and k != ct.Utility]
)
def test_utilities_without_brackets(take, kind):
    with pytest.raises(ct.CollapseError, match=rf"ct\.{kind.__name__} needs .*: ") as refusal:
        take(kind)
    assert isinstance(_written(refusal.value), kind)


def _written(refusal: Exception):
    """Return the value that a refusal says how to write."""
    name, _, rest = str(refusal).rpartition(": ct.")[2].partition("(")
    return getattr(ct, name)(*ast.literal_eval(f"[{rest.removesuffix(')')}]"))


def test_type_checkers_know_the_methods():
    assert get_args(finite.Method) == ("auto", *finite.METHODS, "exact")
    assert set(get_args(Method)) == {"auto", *METHODS, "series", "cells"}


class Nothing(ct.Utility):
    def value(self, x, xp=np):
        return xp.log(x)

    def derivatives(self, x):
        return None


@pytest.mark.parametrize(
    ("take", "why"),
    [
        (lambda: ct.solve("x", 10**400), "n must be at most"),
        (lambda: ct.limit("sqrt(x)").rewards(10**300), "n must be at most"),
        (lambda: ct.limit("x", tol=[]), "tol must be a number"),
        (lambda: ct.Comparisons.ranking(0.5), "groups must be a sequence"),
        (lambda: ct.Comparisons.ranking([[0], np.array(1)]), "groups must be a sequence"),
        (lambda: ct.solve(Nothing(), 3), "must return real numbers for an array of gaps"),
        (lambda: ct.solve("x", 3, np.array(3)), "domain must be"),
        (lambda: ct.solve("x", 3, [[0], [1]]), "low must be a number"),
    ],
)
def test_what_is_no_argument_is_said_at_once(take, why):
    with pytest.raises(ct.CollapseError, match=why):
        take()


# Whose names are for users; what only other rooms use is theirs.
ROOMS = ("data", "design", "diagnosis", "exact", "figures", "laws", "limit", "testing", "training")
# What can't be shown in a line or two: errors of another machine, and what takes a model.
UNSHOWN = {"NotInstalled", "SolverFailed", "serve"}


def shown_by_help():
    """Yield the public classes and functions whose help has an example.

    Classes of the rooms are for the most part what functions return: there functions count.
    """
    yield from ((ct, name) for name in ct.__all__)
    for room in ROOMS:
        module = importlib.import_module(f"collapse_theory.{room}")
        for name in module.__all__:
            if room in ("laws", "testing") or inspect.isfunction(getattr(module, name)):
                yield module, name


@pytest.mark.slow
def test_help_shows_an_example():
    pytest.importorskip("trl", reason="the extra collapse-theory[trl]")
    lacking = {
        f"{module.__name__}.{name}"
        for module, name in shown_by_help()
        if name not in UNSHOWN
        and callable(found := getattr(module, name))
        and (inspect.isclass(found) or inspect.isfunction(found))
        and ">>> " not in (inspect.getdoc(found) or "")
    }
    assert not lacking
