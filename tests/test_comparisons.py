"""Comparisons: any pairs, weights, margins and ties; their solver, certificate and max-margin."""

from __future__ import annotations

import json
import pickle
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

import collapse_theory as ct
from collapse_theory.finite import interior_point
from collapse_theory.finite.active_set import feasible
from collapse_theory.finite.max_margin import max_margin
from collapse_theory.numerics import graph_systems
from collapse_theory.programs import Answer, Comparisons, Program, certify
from collapse_theory.testing import comparisons

SMOOTHED = "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)"
TEXTS = ("log(x + 0.1)", "logsigmoid(4*x)", "log(x)", "x**0.5", "-1/(x + 0.1)", SMOOTHED)
DOMAINS = (ct.Box(), ct.Box(-1, 1), ct.Confined(0.1), ct.Centered(0.1), ct.Free())


def random_pairs(n: int, count: int, seed: int) -> Comparisons:
    """Return some `count` random pairs of a shuffled order, with random weights."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, n, (2, count)), axis=0)
    low, high = np.append(low[low < high], 0), np.append(high[low < high], n - 1)
    order = rng.permutation(n)
    return Comparisons(n, order[low], order[high], rng.uniform(0.1, 2, len(low)))


def solved(u, pairs, domain=None, **options):
    """Solve, or None where nothing holds the rewards."""
    try:
        return ct.solve(u, domain=domain, comparisons=pairs, **options)
    except ct.NoOptimum:
        return None


def objective(u, pairs, domain, r):
    """The program, as its definition says."""
    w = pairs.weights / pairs.weights.sum()
    a, b = r[pairs.better], r[pairs.worse]
    with np.errstate(all="ignore"):
        value = w @ ct.utility(u)(np.maximum(a - b, 0) - pairs.margins)
    if isinstance(domain, ct.Confined):
        value -= domain.kappa * np.mean(r**2)
    if isinstance(domain, ct.Centered):
        value -= domain.c * (w @ (a + b) ** 2)
    return value


def test_a_partial_order_by_hand():
    # U' = 1/(gap + 0.1) balances at completions 1 and 2: 2/(0.7 + 0.1) = 1/(0.3 + 0.1).
    pairs = Comparisons(5, [0, 0, 1, 2, 2, 0], [1, 2, 3, 3, 4, 4], [2, 1, 1, 1, 1, 1])
    found = ct.solve("log(x + 0.1)", comparisons=pairs)
    np.testing.assert_allclose(found.rewards, [1, 0.3, 0.7, 0, 0], atol=1e-13)
    np.testing.assert_allclose(found.gaps, [0.3, 0.4, 0.3, 0], atol=1e-13)
    assert found.relative_gap < 1e-13
    assert found.unique
    assert found.comparisons == pairs


@cases(40)
@given(comparisons(), st.sampled_from(TEXTS), st.sampled_from(DOMAINS))
def test_against_cvxpy(pairs, text, domain):
    ours = solved(text, pairs, domain)
    if ours is None or pairs.full_order() is not None:
        return  # a full ranking has a conic program of its own, tested with it
    assert ours.status == "optimal"
    assert objective(text, pairs, domain, ours.rewards) == pytest.approx(ours.objective, abs=1e-10)
    other = ct.solve(text, domain=domain, comparisons=pairs, method="conic")
    assert other.objective <= ours.objective + ours.gap
    size = max(1.0, float(np.abs(ours.rewards).max()))
    # The reference, written plainly in the rewards, knows them to the root of its tolerance.
    np.testing.assert_allclose(other.rewards, ours.rewards, atol=5e-3 * size)
    assert other.objective == pytest.approx(ours.objective, abs=1e-5 * max(1, abs(ours.objective)))


@cases(40)
@given(comparisons(), st.sampled_from(TEXTS), st.sampled_from(DOMAINS), st.integers(0, 2**32))
def test_relabelling_permutes_the_rewards(pairs, text, domain, seed):
    plain = solved(text, pairs, domain)
    if plain is None:
        return
    new = np.random.default_rng(seed).permutation(pairs.n)
    equal = [[int(new[i]) for i in group] for group in pairs.equal]
    moved = Comparisons(pairs.n, new[pairs.better], new[pairs.worse], pairs.weights, equal)
    found = ct.solve(text, domain=domain, comparisons=moved)
    size = max(1.0, float(np.abs(plain.rewards).max()))
    if not plain.undetermined:
        np.testing.assert_allclose(found.rewards[new], plain.rewards, atol=1e-7 * size)


@cases(25)
@given(comparisons(), st.sampled_from(TEXTS[:3]), st.integers(0, 2**32))
def test_a_pair_twice_is_twice_the_weight(pairs, text, seed):
    twice = np.random.default_rng(seed).random(len(pairs.better)) < 0.5
    repeated = Comparisons(
        pairs.n,
        np.append(pairs.better, pairs.better[twice]),
        np.append(pairs.worse, pairs.worse[twice]),
        np.append(pairs.weights, pairs.weights[twice]),
        pairs.equal,
    )
    weights = pairs.weights * (1 + twice)
    heavier = Comparisons(pairs.n, pairs.better, pairs.worse, 7 * weights, pairs.equal)
    one, two = (ct.solve(text, comparisons=p) for p in (repeated, heavier))
    np.testing.assert_allclose(one.rewards, two.rewards, atol=1e-8)
    assert one.objective == pytest.approx(two.objective, abs=1e-12)


@cases(40)
@given(
    comparisons(),
    st.sampled_from(TEXTS),
    st.sampled_from(DOMAINS),
    st.floats(-9, 0),
    st.integers(0, 2**32),
)
def test_the_certificate_is_honest(pairs, text, domain, noise, seed):
    best = solved(text, pairs, domain)
    if best is None:
        return
    assert best.relative_gap < 1e-9
    program = Program.of(ct.utility(text), None, domain, pairs)
    graph = program.graph
    at = np.unique(graph.node_of[graph.node_of >= 0], return_index=True)[1]
    r = best.rewards[np.flatnonzero(graph.node_of >= 0)[at]]
    width = domain.width if isinstance(domain, ct.Box) else 1.0
    r = (r - domain.low) / width if isinstance(domain, ct.Box) else r
    rng = np.random.default_rng(seed)
    r = feasible(program, r + 10.0**noise * rng.standard_normal(len(r)))
    z = 10.0**noise * rng.random(len(graph.a)) * rng.integers(0, 2)
    found = certify(program, Answer(rewards=r, multipliers=z))
    assert not found.gap < best.objective - found.objective
    # And against rewards from outside: what CVXPY finds is feasible, so no bound is below it.
    other = ct.solve(text, domain=domain, comparisons=pairs, method="conic")
    assert not found.gap < other.objective - found.objective
    assert not best.gap < other.objective - best.objective


@pytest.mark.parametrize("text", ["log(x + 0.1)", "logsigmoid(x)", SMOOTHED])
@pytest.mark.parametrize("domain", [ct.Box(), ct.Box(-3, -1), ct.Confined(0.2), ct.Centered(0.1)])
def test_a_full_ranking_is_the_program_of_one_prompt(text, domain):
    full, order = ct.solve(text, 6, domain), np.array([3, 0, 5, 1, 4, 2])
    i, j = np.triu_indices(6, 1)
    pairs = Comparisons(6, order[i], order[j], np.full(15, 2.0))
    np.testing.assert_array_equal(ct.solve(text, 6, domain, pairs).rewards[order], full.rewards)
    # One pair more makes it a graph; its weight is next to nothing.
    more = Comparisons(
        6, np.append(pairs.better, 3), np.append(pairs.worse, 2), np.append(pairs.weights, 1e-13)
    )
    found = ct.solve(text, domain=domain, comparisons=more)
    assert found.status == "optimal"
    np.testing.assert_allclose(found.rewards[order], full.rewards, atol=1e-9)


def test_ties_held_equal_and_left_free():
    for groups in ([[0], [1, 2], [3]], [[2, 0], 1, [3, 4, 5]]):
        tied = ct.solve("log(x + 0.1)", comparisons=Comparisons.ranking(groups))
        free = ct.solve("log(x + 0.1)", comparisons=Comparisons.ranking(groups, ties="free"))
        for group in groups:
            assert len(np.unique(tied.rewards[np.atleast_1d(group)])) == 1
        # By symmetry those left free come out equal too.
        np.testing.assert_allclose(free.rewards, tied.rewards, atol=1e-8)
    weights = np.array([[0, 1, 5], [0, 0, 1], [0, 0, 0]])
    far = Comparisons.ranking([[0], [1, 2], [3]], weights=weights, margins=0.1 * weights)
    assert far.weights.tolist() == [1, 1, 5, 1, 1]
    assert far.margins.max() == 0.5


def test_single_pairs_go_to_the_ends_of_the_box():
    pairs = Comparisons(6, [0, 3, 5], [1, 2, 4])
    found = ct.solve("logsigmoid(x)", comparisons=pairs, domain=ct.Box(-2, 3))
    assert found.rewards.tolist() == [3, -2, -2, 3, -2, 3]
    assert found.relative_gap == 0  # no pair can have more
    assert found.gap < 1e-16  # the rounding of the objective, 0.007
    # Each pair alone: maximise log sigma(2r) - kappa r**2.
    held = ct.solve("logsigmoid(x)", comparisons=pairs, domain=ct.Confined(0.3))
    r = held.rewards[0]
    assert 1 / (1 + np.exp(2 * r)) == pytest.approx(0.3 * r, rel=1e-12)
    smooth = ct.solve(ct.LabelSmoothing(0.1), comparisons=pairs, domain=ct.Free())
    np.testing.assert_allclose(smooth.rewards[[0, 3, 5]], np.log(9) / 2, atol=1e-12)


def test_a_chain_shares_its_completions():
    # U' equal over the gaps of a chain: equal gaps; a hub is not between its neighbours' pairs.
    chain = ct.solve("log(x + 0.1)", comparisons=Comparisons(4, [0, 1, 2], [1, 2, 3]))
    np.testing.assert_allclose(chain.rewards, [1, 2 / 3, 1 / 3, 0], atol=1e-12)
    hub = ct.solve("log(x + 0.1)", comparisons=Comparisons(4, [0, 0, 1], [1, 2, 3]))
    np.testing.assert_allclose(hub.rewards, [1, 0.5, 0, 0], atol=1e-12)


def test_margins():
    pairs = Comparisons(3, [0, 1], [1, 2], margins=[0.5, -0.2])
    found = ct.solve("logsigmoid(x)", comparisons=pairs)
    # U'(g - m) equal: the gaps differ as the margins do.
    np.testing.assert_allclose(found.gaps, [0.85, 0.15], atol=1e-12)
    i, j = np.triu_indices(5, 1)
    same = ct.solve("logsigmoid(x)", comparisons=Comparisons(5, i, j, margins=0.4))
    other = ct.solve(ct.LogSigmoid().shifted(-0.4), 5)
    np.testing.assert_allclose(same.rewards, other.rewards, atol=1e-9)
    for text in ("log(x)", "x**0.5", "-1/x", "log(x + 0.1)"):
        with pytest.raises(ct.InvalidUtility, match="margin"):
            ct.solve(text, comparisons=pairs)
    with pytest.raises(ct.NotIncreasing):
        ct.solve(ct.Squared(1.0), comparisons=pairs)


@cases(25)
@given(comparisons(), st.sampled_from(["x", "min(x, 0.5)", "min(x, 0.3) + log(x + 0.1)"]))
def test_kinks_and_lines(pairs, text):
    for domain in (ct.Box(), ct.Confined(0.1)):
        ours = ct.solve(text, domain=domain, comparisons=pairs)
        other = ct.solve(text, domain=domain, comparisons=pairs, method="conic")
        assert ours.status == "optimal"
        assert ours.objective == pytest.approx(other.objective, abs=1e-6)
        if ours.unique:
            np.testing.assert_allclose(ours.rewards, other.rewards, atol=1e-3)


def test_whether_the_optimum_is_the_only_one():
    chain = Comparisons(3, [0, 1], [1, 2])
    assert not ct.solve("x", comparisons=chain).unique
    assert ct.solve("x", comparisons=chain, domain=ct.Confined(1)).unique
    assert ct.solve("min(x, 0.5)", comparisons=chain).unique
    assert not ct.solve("min(x, 0.3)", comparisons=chain).unique
    assert ct.solve("x", comparisons=Comparisons(3, [0, 1], [1, 2], [2, 1])).unique


def test_completions_in_no_pair():
    pairs = Comparisons(5, [0, 3], [1, 1])
    found = ct.solve("logsigmoid(x)", comparisons=pairs, domain=ct.Box(0, 4))
    assert found.undetermined == (2, 4)
    assert not found.unique
    assert found.rewards[2] == 2
    held = ct.solve("logsigmoid(x)", comparisons=pairs, domain=ct.Confined(1))
    assert held.undetermined == ()
    assert held.rewards[2] == 0
    apart = ct.solve(ct.LabelSmoothing(0.1), comparisons=pairs, domain=ct.Free())
    assert apart.undetermined == (2, 4)


def test_nothing_holds_the_rewards():
    square = Comparisons(4, [0, 0, 1, 2], [1, 2, 3, 3])
    triangle = Comparisons(3, [0, 0, 1], [1, 2, 2], [1, 1, 2])
    for pairs, domain in ((square, ct.Free()), (square, ct.Centered(1)), (triangle, ct.Free())):
        with pytest.raises(ct.NoOptimum, match="nothing holds the rewards"):
            ct.solve("logsigmoid(x)", domain=domain, comparisons=pairs)
    assert ct.solve("logsigmoid(x)", domain=ct.Centered(1), comparisons=triangle).gap < 1e-12
    assert ct.solve(SMOOTHED, domain=ct.Centered(1), comparisons=square).gap < 1e-12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, [0, 1, 2], [1, 2, 0]), "cycle: .* > "),
        ((4, [0, 2], [1, 3], None, [[1, 2], [3, 0]]), "cycle"),
        ((3, [0], [0]), "itself"),
        ((3, [0], [1], None, [[0, 2], [2, 1]]), "held equal"),
        ((3, [0], [3]), r"worse\[0\] = 3"),
        ((3, [-1], [1]), r"better\[0\] = -1"),
        ((3, [0.0], [1]), "whole numbers"),
        ((3, [0, 1], [2]), "same length"),
        ((3, [0], [1], [-1]), "negative weight"),
        ((3, [0], [1], [np.nan]), "finite"),
        ((3, [0], [1], [np.inf]), "finite"),
        ((3, [0], [1], [0]), "no pair counts"),
        ((3, [], []), "no pair counts"),
        ((3, [0], [1], [1, 2]), "one a pair"),
        ((1, [0], [0]), "at least 2"),
        ((3, [0], [1], None, (), [np.nan]), "margins"),
        ((3, [0], [1], None, [[0, 7]]), "equal"),
    ],
)
def test_errors(arguments, words):
    with pytest.raises(ct.CollapseError, match=words):
        Comparisons(*arguments)


def test_more_errors():
    pairs = Comparisons(3, [0], [1])
    for bad in ([[0], [1, 1]], [[0], [2]]):
        with pytest.raises(ct.CollapseError):
            Comparisons.ranking(bad)
    with pytest.raises(ct.CollapseError, match="ties"):
        Comparisons.ranking([0, 1], ties="loose")
    with pytest.raises(ct.CollapseError, match="differs"):
        ct.solve("x", 4, comparisons=pairs)
    with pytest.raises(ct.CollapseError, match="Comparisons"):
        ct.solve("x", comparisons=[(0, 1)])
    with pytest.raises(ct.CollapseError):
        ct.solve("x")


@cases(20)
@given(comparisons())
def test_values(pairs):
    written = json.loads(json.dumps(pairs.to_dict(), allow_nan=False))
    again = (pickle.loads(pickle.dumps(pairs)), Comparisons.from_dict(written))
    for other in again:
        assert other == pairs
        assert hash(other) == hash(pairs)
        assert other.better.dtype == np.int64
        assert not other.better.flags.writeable
    assert repr(pairs).startswith(f"Comparisons(n={pairs.n}")
    found = ct.solve("log(x + 0.1)", comparisons=pairs)
    assert ct.Solution.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("text", ["log(x + 0.1)", "logsigmoid(x)", "-1/x"])
@pytest.mark.parametrize("domain", [ct.Box(), ct.Confined(0.1), ct.Centered(0.2)])
def test_sparse_and_dense_agree(text, domain, monkeypatch):
    pairs = random_pairs(300, 2000, 5)
    dense = ct.solve(text, domain=domain, comparisons=pairs)
    monkeypatch.setattr(graph_systems, "DENSE", 50)
    monkeypatch.setattr(interior_point, "DENSE", 50)
    sparse = ct.solve(text, domain=domain, comparisons=pairs)
    assert dense.status == sparse.status == "optimal"
    np.testing.assert_allclose(sparse.rewards, dense.rewards, atol=1e-6)


def test_many_prompts_of_one_pattern_are_solved_once():
    start = time.process_time()
    for _ in range(10_000):
        pairs = Comparisons(8, [0, 0, 1, 2, 4, 5], [1, 2, 3, 3, 5, 7])
        ct.solve(ct.LogSigmoid(), comparisons=pairs, domain=ct.Confined(0.1))
    assert time.process_time() - start < 10


# -- the direction of unbounded training -------------------------------------------------


def test_max_margin_of_a_full_ranking_is_equally_spaced():
    for n in (2, 3, 7):
        wanted = (n - 1) / 2 - np.arange(n)
        np.testing.assert_array_equal(max_margin(n).rewards, wanted)
        np.testing.assert_allclose(max_margin(Comparisons.full(n)).rewards, wanted, atol=1e-13)


@cases(40)
@given(comparisons(12))
def test_max_margin_against_cvxpy(pairs):
    import cvxpy as cp

    found = max_margin(pairs)
    r = cp.Variable(pairs.n)
    limits = [r[pairs.better] - r[pairs.worse] >= 1]
    limits += [r[group[0]] == r[i] for group in pairs.equal for i in group[1:]]
    options = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
    problem = cp.Problem(cp.Minimize(cp.sum_squares(r)), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve(solver="CLARABEL", **options)
    np.testing.assert_allclose(found.rewards, r.value, atol=1e-5)
    assert found.relative_gap < 1e-9
    assert (found.rewards[pairs.better] - found.rewards[pairs.worse]).min() >= 1 - 1e-12
    assert -found.objective <= problem.value / pairs.n * (1 + 1e-9)


def test_gradient_flow_goes_there():
    # Steps as long as the gaps allow: the direction comes nearer as 1 / log of the time.
    pairs = Comparisons(5, [0, 0, 1, 2, 3], [1, 2, 3, 4, 4], [3, 1, 1, 2, 1])
    wanted = max_margin(pairs).rewards
    wanted = wanted / np.linalg.norm(wanted)
    a, b, w = pairs.better, pairs.worse, pairs.weights
    r, distance = np.zeros(5), []
    for step in range(200_000):
        push = w / (1 + np.exp(r[a] - r[b]))
        gradient = np.bincount(a, push, 5) - np.bincount(b, push, 5)
        r = r + 0.1 / push.max() * gradient
        if step % 50_000 == 49_999:
            distance.append(np.linalg.norm(r / np.linalg.norm(r) - wanted))
        if np.abs(r).max() > 300:
            break
    assert np.linalg.norm(r / np.linalg.norm(r) - wanted) < 0.02


# -- many prompts, margins by rank, kinks on graphs --------------------------------------


def test_constructors():
    assert Comparisons.adjacent(4) == Comparisons(4, [0, 1, 2], [1, 2, 3])
    assert Comparisons.best(4) == Comparisons(4, [0, 0, 0], [1, 2, 3])
    assert Comparisons.full(4, margins=0.5).margins.tolist() == [0.5, 1, 1.5, 0.5, 1, 0.5]
    table = np.arange(16.0).reshape(4, 4)
    assert Comparisons.full(4, margins=table).margins.tolist() == [1, 2, 3, 6, 7, 11]
    assert Comparisons.full(3, margins=0.0) == Comparisons.full(3)
    both = Comparisons.union([Comparisons.ranking([[0], [1, 2]]), Comparisons(2, [1], [0], [3])])
    assert both == Comparisons(5, [0, 0, 4], [1, 2, 3], [1, 1, 3], [[1, 2]])
    for bad in ([], [Comparisons.full(2), 3], [[0, 1]], Comparisons.full(2)):
        with pytest.raises(ct.CollapseError, match="union"):
            Comparisons.union(bad)
    for margins in ([0.1, 0.2], np.zeros((2, 2)), np.nan, "far"):
        with pytest.raises(ct.CollapseError, match="margins"):
            Comparisons.full(3, margins=margins)
    with pytest.raises(ct.CollapseError):
        Comparisons.adjacent(1)


@cases(15)
@given(
    st.lists(comparisons(5), min_size=1, max_size=3),
    st.sampled_from(TEXTS),
    st.sampled_from(DOMAINS),
)
def test_prompts_of_a_pattern_are_solved_once(parts, text, domain):
    union = Comparisons.union(parts * 3)
    found = solved(text, union, domain)
    if found is None:
        return
    assert found.status == "optimal"
    blocks = found.rewards.reshape(3, -1)
    np.testing.assert_array_equal(blocks[1], blocks[0])
    assert objective(text, union, domain, found.rewards) == pytest.approx(
        found.objective, abs=1e-10
    )
    for part, at in zip(parts, np.cumsum([0] + [p.n for p in parts]), strict=False):
        if isinstance(domain, ct.Confined):
            # Its share of the pairs' weight and of the completions differ.
            kappa = domain.kappa * part.n / union.n * union.weights.sum() / part.weights.sum()
            alone = ct.Confined(kappa)
        else:
            alone = domain
        one = ct.solve(text, domain=alone, comparisons=part)
        size = max(1.0, float(np.abs(one.rewards).max()))
        if not one.undetermined:
            np.testing.assert_allclose(
                found.rewards[at : at + part.n], one.rewards, atol=1e-7 * size
            )


def test_ten_thousand_prompts_at_once():
    pattern = Comparisons(8, [0, 0, 1, 2, 4, 5], [1, 2, 3, 3, 5, 7])
    pairs = Comparisons.union([pattern] * 10_000)
    start = time.process_time()
    found = ct.solve("logsigmoid(x)", comparisons=pairs, domain=ct.Confined(0.1))
    assert time.process_time() - start < 10  # measured: 0.4 s
    assert found.relative_gap < 1e-12
    one = ct.solve("logsigmoid(x)", comparisons=pattern, domain=ct.Confined(0.1))
    np.testing.assert_allclose(found.rewards[-8:], one.rewards, atol=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.3, 2.0])
def test_margins_by_rank_distance(m):
    pairs, ranks = Comparisons.full(6, margins=m), 2.5 - np.arange(6)
    # With the best gap at 0 every pair is at its best: equal spacing.
    squared = ct.solve(ct.Squared(0.0), comparisons=pairs, domain=ct.Free())
    np.testing.assert_allclose(squared.rewards, m * ranks, atol=1e-12)
    # Where nothing but the labels holds them, rewards are those without margins, m apart more.
    plain = ct.solve(ct.LabelSmoothing(0.1), 6, ct.Free())
    smooth = ct.solve(ct.LabelSmoothing(0.1), comparisons=pairs, domain=ct.Free())
    np.testing.assert_allclose(smooth.rewards, plain.rewards + m * ranks, atol=1e-10)


def test_pairs_alone():
    for kappa in (0.3, 0.02):
        d = ct.solve("logsigmoid(x)", 2, ct.Confined(kappa)).gaps[0]
        assert 1 / (1 + np.exp(d)) == pytest.approx(kappa * d / 2, rel=1e-12)
    tree = Comparisons(5, [0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4])
    smooth = ct.solve(ct.LabelSmoothing(0.1), comparisons=tree, domain=ct.Free())
    gaps = smooth.rewards[tree.better] - smooth.rewards[tree.worse]
    np.testing.assert_allclose(gaps, np.log(9), atol=1e-11)
    two_sided = Comparisons(4, [0, 0, 1], [2, 3, 3])
    for pairs in (two_sided, Comparisons(2, [1], [0])):
        with pytest.raises(ct.NoOptimum, match=r"two-sided|nothing holds"):
            ct.solve("logsigmoid(x)", domain=ct.Centered(0.1), comparisons=pairs)


def hinge_program(pairs, kinks, weights_of):
    """The greatest mean of sum_j c_j min(gap, kink_j), by SciPy's linear programs."""
    from scipy.optimize import linprog

    n, m = pairs.n, len(pairs.better)
    w = pairs.weights / pairs.weights.sum()
    cost = np.concatenate([np.zeros(n), *(-c * w for c in weights_of)])
    rows = []
    for e, (i, j) in enumerate(zip(pairs.better, pairs.worse, strict=True)):
        order = np.zeros(len(cost))
        order[j], order[i] = 1.0, -1.0
        rows.append(order)  # r_j - r_i <= 0
        for h in range(len(kinks)):
            line = order.copy()
            line[n + h * m + e] = 1.0  # t <= r_i - r_j
            rows.append(line)
    bounds = [(0, 1)] * n + [(None, kink) for kink in kinks for _ in range(m)]
    return -linprog(cost, A_ub=np.array(rows), b_ub=np.zeros(len(rows)), bounds=bounds).fun


