"""The torch losses: against a double loop, the solvers, and gradient descent on free rewards."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

import collapse_theory as ct
from collapse_theory.testing import utilities

torch = pytest.importorskip("torch", reason="the extra collapse-theory[training]")

from collapse_theory.training import PromptAwareRankingLoss, RankingLoss  # noqa: E402
from collapse_theory.utilities.continued import on_tensors  # noqa: E402

BOX, WIDE = ct.Box(), ct.Box(-1, 3)
CONFINED, CENTERED, FREE = ct.Confined(0.1), ct.Centered(0.1), ct.Free()
INFINITE = ("log(x)", "x**0.5", "-1/x")
TEXTS = (
    "x",
    *INFINITE,
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "logsigmoid(4*x)",
    "logsigmoid(4*x - 1)",
    "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)",
    "1 - exp(-3*x)",
    "x - 0.3*x**2",
    "-(x - 1.5)**2",
    "sin(1.2*x)",
    "min(x, 0.5)",
    "atan(3*x)",
    "tanh(2*x) + 0.5*log(x + 0.1)",
)


def losses() -> list[Any]:
    """Return every utility in every domain that takes it, as parameters of a test."""
    made = []
    for text in TEXTS:
        for domain in (BOX, CONFINED, CENTERED, FREE):
            if text.startswith("sin") and domain != BOX:
                continue  # concave up to a gap of pi/k only
            made.append(pytest.param(text, domain, id=f"{text}, {domain}"))
    return made


def make(text: str, domain: Any, **options: Any) -> RankingLoss:
    if text in INFINITE and domain != BOX:
        options.setdefault("offset", 0.01)
    return RankingLoss(text, domain, **options)


def on_torch(u: ct.Utility) -> Any:
    """Return the utility as it is trained on [0, 1], of tensors of gaps."""
    return lambda gaps: on_tensors(u, 1.0).value(gaps, torch)


# -- against a double loop ---------------------------------------------------------------


def worth(u: ct.Utility, x: float) -> float:
    """Return U(x), below 0 by its tangent at 0 unless the formula is sensible there."""
    if x >= 0 or u.below_zero:
        return float(u(x))
    return float(u(0.0)) + u.slope_at_zero * x


def by_hand(loss: RankingLoss, rewards: np.ndarray, ranks: np.ndarray) -> float | None:
    """Return one prompt's loss by a double loop in Python; None without a pair."""
    pairs, table = [], loss.pair_weights
    for i, p in enumerate(ranks):
        for j, q in enumerate(ranks):
            if not 0 <= p < q:
                continue
            if table is None:
                pairs.append((1.0, 0.0, i, j))
                continue
            here = (table.better == p) & (table.worse == q)
            if here.any():
                pairs.append((table.weights[here].sum(), table.margins[here][0], i, j))
    if not pairs:
        return None
    whole = sum(w for w, *_ in pairs)
    total = sum(w * worth(loss.trained, rewards[i] - rewards[j] - m) for w, m, i, j in pairs)
    if isinstance(loss.domain, ct.Centered):
        total -= sum(w * loss.domain.c * (rewards[i] + rewards[j]) ** 2 for w, _, i, j in pairs)
    value = total / whole
    if isinstance(loss.domain, ct.Confined):
        value -= loss.domain.kappa * np.mean(rewards[ranks >= 0] ** 2)
    return -value / loss.slope


