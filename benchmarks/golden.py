"""Some six hundred answers of the package, saved and compared: the net under a rebuilding.

    python benchmarks/golden.py save old.json             # in a checkout of the old commit
    python benchmarks/golden.py compare old.json          # in the new one; exits 1 on a difference
    python benchmarks/golden.py compare old.json --only limit
    python benchmarks/golden.py ratios PATH/OF/OLD/CHECKOUT

Only public names are used, so that any two commits can be compared. Numbers must agree to 1e-12
(that of an "inaccurate" answer, or of one optimum of several, to what its certificate says),
statuses must be the same, certificates no worse. `ratios` times both checkouts in turn, process by
process, and prints how many times as long the new one takes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import collapse_theory as ct

WITHIN = 1e-12
# A certificate this small is rounding: how much of it is counted may change.
ROUNDING = 2e-13

SMOOTH = (
    "log(x)",
    "log(x + 0.1)",
    "log(x + 0.001)",
    "x**0.5",
    "x**0.9",
    "-1/x",
    "-x**-3",
    "-x**-0.5",
    "-1/(x + 0.1)",
    "logsigmoid(4*x)",
    "logsigmoid(60*x)",
    "1 - exp(-20*x)",
    "1 - exp(-0.1*x)",
    "x - 0.3*x**2",
    "sin(1.5*x)",
    "tanh(3*x)",
    "log(x) + 3*x**0.5",
    "logsigmoid(4*x) + 0.25*x**0.5",
    "1 - exp(-20*x) + 0.5*log(x + 0.1)",
    "logsigmoid(20*(x - 0.2))",
)
KINKED = (
    "x",
    "min(x, 0.5)",
    "min(x, 0.3)",
    "min(x, 0.25)",
    "min(x, 0.5) + x",
    "min(x, 0.2) + 0.5*min(x, 0.6)",
    "3*min(x, 0.25) + min(x, 0.5) + 0.1*x",
    "log(x + 0.1) + min(x, 0.3)",
    "sqrt(x) + min(x, 0.4)",
)
OFF_BOX = (
    "logsigmoid(x)",
    "log(x)",
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "x**0.5",
    "-x**-0.5",
    "x",
    "logsigmoid(x) + 0.5*log(x + 0.2)",
    "min(x, 1)",
    "logsigmoid(x) + min(x, 0.3)",
)
PENALTIES = (ct.Confined(0.02), ct.Confined(1.0), ct.Centered(0.05))
WITH_MAXIMUM = (
    "0.9*logsigmoid(x) + 0.1*logsigmoid(-x)",
    ct.LabelSmoothing(0.01),
    ct.LabelSmoothing(0.2),
    ct.Squared(1.5),
)
LISTWISE = (ct.PlackettLuce(), ct.PlackettLuce(beta=3.0))
GRAPHS = {
    "five": ct.Comparisons(5, [0, 0, 1, 2, 2, 0], [1, 2, 3, 3, 4, 4], weights=[2, 1, 1, 1, 1, 1]),
    "ties": ct.Comparisons.ranking([[0], [1, 2], [3]], ties="equal"),
    "free ties": ct.Comparisons.ranking([[2, 0], [1], [4, 3]], ties="free"),
    "chain": ct.Comparisons(6, [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]),
    "full": ct.Comparisons.full(7),
}


def random_graph(n: int, pairs: int, seed: int) -> ct.Comparisons:
    """Return random pairs that agree with an order."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(0, n, (4 * pairs, 2)), axis=1)
    ends = ends[ends[:, 0] < ends[:, 1]][:pairs]
    return ct.Comparisons(n, ends[:, 0], ends[:, 1], weights=rng.uniform(0.5, 2, len(ends)))


# -- what is kept of an answer -------------------------------------------------------------


def solution(found: ct.Solution) -> dict[str, Any]:
    return {
        "rewards": found.rewards,
        "gaps": found.gaps,
        "objective": found.objective,
        "relative_gap": found.relative_gap,
        "status": found.status,
        "unique": found.unique,
    }


def law(found: Any, rewards: tuple[int, ...] = ()) -> dict[str, Any]:
    kept = {
        "atoms": found.atoms,
        "support": found.support,
        "quantiles": found.quantiles(16),
        "mean": found.mean(),
        "variance": found.var(),
    }
    low, high = np.clip(found.support, -1e6, 1e6)
    kept["cdf"] = found.cdf(np.linspace(low, high, 9))
    if getattr(found, "relative_gap", None) is not None:
        kept |= {
            "objective": found.objective,
            "relative_gap": found.relative_gap,
            "status": found.status,
        }
    for n in rewards:
        try:
            kept[f"rewards {n}"] = found.rewards(n)
        except ValueError as error:
            kept[f"rewards {n}"] = type(error).__name__
    return kept