@cases(40)
@given(
    comparisons(),
    st.lists(st.sampled_from([0.1, 0.25, 0.3, 1 / 3, 0.5, 0.77, 1.0]), min_size=1, max_size=3),
    st.integers(0, 2**32),
)
def test_hinges_against_a_linear_program(pairs, kinks, seed):
    if pairs.equal or pairs.full_order() is not None:
        return
    sizes = np.random.default_rng(seed).uniform(0.2, 2, len(kinks)).round(3)
    text = " + ".join(f"{c}*min(x, {k!r})" for c, k in zip(sizes, kinks, strict=True))
    found = ct.solve(text, comparisons=pairs)
    assert found.method == "cuts"
    assert found.relative_gap < 1e-9
    assert found.objective == pytest.approx(hinge_program(pairs, kinks, sizes), abs=1e-9)


@cases(20)
@given(comparisons(7), st.sampled_from([(0.0, 1.0), (0.5, 0.0), (0.3, 0.0), (0.25, 0.5)]))
def test_of_several_optima_the_least_sum_of_squares(pairs, terms):
    import cvxpy as cp

    if pairs.full_order() is not None:
        return  # solved as one prompt, and tested with it
    kink, linear = terms
    text = f"min(x, {kink}) + {linear}*x" if kink else "x"
    found = ct.solve(text, comparisons=pairs)
    assert found.relative_gap < 1e-6
    r, w = cp.Variable(pairs.n), pairs.weights / pairs.weights.sum()
    gaps = r[pairs.better] - r[pairs.worse]
    worth = w @ (cp.minimum(gaps, kink) + linear * gaps)
    limits = [r >= 0, r <= 1, gaps >= 0, worth >= found.objective - 1e-9]
    limits += [r[group[0]] == r[i] for group in pairs.equal for i in group[1:]]
    problem = cp.Problem(cp.Minimize(w @ cp.square(gaps)), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve(solver="CLARABEL")
    ours = found.rewards[pairs.better] - found.rewards[pairs.worse]
    np.testing.assert_allclose(ours, gaps.value, atol=2e-3)


def test_hinges_on_a_large_graph():
    pairs = random_pairs(10_000, 100_000, 3)
    start = time.process_time()
    found = ct.solve("min(x, 0.3)", comparisons=pairs)
    assert time.process_time() - start < 60  # measured: 2 s
    assert found.relative_gap < 1e-9
    assert not found.unique


def test_kinks_where_labels_hold_the_rewards():
    # min(x, 2) - 0.2 x**2: equal spacing where gaps are below the kink, U' = 1 - 0.4 x.
    found = ct.solve("min(x, 2) - 0.2*x**2", 100, ct.Free())
    reference = ct.solve("min(x, 2) - 0.2*x**2", 30, ct.Free(), method="conic")
    same = ct.solve("min(x, 2) - 0.2*x**2", 30, ct.Free())
    assert found.relative_gap < 1e-12
    np.testing.assert_allclose(same.rewards, reference.rewards, atol=1e-4)
    assert reference.objective <= same.objective + same.gap


@pytest.mark.parametrize(("text", "power"), [("log(x)", 0.0), ("x**0.5", 0.5), ("x**0.85", 0.85)])
def test_gaps_on_a_graph_far_below_the_rounding_of_rewards(text, power):
    # 1e4 U'(1 - r) = 1e-3 U'(r) at the middle reward r, down to 2e-47.
    pairs = ct.Comparisons(3, [0, 1, 0], [1, 2, 2], weights=[1e4, 1e-3, 1])
    found = ct.solve(text, comparisons=pairs)
    ratio = 1e-7 ** (1 / (1 - power))
    assert found.rewards[[0, 2]].tolist() == [1.0, 0.0]
    assert found.rewards[1] == pytest.approx(ratio / (1 + ratio), rel=1e-8)
    assert (found.status, found.relative_gap < 1e-12) == ("optimal", True)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("text", ["x**0.85", "x**0.95", "sqrt(x) + x", "-1/x", "log(x + 0.1)"])
def test_graphs_with_weights_over_eight_orders_are_certified(text, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 11))
    i = rng.integers(0, n - 1, 2 * n)
    j = rng.integers(i + 1, n)
    pairs = ct.Comparisons(n, i, j, weights=10.0 ** rng.uniform(-4, 4, 2 * n))
    found = ct.solve(text, comparisons=pairs, method="newton")
    assert (found.status, found.relative_gap < 1e-9) == ("optimal", True)