def batch(seed: int, prompts: int = 6, most: int = 5) -> tuple[Any, Any]:
    """Return logits and ranks with ties and padding; the last prompt has no pair."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(prompts, most)) * 2)
    ranks = rng.integers(-1, most, (prompts, most))
    ranks[0], ranks[-1] = rng.permutation(most), np.where(ranks[-1] < 0, -1, 2)
    return logits, torch.from_numpy(ranks)


def assert_as_by_hand(loss: RankingLoss, logits: Any, ranks: Any) -> None:
    rewards = loss.rewards(logits).numpy()
    expected = [by_hand(loss, r, k) for r, k in zip(rewards, ranks.numpy(), strict=True)]
    found = loss.per_prompt(logits, ranks).numpy()
    assert found == pytest.approx([e or 0.0 for e in expected], rel=1e-11, abs=1e-11)
    assert loss.comparable(logits, ranks).tolist() == [e is not None for e in expected]
    known = [e for e in expected if e is not None]
    assert loss(logits, ranks).item() == pytest.approx(np.mean(known), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(("text", "domain"), losses())
def test_a_double_loop_gives_the_same(text, domain):
    for normalize in (True, False) if text != "-(x - 1.5)**2" else (True,):
        assert_as_by_hand(make(text, domain, normalize=normalize), *batch(1))


@pytest.mark.parametrize("domain", [BOX, CONFINED, CENTERED], ids=str)
def test_weights_by_rank_and_margins(domain):
    rng = np.random.default_rng(2)
    table = rng.uniform(0, 2, (5, 5)) * (rng.random((5, 5)) < 0.6)
    for weights in (table, torch.from_numpy(table), np.eye(5, k=1)):
        assert_as_by_hand(make("log(x)", domain, pair_weights=weights), *batch(3))
    margins = ct.Comparisons(5, [0, 0, 1], [1, 2, 4], [1, 2, 3], (), [0.1, 0.0, 0.3])
    assert_as_by_hand(make("logsigmoid(4*x)", domain, pair_weights=margins), *batch(4))
    for scale in (1e-60, 1e60):
        logits, ranks = batch(3)
        small = make("log(x)", domain, pair_weights=scale * table)(logits.float(), ranks)
        expected = make("log(x)", domain, pair_weights=table)(logits.float(), ranks)
        assert small.item() == pytest.approx(expected.item(), rel=1e-6)
    twice = ct.Comparisons(5, [0, 0, 1], [1, 1, 4], [1, 2, 3])
    assert_as_by_hand(make("x", domain, pair_weights=twice), *batch(5))


@cases(25)
@given(u=utilities(), seed=st.integers(0, 1000))
def test_random_utilities_have_the_numpy_values(u, seed):
    loss = RankingLoss(u)
    x = np.concatenate([[0.0, 1.0], np.random.default_rng(seed).random(20)])
    worth = on_torch(loss.trained)
    found = worth(torch.from_numpy(x)).numpy()
    # A formula without a slope at 0 goes on by its tangent from beside it: at 0 rounding is left.
    assert found == pytest.approx(loss.trained(x), rel=1e-10, abs=1e-30)
    logits, ranks = batch(seed)
    rewards = loss.rewards(logits).numpy()
    for row, (r, k) in enumerate(zip(rewards, ranks.numpy(), strict=True)):
        expected = by_hand(loss, r, k) or 0.0
        assert loss.per_prompt(logits, ranks)[row].item() == pytest.approx(expected, rel=1e-9)


# -- below gap 0 -------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_value_and_slope_are_continuous_and_concave_at_gap_0(text):
    loss = make(text, BOX)
    u = on_torch(loss.trained)
    x = torch.linspace(-5, 1, 2001, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(u(x).sum(), x)
    assert torch.isfinite(slope).all()
    assert (slope.diff() <= 1e-9 * slope.abs().max()).all(), "the slope must fall"
    near = torch.tensor([-1e-12, 0.0, 1e-12], dtype=torch.float64, requires_grad=True)
    value = u(near)
    (slope,) = torch.autograd.grad(value.sum(), near)
    # At 0 itself the slope counts once: models begin with equal rewards.
    assert slope.tolist() == pytest.approx([loss.trained.slope_at_zero] * 3, rel=1e-8)
    assert value.tolist() == pytest.approx([float(loss.trained(0.0))] * 3, rel=1e-9, abs=1e-9)


def test_what_goes_on_by_its_tangent_and_what_by_its_formula():
    x = torch.tensor([-2.0, -1.0], dtype=torch.float64)
    for text, at_zero, slope in (
        ("log(x + 0.1)", math.log(0.1), 10.0),
        ("-1/(x + 0.1)", -10.0, 100.0),
        ("1 - exp(-3*x)", 0.0, 3.0),
        ("tanh(2*x)", 0.0, 2.0),
    ):
        found = on_torch(ct.utility(text))(x)
        assert found.tolist() == pytest.approx([at_zero - 2 * slope, at_zero - slope], rel=1e-12)
    for text in ("logsigmoid(4*x)", "x", "-(x - 1)**2", "min(x, 0.5)", "x - 0.3*x**2"):
        u = ct.utility(text)
        assert on_torch(u)(x).tolist() == pytest.approx(u(x.numpy()).tolist(), rel=1e-13)


def test_a_formula_that_is_nan_at_0_is_continued_from_beside_it():
    u = ct.utility("x + x**2*log(x)*0.1 - 2*x**2")  # 0*log(0), but U(0) = 0 and U'(0) = 1
    loss = RankingLoss(u, ct.Box(0, 0.2))
    logits = torch.zeros(2, 3, requires_grad=True)
    value = loss(logits)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    assert logits.grad[0].tolist() == pytest.approx([-0.2 * 0.25 / 3, 0, 0.2 * 0.25 / 3], rel=1e-5)


# -- gradients ---------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "domain"), losses())
def test_gradients_are_right(text, domain):
    logits, ranks = batch(6, prompts=3, most=4)
    loss = make(text, domain)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss.per_prompt(z, ranks), (logits,))


def test_the_gradient_at_equal_rewards_is_that_of_slope_1():
    for text in TEXTS:
        logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        make(text, FREE if "sin" not in text else BOX)(logits).backward()
        share = 0.25 if "sin" in text else 1.0  # the sigmoid's derivative
        assert logits.grad[0].tolist() == pytest.approx(
            [-2 / 3 * share, 0, 2 / 3 * share], rel=1e-6, abs=1e-12
        )


def test_no_gradient_comes_from_padding_ties_or_prompts_without_pairs():
    for text in ("log(x)", "1 - exp(-3*x)", "-(x - 1.5)**2", "logsigmoid(x)"):
        logits = torch.tensor([[0.3, math.nan, -0.2], [1.0, 2.0, math.inf], [0.0, 1.0, -1.0]])
        ranks = torch.tensor([[1, -100, 0], [1, 1, -1], [0, 0, 1]])
        logits.requires_grad_()
        loss = make(text, BOX)
        per_prompt = loss.per_prompt(logits, ranks)
        assert per_prompt[1].item() == 0
        loss(logits, ranks).backward()
        assert torch.isfinite(logits.grad).all()
        assert logits.grad[0, 1] == 0
        assert (logits.grad[1] == 0).all()
        # As if the prompt were not there, and as the two prompts by themselves.
        alone = loss(logits[0, [0, 2]], [1, 0]), loss(logits[2], [0, 0, 1])
        assert loss(logits, ranks).item() == pytest.approx(sum(a.item() for a in alone) / 2)


def test_nan_logits_that_count_show():
    assert RankingLoss("x")(torch.tensor([[math.nan, 0.0]])).isnan()


# -- dtypes, devices, compilers ----------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("text", ["log(x)", "logsigmoid(4*x)", "-1/(x + 0.1)"])
def test_dtypes(text, dtype):
    loss = RankingLoss(text, pair_weights=np.eye(5, k=1) / 3)
    exact, ranks = batch(7)
    exact = exact.to(dtype).double().requires_grad_()
    logits = exact.detach().to(dtype).requires_grad_()
    value = loss(logits, ranks)
    value.backward()
    loss(exact, ranks).backward()
    assert value.dtype == loss.rewards(logits).dtype == max(dtype, torch.float32, key=_bits)
    assert logits.grad.dtype == dtype
    eps = torch.finfo(value.dtype).eps
    assert value.item() == pytest.approx(loss(exact, ranks).item(), rel=2000 * eps)
    slack = max(2000 * eps, 2 * torch.finfo(dtype).eps)
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=slack, atol=slack * 0.1)


def _bits(dtype: Any) -> int:
    return torch.finfo(dtype).bits


def test_autocast_changes_nothing():
    logits, ranks = batch(8)
    for text in TEXTS:
        loss, half = make(text, BOX), logits.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert loss(logits.float(), ranks) == loss(logits.float(), ranks)
            inside = loss(half, ranks), loss(logits, ranks)
        assert inside[0].dtype == torch.float32
        assert inside[0] == loss(half, ranks)
        assert inside[1] == loss(logits, ranks)


def test_a_cast_model_keeps_its_settings():
    loss = RankingLoss("x", pair_weights=np.full((3, 3), 1 / 3))
    logits = torch.tensor([[0.3, 1.0, -2.0]], dtype=torch.float64)
    before = loss(logits, [[0, 1, 1]])
    model = torch.nn.ModuleDict({"loss": loss, "head": torch.nn.Linear(2, 1)}).half()
    assert model["loss"](logits, [[0, 1, 1]]) == before
    assert set(model.state_dict()) == {"head.weight", "head.bias"}
    assert copy.deepcopy(loss)(logits, [[0, 1, 1]]) == before


def test_compile():
    text = "tanh(2*x) + 0.5*log(x + 0.1)"
    logits, ranks = batch(9)
    loss = RankingLoss(text, pair_weights=np.tri(5, k=-1).T)
    both = PromptAwareRankingLoss({"open": text, "closed": "x"}, {"open": BOX, "closed": CONFINED})
    kinds = torch.tensor([0, 1, 1, 0, 0, 1])
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    compiled(one, ranks).backward()
    loss(other, ranks).backward()
    assert torch.allclose(one.grad, other.grad, rtol=1e-12)
    compiled = torch.compile(both, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(logits, kinds, ranks), both(logits, kinds, ranks), rtol=1e-12)


# -- the optimum over free rewards -------------------------------------------------------


def descended(loss: RankingLoss, n: int, ranks: Any = None, steps: int = 150) -> Any:
    """Return what minimising the loss over one prompt's free logits leads to (L-BFGS)."""
    spread = np.linspace(1, -1, n) + 0.1 * np.random.default_rng(0).normal(size=n)
    logits = torch.tensor(spread[None, :], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits],
        max_iter=steps,
        history_size=30,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
    )

    def closure() -> Any:
        optimiser.zero_grad()
        value = loss(logits, ranks)
        value.backward()
        return value

    optimiser.step(closure)
    rewards = loss.rewards(logits.detach())[0].numpy()
    return rewards - rewards.mean() if loss.domain == FREE else rewards


