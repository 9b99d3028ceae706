"""Losses from the first step: what is refused or said, heads off centre, margins and weights."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import numpy as np
import pytest

import collapse_theory as ct

torch = pytest.importorskip("torch", reason="the extra collapse-theory[training]")

from collapse_theory.training import PromptAwareRankingLoss, RankingLoss  # noqa: E402

FREE = ct.Free()


def normal(*shape: int, seed: int = 0, **options: Any) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


# -- margins and weights of pairs --------------------------------------------------------


def test_margins_and_weights_are_those_of_each_pair():
    loss = RankingLoss("logsigmoid(x)", FREE, normalize=False)
    logits, ranks = normal(3, 4).double(), torch.tensor([[0, 1, 2, 3], [1, 0, 1, -1], [3, 2, 1, 0]])
    margins = normal(3, 4, 4, seed=1).double()
    weights = normal(3, 4, 4, seed=2).double().abs()
    weights[2] = 0
    expected = []
    for b in range(2):
        pairs = [(i, j) for i in range(4) for j in range(4) if 0 <= ranks[b, i] < ranks[b, j]]
        w = [weights[b, i, j].item() for i, j in pairs]
        u = [(logits[b, i] - logits[b, j] - margins[b, i, j]).item() for i, j in pairs]
        expected.append(np.average(np.logaddexp(0, -np.array(u)), weights=w))
    margins[1, 3], weights[1, 3] = math.nan, math.nan  # of padding, and so not read
    given = {"margins": margins, "pair_weights": weights}
    found = loss.per_prompt(logits, ranks, **given)
    assert found.tolist() == pytest.approx([*expected, 0], rel=1e-12)
    assert loss.comparable(logits, ranks, **given).tolist() == [True, True, False]
    assert loss(logits, ranks, **given).item() == pytest.approx(np.mean(expected), rel=1e-12)
    both = PromptAwareRankingLoss({"a": "logsigmoid(x)", "b": "x - 0.01*x**2"}, FREE)
    mixed = both.per_prompt(logits, ["a", "a", "b"], ranks, **given)
    assert mixed[:2].tolist() == pytest.approx(2 * found[:2].numpy(), rel=1e-12)
    one = loss(logits[:1], None, None, margins=[0.7])
    assert one == loss(logits[0], margins=np.full((4, 4), 0.7)) == loss(logits[:1], margins=0.7)
    by_rank = ct.Comparisons(4, *np.triu_indices(4, 1), margins=0.7)
    same = RankingLoss("logsigmoid(x)", FREE, pair_weights=by_rank, normalize=False)
    assert same(logits[:1]) == pytest.approx(one.item(), rel=1e-14)
    assert same(logits[:1], margins=-0.7).item() == pytest.approx(loss(logits[:1]).item())


def test_margins_in_a_column_are_one_a_prompt():
    loss = RankingLoss("logsigmoid(x)", FREE, normalize=False)
    for size in (2, 3):
        logits, margins = normal(size, 2), torch.arange(1.0, size + 1)
        assert loss(logits, margins=margins[:, None]) == loss(logits, margins=margins)
    for wrong in (torch.ones(1, 2), torch.ones(2, 1), torch.ones(3, 2)):
        with pytest.raises(ct.CollapseError, match="margins must be one a prompt"):
            loss(normal(3, 2), margins=wrong)


def test_margins_of_pairs_are_those_of_trl():
    chosen, rejected, margin = normal(3, 64).unbind()
    loss = RankingLoss("logsigmoid(x)", FREE, normalize=False)
    found = loss(torch.stack([chosen, rejected], 1), margins=margin)
    expected = -torch.nn.functional.logsigmoid(chosen - rejected - margin).mean()
    assert torch.allclose(found, expected, rtol=1e-6)


def test_the_optimum_of_margins_and_weights_is_predicted():
    loss = RankingLoss("logsigmoid(x)", ct.Confined(0.1))
    margins = np.triu(np.arange(16.0).reshape(4, 4) / 10, 1)
    weights = np.triu(1 + np.arange(16.0).reshape(4, 4)[::-1], 1)
    ranks = torch.tensor([[2, 0, 3, 1]])
    at = np.ix_(ranks[0], ranks[0])
    given = {"margins": margins[at][None], "pair_weights": weights[at][None]}
    logits = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12
    )

    def closure() -> Any:
        optimiser.zero_grad()
        value = loss(logits, ranks, **given)
        value.backward()
        return value

    optimiser.step(closure)
    found = loss.predict(4, margins=margins, pair_weights=weights)
    assert logits[0].detach().numpy() == pytest.approx(found.rewards[ranks[0]], abs=1e-5)
    rewards = torch.stack([logits[0].detach(), torch.zeros(4)])
    both = {name: np.concatenate([of, of]) for name, of in given.items()}
    gaps = loss.prompt_gaps(rewards, ranks.expand(2, 4), **both)
    assert gaps == pytest.approx([0, gaps[1]], abs=1e-10)
    assert gaps[1] > 0.1
    aware = PromptAwareRankingLoss({"a": "x", "b": "logsigmoid(x)"}, ct.Confined(0.1))
    assert aware.predict(4, "b", margins=margins, pair_weights=weights) == found
    assert aware.prompt_gaps(rewards, ["a", "b"], ranks, **both)[1] == pytest.approx(gaps[1])
    with pytest.raises(ct.CollapseError, match="margins pull"):
        loss.predict(3, margins=[[0, 9, 0], [0, 0, -9], [0, 0, 0]])


# -- transforms --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["log(x + 0.1)", "PlackettLuce(top=2)"])
def test_vmap_and_meta(text):
    aware = PromptAwareRankingLoss({"open": text, "closed": "x"})
    logits, kinds = normal(5, 4).double() * 2, torch.tensor([0, 1, 1, 0, 0])
    ranks = torch.tensor([[0, 1, 2, 3], [1, 0, 1, -1], [3, 2, 1, 0], [0, 0, 1, 1], [2, 1, 0, -1]])
    expected = aware.per_prompt(logits, kinds, ranks)
    assert torch.allclose(torch.func.vmap(aware)(logits, kinds, ranks), expected, rtol=1e-12)
    slopes = torch.func.vmap(torch.func.grad(aware))(logits, kinds, ranks)
    leaf = logits.clone().requires_grad_()
    aware.per_prompt(leaf, kinds, ranks).sum().backward()
    assert torch.allclose(slopes, leaf.grad, rtol=1e-12)
    for given in (kinds, ["open"] * 5, kinds.to("meta")):
        value = aware(logits.to("meta"), given, ranks.to("meta"))
        assert value.device.type == "meta"
        assert value.shape == ()


# -- NaN, and logits at one end of the box -----------------------------------------------


def test_nan_is_said_once_with_its_step(caplog):
    loss = RankingLoss("log(x + 0.1)")
    good = normal(3, 4).requires_grad_()
    bad = good.detach().clone()
    bad[1, 2] = math.nan
    with caplog.at_level(logging.WARNING):
        loss(good).backward()
        assert not caplog.records
        for _ in range(3):
            assert loss(bad.requires_grad_()).isnan()
    (record,) = caplog.records
    assert "training call 2" in record.message
    assert "prompts [1] of the batch" in record.message


def test_a_saturated_batch_is_said_once(caplog):
    for offset, box, said in ((0.0, ct.Box(), 0), (16.0, ct.Box(), 1), (-25.0, (-1, 3), 1)):
        loss = RankingLoss("log(x + 0.1)", box)
        caplog.clear()
        for seed in (0, 1):
            loss((offset + normal(8, 4, seed=seed)).requires_grad_()).backward()
        loss(offset + normal(8, 4))  # no training
        assert len(caplog.records) == said
        assert all("off centre" in record.message for record in caplog.records)
    RankingLoss("logsigmoid(x)", FREE)((16 + normal(8, 4)).requires_grad_())
    assert len(caplog.records) == 1
    aware, ranks = PromptAwareRankingLoss({"a": "x", "b": "log(x)"}), [[0, 1, -1, -1]] * 4
    logits = 16 + normal(4, 4)
    aware(logits.clone().requires_grad_(), [0, 0, 0, 1], ranks)  # two completions each
    for record, rows in zip(caplog.records[1:], (logits[:3], logits[3:]), strict=True):
        assert f"mean logit {rows[:, :2].mean():.3g}" in record.message


@pytest.mark.parametrize("offset", [0, 4, -7, 16, 25])
@pytest.mark.parametrize("text", ["log(x + 0.1)", "logsigmoid(4*x)", "PlackettLuce(beta=4)"])
def test_values_and_rewards_stay_those_of_the_sigmoid(text, offset):
    loss = RankingLoss(text, (-1, 3))
    logits = (offset + normal(20, 5).double()).requires_grad_()
    rewards = -1 + 4 * torch.sigmoid(logits)
    assert torch.equal(loss.rewards(logits), rewards)
    plain = -loss.objective(rewards) / loss.slope
    assert torch.equal(loss.per_prompt(logits), plain)
    for row in (0, 7):
        assert torch.allclose(loss(logits[row]), plain[row], rtol=1e-14), "by itself"


def test_only_prompts_at_one_end_of_the_box_are_pushed_otherwise():
    loss = RankingLoss("log(x + 0.1)")
    logits = torch.tensor(
        [[9.0, 1.9, 4.0], [-7.9, 7.9, 0.0], [2.1, 12.0, 3.0], [-20.0, -21.0, -19.0], [3.0, 4.0, 9]],
        dtype=torch.float64,
    )
    logits[0, 1] = 1.9
    ranks = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2], [2, 0, 1], [1, 0, -1]])
    exact, pushed = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    (-loss.objective(torch.sigmoid(exact), ranks) / loss.slope).sum().backward()
    loss.per_prompt(pushed, ranks).sum().backward()
    assert torch.equal(pushed.grad[:2], exact.grad[:2])
    # The gradient at their logits less their mean, of the completions that are there, and the pull.
    z = logits[2:].clone()
    mean = torch.stack([z[0].mean(), z[1].mean(), z[2, :2].mean()])[:, None]
    centred = (z - mean).requires_grad_()
    (-loss.objective(torch.sigmoid(centred), ranks[2:]) / loss.slope).sum().backward()
    pull = torch.tensor([[1 / 3] * 3, [-1 / 3] * 3, [1 / 2, 1 / 2, 0]], dtype=torch.float64)
    assert torch.allclose(pushed.grad[2:], centred.grad + 0.105 * pull, rtol=1e-12, atol=0)
    assert pushed.grad[4, 2] == 0
    infinite = torch.tensor([[math.inf, math.inf, 30.0]], requires_grad=True)
    loss(infinite).backward()
    assert torch.isfinite(infinite.grad).all()


# -- heads off centre --------------------------------------------------------------------


def trained(loss: Any, offset: float, lr: float = 0.1, half: bool = False) -> float:
    """Return the share of held-out pairs ranked right after 400 steps of a head off centre.

    By the rewards, in which a head that isn't back in the box would tell no completions apart.
    """
    torch.manual_seed(0)
    truth = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    torch.nn.init.constant_(net[2].bias, offset)
    if half:
        net = net.bfloat16()
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    features = torch.randn(400, 4, 16)
    with torch.no_grad():
        ranks = truth(features)[..., 0].argsort(1, descending=True).argsort(1)
    for step in range(400):
        rows = torch.arange(step * 16, step * 16 + 16) % 200
        optimiser.zero_grad()
        loss(net(features[rows].to(net[0].weight.dtype))[..., 0], ranks[rows]).backward()
        optimiser.step()
    with torch.no_grad():
        rewards = net.float()(features[200:])[..., 0].sigmoid()
    right = (rewards[:, :, None] > rewards[:, None, :]) == (
        ranks[200:, :, None] < ranks[200:, None, :]
    )
    return right[:, ~torch.eye(4, dtype=torch.bool)].double().mean().item()


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_head_off_centre_trains_as_one_in_the_centre(half):
    start = trained(RankingLoss("log(x + 0.1)"), 0.0, half=half)
    assert start > 0.75
    for offset in (-20,) if half else (4, 8, 25):
        assert trained(RankingLoss("log(x + 0.1)"), offset, half=half) > start - 0.05
    # Without the remedy nothing is learnt far from the centre.
    loss = RankingLoss("log(x + 0.1)")
    plain = lambda z, r: -loss.objective(torch.sigmoid(z.float()), r).mean() / loss.slope  # noqa: E731
    assert trained(plain, 20, half=half) < 0.65


def test_parts_of_a_batch_add_up_off_centre():
    loss, logits = RankingLoss("log(x + 0.1)"), 9 + 3 * normal(8, 4).double()
    whole, parts = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss(whole).backward()
    for rows in parts.split(2):
        (loss(rows) / 4).backward()
    assert torch.allclose(parts.grad, whole.grad, rtol=1e-12)
    again = copy.deepcopy(loss).eval()
    assert again(logits) == loss(logits)
    assert not loss.state_dict()


# -- the first thing people type ---------------------------------------------------------


def test_log_sigmoid_in_the_box_says_what_it_is(caplog):
    loss = RankingLoss("logsigmoid(x)")
    (record,) = caplog.records
    assert 'RankingLoss("logsigmoid(x)", Free(), normalize=False)' in record.message
    assert "of sigmoid(logits); of logits with domain=Free()" in repr(loss)
    caplog.clear()
    for args in (
        ("logsigmoid(x)", FREE),
        ("logsigmoid(x)", ct.Box()),
        ("logsigmoid(4*x)",),
        ("log(x + 0.1)",),
    ):
        assert "of logits with" not in repr(RankingLoss(*args)) or args[1:] == (ct.Box(),)
    assert not caplog.records
    assert RankingLoss.from_dict(loss.to_dict()) == loss
    assert not caplog.records


# What people train with, of logits (B, K) best first, and the factor of the gradient.
def pairwise(of: Any) -> Any:
    def script(z: Any) -> Any:
        i, j = torch.triu_indices(z.shape[1], z.shape[1], 1)
        return of(z[:, i] - z[:, j])

    return script


LOGSIGMOID = torch.nn.functional.logsigmoid
SCRIPTS = {
    "TRL": (pairwise(lambda x: -LOGSIGMOID(x).mean()), "logsigmoid(x)", FREE, 2, 2),
    "LogExpLoss": (pairwise(lambda x: (-x).exp().log1p().mean()), "logsigmoid(x)", FREE, 2, 2),
    "centred": (
        lambda z: -LOGSIGMOID(z[:, 0] - z[:, 1]).mean() + 0.3 * (z.sum(1) ** 2).mean(),
        "logsigmoid(x)",
        ct.Centered(0.3),
        2,
        2,
    ),
    "beta": (pairwise(lambda x: -LOGSIGMOID(3 * x).mean()), "logsigmoid(3*x)", FREE, 2, 2 / 3),
    "smoothed": (
        pairwise(lambda x: -(0.9 * LOGSIGMOID(x) + 0.1 * LOGSIGMOID(-x)).mean()),
        ct.LabelSmoothing(0.1),
        FREE,
        2,
        2 / 0.8,
    ),
    "hinge": (pairwise(lambda x: torch.relu(0.5 - x).mean()), "min(x, 0.5)", FREE, 2, 1),
    "sum": (pairwise(lambda x: -LOGSIGMOID(x).sum(1).mean()), "logsigmoid(x)", FREE, 5, 2 / 10),
    "ListMLE": (
        lambda z: (z.flip(1).logcumsumexp(1).flip(1) - z).sum(1).mean(),
        ct.PlackettLuce(),
        FREE,
        5,
        2 / 4,
    ),
    "the paper's": (
        lambda z: -torch.log(torch.sigmoid(z[:, :1]) - torch.sigmoid(z[:, 1:]) + 0.1).mean(),
        "log(x + 0.1)",
        None,
        2,
        0.1,
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_gradient_of_the_script_that_you_have(name):
    script, utility, domain, many, factor = SCRIPTS[name]
    logits = normal(6, many).double().sort(1, descending=True).values.requires_grad_()
    (theirs,) = torch.autograd.grad(script(logits), logits)
    loss = RankingLoss(utility, domain)
    (ours,) = torch.autograd.grad(loss(logits), logits)
    assert torch.allclose(ours, factor * theirs, rtol=1e-9, atol=1e-12)
    plain = RankingLoss(utility, domain, normalize=False)
    (ours,) = torch.autograd.grad(plain(logits), logits)
    assert torch.allclose(ours, factor * loss.slope * theirs, rtol=1e-9, atol=1e-12)
