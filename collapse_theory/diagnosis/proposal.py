"""`propose_kinds`: kinds of prompts found from judges' scores, with the evidence for them.

What a utility shapes is how scores lie *within* a prompt, from its lowest at 0 to its highest at 1,
and whether near the ends or between: the laws of utilities are symmetric. So a prompt's shape is
the quantiles of |2u - 1|, its scores' distances from the middle. Prompts are split in two along the
first principal component of their shapes, and the parts again, as long as scores drawn anew from
all of a part, as they are or each less its prompt's mean and over its standard deviation, don't
split as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_theory.design.recommend import Recommendation, recommend
from collapse_theory.diagnosis.kinds import two_groups
from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import finite_array, numbers
from collapse_theory.numerics.precision import precision_of
from collapse_theory.values import Value

LEVELS = 8  # of the quantiles that are compared: as many as completions usually are
DRAWN = 199  # times that scores are drawn anew: p is then 0.005 at least
ALPHA = 0.01
FEWEST = 20  # prompts of a part that is split, and a tenth of it on either side
SMALLEST = 0.1


@dataclass(frozen=True, eq=False)
class Split(Value):
    """Evidence of one split in two.

    Attributes
    ----------
    sizes : tuple of int
        Prompts on either side.
    explained : float
        The share of the variance between prompts that the split explains; of a continuum without
        two groups 2/pi at most.
    p : float
        The chance that it separates as much where all these prompts draw from one law.
    kept : bool
        Whether the split is made.
    """

    sizes: tuple[int, int]
    explained: float
    p: float
    kept: bool


@dataclass(frozen=True, eq=False)
class KindProposal(Value):
    """Kinds of prompts found from scores; as a function, the kind of a row by its prompt.

    Attributes
    ----------
    prompts, kinds : tuple of str
        Each prompt and its kind, "kind 1" the one whose scores lie nearest to the ends.
    splits : tuple of Split
        What was tried: the splits made, and those not made.
    undecided : int
        Prompts with fewer than three completions, or without a spread: their scores have no shape,
        and they are of the largest kind.
    recommendation : Recommendation
        A utility for each kind, by `collapse_theory.recommend`.
    """

    prompts: tuple[str, ...]
    kinds: tuple[str, ...]
    splits: tuple[Split, ...]
    undecided: int
    recommendation: Recommendation

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Return the kind of a row's prompt, None for one that wasn't scored."""
        return dict(zip(self.prompts, self.kinds, strict=True)).get(str(row.get("prompt")))

    def __repr__(self) -> str:
        names, counts = np.unique(self.kinds, return_counts=True)
        found = ", ".join(
            f"{str(name)!r} {count}" for name, count in zip(names, counts, strict=True)
        )
        tried = "; ".join(
            f"{one.sizes[0]} : {one.sizes[1]} explains {one.explained:.2f}, p {one.p:.3f}"
            f"{'' if one.kept else ', not made'}"
            for one in self.splits
        )
        return f"KindProposal({found}; splits {tried or 'none tried'}; undecided {self.undecided})"