# Without hinges, whose optima a smooth method stops short of, and where there is an optimum.
HELD = [
    case
    for case in losses()
    if "min" not in case.values[0]
    and (case.values[1] != FREE or case.values[0] in (TEXTS[8], "-(x - 1.5)**2", "x - 0.3*x**2"))
]


@pytest.mark.parametrize(("text", "domain"), HELD)
def test_the_optimum_is_the_predicted_one(text, domain):
    loss = make(text, domain)
    solution = loss.predict(8)
    assert solution.utility == loss.trained
    rewards = descended(loss, 8)
    assert rewards == pytest.approx(solution.rewards, abs=1e-5)
    assert -1e-12 < loss.gap(rewards) < 1e-10 * loss.slope


@pytest.mark.parametrize(
    ("text", "domain", "rate", "steps", "within"),
    [
        # At the ends of the box the distance left falls as 1/(rate steps) only.
        ("logsigmoid(4*x)", BOX, 16.0, 1500, 5e-3),
        ("logsigmoid(x)", CONFINED, 2.0, 300, 1e-12),
    ],
)
def test_plain_gradient_descent_gets_there(text, domain, rate, steps, within):
    loss = RankingLoss(text, domain)
    logits = torch.zeros(1, 8, dtype=torch.float64, requires_grad=True)
    gaps = []
    for step in range(steps):
        (gradient,) = torch.autograd.grad(loss(logits), logits)
        with torch.no_grad():
            logits -= rate * gradient
        if step in (10, 50, 100):
            gaps.append(loss.gap(loss.rewards(logits)))
    assert all(later < before for before, later in pairwise(gaps))
    found = loss.rewards(logits)[0].detach().numpy()
    assert found == pytest.approx(loss.predict(8).rewards, abs=within)


