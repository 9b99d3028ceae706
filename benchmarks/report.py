"""Writes benchmarks/REPORT.md: this package beside other ways to the same numbers.

    OMP_NUM_THREADS=1 python benchmarks/report.py          # all of it, some ten minutes
    OMP_NUM_THREADS=1 python benchmarks/report.py --quick  # few sizes, to see that it runs

Needs the extra benchmarks (``pip install -e ".[benchmarks,training]"``). Times are CPU seconds of
one core, the least of several runs, peers and package by turns in one process; a peer is asked for
more and more accuracy, and its time to an accuracy is that of its quickest answer which has it.
Accuracies are relative gaps: what the answer's objective is short of the optimum's certified upper
bound, over U(1) - optimum (without a box, over the spread of U).
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg
from peers import PEERS, Peer, Task

import collapse_theory as ct
from collapse_theory.figures import style

HERE = Path(__file__).parent
TARGETS = (1e-6, 1e-9, 1e-12)
SMOOTH = ("log(x)", "x**0.5", "-1/x", "log(x + 0.1)", "logsigmoid(4*x)")
PATIENCE = 5.0  # seconds; a peer that took longer isn't asked for more accuracy


@dataclass(frozen=True)
class Run:
    """One answer: seconds and relative gap, or the message of a failure."""

    peer: str
    seconds: float
    gap: float
    message: str = ""


def timed(work: Callable[[], Any], budget: float = 0.3) -> tuple[float, Any]:
    """Return the least CPU seconds of several runs within a budget, and the last result."""
    least, spent = math.inf, 0.0
    for _ in range(15):
        start = time.process_time()
        result = work()
        took = time.process_time() - start
        least, spent = min(least, took), spent + took
        if spent > budget:
            break
    return least, result


def runs_of(peer: Peer, task: Task, optimum: ct.Solution) -> list[Run]:
    runs = []
    for setting in peer.settings:
        try:
            with np.errstate(all="ignore"):
                seconds, rewards = timed(lambda setting=setting: peer.solve(task, setting))
            runs.append(Run(peer.name, seconds, max(task.short_of(rewards, optimum), 1e-16)))
        except Exception as error:  # a peer may fail in any way: its message is shown
            words = (str(error) or type(error).__name__).splitlines()[0]
            runs.append(Run(peer.name, math.nan, math.inf, words[:80]))
            break
        if seconds > PATIENCE:
            break
    return runs


def compared(task: Task) -> tuple[Run, list[Run]]:
    seconds, optimum = timed(task.solved)
    ours = Run("collapse_theory", seconds, max(task.short_of(optimum.rewards, optimum), 1e-16))
    print(f"{task.name}, n = {task.n}: {1e3 * seconds:.2f} ms", file=sys.stderr, flush=True)
    return ours, [run for p in PEERS if p.takes(task) for run in runs_of(p, task, optimum)]


def time_to(runs: Iterable[Run], target: float) -> float:
    return min((run.seconds for run in runs if run.gap <= target), default=math.inf)


# -- tables ---------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def fold(ratio: float) -> str:
    return "-" if not math.isfinite(ratio) else f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def random_pairs(n: int, count: int) -> ct.Comparisons:
    """Pairs at random along a hidden order, all completions in one piece."""
    rng = np.random.default_rng(0)
    pairs = np.unique(np.sort(rng.integers(0, n, (count, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return ct.Comparisons(n, *pairs.T)


def tasks(quick: bool) -> list[Task]:
    sizes = (8,) if quick else (8, 32, 128)
    found = [Task(text, n) for text in SMOOTH for n in sizes]
    found += [Task("min(x, 0.5)", n) for n in sizes]
    found += [Task("logsigmoid(x)", n, kappa=0.02) for n in sizes]
    pairs = random_pairs(200, 2000)
    found.append(Task("logsigmoid(x)", 200, 0.1, pairs))
    if not quick:
        found.append(Task("log(x + 0.1)", 200, None, pairs))
        found += [Task(text, 1000) for text in ("log(x)", "log(x + 0.1)")]
    return found


def against_peers(quick: bool) -> tuple[str, dict[tuple[str, int], tuple[Run, list[Run]]]]:
    found = {(task.name, task.n): compared(task) for task in tasks(quick)}
    rows, ratios, failures = [], {}, {}
    for (name, n), (ours, runs) in found.items():
        cells = []
        for target in TARGETS:
            times = {
                peer: time_to([run for run in runs if run.peer == peer], target)
                for peer in dict.fromkeys(run.peer for run in runs)
            }
            best = min(times, key=lambda peer: times[peer])
            ratio = times[best] / ours.seconds
            cells.append("none" if ratio == math.inf else f"{fold(ratio)} ({best})")
            for peer, seconds in times.items():
                ratios.setdefault(peer, {}).setdefault(target, []).append(seconds / ours.seconds)
        rows.append([f"`{name}`", str(n), ms(ours.seconds), f"{ours.gap:.0e}", *cells])
        for run in runs:
            if run.message:
                failures[run.peer, run.message] = f"`{name}`, n = {n}"
    text = (
        "## Against other software\n\nHow many times as long as this package the quickest peer "
        "takes to a relative gap of 1e-6, 1e-9, 1e-12; below 1 the peer is ahead.\n\n"
    )
    head = ["program", "n", "this package", "gap", *(f"quickest to {t:.0e}" for t in TARGETS)]
    text += table(head, rows) + "\n\nEach peer: programs solved to the accuracy of those tried, "
    text += "and the median of its times as long.\n\n"

    def reached(times: list[float]) -> str:
        count = sum(t < math.inf for t in times)
        return f"{count} of {len(times)}, {fold(float(np.median(times)))}"

    rows = [[peer, *(reached(by[target]) for target in TARGETS)] for peer, by in ratios.items()]
    text += table(["peer", *(f"{t:.0e}" for t in TARGETS)], rows)
    if failures:
        text += "\n\nWhat peers say where they fail (one place each):\n\n"
        rows = [[peer, where, said] for (peer, said), where in failures.items()]
        text += table(["peer", "program", "message"], rows)
    return text, found


# -- growth with n, and the floor -----------------------------------------------------------


def floor(utility: ct.Utility, n: int) -> float:
    """Seconds for a round of what any Newton method needs: U', U'' at each pair, a factorisation.

    Rewards that mirror each other halve both; above 3000 completions, where no method can afford
    all pairs, the n gaps are written and summed once.
    """
    if n > 3000:
        gaps = np.full(n - 1, 1 / n)
        return timed(lambda: np.cumsum(np.exp(np.log(gaps))))[0]
    x = np.linspace(0.01, 1, max(n * (n - 1) // 4, 1))
    half = max(n // 2, 1)
    matrix = np.eye(half) + 1 / n

    def work() -> None:
        utility.d1(x), utility.d2(x)
        scipy.linalg.cholesky(matrix, check_finite=False)

    return timed(work)[0]


def peak_of(work: Callable[[], Any]) -> float:
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found


def growth(quick: bool) -> tuple[str, dict[str, list[tuple[int, float]]]]:
    sizes = (8, 32, 128) if quick else (8, 32, 128, 512, 2000, 10_000, 100_000, 1_000_000)
    rows, curves, slopes = [], {}, []
    held = (("log(x)", ct.Confined(1.0)), ("logsigmoid(x)", ct.Confined(0.02)))
    boxed = [(text, ct.Box()) for text in ("log(x)", "log(x + 0.1)", "logsigmoid(4*x)")]
    for text, domain in (*boxed, *held):
        utility, seconds, memory = ct.utility(text), [], []
        if domain != ct.Box():
            text += f", {domain}"
        for n in sizes:
            took, solution = timed(lambda u=utility, d=domain, n=n: ct.solve(u, n, d))
            seconds.append(took)
            memory.append(peak_of(lambda u=utility, d=domain, n=n: ct.solve(u, n, d).rewards))
            rows.append(
                [f"`{text}`", f"{n:,}", ms(took), f"{solution.relative_gap:.0e}",
                 f"{memory[-1]:.3g} MB", fold(took / floor(utility, n))]
            )  # fmt: skip
        curves[text] = list(zip(sizes, seconds, strict=True))
        late = [k for k, n in enumerate(sizes) if n >= 10_000] or list(range(len(sizes)))
        early = [k for k, n in enumerate(sizes) if n <= 512]
        slopes.append(
            [f"`{text}`"]
            + [
                f"n^{exponent([sizes[k] for k in part], [values[k] for k in part]):.2f}"
                for part in (early, late)
                for values in (seconds, memory)
            ]
        )
    text = (
        "## Growth with n\n\nTime, certified relative gap, peak memory, and how many times as long "
        "as the floor: one round of U' and U'' at each pair and one factorisation, in NumPy, up to "
        "3000 completions; above, one pass over n gaps.\n\n"
    )
    text += table(["utility", "n", "time", "gap", "memory", "over the floor"], rows) + "\n\n"
    head = ["utility", "time to 512", "memory to 512", "time from 10^4", "memory from 10^4"]
    return text + table(head, slopes), curves


# -- graphs, laws, designs, logs, imports ---------------------------------------------------


def random_prompts(count: int) -> ct.Comparisons:
    """Return so many prompts of 8 completions, each with random pairs of its own."""
    rng = np.random.default_rng(count)
    better, worse = np.triu_indices(8, 1)
    kept = [rng.permutation(28)[:k] for k in rng.integers(7, 20, count)]
    return ct.Comparisons.union([ct.Comparisons(8, better[one], worse[one]) for one in kept])


def graphs(quick: bool) -> str:
    rows = []
    sizes = (1000,) if quick else (1000, 10_000, 100_000)
    graphs = [("random pairs", random_pairs(n, 10 * n)) for n in sizes]
    graphs += [(f"{n:,} prompts of 8", random_prompts(n)) for n in sizes[-1:]]
    for what, pairs in graphs:
        programs = [("log(x + 0.1)", ct.Box()), ("logsigmoid(x)", ct.Box())]
        programs += [("logsigmoid(x)", ct.Confined(0.1)), ("log(x)", ct.Confined(0.1))]
        for text, domain in programs:
            took, found = timed(
                lambda p=pairs, t=text, d=domain: ct.solve(t, domain=d, comparisons=p), 0
            )
            rows.append(
                [what, f"`{text}`", str(domain), f"{pairs.n:,}", f"{len(pairs.better):,}",
                 ms(took), f"{found.relative_gap:.0e}", found.method]
            )  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    return "## Comparison graphs\n\nEach prompt has pairs of its own.\n\n" + table(
        ["graph", "utility", "domain", "completions", "pairs", "time", "gap", "method"], rows
    )


def laws(quick: bool) -> str:
    rows = []
    texts = ("log(x + 0.1)", "logsigmoid(4*x)", "log(x) + x", "sqrt(x) + x", "log(x + 0.001)")
    for text in texts[: 2 if quick else None]:
        utility = ct.utility(text)
        took, law = timed(lambda u=utility: ct.limit(u))
        longer, panels = timed(lambda u=utility: ct.limit(u, method="panels"), 0)
        rows.append(
            [f"`{text}`", ms(took), f"{law.relative_gap:.0e}", fold(longer / took),
             f"{panels.relative_gap:.0e}"]
        )  # fmt: skip
    return "## Limit laws\n\nBeside the same by collocation on graded panels.\n\n" + table(
        ["utility", "time", "gap", "panels: times as long", "its gap"], rows
    )


def many(quick: bool) -> str:
    """Programs, and laws, of one family with many parameters."""
    families = (
        (ct.Log().shifted, np.geomspace(0.01, 1, 10_000), "log(x + c)"),
        (ct.LogSigmoid, np.geomspace(1, 30, 10_000), "logsigmoid(beta*x)"),
        (ct.Power, np.linspace(0.1, 0.9, 10_000), "x**gamma"),
    )
    rows = []
    for family, values, text in families:
        for domain in (ct.Box(), ct.Confined(0.1)):
            for what, together, alone, count in (
                ("programs of 8", lambda us, d=domain: ct.solve_many(us, 8, d),
                 lambda u, d=domain: ct.solve(u, 8, d), 1000 if quick else 10_000),
                ("laws", lambda us, d=domain: ct.limit_many(us, d),
                 lambda u, d=domain: ct.limit(u, d), 100 if quick else 1000),
            ):  # fmt: skip
                utilities = [family(v) for v in values[:: 10_000 // count]]
                some = utilities[:: len(utilities) // 50]
                took, found = timed(lambda u=utilities, f=together: f(u), 0)
                single = timed(lambda u=some, f=alone: [f(one) for one in u], 0)[0]
                worst = max(one.relative_gap for one in found)
                rows.append(
                    [f"`{text}`", str(domain), f"{count:,} {what}", ms(took), f"{worst:.0e}",
                     fold(single * count / len(some) / took)]
                )  # fmt: skip
                print(rows[-1], file=sys.stderr, flush=True)
    return "## Many programs\n\nOf one family, with as many parameters.\n\n" + table(
        ["utility", "domain", "what", "together", "worst gap", "one by one: times as long"], rows
    )


def sweeps(quick: bool) -> str:
    """A grid of programs in this process, then read again from the folder that kept it."""
    shifts = np.linspace(0.01, 1.0, 20 if quick else 200)
    grid = [ct.Log().shifted(c) for c in shifts], [8, 32, None], [None, ct.Confined(0.1)]
    with ThreadPoolExecutor(1) as here, tempfile.TemporaryDirectory() as folder:
        took, found = timed(lambda: ct.sweep(*grid, here), 0)
        ct.sweep(*grid, here, keep=folder)
        again = timed(lambda: ct.sweep(*grid, here, keep=folder), 0)[0]
    worst = found["relative_gap"].max()
    return (
        "## A sweep\n\nlog(x + c) of 8 and 32 completions and as n grows, in the box and under "
        "Confined(0.1).\n\n"
        + table(
            ["programs", "`sweep`", "each", "worst gap", "again, from its folder"],
            [[f"{len(found):,}", ms(took), ms(took / len(found)), f"{worst:.0e}", ms(again)]],
        )
    )


def designs() -> str:
    rows = []
    for text in ("atoms 0.3 + uniform", "levels 0.4 0.2 0.4", "beta(2, 2)", "levels 0.25 0.5 0.25"):
        took, found = timed(lambda t=text: ct.design(t), 0)
        rows.append([f"`{text}`", ms(took), f"{found.distance:.4f}", str(found.reachable)])
    return "## Designs\n\n" + table(["wanted", "time", "distance", "reachable"], rows)


def logs(quick: bool) -> str:
    import polars as pl

    count = 10_000 if quick else 1_000_000
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"prompt": np.arange(count) // 8, "reward": rng.standard_normal(count)}
    ).with_columns(pl.format("prompt number {}", "prompt").alias("prompt"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("parquet", "csv", "ndjson"):
            path = Path(folder) / f"log.{ending}"
            getattr(frame, f"write_{ending}")(path)
            read = getattr(pl, f"read_{ending}")
            least = timed(
                lambda r=read, p=path: r(p).group_by("prompt").agg(pl.col("reward").std()), 0
            )[0]
            took, found = timed(lambda p=path: ct.diagnose(p, utility=()), 0)
            rows.append([ending, ms(took), str(found.outcome), fold(took / least)])
    head = ["format", "time", "outcome", "over Polars reading and grouping"]
    return f"## Diagnosis\n\n{count:,} rewards of prompts of eight.\n\n" + table(head, rows)


def start_up() -> str:
    def cpu(*command: str) -> float:
        def run() -> float:
            before = os.times()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            return (
                after.children_user
                + after.children_system
                - (before.children_user + before.children_system)
            )

        return min(run() for _ in range(5))

    least = cpu("-c", "import numpy")
    module = ("-m", "collapse_theory")
    solved = 'import collapse_theory as ct; ct.solve("log(x + 0.1)", 8)'
    limited = 'import collapse_theory as ct; ct.limit("log(x + 0.1)")'
    rows = [
        [f"`{what}`", ms(took := cpu(*command)), fold(took / least)]
        for what, command in {
            "import collapse_theory": ("-c", "import collapse_theory"),
            'ct.solve("log(x + 0.1)", 8), import included': ("-c", solved),
            'ct.limit("log(x + 0.1)"), import included': ("-c", limited),
            "collapse-theory --help": (*module, "--help"),
            'collapse-theory predict "log(x + 0.1)"': (*module, "predict", "log(x + 0.1)"),
        }.items()
    ]
    return "## Start\n\nCPU seconds of a new process.\n\n" + table(
        ["what", "time", "over `import numpy`"], rows
    )


# -- figures --------------------------------------------------------------------------------


def work_precision(found: dict[tuple[str, int], tuple[Run, list[Run]]], path: Path) -> None:
    shown = [
        key for key in found if key[1] == max(k[1] for k in found if k[0] == key[0] and k[1] < 999)
    ]
    with style():
        shown = [key for key in shown if "pairs" not in key[0]][:6]
        fig, axes = plt.subplots(
            2, 3, figsize=(9, 6), sharex=True, sharey=True, layout="constrained", squeeze=False
        )
        marks, handles = "os^vD<>pPX*hHd8", {}
        names = [peer.name for peer in PEERS]
        for ax, key in zip(axes.flat, shown, strict=False):
            ours, runs = found[key]
            for k, name in enumerate(names):
                points = [(r.seconds, r.gap) for r in runs if r.peer == name and r.gap < 1]
                if points:
                    (line,) = ax.plot(
                        *zip(*points, strict=True), marker=marks[k], ms=4, lw=0.8, color=f"C{k % 8}"
                    )
                    handles[name] = line
            handles["collapse_theory"] = ax.plot(
                ours.seconds, ours.gap, marker="*", ms=14, color="black", ls=""
            )[0]
            ax.set(xscale="log", yscale="log", ylim=(3e-17, 1), title=f"{key[0]}, n = {key[1]}")
        for ax in axes[-1]:
            ax.set_xlabel("CPU seconds")
        for ax in axes[:, 0]:
            ax.set_ylabel("relative gap")
        fig.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize="small"
        )
        fig.savefig(path, dpi=150)
        plt.close(fig)


def by_size(
    found: dict[tuple[str, int], tuple[Run, list[Run]]],
    curves: dict[str, list[tuple[int, float]]],
    path: Path,
) -> None:
    """Time to 1e-6 against n for log(x + 0.1), peers beside the package."""
    with style():
        fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        ours = curves["log(x + 0.1)"]
        ax.plot(*zip(*ours, strict=True), color="black", marker="*", ms=9, label="collapse_theory")
        for k, peer in enumerate(PEERS):
            points = [
                (n, took)
                for (name, n), (_, runs) in found.items()
                if name == "log(x + 0.1)"
                and (took := time_to([r for r in runs if r.peer == peer.name], 1e-6)) < math.inf
            ]
            if points:
                ax.plot(
                    *zip(*points, strict=True),
                    marker="os^vD<>pPX*hHd8"[k], ms=4, lw=0.8, color=f"C{k % 8}", label=peer.name,
                )  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="completions", ylabel="CPU seconds to 1e-6")
        ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        fig.savefig(path, dpi=150)
        plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "REPORT.md")
    options = parser.parse_args()
    quick, folder = options.quick, options.out.parent
    peers, found = against_peers(quick)
    sizes, curves = growth(quick)
    work_precision(found, folder / "work_precision.png")
    by_size(found, curves, folder / "by_size.png")
    named = ("numpy", "scipy", "cvxpy", "clarabel", "scs", "ecos", "choix", "scikit-learn", "torch")
    parts = [
        "# Benchmarks\n\nWritten by `benchmarks/report.py`, which says how it measures. "
        f"{platform.machine()}, one thread, Python {platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in named) + ".",
        peers,
        "![Relative gap against time, this package and its peers](work_precision.png)",
        sizes,
        "![Time to a relative gap of 1e-6 against the number of completions](by_size.png)",
        graphs(quick), many(quick), sweeps(quick), laws(quick), designs(), logs(quick), start_up(),
    ]  # fmt: skip
    options.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
