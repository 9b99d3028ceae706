"""Sweeps: the table, whatever does the work; results kept, killed, shared, damaged."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sweep_killed import GRID

import collapse_theory as ct
from collapse_theory.sweeps import work

UTILITIES, NS = ["log(x + 0.1)", ct.Log()], [8, 5, None]
DOMAINS = [(0, 2), ct.Confined(0.1)]


@dataclass(frozen=True, eq=False)
class Deadly(ct.Utility):
    """x, which ends every process but the first."""

    def value(self, x, xp=np):
        if multiprocessing.parent_process() is not None:
            os._exit(1)
        return 1.0 * x


OWN = ct.Utility.from_functions(lambda x: x**0.5, lambda x: x**-0.5 / 2, lambda x: -(x**-1.5) / 4)


def answers(table: pl.DataFrame) -> pl.DataFrame:
    return table.drop("seconds")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[work.Cell]:
    """Return the list of programs that are solved from now on."""
    solved: list[work.Cell] = []
    before = work.worked

    def worked(chunk: list[work.Cell]) -> list[work.Row]:
        solved.extend(chunk)
        return before(chunk)

    monkeypatch.setattr(work, "worked", worked)
    return solved


def test_the_table():
    table = ct.sweep(UTILITIES, NS, DOMAINS)
    assert table["utility"].to_list()[::6] == ["log(x + 0.1)", "log(x)"]
    assert table["n"].to_list() == NS * 4
    assert table["domain"].unique(maintain_order=True).to_list()[1] == "Confined(kappa=0.1)"
    for row in table.iter_rows(named=True):
        domain = DOMAINS["Confined" in row["domain"]]
        if row["n"] is None:
            law = ct.limit(row["utility"], domain)
            assert row["objective"] == law.objective
            assert row["std"] == law.std()
            assert row["rewards"] is None
        else:
            found = ct.solve(row["utility"], row["n"], domain)
            np.testing.assert_allclose(row["rewards"], found.rewards, rtol=0, atol=1e-12)
            assert row["top_share"] >= 1 / row["n"]
            assert row["gap"] < 1e-13
    tied = table.filter(pl.col("n").is_null())["top_share"].to_list()
    assert tied == [ct.limit("log(x + 0.1)", (0, 2)).atoms[1, 1], 0, 0, 0]


def test_pandas_takes_the_table():
    pytest.importorskip("pyarrow")
    assert ct.sweep("log(x)", 3).to_pandas().shape == (1, 14)


def test_programs_without_an_answer_are_rows():
    table = ct.sweep(["x", "LabelSmoothing(0.1)"], [3, np.inf], ct.Free())
    assert table["status"].to_list() == ["refused"] * 2 + ["optimal"] * 2
    assert table["message"][0].startswith("NoOptimum: nothing holds the rewards under Free()")
    assert table["message"][2] is table["rewards"][0] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["x", "x +"], 3), "'x +': found the end"),
        (("x**2", 3), "not concave"),
        (("x", [3, 1]), "at least 2"),
        (("x", 3, "box"), "not 'box'"),
        (([], 3), "at least one"),
        (("x", 3, None, 2), "concurrent.futures.Executor"),
    ],
)
def test_bad_input_is_an_error_at_once(arguments, message, monkeypatch):
    solved = counted(monkeypatch)
    with pytest.raises(ct.CollapseError, match=message.replace("+", r"\+")):
        ct.sweep(*arguments)
    assert not solved


def test_what_an_executor_does_and_loses():
    class Failing(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            chunk = args[0]
            lost = any(cell.n == 5 for cell in chunk)
            return super().submit(lambda: 1 / 0) if lost else super().submit(fn, *args, **kwargs)

    plain = ct.sweep(UTILITIES, [8, None, 700], executor=ThreadPoolExecutor(3))
    assert answers(plain).equals(answers(ct.sweep(UTILITIES, [8, None, 700])))
    table = ct.sweep("x", [3, 5], executor=Failing(1))
    assert table["status"].unique().to_list() == ["failed"]
    assert table["message"][0] == "ZeroDivisionError: division by zero"


def test_results_are_kept_by_content(tmp_path, monkeypatch):
    solved, kept = counted(monkeypatch), tmp_path / "kept"
    first = ct.sweep(UTILITIES, NS, DOMAINS, keep=kept)
    assert len(solved) == 12
    assert first.equals(ct.sweep(["log(x + 0.1)", "log(x)"], NS, DOMAINS, keep=kept))
    assert len(solved) == 12
    # Another order of rows, one that is new, another tolerance.
    grown = ct.sweep(["-1/x", "log(x)"], [5], (0, 2), keep=kept)
    assert [str(cell.loss) for cell in solved[12:]] == ["-1/x"]
    assert grown["rewards"][1].equals(first.filter(utility="log(x)", n=5)["rewards"][0])
    ct.sweep("log(x)", 5, (0, 2), keep=kept, tol=1e-6)
    assert len(solved) == 14


def test_what_failed_is_tried_again(tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(work, "solve", full)
        assert ct.sweep("x", [3, 4], keep=tmp_path)["message"][0] == "MemoryError: no memory"
    assert ct.sweep("x", [3, 4], keep=tmp_path)["status"].to_list() == ["optimal"] * 2


def test_what_cannot_be_written_down_is_not_kept(tmp_path):
    with pytest.raises(ct.CollapseError, match="can't be kept"):
        ct.sweep([OWN], 3, keep=tmp_path)


def test_a_damaged_file_is_named_and_made_again(tmp_path, monkeypatch):
    first = ct.sweep("x", [3, 4, 1000], keep=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)
    solved = counted(monkeypatch)
    with pytest.warns(UserWarning, match=f"{files[0].name} is damaged"):
        again = ct.sweep("x", [3, 4, 1000], keep=tmp_path)
    assert 0 < len(solved) < 3
    assert answers(again).equals(answers(first))
    assert ct.sweep("x", [3, 4, 1000], keep=tmp_path).equals(again)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_two_share_a_folder(tmp_path, monkeypatch):
    def started() -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("sweep_killed.py")
        path = os.pathsep.join(p for p in sys.path if p)
        return subprocess.Popen(
            [sys.executable, script, tmp_path], env=os.environ | {"PYTHONPATH": path}
        )

    killed = started()
    while not list(tmp_path.glob("[!.]*.arrow")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -9
    (tmp_path / ".draft-of-a-killed-one.arrow").write_bytes(b"half")
    before = set(tmp_path.glob("[!.]*.arrow"))
    both = started(), started()
    assert [p.wait() for p in both] == [0, 0]
    assert before < set(tmp_path.glob("[!.]*.arrow"))
    solved = counted(monkeypatch)
    table = ct.sweep(*GRID, keep=tmp_path)
    assert not solved
    assert table["status"].unique().to_list() == ["optimal"]
    part = (GRID[0][:2], GRID[1])
    assert answers(table.head(4)).equals(answers(ct.sweep(*part)))


@pytest.mark.slow
def test_processes_and_the_one_that_dies(monkeypatch):
    monkeypatch.setattr(work, "ALONE", 0.0)
    monkeypatch.setattr(work, "_cores", lambda: 2)
    utilities = ["log(x + 0.1)", Deadly(), "sqrt(x)"]
    table = ct.sweep(utilities, [4, 700])
    assert table["status"].to_list() == ["optimal"] * 2 + ["failed"] * 2 + ["optimal"] * 2
    assert table["message"][2].startswith("BrokenProcessPool: A process in the process pool")
    alive = [0, 1, 4, 5]
    assert answers(table[alive]).equals(
        answers(ct.sweep(utilities[::2], [4, 700], executor=ThreadPoolExecutor(1)))
    )


def test_what_other_processes_cannot_be_told_is_done_here(monkeypatch):
    monkeypatch.setattr(work, "ALONE", 0.0)
    monkeypatch.setattr(work, "_cores", lambda: 2)
    with pytest.warns(UserWarning, match="all of the sweep is done in this process"):
        table = ct.sweep([OWN], 3)
    assert table["status"].to_list() == ["optimal"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask's own sockets and threads, as they are closed
def test_a_cluster_of_dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor: Executor = client.get_executor()
        table = ct.sweep(UTILITIES, NS, DOMAINS, executor)
    assert answers(table).equals(answers(ct.sweep(UTILITIES, NS, DOMAINS)))