def test_subgradients_reach_the_groups_of_a_hinge():
    loss = RankingLoss("min(x, 0.5)")
    logits = torch.linspace(0.5, -0.5, 9, dtype=torch.float64)[None, :].requires_grad_()
    for step in range(1500):
        (gradient,) = torch.autograd.grad(loss(logits), logits)
        with torch.no_grad():
            logits -= 600.0 / (40 + step) * gradient
    found = loss.rewards(logits)[0].detach().numpy()
    assert found == pytest.approx(loss.predict(9).rewards, abs=0.02)
    assert loss.gap(found) < 5e-3


@pytest.mark.parametrize("domain", [BOX, CONFINED, CENTERED], ids=str)
def test_the_optimum_with_weights_and_ties(domain):
    best = np.zeros((5, 5))
    best[0, 1:] = 1
    for weights in (np.eye(5, k=1), best, np.triu(np.arange(25.0).reshape(5, 5) + 3, 1)):
        loss = RankingLoss("log(x + 0.1)", domain, pair_weights=weights)
        if domain == CENTERED and not weights[0, 2] * weights[1, 2]:
            with pytest.raises(ct.NoOptimum, match="two-sided"):
                loss.predict(5)
            continue
        rewards = descended(loss, 5)
        assert rewards == pytest.approx(loss.predict(5).rewards, abs=1e-5)
        assert -1e-12 < loss.gap(rewards) < 1e-9
    loss, ranks = RankingLoss("log(x + 0.1)", domain), [[2, 0, 0, 1, -1, 2]]
    rewards = descended(loss, 6, ranks)
    tied = ct.Comparisons.ranking([[1, 2], [3], [0, 4]], ties="free")
    expected = ct.solve(loss.trained, domain=domain, comparisons=tied).rewards
    assert rewards[[0, 1, 2, 3, 5]] == pytest.approx(expected, abs=1e-5)
    assert -1e-12 < loss.gap(rewards, ranks) < 1e-9


# -- predictions and gaps ----------------------------------------------------------------


@cases(20)
@given(u=utilities(), n=st.integers(2, 12), seed=st.integers(0, 1000))
def test_the_objective_of_the_prediction(u, n, seed):
    loss = RankingLoss(u)
    solution = loss.predict(n)
    rewards = torch.from_numpy(solution.rewards.copy())[None, :]
    # Differences of rewards are rounded, and U' of those gaps can be large.
    slack = 1e-10 * abs(solution.objective) + 1e-15 * loss.trained.slope_at_zero
    assert loss.objective(rewards)[0].item() == pytest.approx(solution.objective, abs=slack)
    assert abs(loss.gap(rewards)) <= slack
    others = np.random.default_rng(seed).random((20, n))
    assert (loss.prompt_gaps(others) >= -slack).all()
    assert (loss.prompt_gaps(-np.sort(-others, axis=1)) >= -slack).all()
    logits = torch.from_numpy(others)
    rank = np.random.default_rng(seed + 1).permutation(n)
    shuffled = loss.per_prompt(logits[:, rank], torch.from_numpy(rank)[None, :])
    assert torch.allclose(shuffled, loss.per_prompt(logits), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("domain", [CONFINED, CENTERED, FREE], ids=str)
def test_gaps_off_the_box(domain):
    loss = RankingLoss(ct.LabelSmoothing(0.1), domain, normalize=False)
    solution = loss.predict(6)
    assert loss.gap(solution.rewards) == pytest.approx(0, abs=1e-12)
    others = solution.rewards + np.random.default_rng(0).normal(size=(50, 6))
    gaps = loss.prompt_gaps(others)
    assert (gaps > 0).all()
    assert gaps == pytest.approx(solution.objective + loss.per_prompt(torch.tensor(others)).numpy())


def test_gaps_of_ragged_batches_with_ties():
    loss = RankingLoss("log(x + 0.1)")
    ranks = [[0, 1, 2, -1], [2, 0, 1, 3], [0, 0, 1, 1], [0, 0, -1, -1]]
    rewards = np.full((4, 4), np.nan)
    rewards[0, :3] = loss.predict(3).rewards
    rewards[1] = loss.predict(4).rewards[[2, 0, 1, 3]]
    rewards[2] = [1, 1, 0, 0]
    rewards[3, :2] = 0.5
    gaps = loss.prompt_gaps(rewards, ranks)
    assert gaps[:3] == pytest.approx(0, abs=1e-9)
    assert np.isnan(gaps[3])
    assert loss.gap(rewards, ranks) == pytest.approx(0, abs=1e-9)
    assert math.isnan(loss.gap([[0.5, 0.5]], [[0, 0]]))


def test_ranks_with_holes_are_ranks():
    loss = RankingLoss("log(x + 0.1)", pair_weights=np.triu(np.ones((6, 6)), 1))
    logits = torch.tensor([[0.5, 0.1, -0.3]])
    assert loss(logits, [[0, 2, 5]]) == loss(logits, [[0, 1, 2]])
    assert loss.gap([[1, 0.5, 0]], [[0, 2, 5]]) == pytest.approx(0, abs=1e-9)


def test_designed_weights_lead_to_the_wanted_rewards():
    # At weights 1/U'(gap) on neighbours every compared pair pulls with force 1, so that the forces
    # on each completion between the ends cancel: any strictly falling rewards are an optimum.
    wanted = np.array([1, 0.9, 0.5, 0.4, 0.0])
    u = ct.utility("log(x + 0.1)")
    loss = RankingLoss(u, pair_weights=np.diag(1 / u.d1(-np.diff(wanted)), 1))
    assert loss.predict(5).rewards == pytest.approx(wanted, abs=1e-8)
    assert descended(loss, 5) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("text", ["log(x + 0.1)", "min(x, 0.7) + 0.5*log(x + 0.1)"])
@pytest.mark.parametrize("domain", [BOX, CONFINED], ids=str)
def test_weights_that_pull_against_the_ranking_have_no_prediction(text, domain):
    weights = np.diag([1, 0.02, 1.0], 1)
    loss = RankingLoss(text, domain, pair_weights=weights)
    with pytest.raises(ct.CollapseError, match="pull a completion above a better one"):
        loss.predict(4)
    # And truly so: it trains past the ranking.
    rewards = descended(loss, 4)
    assert rewards[1] < rewards[2] - 0.1
    fair = RankingLoss(text, domain, pair_weights=np.diag([1, 1, 1.0], 1))
    assert (np.diff(fair.predict(4).rewards) <= 0).all()


def test_predictions_are_the_solvers():
    assert RankingLoss("log(x)").predict(8) == ct.solve("log(x + 0.01)", 8)
    assert RankingLoss("log(x)", WIDE).offset == 0.04
    assert RankingLoss("log(x)", CONFINED, offset=0.2).predict(5) == ct.solve(
        "log(x + 0.2)", 5, CONFINED
    )
    with pytest.raises(ct.NoOptimum):
        RankingLoss("logsigmoid(x)", FREE).predict(4)


# -- listwise ----------------------------------------------------------------------------


@pytest.mark.parametrize("domain", [BOX, CONFINED, CENTERED], ids=str)
@pytest.mark.parametrize("model", [ct.PlackettLuce(), ct.PlackettLuce(1, 3.0)], ids=str)
def test_plackett_luce(model, domain):
    loss = RankingLoss(model, domain)
    assert loss.slope == model.beta / 2
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5)))
    plain = RankingLoss(model, FREE, normalize=False)
    expected = -model.value(logits.numpy())
    assert plain.per_prompt(logits).numpy() == pytest.approx(expected, rel=1e-12)
    order = torch.tensor([[3, 0, -1, 2, 1]])
    sorted_ = plain.per_prompt(logits[:, [1, 4, 3, 0]])
    assert torch.allclose(plain.per_prompt(logits, order), sorted_, rtol=1e-12)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: loss.per_prompt(z, [[0, 1, 1, 2, -1], [0, 1, 2, 3, 4], [0, 0, -1, 0, 0]]), logits
    )
    assert descended(loss, 5) == pytest.approx(loss.predict(5).rewards, abs=1e-5)
    assert loss.gap(loss.predict(5).rewards) == pytest.approx(0, abs=1e-10)


