"""How long a certified head takes, against scikit-learn on the pairs, and against refits.

OMP_NUM_THREADS=1 pytest -n 0 benchmarks/test_heads.py

Needs scikit-learn for the first. Times are of the process, as others may share the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

import collapse_theory as ct

# Left as they are drawn, features are as well conditioned as can be; those of a language model
# aren't: here their variances fall as 1/k.
CONDITIONED = {"isotropic": 0.0, "falling": 0.5}


def features(prompts: int, n: int, d: int, power: float) -> np.ndarray:
    """Return features best first, ranked by a head with noise."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(prompts, n, d)) * np.arange(1, d + 1) ** -power
    score = phi @ rng.normal(size=d) / np.sqrt((phi**2).sum(-1).mean())
    order = np.argsort(-score - rng.logistic(size=(prompts, n)), axis=1)
    return np.take_along_axis(phi, order[..., None], 1)


def best_of(work: Callable[[], object], times: int = 3) -> float:
    """Return the shortest time of several, in seconds of this process."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.parametrize("name", list(CONDITIONED))
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_against_scikit_learn(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    phi, penalty = features(1000, 8, 384, CONDITIONED[name]), 1e-3
    i, j = np.triu_indices(8, 1)
    pairs = (phi[:, i] - phi[:, j]).reshape(-1, 384)
    sign = np.where(np.arange(len(pairs)) % 2, 1.0, -1.0)
    pairs *= sign[:, None]
    head = ct.fit_head(phi, penalty=penalty)
    ours = best_of(lambda: ct.fit_head(phi, penalty=penalty))
    lines = [f"{name}: {ours:.3f} s, certified to {head.reward_error.max():.0e}"]
    fastest = np.inf
    for solver in ("lbfgs", "newton-cholesky"):
        for tol in 10.0 ** np.arange(-6, -13, -1):
            model = linear.LogisticRegression(
                C=1 / (2 * penalty * len(pairs)),
                fit_intercept=False,
                solver=solver,
                tol=tol,
                max_iter=10_000,
            ).fit(pairs, sign)
            error = np.abs(phi @ model.coef_[0] - head.rewards).max()
            if error <= 1e-8:
                break
        seconds = best_of(lambda model=model: model.fit(pairs, sign))
        lines.append(f"  {solver}: {seconds / ours:.2f} times that, rewards off by {error:.0e}")
        fastest = min(fastest, seconds)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert ours < 2.5 * fastest


def test_left_out_rewards_against_refits(capsys: pytest.CaptureFixture[str]) -> None:
    phi, penalty = features(200, 4, 60, 0.5), 1e-3
    ours = best_of(lambda: ct.fit_head(phi, penalty=penalty))
    start = ct.fit_head(phi, penalty=penalty)

    def refits() -> None:
        for p in range(0, 200, 20):
            ct.fit_head(np.delete(phi, p, 0), penalty=penalty * 200 / 199, start=start)

    times = 20 * best_of(refits, 1) / ours
    with capsys.disabled():
        print(f"\n200 prompts left out by as many warm-started refits: {times:.0f} times a head")
    assert times > 50