def test_a_certificate_does_not_believe_gaps_that_are_not_those_of_the_rewards():
    pairs = ct.Comparisons(3, [0, 1], [1, 2], weights=[1.0, 2.0])
    program = Program.of(ct.Log(), None, None, pairs)
    rewards, optimal = np.array([1.0, 0.5, 0.0]), np.array([1 / 3, 2 / 3])
    honest = certify(program, Answer(rewards=rewards))
    assert certify(program, Answer(rewards=rewards, edge_gaps=optimal)) == honest
    assert honest.gap > 0.01


@pytest.mark.parametrize("text", ["sqrt(x)", "x**0.85"])
def test_hundreds_of_completions_with_tiny_gaps_are_certified(text):
    rng = np.random.default_rng(3)
    i, j = np.sort(rng.integers(0, 400, (2, 1600)), axis=0)
    keep = i < j
    weights = 10.0 ** rng.uniform(-4, 4, keep.sum())
    found = ct.solve(text, comparisons=ct.Comparisons(400, i[keep], j[keep], weights=weights))
    assert found.gaps.min() < 1e-16
    assert found.relative_gap < 1e-10


@pytest.mark.parametrize(("orders", "most"), [(0, 40), (4, 40), (16, 250)])
@pytest.mark.parametrize("shape", ["path", "grid", "star", "random"])
def test_levels_make_systems_with_weights_far_apart_few_rounds(shape, orders, most, monkeypatch):
    """Jacobi's method alone takes up to 1800 rounds of conjugate gradients for these."""
    rng, k, grid = np.random.default_rng(0), 900, np.arange(900).reshape(30, 30)
    a, b = {
        "path": np.array([np.arange(k - 1), np.arange(1, k)]),
        "grid": np.hstack(
            [[grid[:, 1:].ravel(), grid[:, :-1].ravel()], [grid[1:].ravel(), grid[:-1].ravel()]]
        ),
        "star": np.array([np.zeros(k - 1, dtype=int), np.arange(1, k)]),
        "random": rng.integers(0, k, (2, 5 * k)),
    }[shape]
    edge, ground = 10 ** (orders * rng.uniform(-0.5, 0.5, (2, max(k, len(a)))))
    ground = np.where(rng.random(k) < 0.02, ground[:k], 1e-9)
    edge = np.where(a == b, 0.0, edge[: len(a)])
    system = graph_systems.System(a, b, edge, 0.0, ground)
    force = system.matrix @ rng.normal(size=k)
    monkeypatch.setattr(graph_systems, "PLAIN", 1)
    monkeypatch.setattr(graph_systems, "MOST_ROUNDS", most)
    solve = graph_systems._iterative(system, 1e-6)
    found = solve(force / system.scale) / system.scale  # to a diagonal of 1
    assert np.linalg.norm(system.matrix @ found - force) <= 2e-6 * np.linalg.norm(force)