def test_plackett_luce_refuses_what_belongs_to_pairs():
    for options in ({"offset": 0.1}, {"pair_weights": np.eye(3, k=1)}):
        with pytest.raises(ct.CollapseError, match="utilities of a gap"):
            RankingLoss(ct.PlackettLuce(), **options)
    loss = RankingLoss("PlackettLuce(top=1)")
    assert loss.utility == ct.PlackettLuce(1)
    with pytest.raises(ct.CollapseError, match="tied"):
        loss.gap([[1, 0.5, 0.5]], [[0, 1, 1]])


# -- kinds -------------------------------------------------------------------------------


def prompt_aware(**options: Any) -> PromptAwareRankingLoss:
    made: dict[str, Any] = {"open": "-1/(x + 0.1)", "closed": "x", "a.b": "logsigmoid(x)"}
    return PromptAwareRankingLoss(made, {"open": BOX, "closed": WIDE, "a.b": CONFINED}, **options)


def test_kinds_mixed_are_kinds_apart():
    loss = prompt_aware()
    logits, ranks = batch(11, prompts=9)
    kinds = ["open", "closed", "a.b", "closed", "a.b", "open", "open", "a.b", "closed"]
    mixed = loss.per_prompt(logits, kinds, ranks)
    for kind in loss.kinds:
        rows = [i for i, k in enumerate(kinds) if k == kind]
        apart = loss[kind].per_prompt(logits[rows], ranks[rows])
        assert torch.allclose(mixed[rows], apart, rtol=1e-14)  # sums over batches of another size
        assert torch.equal(loss.rewards(logits, kinds)[rows], loss[kind].rewards(logits[rows]))
    counts = loss.comparable(logits, kinds, ranks)
    assert counts.tolist() == [*[True] * 8, False] or counts.sum() >= 6
    weights = torch.arange(1.0, 10.0)
    expected = (mixed * counts * weights).sum() / (counts * weights).sum()
    assert torch.allclose(loss(logits, kinds, ranks, weights), expected, rtol=1e-12)
    numbers = [loss.kinds.index(kind) for kind in kinds]
    for same in (numbers, torch.tensor(numbers), np.array(numbers), np.array(kinds), tuple(kinds)):
        assert torch.equal(loss(logits, same, ranks), loss(logits, kinds, ranks))


def test_kinds_as_a_container():
    loss = prompt_aware()
    assert tuple(loss) == loss.kinds == ("open", "closed", "a.b")
    assert "a.b" in loss
    assert "b" not in loss


def test_gradients_of_mixed_kinds():
    loss = prompt_aware()
    logits, ranks = batch(12, prompts=4, most=3)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, [0, 1, 2, 0], ranks), logits)


