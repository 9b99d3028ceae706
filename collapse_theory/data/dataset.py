"""Rankings to train and evaluate on, read from files with every bad row named."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from collapse_theory.data.layouts import Score
from collapse_theory.data.ranking import Ranking
from collapse_theory.data.ranking_rows import Kind, Reader
from collapse_theory.data.source import parts_of
from collapse_theory.errors import CollapseError
from collapse_theory.values import Value

SHOWN = 3  # bad rows that a message names
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DatasetReport(Value):
    """What a reading found.

    Attributes
    ----------
    read : int
        Rows in the source.
    kept : int
        Rankings made of them.
    bad : tuple of (int, str)
        The line (from 1) of each row that was left out, and the reason.
    identical : int
        Rankings with completions of different ranks that are the same text. Such pairs don't
        count, and a ranking that has no others has no say in a mean.
    unused : tuple of str
        The columns that were not used.
    filtered : tuple of (str, int)
        Why `RankingDataset.filter` left rankings out, and how many.
    """

    read: int
    kept: int
    bad: tuple[tuple[int, str], ...] = ()
    identical: int = 0
    unused: tuple[str, ...] = ()
    filtered: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.read} rows read, {self.kept} rankings kept, "]
        if self.bad:
            shown = "; ".join(f"line {line}: {reason}" for line, reason in self.bad[:SHOWN])
            more = f"; and {len(self.bad) - SHOWN} more" if len(self.bad) > SHOWN else ""
            parts[0] += f"{len(self.bad)} bad: {shown}{more}"
        else:
            parts[0] += "none bad"
        parts += [f"{count} left out: {reason}" for reason, count in self.filtered]
        if self.identical:
            parts.append(f"{self.identical} with identical completions, whose pairs don't count")
        if self.unused:
            parts.append(f"columns not used: {', '.join(self.unused)}")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class RankingDataset(Value):
    """A sequence of rankings: torch's map-style dataset, which `Trainer` and `DataLoader` take.

    Parameters
    ----------
    rankings : sequence of Ranking
        At least one.
    report : DatasetReport, optional
        What the reading of their source found.

    Examples
    --------
    >>> rows = [{"prompt": "2 + 2?", "completions": ["4", "5"]}, {"prompt": "?", "completions": []}]
    >>> data = RankingDataset.from_records(rows)
    >>> data, data[0].completions
    (RankingDataset(1 ranking of 2 completions), ('4', '5'))
    >>> print(data.report)
    2 rows read, 1 rankings kept, 1 bad: line 2: 0 completion: a ranking needs two or more
    """

    rankings: tuple[Ranking, ...]
    report: DatasetReport | None = None

    def __post_init__(self) -> None:
        rankings = tuple(self.rankings)
        for at, ranking in enumerate(rankings):
            if not isinstance(ranking, Ranking):
                raise CollapseError(
                    f"item {at} is a {type(ranking).__name__}, not a Ranking; dicts and files are "
                    "read by RankingDataset.from_records and RankingDataset.from_file"
                )
        if not rankings:
            raise CollapseError("a dataset needs at least one ranking, got none")
        same = sum(ranking.identical for ranking in rankings)
        report = self.report or DatasetReport(len(rankings), len(rankings), identical=same)
        self._set(rankings=rankings, report=report)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        layout: str | None = None,
        kind: Kind = "kind",
        kinds: Iterable[str] | None = None,
        score: Score = None,
    ) -> Self:
        """Read rankings from a file, a folder or several files, of what `read_log` reads.

        Parameters
        ----------
        path : path, glob, folder, "-" or several of them
        layout : str, optional
            A name of `layouts.LAYOUTS`, such as "nectar" or "pairs"; recognised by the columns of
            the first row unless given.
        kind : str or callable, optional
            The column that holds the kind of prompt (none is needed), or a function of the row.
        kinds : iterable of str, optional
            The kinds that are allowed; a row of another kind, or of none, is bad. Give the loss's.
        score : str or mapping, optional
            The column that ranks the completions; or weights by column, whose sum does.

        Raises
        ------
        CollapseError
            A ValueError: no known layout, or no sensible row.
        OSError
            Where the file can't be read.
        """
        where = f"{path}: " if isinstance(path, str | os.PathLike) else ""
        return cls._read(path, Reader(layout, kind, kinds, score), where)

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any] | Ranking],
        *,
        layout: str | None = None,
        kind: Kind = "kind",
        kinds: Iterable[str] | None = None,
        score: Score = None,
    ) -> Self:
        """Read rankings from dicts, such as the rows of a ``datasets.Dataset``.

        Parameters are those of `from_file`; the first record is line 1.
        """
        return cls._read(records, Reader(layout, kind, kinds, score))

    @classmethod
    def _read(cls, source: Any, reader: Reader, where: str = "") -> Self:
        parts = parts_of(source)

        def rows() -> Iterator[tuple[int, Any]]:
            for part in parts:
                reader.place = f"{part.name}: " if len(parts) > 1 else ""
                yield from part.rows()

        rankings = reader.rankings(rows(), where)
        report = DatasetReport(
            reader.read,
            len(rankings),
            tuple(sorted(reader.bad)),
            sum(ranking.identical for ranking in rankings),
            reader.unused,
        )
        if not rankings:
            raise CollapseError(f"{where}no ranking is left: {report}")
        if report.bad or report.identical or report.unused:
            logger.warning("%s", report)
        return cls(rankings, report)

    def __len__(self) -> int:
        return len(self.rankings)

    def __getitem__(self, index: int) -> Ranking:
        return self.rankings[index]

    def __iter__(self) -> Iterator[Ranking]:
        return iter(self.rankings)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the rankings, in alphabetical order."""
        return tuple(sorted({r.kind for r in self.rankings if r.kind is not None}))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each ranking, no two alike: its prompt, numbered where it comes again."""
        return unique_names(self.rankings)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rankings as dicts, for ``datasets.Dataset.from_list``.

        The collator takes them too, where Trainer leaves the columns in
        (``remove_unused_columns=False``).
        """
        return [ranking.row() for ranking in self.rankings]

    def filter(self, keep: Callable[[Ranking], bool], reason: str = "filtered") -> Self:
        """Return the dataset of the rankings that are to be kept; the report counts the others.

        ``data.filter(collator.fits, "too long")`` drops what the collator would cut.

        Raises
        ------
        CollapseError
            Where none is left.
        """
        kept = tuple(ranking for ranking in self.rankings if keep(ranking))
        if not kept:
            raise CollapseError(f"no ranking is left: all {len(self)} are {reason}")
        assert self.report is not None
        filtered = (*self.report.filtered, (reason, len(self) - len(kept)))
        same = sum(ranking.identical for ranking in kept)
        report = replace(self.report, kept=len(kept), filtered=filtered, identical=same)
        return type(self)(kept, report)

    def select(self, indices: Iterable[int]) -> Self:
        """Return the dataset of these rankings, in this order."""
        return type(self)(tuple(self.rankings[int(at)] for at in indices), self.report)

    def split(self, share: float = 0.1, seed: int = 0) -> tuple[Self, Self]:
        """Return two datasets: the rest, and a random share of the prompts held out.

        Rankings of the same prompt stay together, so that no prompt is on both sides.

        Examples
        --------
        >>> data = RankingDataset.from_records(
        ...     {"prompt": f"Write {i}", "completions": [str(i), "no"]} for i in range(10)
        ... )
        >>> train, held_out = data.split(0.2)
        >>> len(train), len(held_out)
        (8, 2)
        """
        prompts = list(dict.fromkeys((r.turns, r.prompt) for r in self.rankings))
        count = round(share * len(prompts))
        if not 0 < count < len(prompts):
            raise CollapseError(
                f"share={share} of {len(prompts)} prompts leaves one side empty; give a share "
                f"between {1 / len(prompts):.3g} and {1 - 1 / len(prompts):.3g}"
            )
        chosen = np.random.default_rng(seed).permutation(len(prompts))[:count]
        held = {prompts[at] for at in chosen}
        inside = [(r.turns, r.prompt) in held for r in self.rankings]
        parts = [np.flatnonzero(np.equal(inside, side)) for side in (False, True)]
        return self.select(parts[0]), self.select(parts[1])

    def __repr__(self) -> str:
        sizes = sorted({len(r) for r in self.rankings})
        each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        kinds = f", kinds {', '.join(self.kinds)}" if self.kinds else ""
        many = "" if len(self) == 1 else "s"
        return f"RankingDataset({len(self)} ranking{many} of {each} completions{kinds})"


def unique_names(rankings: Sequence[Ranking]) -> tuple[str, ...]:
    """Return each ranking's prompt, with " (2)" and so on where it isn't the first of that name."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    names = []
    for ranking in rankings:
        base = name = ranking.asked or "(no prompt)"
        while name in taken:
            counts[base] = counts.get(base, 1) + 1
            name = f"{base} ({counts[base]})"
        taken.add(name)
        names.append(name)
    return tuple(names)