def downstream(found: Any) -> dict[str, Any]:
    best, tilted = found.best_of(4), found.tilted(2.0)
    kept = {f"best {k}": v for k, v in law(best).items()}
    kept |= {f"tilted {k}": v for k, v in law(tilted).items()}
    return kept | {"to uniform": found.distance(ct.limit("-1/x"))}


def design(found: ct.Design) -> dict[str, Any]:
    kept = {
        "text": str(found.utility),
        "distance": found.distance,
        "status": str(found.reachable),
        "proved": found.proof is not None,
    }
    if found.proof is not None:
        kept["margin"] = found.proof.margin
    if found.comparisons is not None:
        kept["weights"] = found.comparisons.weights
    if found.law is not None:
        kept["quantiles"] = found.law.quantiles(16)
    return kept


def trained(loss: Any, size: int) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(3, size, generator=generator, dtype=torch.float64, requires_grad=True)
    value = loss(logits, ranks=[list(range(size))] * 3)
    value.backward()
    assert logits.grad is not None
    return {
        "loss": float(value.detach()),
        "gradient": logits.grad.numpy(),
        "predicted": loss.predict(size).rewards,
    }


# -- the cases -----------------------------------------------------------------------------

Case = tuple[str, Callable[[], dict[str, Any]]]


def finite_cases() -> Iterator[Case]:
    def asked(u: Any, n: int | None, domain: Any, **options: Any) -> Case:
        said = ", ".join(f"{k}={v}" for k, v in options.items() if k != "comparisons")
        name = f"finite {u} n={n} {domain} {said}".strip()
        return name, lambda: solution(ct.solve(u, n, domain, **options))

    for u in SMOOTH:
        for n in (2, 3, 5, 8, 12, 33, 64, 128):
            yield asked(u, n, ct.Box())
        yield asked(u, 7, ct.Box(), method="conic")
    for u in KINKED:
        for n in (3, 4, 7, 16):
            yield asked(u, n, ct.Box())
    for n in (5, 12):
        yield asked("log(x + 0.1)", n, ct.Box(-2, 3))
        yield asked("logsigmoid(x)", n, ct.Box(-2, 3))
    for u in ("log(x + 0.1)", "x**0.5"):
        yield asked(u, 1000, ct.Box())
    for u in OFF_BOX:
        for domain in PENALTIES:
            for n in (3, 8, 32):
                yield asked(u, n, domain)
    for u in WITH_MAXIMUM:
        for n in (3, 8, 32):
            yield asked(u, n, ct.Free())
    for u in LISTWISE:
        for domain in (ct.Box(), ct.Box(-2, 3), *PENALTIES):
            for n in (2, 4, 8, 100):
                yield asked(u, n, domain)
        yield asked(u, 5, ct.Box(), method="conic")
    graphs = GRAPHS | {
        "random 30": random_graph(30, 60, 0),
        "random 200": random_graph(200, 600, 1),
    }
    domains = (ct.Box(), ct.Confined(0.1), ct.Centered(0.05))
    for name, graph in graphs.items():
        for u in ("log(x + 0.1)", "logsigmoid(4*x)", "x**0.5", "min(x, 0.3)", "log(x)"):
            for domain in domains:
                title, work = asked(u, None, domain, comparisons=graph)
                yield f"{title} on {name}", work
        title, work = asked(WITH_MAXIMUM[0], None, ct.Free(), comparisons=graph)
        yield f"{title} on {name}", work
        yield f"finite max margin on {name}", lambda g=graph: solution(ct.max_margin(g))
    for u in ("log(x)", "x - 0.3*x**2", "1 - exp(-3*x)", "min(x, 0.25)", "x"):
        for n in (2, 9, 40):
            yield f"finite exact {u} n={n}", lambda u=u, n=n: solution(ct.closed_form(u, n))


LAWS = (
    *((u, ct.Box()) for u in SMOOTH),
    *((u, ct.Box()) for u in KINKED),
    *((u, ct.Box()) for u in ("sqrt(x) + x**0.3", "log(x) + x", "-x**-0.5 + atan(5*x)")),
    *((u, ct.Box()) for u in ("1 - exp(-300*x)", "log(x + 1e-06)", "logsigmoid(100*x)")),
    *((u, ct.Box()) for u in ("0.5*(1 - exp(-2*x)) + 0.5*(1 - exp(-9*x)) + 0.1*x",)),
    *((u, d) for u in OFF_BOX for d in PENALTIES),
    *((u, ct.Free()) for u in WITH_MAXIMUM),
    *((u, d) for u in LISTWISE for d in (ct.Box(), ct.Box(-2, 3), *PENALTIES)),
)