@pytest.mark.parametrize(
    ("text", "options", "ranks"),
    [
        ("logsigmoid(x)", {}, [0, 1, 2, 3]),
        ("1 - exp(-x)", {}, [0, 1, 2, 3]),
        ("log(x + 0.1)", {}, [3, 1, 0, 2]),
        ("log(x)", {"offset": 0.05}, [2, 0, 0, 1]),
        ("min(x, 0.5)", {}, [1, 0, -1, 2]),
        ("logsigmoid(x)", {"pair_weights": 1.0 + np.arange(16.0).reshape(4, 4)}, [1, 0, 3, 2]),
    ],
)
def test_rewards_pulled_to_centers_are_where_the_solver_has_them(text, options, ranks):
    """Some gaps stay negative: U goes on below 0 in training as it does in `solve`."""
    domain = ct.Anchored([0.3, -0.2, 0.5, -0.6], 0.5)
    loss = RankingLoss(text, domain, **options)
    assert RankingLoss.from_dict(loss.to_dict()) == loss
    logits = torch.tensor(domain.centers[None], requires_grad=True)
    step = torch.optim.LBFGS([logits], tolerance_change=1e-18, line_search_fn="strong_wolfe")

    def closure() -> Any:
        step.zero_grad()
        value = loss(logits, [ranks])
        value.backward()
        return value

    for _ in range(20):
        step.step(closure)
    # At a kink the last bits of the rewards are left to the line search.
    assert abs(loss.gap(logits, [ranks])) < (1e-6 if "min" in text else 1e-11)
    if ranks == [0, 1, 2, 3]:
        found = loss.predict(4).rewards
        assert logits.detach().numpy()[0] == pytest.approx(found, abs=1e-7)
    with pytest.raises(ct.CollapseError, match=r"one a column|pair weights"):
        loss(torch.zeros(2, 5))


def test_kinds_have_their_own_predictions_and_gaps():
    loss = PromptAwareRankingLoss({"open": "log(x)", "closed": "x"})
    assert loss.predict(4, "closed").rewards.tolist() == [1, 1, 0, 0]
    assert loss.predict(4, "open") == RankingLoss("log(x)").predict(4)
    rewards = np.stack([loss.predict(4, "closed").rewards, loss.predict(4, "open").rewards])
    assert loss.gap(rewards, ["closed", "open"]) == pytest.approx(0, abs=1e-12)
    assert loss.gap(rewards, ["open", "closed"]) > 0.01
    apart = [loss["open"].gap(rewards[:1]), loss["closed"].gap(rewards[1:])]
    assert loss.prompt_gaps(rewards, [0, 1]) == pytest.approx(apart)


@pytest.mark.parametrize("kinds", [["open", "shut"], ["open", 3], torch.tensor([0, -1]), [0, True]])
def test_an_unknown_kind_is_named(kinds):
    loss = PromptAwareRankingLoss({"open": "log(x)", "closed": "x"})
    with pytest.raises(ct.CollapseError, match="known kinds: 'open', 'closed'"):
        loss(torch.zeros(2, 3), kinds=kinds)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: PromptAwareRankingLoss({}), "must be a dict"),
        (lambda: PromptAwareRankingLoss("x"), "must be a dict"),
        (lambda: PromptAwareRankingLoss({1: "x"}), "texts"),
        (lambda: PromptAwareRankingLoss({"a": "x"}, {"b": BOX}), "domain must have an entry"),
        (lambda: PromptAwareRankingLoss({"a": "x"})(torch.zeros(1, 2)), "kinds= is needed"),
        (lambda: PromptAwareRankingLoss({"a": "x"})(torch.zeros(2, 2), ["a"]), "one a prompt"),
        (lambda: PromptAwareRankingLoss({"a": "x"})(torch.zeros(1, 2), 2.5), "2.5 has no utility"),
        (lambda: PromptAwareRankingLoss({"a": "x"})["b"], "'b' has no utility"),
        (lambda: PromptAwareRankingLoss({"a": "x", "b": "log(x)"}, FREE), "the kind 'b': log"),
        (
            lambda: PromptAwareRankingLoss({"a": RankingLoss("x")}, ct.Box(0, 2)),
            "the kind 'a': a RankingLoss has its own domain",
        ),
    ],
)
def test_faults_of_kinds(given, says):
    with pytest.raises(ct.CollapseError, match=says):
        given()


# -- sizes, edges and faults -------------------------------------------------------------


def test_small_and_large_batches_and_empty_ones_refused():
    loss = RankingLoss("log(x + 0.1)")
    two = torch.tensor([0.3, -0.3])
    gap = (loss.rewards(two)[0] - loss.rewards(two)[1]).item()
    assert loss(two).item() == pytest.approx(-float(ct.utility("log(x + 0.1)")(gap)) / 10, rel=1e-6)
    logits = torch.linspace(2, -2, 64, dtype=torch.float64).expand(3, 64)
    expected = by_hand(loss, loss.rewards(logits)[0].numpy(), np.arange(64))
    assert loss.per_prompt(logits).tolist() == pytest.approx([expected] * 3, rel=1e-12)
    for shape in ((0, 4), (0, 1), (2, 0), (0,)):
        with pytest.raises(ct.CollapseError, match=r"hold no completions.*logits\.view"):
            loss(torch.zeros(shape))
    with pytest.raises(ct.CollapseError, match="hold no completions"):
        PromptAwareRankingLoss({"a": "x"})(torch.zeros(0, 3), kinds=[])


