"""`collapse-theory head`: a linear head on given features, and what it says of unseen prompts."""

from __future__ import annotations

import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import typer

import collapse_theory as ct
from collapse_theory import data
from collapse_theory.cli.app import command
from collapse_theory.cli.output import console, facts_grid, give, named, number_table


@command(
    "head features.npz --rankings rankings.jsonl",
    'head features.npz --utility "log(x + 0.1)" --plot path.pdf',
    "head features.npy --rankings pairs.parquet --penalty 0.01 --json",
    formula=True,
    features=typer.Argument(
        metavar="FEATURES",
        help="An .npz or .npy file: an array (prompts, completions, d), or (completions, d) "
        "with a row for each completion of the rankings, in their order.",
    ),
    rankings=(
        "FILE",
        "The rankings: JSON lines, JSON, CSV or Parquet in any layout that training reads. "
        "[default: completions come best first]",
    ),
    layout="The layout of the rankings. [default: recognised]",
    score=("COLUMN", "The column that ranks the completions."),
    array=("NAME", "The array of an .npz file with several."),
    utility=("TEXT", "The utility of a reward gap x."),
    offset="Train U(x + OFFSET): needed where U'(0) is infinite.",
    penalty=(
        "LAMBDA",
        "The weight of |w|**2; can be repeated. [default: 13 from 10 to 1e-5]",
    ),
)
def head(
    features: Path,
    rankings: Path | None = None,
    layout: str | None = None,
    score: str | None = None,
    array: str = "features",
    utility: str = "logsigmoid(x)",
    offset: float | None = None,
    penalty: list[float] | None = None,
    as_json: bool = False,
    plot: Path | None = None,
) -> None:
    """Fit a linear head on given features, and tell what it would say of prompts left out.

    Of several penalties, left-out prompts choose one; its weights, rewards, left-out rewards and a
    bound of each reward's error are in the JSON. Ties and equal texts aren't compared.
    """
    phi = _features(features, array)
    comparisons = weights = None
    if rankings is not None:
        dataset = data.RankingDataset.from_file(rankings, layout=layout, score=score)
        _require_rows(dataset, phi, rankings)
        comparisons, weights = zip(*map(_compared, dataset), strict=True)
        phi = phi.reshape(-1, phi.shape[-1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = ct.head_path(
            phi,
            utility,
            penalties=penalty or None,
            comparisons=comparisons,
            weights=weights,
            offset=offset,
        )
    notes = [str(one.message) for one in caught if one.category is UserWarning]
    if path.at_an_end and len(path.heads) > 1:
        notes.append("the best penalty is at an end of those tried: try others with --penalty")
    content, show = partial(_content, path, notes), partial(_show, path, notes)
    give(content, show, as_json, plot, lambda: ct.figures.penalty_path(path))


def _features(file: Path, array: str) -> np.ndarray:
    """Return the array of a NumPy file."""
    try:
        found: Any = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise ct.CollapseError(f"{file}: no .npy or .npz file of numbers: {fault}") from None
    if isinstance(found, np.ndarray):
        return found
    with found:
        if array not in found.files and len(found.files) != 1:
            raise ct.CollapseError(
                f"{file}: no array is called {array!r}; name one of {', '.join(found.files)} with "
                "--array"
            )
        return found[array if array in found.files else found.files[0]]


def _require_rows(dataset: data.RankingDataset, phi: np.ndarray, file: Path) -> None:
    """Refuse features that aren't those of the rankings."""
    needed = sum(map(len, dataset))
    if phi.ndim not in (2, 3) or phi.size // max(phi.shape[-1], 1) != needed:
        raise ct.CollapseError(
            f"{file}: {dataset.report}, with {needed} completions in all; the features are of the "
            f"shape {phi.shape}: they need a row for each of these completions, in their order"
        )
    if phi.ndim == 3 and {len(one) for one in dataset} != {phi.shape[1]}:
        raise ct.CollapseError(
            f"{file}: the rankings have {min(map(len, dataset))} to {max(map(len, dataset))} "
            f"completions, the features {phi.shape[1]} each; give features (completions, d)"
        )


def _compared(one: data.Ranking) -> tuple[ct.Comparisons, float]:
    """Return a ranking's pairs, without those of equal texts, and how much it counts."""
    ranks, texts = np.array(one.ranks), np.unique(one.completions, return_inverse=True)[1].ravel()
    better, worse = np.nonzero((ranks[:, None] < ranks) & (texts[:, None] != texts))
    weights = np.ones(len(better)) if one.pair_weights is None else one.pair_weights[better, worse]
    if not weights.any():  # of no pair: it counts for nothing, but keeps its place
        return ct.Comparisons.full(len(ranks)), 0.0
    margins = 0.0 * weights if one.margins is None else one.margins[better, worse]
    return ct.Comparisons(len(ranks), better, worse, weights, margins=margins), one.weight


_EACH = ("penalty", "mean_utility", "held_out_utility", "freedom", "memory", "relative_gap")


def _content(path: ct.HeadPath, notes: list[str]) -> dict[str, Any]:
    best = path.best
    return {
        "utility": str(best.utility),
        **named(best, "prompts", "reward_freedom"),
        "features": len(best.weights),
        "path": [named(one, *_EACH, "status") for one in path.heads],
        "best": named(best, *_EACH, "objective", "gap", "status", "weights_error")
        | {"weights": best.weights, "rewards": best.rewards, "held_out": best.one_step}
        | {"reward_error": best.reward_error},
        "at_an_end": path.at_an_end,
        "notes": notes,
    }


def _show(path: ct.HeadPath, notes: list[str]) -> None:
    page, best = console(), path.best
    rows = [
        (
            f"{one.penalty:g}{' *' if one is best and len(path.heads) > 1 else ''}",
            f"{one.mean_utility:.6f}",
            f"{one.held_out_utility:.6f}",
            f"{one.freedom:.1f}",
            f"{one.memory:.3g}",
            f"{one.relative_gap:.0e}",
        )
        for one in path.heads
    ]
    names = ("penalty", "trained", "left out", "freedom", "memory", "relative gap")
    page.print(
        f"U(x) = {best.utility}, {best.prompts} prompts, {len(best.weights)} features: mean "
        "utility over pairs"
    )
    page.print(number_table(names, rows, framed=True))
    facts = {"*": f"left-out prompts choose {best.penalty:g}"} if len(path.heads) > 1 else {}
    facts |= {
        "freedom": f"{best.freedom:.1f} of the {best.reward_freedom} that the rewards have",
        "rewards": f"within {np.nanmax(best.reward_error):.1e} of those of the optimal head",
        "objective": f"{best.objective:.6g}, certified to {best.gap:.1e}; {best.status}",
    }
    page.print(facts_grid(facts | {"note": "; ".join(notes)} if notes else facts))
