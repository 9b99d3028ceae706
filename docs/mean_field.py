"""The mean field of a linear head (docs/theory.md): its equations solved, and heads fitted.

    python docs/mean_field.py

draws docs/images/mean_field.png and writes the numbers of collapse_theory/figures/data/
mean_field.csv: some minutes.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import collapse_theory as ct
from collapse_theory.capacity.memory_law import ByRank
from collapse_theory.capacity.prox import Ranked, proximal
from collapse_theory.utilities import Utility, continued

ROOT = Path(__file__).resolve().parent
TABLE = ROOT.parent / "collapse_theory" / "figures" / "data" / "mean_field.csv"


@dataclass(frozen=True)
class Field:
    """d/N, rho, a and what they make of rewards: rows xi and r with their weights."""

    delta: float
    rho: float
    a: float
    xi: np.ndarray
    r: np.ndarray
    weights: np.ndarray


def normals(n: int, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights of the standard normal law of n coordinates.

    For two, of their difference, the only one that counts, by Gauss and Hermite's rule; else a
    sample of mean 0 and covariance 1.
    """
    if n == 2:
        x, w = np.polynomial.hermite_e.hermegauss(150)
        return np.column_stack([x, -x]) / np.sqrt(2), w / w.sum()
    x = np.random.default_rng(0).normal(size=(count // 2, n))
    x = np.concatenate([x, -x])
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / len(x))).T
    return x, np.full(len(x), 1 / len(x))


def mean_field(
    u: Utility, h: np.ndarray, gamma: float, penalty: float, s: float, start: Field | None = None
) -> Field:
    """Solve gamma (2 lambda + T) = delta, rho = gamma**2 E|g|**2/delta, a = gamma s E[h.g]/delta.

    g = grad f(r), T = E tr[L (I + gamma L)**-1], r the proximal map of xi = a s h + N(0, a**2 +
    rho). Of the memory gamma, not of d/N: that is the smooth parameter of the curve, along which
    d/N hardly moves where the memory grows a hundredfold. By repetition, half of each step taken.
    """
    ranked, (z, w) = Ranked(continued(u), len(h)), normals(len(h))
    delta, rho, a, r = gamma, gamma, 0.5, None
    if start is not None:
        delta, rho, a, r = start.delta, start.rho, start.a, start.r
    for _ in range(2000):
        xi = a * s * h + np.sqrt(a**2 + rho) * z
        r = proximal(ranked, xi, gamma, r)
        force, minus = ranked.derivatives(r)
        inner = np.linalg.solve(np.eye(len(h)) + gamma * minus, minus)
        delta = gamma * (2 * penalty + float(w @ np.trace(inner, axis1=1, axis2=2)))
        new = np.array(
            [
                gamma**2 * float(w @ (force**2).sum(axis=1)) / delta,
                gamma * s * float(w @ (force @ h)) / delta,
            ]
        )
        old = np.array([rho, a])
        rho, a = (old + new) / 2
        if np.abs(new - old).max() <= 1e-13 * np.abs(new).max():
            break
    return Field(delta, rho, a, xi, r, w)


# -- the figure ----------------------------------------------------------------------------

N_COMPLETIONS, SIGNAL, PENALTY = 4, 0.5, 1e-3
GAMMAS = np.geomspace(0.1, 6000, 60)
SIMULATED = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # d over N
PROMPTS = 200


def fitted(h: np.ndarray, delta: float, seed: int) -> tuple[float, float, float]:
    """Return the share explained by rank, trained and held out, and the memory of a head."""
    rng, d = np.random.default_rng(seed), round(delta * PROMPTS)
    v = rng.normal(size=d)
    v /= np.linalg.norm(v)

    def drawn() -> np.ndarray:
        return SIGNAL * h[:, None] * v + rng.normal(size=(PROMPTS, len(h), d))

    head = ct.fit_head(drawn(), "logsigmoid(x)", penalty=PENALTY)
    unseen = head.predict(drawn())
    found = ct.memory(head.rewards, unseen, "logsigmoid(x)", resamples=100)
    return found.trained.explained, found.held_out.explained, found.gamma


def rows() -> list[dict[str, float | str]]:
    """Return the curve and the points."""
    h, u = np.linspace(1, -1, N_COMPLETIONS), ct.LogSigmoid()
    h *= np.sqrt(N_COMPLETIONS / (h @ h))
    made, field = [], None
    for gamma in GAMMAS:
        field = mean_field(u, h, gamma, PENALTY, SIGNAL, field)
        shares = ByRank.of(field.r).explained, ByRank.of(field.xi).explained
        made.append(("curve", field.delta, *shares, gamma))
    for delta in SIMULATED:
        found = [fitted(h, delta, seed) for seed in range(3)]
        made += [("head", delta, *one) for one in found]
        print(made[-1], file=sys.stderr)
    names = ("what", "delta", "trained", "held_out", "gamma")
    return [
        {k: v if isinstance(v, str) else float(f"{v:.6g}") for k, v in zip(names, row, strict=True)}
        for row in made
    ]


def draw(table: list[dict[str, float | str]], to: Path) -> None:
    """Draw the share explained by rank, and the memory, against d/N."""
    from collapse_theory.figures import look, style

    with style():
        import matplotlib.pyplot as plt

        fig, axes = plt.subplots(1, 2, figsize=(look.DOUBLE, 2.6), layout="constrained")
        for ax, names in zip(axes, (("trained", "held_out"), ("gamma",)), strict=True):
            for number, name in enumerate(names):
                for what in ("curve", "head"):
                    x, y = zip(
                        *((row["delta"], row[name]) for row in table if row["what"] == what),
                        strict=True,
                    )
                    colour = look.turn(number)[0]
                    kind = look.mark(*look.turn(number), 3.4, filled=number == 1)
                    line = {"color": colour, "linestyle": look.LINES[number]}
                    ax.plot(x, y, **(line if what == "curve" else kind | {"linestyle": ""}))
            ax.axvline(N_COMPLETIONS - 1, color=look.GREY, linewidth=0.6, linestyle=(0, (1, 2)))
            ax.set(xscale="log", xlabel="features per prompt, $d/N$")
        axes[0].set(ylim=(0, 1.03), ylabel="explained by rank")
        axes[0].text(0.06, 0.7, "trained", color=look.turn(0)[0])
        axes[0].text(0.06, 0.12, "held out", color=look.turn(1)[0])
        axes[1].set(yscale="log", ylabel="memory, $\\gamma$")
        fig.savefig(to, dpi=200)
        plt.close(fig)


def main() -> None:
    """Draw the figure and write the table."""
    table = rows()
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    draw(table, ROOT / "images" / "mean_field.png")


if __name__ == "__main__":
    main()