def test_weights_of_prompts():
    loss = RankingLoss("log(x + 0.1)")
    logits, ranks = batch(13)
    each, counts = loss.per_prompt(logits, ranks), loss.comparable(logits, ranks)
    weights = [0.5, 2, 0, 1, 1, 7]
    share = torch.tensor(weights) * counts
    expected = (each * share).sum() / share.sum()
    assert loss(logits, ranks, weights).item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss(logits, ranks, torch.zeros(6)).item() == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: RankingLoss("log(x)", CONFINED), "give one that is small"),
        (lambda: RankingLoss("log(x)", offset=0), "offset must be positive"),
        (lambda: RankingLoss("x", offset=-1), "offset must be 0 or more"),
        (lambda: RankingLoss("x", offset="a"), "offset must be a number"),
        (lambda: RankingLoss("x", domain=3), "domain must be"),
        (lambda: RankingLoss("x - 0.6*x**2"), "falls"),
        (lambda: RankingLoss("x - x*log(x)"), "offset 0.01 moves the gaps"),
        (lambda: RankingLoss("sin(x)", FREE), "not concave"),
        (lambda: RankingLoss("-x**2", FREE), "normalize=False"),
        (lambda: RankingLoss("x", pair_weights=np.ones((2, 3))), r"shape \(K, K\)"),
        (lambda: RankingLoss("x", pair_weights=np.zeros((3, 3))), "no pair counts"),
        (lambda: RankingLoss("x", pair_weights=-np.ones((3, 3))), "negative weight"),
        (lambda: RankingLoss("x", pair_weights="abc"), "array of numbers"),
        (lambda: RankingLoss("x", pair_weights=ct.Comparisons(3, [2], [0])), "0 is best"),
        (
            lambda: RankingLoss("x", pair_weights=ct.Comparisons.ranking([[0], [1, 2]])),
            "same rank",
        ),
        (
            lambda: RankingLoss(
                "log(x + 0.1)", pair_weights=ct.Comparisons(2, [0], [1], margins=[0.05])
            ),
            "margins need values",
        ),
        (
            lambda: RankingLoss(
                "x", pair_weights=ct.Comparisons(2, [0, 0], [1, 1], margins=[0, 0.1])
            ),
            "several margins",
        ),
        (lambda: RankingLoss("x")(torch.zeros(2, 3, 1)), "logits.view"),
        (lambda: RankingLoss("x")(torch.tensor(1.0)), r"got \(\); logits.view"),
        (lambda: RankingLoss("x")(torch.zeros(16, 1)), "one completion a prompt.*logits.view"),
        (lambda: RankingLoss("x")(torch.zeros(1)), "one completion a prompt"),
        (lambda: RankingLoss("x")(torch.zeros(2, 2), [[0, -1], [-1, 0]]), "at most one completion"),
        (lambda: RankingLoss("x").gap([[0.5], [0.1]]), "rewards of shape .* one completion"),
        (lambda: RankingLoss("x").gap([[0.5, 0.1]], [[0, -1]]), "at most one completion"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3).int()), "tensor of floats"),
        (lambda: RankingLoss("x")(np.zeros((2, 3))), "tensor of floats, got ndarray"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), [[0, 1]]), "shape of the logits"),
        (lambda: RankingLoss("x")(torch.zeros(1, 2), torch.zeros(1, 2)), "whole numbers"),
        (lambda: RankingLoss("x")(torch.zeros(2, 2), [[0], [0, 1]]), "ranks must be a tensor"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), None, [1.0]), "one a prompt"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), None, "ab"), "weights must be a tensor"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), None, [1, -1]), "finite and 0 or more"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), None, torch.ones(2, 3, 3)), "pair_weights="),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), margins=[1.0, math.nan]), "must be finite"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), margins=[1.0, 2.0, 3.0]), "one a prompt"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), margins=torch.ones(2, 3)), "one a pair"),
        (lambda: RankingLoss("x")(torch.zeros(2, 3), pair_weights=-1.0), "must be 0 or more"),
        (lambda: RankingLoss("log(x)")(torch.zeros(2, 3), margins=0.1), "margins need values"),
        (lambda: RankingLoss("log(x)").predict(3, margins=0.1), "margins need values"),
        (lambda: RankingLoss("x").predict(3, pair_weights=np.eye(3)), "compare none"),
        (lambda: RankingLoss(ct.PlackettLuce())(torch.zeros(2, 3), margins=1), "takes no margins"),
        (
            lambda: RankingLoss("x", pair_weights=np.eye(3, k=1))(torch.zeros(1, 2), [[0, 3]]),
            "rank 3 has no pair weights",
        ),
        (lambda: RankingLoss("x", pair_weights=np.eye(3, k=1))(torch.zeros(1, 4)), "rank 3 has no"),
        (lambda: RankingLoss("x", pair_weights=np.eye(3, k=1)).predict(4), "n = 4"),
        (lambda: RankingLoss("x", pair_weights=np.eye(3, k=2)).predict(2), "compare none"),
        (lambda: RankingLoss("x").predict(1), "at least 2"),
        (lambda: RankingLoss("x").gap([[2.0, -1.0]]), "outside Box"),
        (lambda: RankingLoss("x").gap(np.zeros((2, 2, 2))), "shape"),
        (lambda: RankingLoss.from_dict({"type": "Solution"}), "not a RankingLoss"),
        (lambda: RankingLoss.from_dict({}), "RankingLoss lacks 'type'"),
        (lambda: RankingLoss.from_dict({"type": "RankingLoss"}), "lacks 'utility'"),
        (
            lambda: PromptAwareRankingLoss.from_dict({"type": "PromptAwareRankingLoss"}),
            "lacks 'los",
        ),
        (lambda: RankingLoss.from_dict(3), "RankingLoss can't be read"),
        (lambda: RankingLoss(ct.Log), r"ct\.Log needs brackets: ct\.Log\(\)"),
    ],
)
def test_faults(given, says):
    with pytest.raises(ct.CollapseError, match=says):
        given()


