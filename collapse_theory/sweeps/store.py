"""Results of a sweep kept in a folder, by content.

A file holds the rows of one task, each beside the key of its program: the SHA-256 of all that the
answer depends on. The file's own name is the SHA-256 of its bytes, so that damage shows, and it is
written beside its place and renamed: whole or not there. Any number of processes may write into the
folder at once; what two of them did twice is there twice, and either does.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from collapse_theory.errors import CollapseError
from collapse_theory.files import replace_file
from collapse_theory.lazy import polars as pl
from collapse_theory.sweeps.work import FAILED, Cell, Row

FORMAT = 1  # goes up where the same program may have another answer


def key(cell: Cell) -> str:
    """Return the name of what a program's row depends on.

    Raises
    ------
    CollapseError
        Where the utility, or the domain, can't be written down.
    """
    try:
        loss, domain = cell.loss.to_dict(), cell.domain.to_dict()
        content = json.dumps([FORMAT, loss, cell.n, domain, cell.tol], sort_keys=True)
    except (TypeError, CollapseError) as error:
        raise CollapseError(
            f"results of {cell.loss} under {cell.domain} can't be kept: {error}; a text, or a "
            "class that ct.register names, can be written down"
        ) from error
    return hashlib.sha256(content.encode()).hexdigest()


class Store:
    """A folder of results."""

    def __init__(self, folder: Path, schema: dict) -> None:
        self.folder = folder
        self.schema = {"key": pl.String, **schema}
        folder.mkdir(parents=True, exist_ok=True)

    def rows(self, wanted: set[str]) -> dict[str, Row]:
        """Return the rows of these keys that are there.

        A damaged file is named in a warning and taken away.
        """
        found: dict[str, Row] = {}
        for path in sorted(self.folder.glob("*.arrow")):
            if path.name.startswith("."):
                continue  # a draft, of a process that writes or was killed
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != path.stem:
                warnings.warn(f"{path} is damaged; what it held is made again", stacklevel=3)
                path.unlink(missing_ok=True)
                continue
            frame = pl.read_ipc(io.BytesIO(content))
            if dict(frame.schema) != self.schema:
                continue  # of another version of the package
            for row in frame.filter(pl.col("key").is_in(wanted)).iter_rows(named=True):
                found[row.pop("key")] = row
        return found

    def add(self, keys: Sequence[str], rows: Sequence[Row]) -> None:
        """Keep these rows, but for those of programs that failed: they may do better again."""
        kept = [{"key": k, **row} for k, row in zip(keys, rows, strict=True)]
        kept = [row for row in kept if row["status"] != FAILED]
        if not kept:
            return
        buffer = io.BytesIO()
        pl.DataFrame(kept, schema=self.schema).write_ipc(buffer)
        content = buffer.getvalue()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.arrow"
        replace_file(path, lambda draft: draft.write_bytes(content))