def propose_kinds(
    scores: Any, prompts: Any = None, *, most: int = 4, rng: np.random.Generator | int = 0
) -> KindProposal:
    """Return kinds of prompts that differ in how their scores lie within a prompt.

    Parameters
    ----------
    scores : mapping {prompt: scores}, or array of scores
        Judge scores or ratings of completions.
    prompts : array, optional
        The prompt of each score, where `scores` is an array.
    most : int
        The largest number of kinds.
    rng : numpy.random.Generator or int

    Returns
    -------
    KindProposal
        One kind for all where nothing shows that there are several.

    Raises
    ------
    CollapseError
        A ValueError: scores that are no finite numbers, or none.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scores = {f"open {k}": rng.uniform(size=8) for k in range(40)}
    >>> scores |= {f"closed {k}": rng.integers(2, size=8) for k in range(40)}
    >>> found = propose_kinds(scores)
    >>> sorted(set(found.kinds)), found({"prompt": "closed 3"})
    (['kind 1', 'kind 2'], 'kind 1')
    >>> str(found.recommendation["kind 1"].utility)
    'x'
    """
    if most < 1:
        raise CollapseError(f"most must be 1 or more, got {most}")
    rng = np.random.default_rng(rng)
    by_prompt = _by_prompt(scores, prompts)
    own_scores = list(by_prompt.values())
    alike = [precision_of(own).alike(own.min(), own.max()) for own in own_scores]
    shaped = [at for at, own in enumerate(own_scores) if len(own) > 2 and not alike[at]]
    shapes = np.array([_shapes(own_scores[at][None])[0] for at in shaped]).reshape(-1, LEVELS)
    parts, splits, todo = [np.arange(len(shaped))], [], [0]
    while todo and len(parts) < most:
        at = todo.pop()
        values = [own_scores[shaped[k]] for k in parts[at]]
        split, second = _split(values, shapes[parts[at]], rng)
        if split is not None:
            splits.append(split)
        if split is not None and split.kept:
            parts[at], rest = parts[at][~second], parts[at][second]
            todo += [at, len(parts)]
            parts.append(rest)
    parts.sort(key=lambda part: -float(shapes[part].mean()) if len(part) else 0.0)
    own = np.full(len(own_scores), int(np.argmax([len(part) for part in parts])))
    for number, part in enumerate(parts):
        own[np.array(shaped, dtype=int)[part]] = number
    kinds = [f"kind {number + 1}" for number in own]
    advice = recommend(by_prompt, kinds=dict(zip(by_prompt, kinds, strict=True)))
    undecided = len(own_scores) - len(shaped)
    return KindProposal(tuple(by_prompt), tuple(kinds), tuple(splits), undecided, advice)


def _by_prompt(scores: Any, prompts: Any) -> dict[str, np.ndarray]:
    """Return the scores of each prompt."""
    if not isinstance(scores, Mapping):
        values, names = np.asarray(scores), np.asarray(prompts).astype(str)
        if values.ndim != 1 or names.shape != values.shape:
            raise CollapseError("give scores by prompt, or as many prompts as scores")
        scores = {name: values[names == name] for name in dict.fromkeys(names.tolist())}
    if not scores:
        raise CollapseError("there are no scores")
    found = {}
    for name, values in scores.items():
        what = f"the scores of the prompt {str(name)!r}"
        found[str(name)] = finite_array(numbers(values, what).ravel(), what, 1)
    return found


def _shapes(block: np.ndarray) -> np.ndarray:
    """Return the quantiles of |2u - 1| of prompts (P, n), at the middles of equal levels."""
    low, high = block.min(axis=1, keepdims=True), block.max(axis=1, keepdims=True)
    unit = np.divide(block - low, high - low, out=np.zeros_like(block), where=high > low)
    at = ((np.arange(LEVELS) + 0.5) / LEVELS * block.shape[1]).astype(int)
    return np.sort(np.abs(2 * unit - 1), axis=1)[:, at]


def _split(
    values: list[np.ndarray], shapes: np.ndarray, rng: np.random.Generator
) -> tuple[Split | None, np.ndarray]:
    """Return the evidence of the best split in two, and who is on its second side."""
    best = two_groups(shapes) if len(values) >= FEWEST else None
    if best is None:
        return None, np.zeros(0, dtype=bool)
    found, second = best
    scaled = np.concatenate([(own - own.mean()) / own.std(ddof=1) for own in values])
    sizes, counts = np.unique([len(own) for own in values], return_counts=True)
    found_between, as_good = _between(shapes), []
    # Scores of levels and scales of their own are like draws of the scaled ones, grades like draws
    # of the scores as they are: the less surprising of the two counts.
    for pool in (scaled, np.concatenate(values)):
        as_good.append(1)
        for _ in range(DRAWN):
            drawn = [rng.choice(pool, (p, n)) for n, p in zip(sizes, counts, strict=True)]
            again = np.concatenate([_shapes(block) for block in drawn])
            as_good[-1] += _between(again) >= found_between
    p = max(as_good) / (DRAWN + 1)
    sides = int((~second).sum()), int(second.sum())
    return Split(sides, found.explained, p, bool(p <= ALPHA and found.share >= SMALLEST)), second


def _between(shapes: np.ndarray) -> float:
    """Return the variance between the sides of the best split in two."""
    best = two_groups(shapes)
    return best[0].explained * float(shapes.var(axis=0).sum()) if best else 0.0