def test_functions_of_ones_own():
    def both(x):
        return (torch if torch.is_tensor(x) else np).log1p(x)

    d1, d2 = (lambda x: 1 / (1 + x)), (lambda x: -1 / (1 + x) ** 2)
    loss = RankingLoss(ct.Utility.from_functions(both, d1, d2))
    logits, ranks = batch(14)
    same = RankingLoss("log1p(x)")(logits, ranks)
    assert loss(logits, ranks).item() == pytest.approx(same.item(), rel=1e-12)
    for numpy_only in (np.log1p, lambda x: np.log1p(np.asarray(x))):
        with pytest.raises(ct.InvalidUtility, match=r"torch\.is_tensor"):
            RankingLoss(ct.Utility.from_functions(numpy_only, d1, d2))
    with pytest.raises(ct.InvalidUtility, match="differs"):
        RankingLoss(ct.Utility.from_functions(lambda x: both(x) * (1 + torch.is_tensor(x)), d1, d2))


@pytest.mark.parametrize(
    "loss",
    [
        RankingLoss("log(x)"),
        RankingLoss("logsigmoid(x)", CENTERED, pair_weights=np.eye(4, k=1), normalize=False),
        RankingLoss("PlackettLuce(top=2)", CONFINED),
        prompt_aware(normalize={"open": True, "closed": True, "a.b": False}),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_settings_go_to_json_and_back(loss):
    again = type(loss).from_dict(json.loads(json.dumps(loss.to_dict())))
    assert repr(again) == repr(loss)
    assert again.to_dict() == loss.to_dict()
    assert again == loss
    assert len({again, loss}) == 1
    assert loss not in (RankingLoss("x", offset=0.3), loss.to_dict())
    kinds = () if isinstance(loss, RankingLoss) else (["open", "a.b"],)
    logits = torch.tensor([[0.3, 0.1, 0.4, -1.0], [0.0, 0.2, 1.0, -2.0]])
    assert torch.equal(again(logits, *kinds), loss(logits, *kinds))


def test_the_repr_says_what_is_trained():
    assert repr(RankingLoss("log(x)")) == (
        "RankingLoss('log(x)', domain=Box(low=0.0, high=1.0), offset=0.01, "
        "trained='log(x + 0.01)', normalize=True, slope=100)"
    )


def test_the_losses_load_torch_alone():
    code = (
        "import sys\nimport collapse_theory.training as t\nassert 'torch' not in sys.modules\n"
        "from collapse_theory.training import RankingLoss\n"
        "assert 'torch' in sys.modules and 'transformers' not in sys.modules\n"
        "assert 'RankingLoss' in dir(t)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_code_in_the_docs_runs(capsys):
    page = Path(__file__).parents[1] / "docs" / "training.md"
    section = page.read_text("utf-8").split("\n## The losses\n")[1].split("\n## ")[0]
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", section, re.S):
        exec(compile(block, page.name, "exec"), names)
    assert "trained='log(x + 0.01)'" in capsys.readouterr().out


# -- full rankings by sorting ------------------------------------------------------------

BY_SORTING = (
    "x",
    "-(x - 1.5)**2",
    "x - 0.3*x**2",
    "min(x, 0.5)",
    "min(x, 0.1) + 2*min(x - 0.1, 0.6)",
)


@pytest.mark.parametrize("text", BY_SORTING)
@pytest.mark.parametrize("domain", [BOX, CONFINED, FREE], ids=str)
def test_sorting_gives_what_all_pairs_give(text, domain, monkeypatch):
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(3 + rng.normal(size=(4, 11)))
    ranks = torch.from_numpy(rng.permuted(np.tile(np.arange(11), (4, 1)), axis=1))
    ranks[1, 2:6], ranks[2, :10] = -1, -1  # a ragged row, and one without a pair
    loss = RankingLoss(text, domain)
    pairs, sums = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected = loss.per_prompt(pairs, ranks)
    monkeypatch.setattr("collapse_theory.training.objective.MANY", 2)
    monkeypatch.setattr("collapse_theory.training.objective.compared", None)
    found = loss.per_prompt(sums, ranks)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    for value in (found, expected):
        (value * torch.arange(1.0, 5)).sum().backward()
    assert torch.allclose(sums.grad, pairs.grad, rtol=1e-10, atol=1e-14)


def test_ties_are_not_sorted(monkeypatch):
    loss, logits = RankingLoss("min(x, 0.5)"), torch.randn(3, 4)
    ranks = [[0, 1, 1, 2], [0, 1, 2, 3], [0, 0, -1, -1]]
    expected = loss.per_prompt(logits, ranks)
    monkeypatch.setattr("collapse_theory.training.objective.MANY", 2)
    assert torch.equal(loss.per_prompt(logits, ranks), expected)
