"""Values: equality, hash, copies, pickles and JSON for all of them, and arrays that stay put."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import PROBLEMS, cases, certified

import collapse_theory as ct
from collapse_theory.exact import LIMIT_FORMS
from collapse_theory.laws import empirical_law
from collapse_theory.programs import Certificate
from collapse_theory.testing import utilities
from collapse_theory.values import Value, registered


def arrays_of(value):
    return [array for f in fields(value) if isinstance(array := getattr(value, f.name), np.ndarray)]


def through_json(value):
    """Write a value as strict JSON and read it back."""
    return type(value).from_dict(json.loads(json.dumps(value.to_dict(), allow_nan=False)))


def check(value: Value) -> None:
    """Every way out and back gives an equal value with read-only arrays."""
    again = [
        copy.copy(value),
        copy.deepcopy(value),
        through_json(value),
        Value.from_dict(value.to_dict()),
        *(pickle.loads(pickle.dumps(value, protocol)) for protocol in (2, 5)),
    ]
    for other in again:
        assert other == value
        assert hash(other) == hash(value)
        assert type(other) is type(value)
        assert repr(other) == repr(value)
        for array in arrays_of(other):
            assert not array.flags.writeable
    assert value != 0
    assert len({value, *again}) == 1
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None) if fields(value) else _set(value)


def _set(value):
    raise FrozenInstanceError(f"{value} has no fields to set")


@cases(150)
@given(utilities(weights=(1e-8, 1e8)))
def test_random_utilities(utility):
    check(utility)
    assert ct.utility(str(utility)) == utility


@cases(60)
@given(utilities(), st.integers(2, 20))
def test_random_solutions(utility, n):
    found = ct.solve(utility, n)
    check(found)
    again = through_json(found)
    # To the last digit: JSON holds the shortest text that reads back as the same float.
    assert again.rewards.tobytes() == found.rewards.tobytes()
    assert again.gaps.tobytes() == found.gaps.tobytes()
    assert again.law == found.law
    assert again.n == n


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("method", ["auto", "conic"])
def test_solutions_by_every_route(problem, method):
    check(ct.solve(problem.utility, problem.n, ct.Box(-1, -0.25), method=method))


def test_an_infinite_objective_survives_json():
    found = ct.Solution(
        rewards=[1, 1, 0],
        gaps=[0, 1],
        objective=-np.inf,
        gap=np.inf,
        relative_gap=np.inf,
        status="inaccurate",
        method="newton",
        iterations=3,
        unique=True,
        utility=ct.Log(),
        domain=ct.Box(),
    )
    check(found)
    assert through_json(found).objective == -np.inf


@cases(60)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_boxes(low, width):
    box = ct.Box(low, low + width)
    check(box)
    assert box == ct.Box(np.float64(low), high=low + width)
    assert box != ct.Box(low - 1, low + width)


def test_zero_has_one_sign():
    assert ct.Box(-0.0, 1.0) == ct.Box(0, 1)
    assert hash(ct.Box(-0.0, 1.0)) == hash(ct.Box(0, 1))
    assert empirical_law([-0.0, 1.0]) == empirical_law([0.0, 1.0])


@pytest.mark.parametrize("text", [text for form in LIMIT_FORMS for text in form.examples])
def test_laws_of_closed_forms(text):
    law = ct.closed_form(text)
    check(law)
    check(ct.closed_form(text, domain=ct.Box(1, 5 / 3)))
    for part in law.parts:
        check(part)
    assert law == ct.closed_form(text)


def test_certificates():
    certificate = certified(ct.Log(), np.array([0.25, 0.5, 0.25]))
    check(certificate)
    assert certificate == Certificate(*vars(certificate).values())
    assert certificate != Certificate(0.0, 0.0, 0.0, 0.0)


def test_solutions_differ_where_their_answers_do():
    plain = ct.solve("log(x + 0.1)", 6)
    assert plain != ct.solve("log(x + 0.2)", 6)
    assert plain != ct.solve("log(x + 0.1)", 7)
    assert plain != ct.solve("log(x + 0.1)", 6, ct.Box(0, 2))
    assert plain != ct.solve("log(x + 0.1)", 6, method="conic")
    assert plain == ct.solve("log(x + 0.1)", 6)


def test_what_a_value_is_made_of_may_change_afterwards():
    places = np.array([1.0, 0.5, 0.0])
    found = ct.Solution(
        rewards=places,
        gaps=[0.5, 0.5],
        objective=0.0,
        gap=0.0,
        relative_gap=0.0,
        status="optimal",
        method="test",
        iterations=0,
        unique=True,
        utility=ct.Log(),
        domain=ct.Box(),
    )
    places[0] = 7.0
    assert found.rewards[0] == 1.0


def test_dicts_of_the_wrong_kind_are_refused():
    data = ct.Box(0, 2).to_dict()
    assert data == {"type": "Box", "low": 0.0, "high": 2.0}
    with pytest.raises(ValueError, match="not a Solution"):
        ct.Solution.from_dict(data)
    with pytest.raises(ValueError, match="unknown type 'Sphere'"):
        Value.from_dict({"type": "Sphere"})
    with pytest.raises(ValueError, match=r"\['depth'\]"):
        ct.Box.from_dict({**data, "depth": 3})
    with pytest.raises(ct.CollapseError, match="low < high"):
        ct.Box.from_dict({**data, "low": 5.0})
    assert registered("Box") is ct.Box


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (3, "a dict as to_dict writes it was needed, got 3"),
        ({}, "unknown type ''"),
        ({"type": ["Box"]}, r"unknown type \['Box'\]"),
        ({"type": "Confined"}, "the dict of a Confined lacks 'kappa'"),
        ({"type": "Confined", "kappa": None}, "kappa of Confined must be a number"),
        ({"type": "Box", "low": {"type": "float"}}, "the dict of a Box lacks 'text'"),
        ({"type": "Box", "low": {"type": "float", "text": "?"}}, "a Box can't be read"),
        ({"type": "Comparisons", "n": 3, "better": [0]}, "a Comparisons lacks 'worse'"),
        (
            {"type": "Comparisons", "n": 3, "better": [0.5], "worse": [1]},
            r"whole numbers.*\[0\.5\]",
        ),
        ({"type": "Comparisons", "n": 3, "better": ["a"], "worse": [1]}, "whole numbers|be read"),
    ],
)
def test_broken_dicts_say_what_is_wrong(data, why):
    with pytest.raises(ct.CollapseError, match=why):
        Value.from_dict(data)


VALUES = (
    ct.Box(-1, 2),
    ct.utility("log(x) + atan(x)"),
    ct.solve("log(x + 0.1)", 4),
    ct.limit("log(x + 0.1)"),
    ct.Comparisons(4, [0, 1], [1, 2], [1, 2], ((0, 3),)),
)
JUNK = (None, -1, 0.5, "a", [], [1], {}, {"type": "Box"}, {"type": "tuple", "items": 3}, 10**400,
        {"type": "array", "shape": [3], "data": [1]}, {"type": "float", "text": "inf"})  # fmt: skip


def places_in(data, at=()):
    """Yield the way to each entry of nested dicts and lists."""
    if not isinstance(data, dict | list):
        return
    for key, entry in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*at, key)
        yield from places_in(entry, (*at, key))


@cases(300)
@given(st.sampled_from(VALUES), st.sampled_from(("nothing", *JUNK)), st.data())
def test_whatever_is_broken_in_a_dict_is_a_collapse_error(value, junk, data):
    written = json.loads(json.dumps(value.to_dict()))
    *way, last = data.draw(st.sampled_from(list(places_in(written))))
    inner = written
    for key in way:
        inner = inner[key]
    if junk == "nothing":
        del inner[last]
    else:
        inner[last] = junk
    with contextlib.suppress(ct.CollapseError):
        type(value).from_dict(written)


def test_a_solution_reads_well():
    text = repr(ct.solve("log(x + 0.1)", 8))
    assert text.startswith("Solution(log(x + 0.1), n=8: rewards [1.     1.     0.8537 ")
    assert "optimal by newton" in text
    assert "\n" not in text
    assert "..." in repr(ct.solve("log(x)", 100))
    assert len(repr(ct.solve("log(x)", 2000))) < 200
