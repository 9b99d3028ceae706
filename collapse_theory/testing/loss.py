"""A torch loss of one's own against the optimum of the utility that it claims to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import signature
from typing import Any, NoReturn

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import minimize

from collapse_theory.errors import CollapseError
from collapse_theory.lazy import missing
from collapse_theory.programs import Box, Domain, DomainLike, as_domain
from collapse_theory.testing.answers import Case, contrast, few, reference
from collapse_theory.testing.search import (
    Finding,
    Report,
    answered,
    name_of,
    numbers_of,
    searched,
)
from collapse_theory.testing.strategies import hundredths
from collapse_theory.utilities import Loss, PlackettLuce, as_loss

# Of the digits of the loss: in float64, and in what it computes in otherwise.
DOUBLE, SINGLE = 1e-9, 1e-4
# After the descent: the share of its gain that the objective may lack, and how far the rewards
# may be off, as a share of their spread.
SHORT, FAR = 1e-2, 0.1
STEPS = 200
EXAMPLES = 50


def check_loss(
    module: Callable[..., Any],
    utility: Loss | str | None = None,
    domain: DomainLike | None = None,
    ns: Any = (2, 3, 5, 8),
    *,
    examples: int = EXAMPLES,
) -> Report:
    """Check a torch loss of one's own against the utility that it claims to train.

    For rankings whose rewards are in order, the loss must be minus the mean of U over the pairs,
    less the penalty of the domain, up to a positive factor and a constant for each n; so must its
    gradient; where a worse completion is above, it must be finite and pull the better one up; a
    batch must be the mean or the sum of its rows; and a short descent must lead to the rewards
    that `ct.solve` predicts.

    Parameters
    ----------
    module : callable
        From logits (prompts, n), best first, to a scalar; with an argument `ranks`, 0 the best, it
        is asked in other orders, too.
    utility : Utility, PlackettLuce or str, optional
        What it claims; a module's attribute `trained` or `utility` unless given.
    domain : Box, Confined, Centered or Free, optional
        In a box the rewards are low + width sigmoid(logits), elsewhere the logits; a module's
        attribute `domain`, or else the box [0, 1], unless given.
    ns : int, list of int or strategy
        Numbers of completions.
    examples : int
        How many rankings are looked at.

    Returns
    -------
    Report
        With the largest error of the loss, as a share of the spread of its values.

    Raises
    ------
    AssertionError
        With the utility, n, the logits, what was expected and what was found.
    CollapseError
        Where nothing says what the loss claims, or torch isn't installed.

    Examples
    --------
    >>> import torch
    >>> import collapse_theory as ct
    >>> from collapse_theory.testing import check_loss
    >>> def bradley_terry(logits):
    ...     gaps = logits[:, :, None] - logits[:, None, :]
    ...     i, j = torch.triu_indices(logits.shape[1], logits.shape[1], 1)
    ...     return -torch.nn.functional.logsigmoid(gaps[:, i, j]).mean()
    >>> check_loss(bradley_terry, "logsigmoid(x)", ct.Confined(0.1), ns=4, examples=5)
    Traceback (most recent call last):
    ...
    AssertionError: bradley_terry is wrong for LogSigmoid(beta=1.0), n=4, Confined(kappa=0.1): ...
    """
    claimed = utility
    for name in ("trained", "utility"):
        claimed = getattr(module, name, None) if claimed is None else claimed
    if claimed is None:
        raise CollapseError(
            f'nothing says what {name_of(module)} trains: give utility="log(x + 0.1)" or such'
        )
    place = as_domain(getattr(module, "domain", None) if domain is None else domain)
    try:
        import torch
    except ImportError as fault:
        raise missing("check_loss", "torch") from fault
    claim = Claim(module, as_loss(claimed), place, torch)
    steps = st.lists(hundredths(0.05, 2), min_size=32, max_size=32)
    cases = st.tuples(numbers_of(ns), hundredths(-2, 2), steps, st.integers(0, 2**32))
    seen: set[int] = set()

    def check(case: tuple[int, float, list[float], int]) -> Finding:
        n, top, gaps, seed = case
        logits = top - np.append(0.0, np.cumsum(gaps[: n - 1]))
        error = claim.looked_at(
            logits + sum(gaps[: n - 1]) / 2, np.random.default_rng(seed).permutation(n)
        )
        if n not in seen:
            claim.descends(n)
            seen.add(n)
        return Finding(error, f"{claim.name}({logits.tolist()})")

    return searched(claim.name, examples, check, cases)


@dataclass(frozen=True)
class Claim:
    """A loss, and what it claims to train."""

    module: Callable[..., Any]
    loss: Loss
    domain: Domain
    torch: Any
    scales: dict[int, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """What messages call it."""
        return name_of(self.module)

    @cached_property
    def ranked(self) -> bool:
        """Whether the loss takes ranks."""
        try:
            return "ranks" in signature(getattr(self.module, "forward", self.module)).parameters
        except (TypeError, ValueError):
            return False

    def wrong(self, n: int, text: str) -> NoReturn:
        """Say what is wrong."""
        Case(self.name, self.module, self.loss, n, self.domain).wrong(text)

    def rewards(self, logits: Any, xp: Any) -> Any:
        """Return the rewards of logits."""
        if not isinstance(self.domain, Box):
            return logits
        return self.domain.low + self.domain.width / (1 + xp.exp(-logits))

    def objective(self, logits: Any) -> Any:
        """Return the mean objective of ordered logits (prompts, n), by the definition."""
        r, n, domain = self.rewards(logits, self.torch), logits.shape[1], self.domain
        i, j = self.torch.triu_indices(n, n, 1)
        if isinstance(self.loss, PlackettLuce):
            value = self.loss.value(r, self.torch)
        else:
            value = self.loss.value(r[:, i] - r[:, j], self.torch).mean(1)
        value = value - domain.squares * (r**2).mean(1)
        return (value - domain.sums * ((r[:, i] + r[:, j]) ** 2).mean(1)).mean()

    def of(
        self, function: Callable[..., Any], logits: np.ndarray, *ranks: Any
    ) -> tuple[float, np.ndarray, float]:
        """Return value and gradient at logits (n,) or (prompts, n), and the error allowed."""
        torch, where = self.torch, f"the logits {np.asarray(logits).tolist()}"
        at = torch.tensor(np.atleast_2d(logits), dtype=torch.float64, requires_grad=True)
        value = answered(self.name, where, function, at, *ranks)
        if not torch.is_tensor(value) or value.ndim != 0 or not value.requires_grad:
            self.wrong(at.shape[1], f"expected a scalar with a gradient at {where}, got {value}")
        (gradient,) = torch.autograd.grad(value, at, allow_unused=True)
        gradient = torch.zeros_like(at) if gradient is None else gradient
        allowed = DOUBLE if value.dtype == torch.float64 else SINGLE
        return value.item(), gradient.numpy().reshape(np.shape(logits)), allowed

    def scale(self, n: int) -> tuple[float, float]:
        """Return a > 0 and b with loss = b - a objective, as they are at one ranking."""
        if n not in self.scales:
            logits = np.linspace(1.0, -1.0, n) + 0.1 * np.cos(np.arange(n))
            value, slope, _ = self.of(self.module, logits)
            objective, wanted, _ = self.of(self.objective, logits)
            factor = -float(slope @ wanted) / max(float(wanted @ wanted), 1e-300)
            if not factor > 0:
                self.wrong(
                    n,
                    f"at the logits {few(logits)} expected a gradient along {few(-wanted)}, got "
                    f"{few(slope)}: it trains away from the optimum",
                )
            self.scales[n] = factor, value + factor * objective
        return self.scales[n]

    def looked_at(self, logits: np.ndarray, order: np.ndarray) -> float:
        """Return the error at ordered logits; all that is asked of one ranking."""
        n, (factor, constant) = len(logits), self.scale(len(logits))
        value, slope, allowed = self.of(self.module, logits)
        objective, gradient, _ = self.of(self.objective, logits)
        expected, wanted = constant - factor * objective, -factor * gradient
        size = float(np.abs(wanted).max()) + allowed * abs(expected)
        error = abs(value - expected) / max(abs(expected), size)
        if not error <= 10 * allowed:
            self.wrong(
                n,
                f"at the logits {few(logits)} expected the loss {expected:.8g} (that of the "
                f"utility, by the factor {factor:.6g} that it has elsewhere), got {value:.8g}",
            )
        off = np.abs(slope - wanted)
        if not off.max() <= 10 * allowed * size:
            entries = contrast(wanted, slope, int(np.argmax(off)), "entry")
            self.wrong(n, f"at the logits {few(logits)} the gradient: {entries}")
        self._in_other_orders(logits, value, allowed, order)
        return error

    def _in_other_orders(
        self, logits: np.ndarray, value: float, allowed: float, order: np.ndarray
    ) -> None:
        n, size = len(logits), abs(value) + 1e-3
        if self.ranked:
            found = self.of(self.module, logits[order], self.torch.from_numpy(order[None]))[0]
            if not abs(found - value) <= 10 * allowed * size:
                self.wrong(
                    n, f"for ranks {order.tolist()} expected the loss {value:.8g}, got {found:.8g}"
                )
        turned, slope, _ = self.of(self.module, logits[::-1].copy())
        if not (np.isfinite(turned) and slope[0] < slope[-1]):
            self.wrong(
                n,
                f"with the worst on top, logits {few(logits[::-1])}, expected a finite loss and a "
                f"push on the best up and on the worst down, got {turned:.6g} and the gradient "
                f"{few(slope)}",
            )
        other = 0.5 * logits
        both = self.of(self.module, np.array([logits, other]))[0]
        alone = value + self.of(self.module, other)[0]
        if not min(abs(both - alone), abs(both - alone / 2)) <= 20 * allowed * size:
            self.wrong(
                n,
                f"of two prompts expected the mean {alone / 2:.8g} or the sum {alone:.8g} of their "
                f"losses, got {both:.8g}",
            )

    def descends(self, n: int) -> None:
        """Descend for a while, and compare with the optimum."""
        best = reference(self.loss, n, self.domain)
        if best is None:
            return
        start = np.linspace(0.5, -0.5, n)
        options = {"maxiter": STEPS, "ftol": 0.0, "gtol": 1e-10}
        value = partial(self.of, self.module)
        steps = minimize(
            lambda at: value(at)[:2], start, method="L-BFGS-B", jac=True, options=options
        )
        before, after = (self.of(self.objective, at)[0] for at in (start, steps.x))
        got, expected = self.rewards(steps.x, np), np.array(best.rewards)
        if not self.domain.bounded:
            got, expected = got - got.mean(), expected - expected.mean()
        off = np.abs(got - expected)
        far = best.unique and off.max() > FAR * max(float(np.ptp(expected)), 1e-300)
        allowed = SHORT * (best.objective - before) + best.gap + 1e-9 * abs(after)
        if far or not best.objective - after <= allowed:
            ends = contrast(expected, got, int(np.argmax(off)))
            self.wrong(n, f"a descent of {STEPS} steps leads elsewhere: {ends}")