def limit_cases() -> Iterator[Case]:
    for u, domain in LAWS:
        yield f"limit {u} {domain}", lambda u=u, d=domain: law(ct.limit(u, d), (8, 33))
    for u in ("log(x + 0.1)", "log(x)", "x**0.5"):
        for method in ("regular", "singular", "panels", "grid"):
            yield f"limit {u} {method}", lambda u=u, m=method: law(ct.limit(u, method=m))
    for u in ("log(x)", "x**0.3", "1 - exp(-3*x)", "x - 0.2*x**2", "sin(x)", "min(x, 0.2)", "-1/x"):
        yield f"limit exact {u}", lambda u=u: law(ct.closed_form(u), (8,))
    for u in ("log(x)", "x**0.5", "log(x + 0.1)", "1 - exp(-3*x)", "log(x) + x", "min(x, 0.5)"):
        yield f"laws downstream {u}", lambda u=u: downstream(ct.limit(u))
    for u in ("logsigmoid(x)", "log(x)", ct.PlackettLuce()):
        yield (
            f"laws downstream {u} confined",
            lambda u=u: downstream(ct.limit(u, ct.Confined(0.1))),
        )


TARGETS = (
    "arcsine",
    "uniform",
    "beta(0.7)",
    "beta(1.05)",
    "beta(2)",
    "beta(4, 2)",
    "atoms 0.1 + beta(0.5)",
    "atoms 0.3 + uniform",
    "atoms 0.1 + beta(2)",
    "0.5*uniform + 0.5*beta(0.5)",
    "levels 0.4 0.2 0.4",
    "levels 0.3 0.2 0.2 0.3",
    "levels 0.25 0.5 0.25",
    "levels 0.1 0.2 0.4 0.2 0.1",
)
REWARDS = ((1, 0.5, 0), (1, 0.9, 0.1, 0), (1, 0.6, 0.4, 0), (1, 0.7, 0.5, 0.3, 0))


def design_cases() -> Iterator[Case]:
    for target in TARGETS:
        yield f"design {target}", lambda t=target: design(ct.design(t))
        yield (
            f"design {target} weights",
            lambda t=target: design(ct.design(t, n=8, by="weights", utility="log(x + 0.1)")),
        )
    for u in ("logsigmoid(4*x)", "log(x + 0.1)", "x**0.5", "1 - exp(-3*x)"):
        yield f"design law of {u}", lambda u=u: design(ct.design(ct.limit(u)))
    for target in REWARDS:
        yield (
            f"design rewards {target}",
            lambda t=target: design(ct.design(t, n=len(t))),
        )


def loss_cases() -> Iterator[Case]:
    from collapse_theory.training import RankingLoss

    for u in ("log(x + 0.1)", "logsigmoid(4*x)", "-1/(x + 0.1)", "x", "min(x, 0.5)", "x**0.5"):
        for size in (4, 8):
            yield f"losses {u} {size}", lambda u=u, k=size: trained(RankingLoss(u), k)
    for u, domain in (
        ("logsigmoid(x)", ct.Confined(0.02)),
        ("logsigmoid(x)", ct.Centered(0.01)),
        (ct.LabelSmoothing(0.1), ct.Free()),
        (ct.PlackettLuce(), ct.Box()),
        (ct.PlackettLuce(), ct.Confined(0.1)),
    ):
        yield (
            f"losses {u} {domain}",
            lambda u=u, d=domain: trained(RankingLoss(u, d), 6),
        )


def cases(only: str) -> dict[str, Callable[[], dict[str, Any]]]:
    groups = (finite_cases, limit_cases, design_cases, loss_cases)
    return {name: work for group in groups for name, work in group() if name.startswith(only)}