@pytest.mark.parametrize("domain", [ct.Confined(0.02), ct.Confined(3), ct.Centered(0.2)], ids=str)
@pytest.mark.parametrize("text", ["logsigmoid(x)", "log(x + 0.1)", "log(x)"])
def test_newton_with_nothing_closed_is_the_end_of_the_path(text, domain, monkeypatch):
    pairs = random_pairs(20, 60, 5)
    first = ct.solve(text, domain=domain, comparisons=pairs, tol=1e-12)
    monkeypatch.setattr(interior_point, "with_nothing_closed", lambda *_: None)
    path = ct.solve(text, domain=domain, comparisons=pairs, tol=1.1e-12)  # not the remembered one
    assert first.status == path.status == "optimal"
    np.testing.assert_allclose(first.rewards, path.rewards, atol=1e-9 * np.ptp(path.rewards))


def test_least_squares_among_pieces_that_move_together():
    # Chains of gaps of 0.3 from 0.95 to 0.05, of which all pairs have enough: nothing holds them.
    pairs = Comparisons(
        7, [0, 1, 0, 3, 4, 5], [1, 2, 3, 4, 5, 6], weights=[1.0, 2.0, 0.5, 1.0, 3.0, 0.2]
    )
    found = ct.solve("min(x, 0.2)", comparisons=pairs)
    gaps = found.rewards[pairs.better] - found.rewards[pairs.worse]
    np.testing.assert_allclose(gaps, 0.2, atol=1e-14)
    assert found.rewards.max() + found.rewards.min() == pytest.approx(1, abs=1e-14)
    assert not found.unique
