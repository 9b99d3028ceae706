"""`check_loss`: torch losses of one's own, right ones and planted mistakes."""

from __future__ import annotations

import time

import pytest

import collapse_theory as ct
from collapse_theory.testing import check_loss

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def pairs(values):
    """Return the gaps of all pairs of (prompts, n) values, best first."""
    i, j = torch.triu_indices(values.shape[1], values.shape[1], 1)
    return values[:, i] - values[:, j]


def bradley_terry(logits):
    return -functional.logsigmoid(pairs(logits)).mean() + 0.1 * (logits**2).mean()


def log_in_the_box(logits):
    gaps = pairs(torch.sigmoid(logits))
    inside = gaps.clamp(min=0)
    return -(torch.log(inside + 0.1) + 10 * (gaps - inside)).mean()


def smoothed(logits):
    gaps = pairs(logits)
    return -(0.9 * functional.logsigmoid(gaps) + 0.1 * functional.logsigmoid(-gaps)).sum()


def list_mle(logits):
    scores = logits.flip(1).logcumsumexp(1).flip(1)
    return (scores - logits)[:, :-1].mean() + 0.1 * (logits**2).mean()


class Ranked(torch.nn.Module):
    """With an argument of ranks, in single precision inside."""

    utility, domain = "log(x + 0.1)", ct.Box()

    def forward(self, logits, ranks=None):
        if ranks is not None:
            logits = logits.gather(1, ranks.argsort(1))
        return 3 * log_in_the_box(logits.float()) + 1


CONFINED = ct.Confined(0.1)
RIGHT = {
    "Bradley-Terry": (bradley_terry, "logsigmoid(x)", CONFINED),
    "log": (log_in_the_box, "log(x + 0.1)", None),
    "smoothed": (smoothed, "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)", ct.Free()),
    "ListMLE": (list_mle, ct.PlackettLuce(), CONFINED),
    "with ranks": (Ranked(), None, None),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_losses_pass(name):
    report = check_loss(*RIGHT[name], examples=10)
    assert report.cases == 10
    assert report.error < (1e-4 if name == "with ranks" else 1e-9)


@pytest.mark.parametrize("u", ["log(x + 0.1)", "logsigmoid(4*x)", "x", "-1/x"])
def test_the_packages_own_losses_pass(u):
    from collapse_theory.training import RankingLoss

    check_loss(RankingLoss(u), ns=[2, 5], examples=10)
    check_loss(RankingLoss(u, ct.Confined(0.2), offset=0.1), ns=4, examples=10)
    check_loss(RankingLoss(ct.PlackettLuce(1), (-1, 2)), ns=4, examples=10)


def sorted_first(logits):
    return log_in_the_box(logits.sort(descending=True).values)


def transposed(logits):
    return -functional.logsigmoid(pairs(logits)).mean(0)[0] + 0.1 * (logits**2).mean()


class Unranked(Ranked):
    def forward(self, logits, ranks=None):
        return log_in_the_box(logits)


WRONG = {
    "sign": (lambda x: -bradley_terry(x), *RIGHT["Bradley-Terry"][1:]),
    "sign of the gap": (
        lambda x: -functional.logsigmoid(-pairs(x)).mean() + 0.1 * (x**2).mean(),
        *RIGHT["Bradley-Terry"][1:],
    ),
    "twice the penalty": (
        lambda x: bradley_terry(x) + 0.1 * (x**2).mean(),
        *RIGHT["Bradley-Terry"][1:],
    ),
    "no penalty": (
        lambda x: -functional.logsigmoid(pairs(x)).mean(),
        *RIGHT["Bradley-Terry"][1:],
    ),
    "another utility": (log_in_the_box, "log(x + 0.11)", None),
    "no sigmoid": (
        lambda x: -torch.log(pairs(x).clamp(min=0) + 0.1).mean(),
        "log(x + 0.1)",
        None,
    ),
    "neighbours alone": (
        lambda x: -torch.log((-torch.sigmoid(x).diff()).clamp(min=0) + 0.1).mean(),
        "log(x + 0.1)",
        None,
    ),
    "nan below gap 0": (
        lambda x: -torch.log(pairs(torch.sigmoid(x)) + 0.1).mean(),
        "log(x + 0.1)",
        None,
    ),
    "clamped below gap 0": (
        lambda x: -torch.log(pairs(torch.sigmoid(x)).clamp(min=0) + 0.1).mean(),
        "log(x + 0.1)",
        None,
    ),
    "absolute gaps": (
        lambda x: -torch.log(pairs(torch.sigmoid(x)).abs() + 0.1).mean(),
        "log(x + 0.1)",
        None,
    ),
    "sorted by itself": (sorted_first, "log(x + 0.1)", None),
    "the first pair alone": (transposed, *RIGHT["Bradley-Terry"][1:]),
    "the first prompt alone": (lambda x: log_in_the_box(x[:1]), "log(x + 0.1)", None),
    "ranks ignored": (Unranked(), None, None),
    "gradient stopped": (
        lambda x: log_in_the_box(torch.cat([x[:, :1].detach(), x[:, 1:]], 1)),
        "log(x + 0.1)",
        None,
    ),
    "detached": (lambda x: log_in_the_box(x.detach()), "log(x + 0.1)", None),
    "no reduction": (lambda x: pairs(x), "x", None),
    "the last completion left out": (
        lambda x: -functional.logsigmoid(pairs(x[:, :-1])).mean() + 0.1 * (x**2).mean(),
        *RIGHT["Bradley-Terry"][1:],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_losses_are_found(name):
    start = time.process_time()
    with pytest.raises(AssertionError, match=r" is wrong for .*(expected|gradient|leads)"):
        check_loss(*WRONG[name])
    assert time.process_time() - start < 10, "found, but too late"


def test_what_is_not_said_is_asked_for():
    with pytest.raises(ct.CollapseError, match="nothing says what bradley_terry trains"):
        check_loss(bradley_terry)