# -- saving and comparing ------------------------------------------------------------------


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def answers(only: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, work in cases(only).items():
        start = time.perf_counter()
        try:
            kept = {key: plain(value) for key, value in work().items()}
        except ValueError as error:  # a refusal is an answer too
            kept = {"status": type(error).__name__}
        found[name] = kept | {"seconds": time.perf_counter() - start}
    return found


def allowed(old: dict[str, Any], key: str) -> float:
    """Return how far a number may move: rounding, or what the old certificate leaves open."""
    gap = old.get("relative_gap") or 0.0
    if key == "objective":
        return max(WITHIN, 10 * gap)
    return max(WITHIN, math.sqrt(gap)) if gap > 1e-9 else WITHIN


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key, was in old.items():
        now = new.get(key)
        if key == "seconds":
            continue
        if isinstance(was, str | bool) or was is None or now is None:
            if was != now:
                yield f"{key} was {was}, is {now}"
        elif key == "relative_gap":
            if now > max(1.1 * was, ROUNDING):
                yield f"{key} was {was:.2e}, is {now:.2e}"
        else:
            a, b = np.asarray(was, dtype=float), np.asarray(now, dtype=float)
            if a.shape != b.shape:
                yield f"{key} had shape {a.shape}, has {b.shape}"
                continue
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            with np.errstate(invalid="ignore"):
                off = np.where(same, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(a)))
            if off.size and not off.max() <= allowed(old, key):
                yield f"{key} moved by {off.max():.2e}"


def compare(path: Path, only: str) -> int:
    was = {k: v for k, v in json.loads(path.read_text()).items() if k.startswith(only)}
    now = answers(only)
    found = 0
    for name in sorted(was.keys() - now.keys()) + sorted(now.keys() - was.keys()):
        print(f"{name}: only in one of the two")
        found += 1
    for name in was.keys() & now.keys():
        for text in differences(was[name], now[name]):
            print(f"{name}: {text}")
            found += 1
    print(f"{len(now)} answers, {found} differences")
    return found


# -- times ---------------------------------------------------------------------------------

TIMED = {
    # Another text each time: those read before are kept.
    "text": "ct.utility(f'0.5*log(x + {rng.random()}) + logsigmoid(4*x)')",
    **{f"solve {n}": f"ct.solve('log(x + 0.1)', {n})" for n in (8, 128, 1000)},
    **{f"solve x**.5 {n}": f"ct.solve('x**0.5', {n})" for n in (8, 128, 1000)},
    "confined 8": "ct.solve('logsigmoid(x)', 8, ct.Confined(0.02))",
    "confined 128": "ct.solve('logsigmoid(x)', 128, ct.Confined(0.02))",
    "hinge 128": "ct.solve('min(x, 0.5)', 128)",
    "kinked 32": "ct.solve('log(x + 0.1) + min(x, 0.3)', 32)",
    "graph": "ct.solve('log(x + 0.1)', comparisons=graph)",
    "listwise 8": "ct.solve(ct.PlackettLuce(), 8)",
    "limit regular": "ct.limit('log(x + 0.1)')",
    "limit steep": "ct.limit('log(x + 1e-6)')",
    "limit singular": "ct.limit('log(x) + x')",
    "limit confined": "ct.limit('logsigmoid(x)', ct.Confined(0.02))",
    "limit kinked": "ct.limit('min(x, 0.3)')",
    "rewards 64": "ct.limit('log(x) + x').rewards(64)",
    "design": "ct.design('atoms 0.1 + beta(0.5)')",
    "design weights": "ct.design('beta(4, 2)', n=8, by='weights')",
}
TIMER = """
import json, sys, time
import numpy as np
import collapse_theory as ct
rng = np.random.default_rng(0)
ends = np.sort(rng.integers(0, 300, (4000, 2)), axis=1)
ends = ends[ends[:, 0] < ends[:, 1]][:1500]
graph = ct.Comparisons(300, ends[:, 0], ends[:, 1])
found = {}
for name, code in json.loads(sys.argv[1]).items():
    work = compile(code, name, "eval")
    eval(work)
    took, begun = [], time.perf_counter()
    while len(took) < 3 or time.perf_counter() - begun < 0.2:
        start = time.perf_counter()
        eval(work)
        took.append(time.perf_counter() - start)
    found[name] = min(took)
print(json.dumps(found))
"""


def timed(checkout: Path) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TIMER, json.dumps(TIMED)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd="/",
    )
    return json.loads(done.stdout)


def ratios(old: Path, rounds: int = 5) -> None:
    new = Path(__file__).parents[1]
    was, now = [], []
    for _ in range(rounds):
        was.append(timed(old))
        now.append(timed(new))
    for name in TIMED:
        before, after = (min(run[name] for run in runs) for runs in (was, now))
        print(f"{name:16s} {1e3 * before:9.3f} ms -> {1e3 * after:9.3f} ms  {after / before:5.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("save", "compare", "ratios"))
    parser.add_argument("path", type=Path, help="the file, or for ratios the old checkout")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    given = parser.parse_args()
    if given.what == "save":
        given.path.write_text(json.dumps(answers(given.only)))
    elif given.what == "compare":
        sys.exit(bool(compare(given.path, given.only)))
    else:
        ratios(given.path)


if __name__ == "__main__":
    main()
