"""Logs as they are published, and as Python holds them: shapes, shards, frames, lists, tensors."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collapse_theory as ct
from collapse_theory.data import RankingDataset, RewardLog, read_log
from tests.problems import cases

PROMPTS, SIZE = 30, 4
TEXTS = [f"prompt {i}" for i in range(PROMPTS)]
SCORES = (np.random.default_rng(0).random((PROMPTS, SIZE)) * 10).round(4)
FLAT = {"prompt": np.repeat(TEXTS, SIZE), "reward": SCORES.ravel()}
LISTS = {"prompt": TEXTS, "rewards": SCORES.tolist()}


def same(log: RewardLog, rewards: np.ndarray = SCORES) -> None:
    """Check that a log holds these rewards, a prompt a row, and nothing bad."""
    np.testing.assert_array_equal(log.rewards, np.asarray(rewards, float).ravel())
    np.testing.assert_array_equal(log.prompts, np.arange(len(rewards)).repeat(rewards.shape[1]))
    assert (log.read, log.bad, log.left_out) == (rewards.size, (), ())


# -- shapes of rows, as published ----------------------------------------------------------------


def feedback(text: str, scores: list[float]) -> dict:
    """Return a row of UltraFeedback, whose overall scores have a known misprint."""
    answers = [
        {"response": f"r{s}", "model": "m", "overall_score": 10.0, "fine-grained_score": s}
        for s in scores
    ]
    return {"source": "evol", "instruction": text, "models": ["m"], "completions": answers}


def chat(text: str) -> list[dict]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]


ROWS = list(zip(TEXTS, SCORES.tolist(), strict=True))
SINGLE = [(text, k, score) for text, row in ROWS for k, score in enumerate(row)]

SHAPES = {
    "a row a reward": ([{"prompt": t, "reward": s} for t, _, s in SINGLE], "reward"),
    "AlpacaEval": (
        [
            {"instruction": t, "output_1": "a", "generator_2": f"m{k}", "preference": s}
            for t, k, s in SINGLE
        ],
        "preference",
    ),
    "MT-bench": (
        [
            {"question_id": t, "model": f"m{k}", "judge": ["gpt-4", "v1"], "score": s, "turn": 1}
            for t, k, s in SINGLE
        ],
        "score",
    ),
    "HelpSteer": (
        [{"prompt": t, "response": "r", "helpfulness": s, "verbosity": 1} for t, _, s in SINGLE],
        "helpfulness",
    ),
    "UltraFeedback": (
        [feedback(t, row) for t, row in ROWS],
        "completions.fine-grained_score",
    ),
    "a list of scores": (
        [{"prompt": t, "completions": list("abcd"), "scores": row} for t, row in ROWS],
        "scores",
    ),
    "pairs of a completion and its score": (
        [{"prompt": t, "completions": [["a", str(s)] for s in row]} for t, row in ROWS],
        "completions",
    ),
    "a score by model": (
        [{"prompt": t, "scores": dict(zip("abcd", row, strict=True))} for t, row in ROWS],
        "scores",
    ),
    "a column a completion": (
        [{"prompt": t} | {f"reward_{k}": s for k, s in enumerate(row)} for t, row in ROWS],
        "reward_0, reward_1, reward_2, reward_3",
    ),
    "a list of a head's outputs": (
        [{"question": t, "code": list("abcd"), "score": [[s] for s in row]} for t, row in ROWS],
        "score",
    ),
    "objects in objects": (
        [{"prompt": chat(t), "metrics": {"reward": {"mean": s, "sd": 1.0}}} for t, _, s in SINGLE],
        "metrics.reward.mean",
    ),
}


def written(path: Path, rows: list[dict], way: str) -> Path:
    """Write rows into a file, the way that its name says."""
    if way == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif way == "arrow":
        pl.DataFrame(rows).write_ipc(path)
    elif way == "stream":
        pl.DataFrame(rows).write_ipc_stream(path)
    elif way == "json":
        path.write_text(json.dumps(rows, indent=2))
    elif way == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:  # lists and objects as pandas writes them
        texts = [
            {k: v if isinstance(v, str | float | int) else str(v) for k, v in row.items()}
            for row in rows
        ]
        pl.DataFrame(texts).write_csv(path)
    return path


@pytest.mark.parametrize("way", ["parquet", "arrow", "stream", "json", "jsonl", "csv"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logs_as_published(tmp_path: Path, shape: str, way: str) -> None:
    rows, reward = SHAPES[shape]
    log = read_log(written(tmp_path / "log", rows, way))
    same(log)
    assert dict(log.columns)["reward"] == reward
    same(read_log(iter(rows)))


@pytest.mark.parametrize(
    "line", ["{} Q0 d{} {} {} bm25\n", "{}\tQ0\td{}\t{}\t{}\trun\n", "{} 0 d{} {} {} None \n"]
)
def test_runs_and_judgements_of_trec_have_no_line_of_names(tmp_path: Path, line: str) -> None:
    """The position in a run is made from its scores: it is no true rank."""
    names = [text.replace(" ", "-") for text in TEXTS]
    lines = [line.format(names[k // SIZE], k, k % SIZE, s) for k, s in enumerate(SCORES.ravel())]
    (tmp_path / "run.trec").write_text("".join(lines))
    log = read_log(tmp_path)
    same(log)
    assert log.columns == (("prompt", "query_id"), ("reward", "score"))
    qrels = [f"{names[k // SIZE]} 0 d{k} {int(s)}\n" for k, s in enumerate(SCORES.ravel())]
    (tmp_path / "qrels").write_text("".join(qrels))
    same(read_log(tmp_path / "qrels"), SCORES.astype(int))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "response 1": "a", "response 2": "b", "label": 1}, "'response 1', 'resp"),
        ({"input": "p", "output_1": "a", "output_2": "b", "label": 2}, "has two completions"),
        ({"chosen": "a", "rejected": "b"}, "'chosen', 'rejected', and may say which is better"),
        ({"idx": 1, "response1": "a", "response2": "b", "annotator1": 1}, "reward of each"),
        ({"prompt": "p", "gpt4_score": [5, 4], "score_rubric": "s"}, "mean 'gpt4_score'"),
        (
            {"question": "p", "judged": [{"as": {"scores": [5, 4]}}] * 2},
            r"mean 'judged\.0\.as\.scores",
        ),
    ],
)
def test_rankings_are_no_rewards(row: dict, message: str) -> None:
    with pytest.raises(ct.CollapseError, match=message):
        read_log([row, row])


def test_a_number_in_a_name_is_a_place_in_a_list() -> None:
    rows = [{"question": t, "judged": [{"as": {"scores": row}}] * 2} for t, row in ROWS]
    same(read_log(rows, reward="judged.0.as.scores"))


def test_missing_rewards_may_be_written_as_words(tmp_path: Path) -> None:
    lines = [f"sys {'None' if k % 5 == 0 else s} {t[7:]}" for k, (t, _, s) in enumerate(SINGLE)]
    (tmp_path / "log").write_text("\n".join(["system mqm_avg_score seg_id", *lines]))
    log = read_log(tmp_path / "log")
    assert log.columns == (("prompt", "seg_id"), ("reward", "mqm_avg_score"))
    assert (log.rewards.size, log.bad[0].count) == (96, 24)


def test_another_column_that_may_hold_rewards_is_named() -> None:
    rows = [{"prompt": t, "score": s > 5, "pred_score": s, "rubric": "x"} for t, _, s in SINGLE]
    assert "'score'; pred_score may be" in read_log(rows).notes[-1]
    assert read_log(rows, reward="pred_score").notes == ()


@pytest.mark.parametrize("way", ["parquet", "json", "jsonl", "csv"])
@pytest.mark.parametrize(
    "names",
    [
        ("score_chosen", "score_rejected"),
        ("chosen-rating", "rejected-rating"),
        ("rewards/chosen", "rewards/rejected"),
    ],
)
def test_chosen_and_rejected_scores_are_ranked(tmp_path: Path, way: str, names) -> None:
    rows = [
        {
            "prompt": t,
            "chosen": chat("a"),
            "rejected": chat("b"),
            names[0]: max(row[:2]),
            names[1]: min(row[:2]),
        }
        for t, row in ROWS
    ]
    log = read_log(written(tmp_path / "log", rows, way))
    same(log, -np.sort(-SCORES[:, :2], axis=1))
    np.testing.assert_array_equal(log.ranks, [0, 1] * PROMPTS)


def test_lists_of_chosen_scores_without_prompts(tmp_path: Path) -> None:
    rows = [{"scores_chosen": row[:1], "scores_rejected": row[1:]} for row in SCORES.tolist()]
    log = read_log(written(tmp_path / "log", rows, "jsonl"))
    same(log)
    np.testing.assert_array_equal(log.ranks, [0, 1, 1, 1] * PROMPTS)


def test_columns_within_objects_are_named_by_dots(tmp_path: Path) -> None:
    rows = SHAPES["UltraFeedback"][0]
    for way in ("parquet", "jsonl"):
        path = written(tmp_path / way, rows, way)
        assert set(read_log(path, reward="completions.overall_score").rewards) == {10.0}
    with pytest.raises(ct.CollapseError, match=r"no column is called 'completions\.score'"):
        read_log(rows, reward="completions.score")
    wide = SHAPES["a column a completion"][0]
    assert read_log(wide, reward="reward_*").rewards.size == SCORES.size
    named = [
        {"prompt": {"id": row["prompt"]}, "meta": {"split": k % 2}, "score": k}
        for k, row in enumerate(wide)
    ]
    for source in (named, pl.DataFrame(named)):
        log = read_log(source, prompt="prompt.id", where={"meta.split": "1"})
        assert log.rewards.size == PROMPTS // 2
        assert str(log.left_out[0]) == "15 with something else than meta.split=1"


def test_a_bad_list_spoils_its_own_prompt_alone(tmp_path: Path) -> None:
    rows = [{"prompt": t, "rewards": row} for t, row in ROWS]
    rows[3]["rewards"], rows[5]["rewards"], rows[7]["rewards"] = [], None, [0.5, None, "x", 0.25]
    log = read_log(written(tmp_path / "log.jsonl", rows, "jsonl"))
    assert log.lists
    assert [(bad.count, bad.lines) for bad in log.bad] == [(4, (4, 6, 8))]
    assert log.rewards.size == (PROMPTS - 3) * SIZE + 2
    assert log.read == log.rewards.size + 4


def test_ranks_beside_lists_and_of_another_length() -> None:
    rows = [{"prompt": t, "scores": row, "ranks": [0, 1, 2, 3]} for t, row in ROWS]
    np.testing.assert_array_equal(read_log(rows).ranks, [0, 1, 2, 3] * PROMPTS)
    rows[2]["ranks"] = [0, 1]
    log = read_log(rows)
    assert np.isnan(log.ranks).sum() == SIZE
    assert noted(rows) == "4 rows have no rank: their rewards count, but in no pair of ranks"


def test_scores_by_aspect_are_no_completions() -> None:
    rows = [{"context": t, "scores": {"naturalness": 1.0, "fluency": s}} for t, _, s in SINGLE]
    with pytest.raises(ct.CollapseError, match=r"by aspect.*--reward scores\.naturalness"):
        read_log(rows)
    same(read_log(rows, reward="scores.fluency"))
    overall = [
        row | {"scores": {"overall": row["scores"]["fluency"], "fluency": 0}} for row in rows
    ]
    same(read_log(overall))
    assert not read_log(overall).lists
    with pytest.raises(ct.CollapseError, match="no column is called 'prompt'"):
        read_log([{"source": row["context"], "scores": row["scores"]} for row in overall])


def test_labels_that_are_no_numbers_are_no_rewards() -> None:
    with pytest.raises(ct.CollapseError, match="no column is called 'reward'"):
        read_log([{"question": t, "label": "A>B"} for t in TEXTS])


def test_rankings_alone_are_no_rewards() -> None:
    answers = [{"answer": "a", "rank": 1.0}, {"answer": "b", "rank": 2.0}]
    with pytest.raises(ct.CollapseError, match=r"ranks it has, but a diagnosis needs rewards"):
        read_log([{"prompt": t, "answers": answers} for t in TEXTS])


def test_labels_and_queries_are_a_log(tmp_path: Path) -> None:
    lines = [f"{int(s)} qid:{i} 1:0.5 2:{s}  # doc\n" for i, row in enumerate(SCORES) for s in row]
    (tmp_path / "letor.txt").write_text("# made by hand\n" + "".join(lines))
    (tmp_path / "rank.train").write_text("".join(f"{int(s)} 1:0.5 7:1\n" for s in SCORES.ravel()))
    with pytest.raises(ct.CollapseError, match="has labels, but no queries"):
        read_log(tmp_path / "rank.train")
    (tmp_path / "rank.train.query").write_text("4\n" * PROMPTS)
    for name in ("letor.txt", "rank.train"):
        same(read_log(tmp_path / name), SCORES.astype(int))


# -- files: shards, folders, packed, pipes --------------------------------------------------------


def shards(folder: Path, way: str) -> Path:
    folder.mkdir()
    rows = SHAPES["a row a reward"][0]
    for k in range(4):
        written(folder / f"part-{k}.{way}", rows[30 * k : 30 * k + 30], way)
    return folder


@pytest.mark.parametrize("way", ["csv", "jsonl", "parquet"])
def test_shards_are_one_log(tmp_path: Path, way: str) -> None:
    folder = shards(tmp_path / "log", way)
    (folder / "README.md").write_text("# Shards")
    (folder / "_SUCCESS").write_text("")
    (folder / f".part.{way}.crc").write_text("x")
    if way == "parquet":
        (folder / "info.json").write_text("{}")
        assert noted(folder) == f"left out of {folder}, as other formats: info.json"
        (folder / "info.json").unlink()
    for source in (
        folder,
        f"{folder}/*.{way}",
        sorted(folder.glob(f"part*.{way}")),
        f"{tmp_path}/**/part-*",
    ):
        same(read_log(source))
    (folder / f"part-4.{way}").write_text("")
    with_empty = read_log(folder)
    same(with_empty)
    assert noted(folder) == f"{folder / f'part-4.{way}'} is empty"


def test_bad_rows_of_shards_are_named_with_their_files(tmp_path: Path) -> None:
    folder = shards(tmp_path / "log", "csv")
    with (folder / "part-2.csv").open("a") as file:
        file.write("p,\np,x\n")
    (bad,) = read_log(folder).bad
    assert bad.lines == (f"{folder}/part-2.csv:32", f"{folder}/part-2.csv:33")


def test_a_shard_without_the_column_is_named(tmp_path: Path) -> None:
    folder = shards(tmp_path / "log", "parquet")
    pl.DataFrame({"prompt": ["p"], "score": [0.5]}).write_parquet(folder / "part-9.parquet")
    with pytest.raises(ct.CollapseError, match=r"part-9\.parquet: no column is called 'reward'"):
        read_log(folder)


def test_folders_and_globs_without_files(tmp_path: Path) -> None:
    with pytest.raises(ct.CollapseError, match="is a folder without files of rows"):
        read_log(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_log(f"{tmp_path}/*.csv")


def test_zstandard_needs_no_package(tmp_path: Path) -> None:
    # As zstd packs this text, in two frames.
    packed = "KLUv/SAUoQAAcHJvbXB0LHJld2FyZAphLDAuNQootS/9IBOZAAAiYiwgIiJjIiIKCmQiLDAuMjUK"
    text = b'prompt,reward\na,0.5\n"b, ""c""\n\nd",0.25\n'
    (tmp_path / "log.csv.zst").write_bytes(base64.b64decode(packed))
    (tmp_path / "log.csv").write_bytes(text)
    assert read_log(tmp_path / "log.csv.zst") == read_log(tmp_path / "log.csv")
    (tmp_path / "cut.csv.zst").write_bytes(base64.b64decode(packed)[:-5])
    with pytest.raises(ct.CollapseError, match="can't be unpacked"):
        read_log(tmp_path / "cut.csv.zst")


def test_standard_input_and_pipes(tmp_path: Path) -> None:
    text = written(tmp_path / "log.csv", SHAPES["a row a reward"][0], "csv").read_bytes()
    code = "from collapse_theory.data import read_log; print(read_log('-'))"
    for data in (text, gzip.compress(text)):
        done = subprocess.run(
            [sys.executable, "-c", code], input=data, capture_output=True, check=True
        )
        assert done.stdout.decode().strip() == "RewardLog(120 rows, 30 prompts)"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        writer = subprocess.Popen(["cp", str(tmp_path / "log.csv"), str(tmp_path / "pipe")])
        same(read_log(tmp_path / "pipe"))
        assert writer.wait() == 0


OTHERS = {
    "an archive": (b"PK\x03\x04rest", "a ZIP archive or a spreadsheet; unpack it"),
    "tar": (b"log.csv".ljust(257, b"\0") + b"ustar\0", "a tar archive; unpack it"),
    "Feather 1": (b"FEA1rest", "a Feather file of version 1"),
    "NumPy": (b"\x93NUMPYrest", r"an array of NumPy; give np\.load"),
    "HDF5": (b"\x89HDF\r\n", "an HDF5 file; read it by pandas"),
    "a pickle": (b"\x80\x04rest", "a pickle"),
    "damaged Arrow": (b"ARROW1\0\0rest", "damaged, or not written to its end"),
    "damaged zst": (b"\x28\xb5\x2f\xfdrest", r"can't be unpacked.*zstd -d"),
    "damaged bz2": (b"BZh91AY&SYrest", "can't be unpacked from its start"),
    "damaged xz": (b"\xfd7zXZ\0rest", "can't be unpacked from its start"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_log_is_told(tmp_path: Path, name: str) -> None:
    data, message = OTHERS[name]
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(ct.CollapseError, match=message):
        read_log(tmp_path / "log")


# -- what Python holds ----------------------------------------------------------------------------


def in_python() -> dict:
    """Return logs by what holds them; of other packages those that are installed."""
    ragged = [row.tolist() for row in SCORES]
    found = {
        "a frame": pl.DataFrame(FLAT),
        "a lazy frame": pl.LazyFrame(FLAT),
        "a frame of lists": pl.DataFrame(LISTS),
        "two frames": [pl.DataFrame(FLAT)[:60], pl.DataFrame(FLAT)[60:]],
        "a mapping of columns": FLAT,
        "a mapping of lists": dict(zip(TEXTS, ragged, strict=True)),
        "a mapping of arrays": dict(zip(TEXTS, SCORES, strict=True)),
        "a mapping of scores by model": {
            t: dict(zip("abcd", row, strict=True)) for t, row in zip(TEXTS, ragged, strict=True)
        },
        "a table": SCORES,
        "lists": ragged,
        "arrays": list(SCORES),
        "records": np.rec.fromarrays([np.arange(120) // 4, SCORES.ravel()], names="prompt,reward"),
        "objects with arrays": [
            {"prompt": t, "scores": row} for t, row in zip(TEXTS, SCORES, strict=True)
        ],
    }
    return found


@pytest.mark.parametrize("name", in_python())
def test_what_python_holds(name: str) -> None:
    same(read_log(in_python()[name]))
    assert ct.diagnose(in_python()[name], utility=()).prompts == PROMPTS


def test_tensors_of_any_type_with_a_gradient_or_without() -> None:
    torch = pytest.importorskip("torch")
    halves = (SCORES * 4).round() / 4  # no digit is lost in bfloat16
    tensor = torch.tensor(halves, requires_grad=True)
    for values in (tensor, tensor.bfloat16(), list(tensor.half()), tensor.detach()):
        same(read_log(values), halves)
    rows = [{"prompt": t, "scores": row} for t, row in zip(TEXTS, tensor.bfloat16(), strict=True)]
    same(read_log(rows), halves)
    flat = ct.diagnose(
        tensor.bfloat16().ravel(), torch.arange(PROMPTS).repeat_interleave(SIZE), utility=()
    )
    assert flat == ct.diagnose(halves, utility=())


def test_missing_rewards_of_tables_are_counted() -> None:
    table = SCORES.copy()
    table[3, 2] = np.nan
    masked = np.ma.masked_invalid(table)
    listed = [[None if np.isnan(x) else x for x in row] for row in table.tolist()]
    for source in (table, masked, listed):
        log = read_log(source)
        assert log.rewards.size == SCORES.size - 1
        assert str(log.left_out[0]) == "1 with no reward (NaN)"
    table[0, 0] = np.inf
    with pytest.raises(ct.CollapseError, match="1 rewards aren't finite"):
        read_log(table)
    assert read_log([[0.5], [], [0.25, 0.5]]).count == 2


def test_ragged_lists_with_kinds_and_ranks() -> None:
    log = RewardLog.of([[0.9, 0.1], [0.8, 0.4, 0.2]], kinds=["a", "b"], ranks=[[0, 1], [0, 1, 2]])
    assert log.kind_names == ("a", "b")
    assert log.prompts.tolist() == [0, 0, 1, 1, 1]
    assert log.ranks.tolist() == [0, 1, 0, 1, 2]
    with pytest.raises(ct.CollapseError, match="shape of the rewards"):
        RewardLog.of([[0.9, 0.1], [0.8]], ranks=[[0], [0, 1]])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "an object of the type int holds no log"),
        (None, "NoneType holds no log"),
        (pl.DataFrame(SCORES), r"If a row holds a prompt's rewards.*\.to_numpy\(\)"),
        (SCORES.ravel(), "which prompt is each reward of"),
        (pl.Series(SCORES.ravel()), "which prompt is each reward of"),
        (
            {"prompt": ["a", "b"], "reward": [1.0]},
            "the columns differ in length: prompt 2, reward 1",
        ),
        ([], "holds no rewards"),
        (io.StringIO("prompt,reward\na,1\n"), "an open file is not read; give its path"),
        (np.zeros((2, 2, 2)), "shape"),
    ],
)
def test_what_is_no_log_in_python(source, message) -> None:
    with pytest.raises(ct.CollapseError, match=message):
        read_log(source)


def test_frames_have_their_own_prompts() -> None:
    with pytest.raises(ct.CollapseError, match="has its own prompts"):
        ct.diagnose(pl.DataFrame(FLAT), FLAT["prompt"])


def test_pandas_frames() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(FLAT)
    for table in (
        frame,
        frame.set_index("prompt"),
        frame.astype({"reward": object}),
        pd.DataFrame(LISTS),
    ):
        same(read_log(table))
    frame.loc[3, "reward"], frame.loc[5, "prompt"] = np.nan, None
    assert [bad.lines for bad in read_log(frame).bad] == [(6,), (4,)]
    with pytest.raises(ct.CollapseError, match="several columns 'reward'; rename them"):
        read_log(pd.concat([frame, frame["reward"]], axis=1))


def test_arrow_tables() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({name: list(values) for name, values in FLAT.items()})
    same(read_log(table))
    same(read_log(table.to_reader()))


def test_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({name: list(values) for name, values in FLAT.items()})
    same(read_log(data))
    same(read_log(data.to_iterable_dataset()))
    data.save_to_disk(tmp_path / "data")
    same(read_log(tmp_path / "data"))
    with pytest.raises(ct.CollapseError, match=r"data\['train'\]"):
        read_log(datasets.DatasetDict(train=data))


# -- what is noted ---------------------------------------------------------------------------------


def noted(rows, **options) -> str:
    return " ".join(map(str, read_log(rows, **options).notes))


def test_what_is_odd_is_noted() -> None:
    half = [
        {"prompt": t, "reward": s > 5} for t, row in zip(TEXTS, SCORES, strict=True) for s in row
    ]
    assert noted(half) == "120 rewards that are true or false are read as 1 and 0"
    flat = SHAPES["a row a reward"][0]
    assert noted(flat) == ""
    assert "in 30 of 30 prompts each row is there twice" in noted(flat * 2)
    assert [note.code for note in read_log(flat * 2).notes] == ["duplicates"]
    blank = [row | {"prompt": row["prompt"] + " \n"} for row in flat[:8]]
    assert noted(flat + blank).startswith(
        "2 prompts differ from others by blanks at their ends alone"
    )
    models = [row | {"model": f"m{k % 4}", "seed": k % 2} for k, row in enumerate(flat)]
    other = [row | {"reward": -row["reward"]} for row in models]
    assert noted(models) == ""
    assert "each model comes twice" in noted(models + other)
    assert "Columns that aren't used: seed" in noted(models + other)


def test_grades_come_twice_by_chance() -> None:
    grades = [
        {"prompt": i // 8, "reward": int(x)}
        for i, x in enumerate(np.random.default_rng(1).integers(1, 6, 800))
    ]
    assert noted(grades) == ""


def test_ranks_of_processes_are_no_ranks() -> None:
    flat = SHAPES["a row a reward"][0]
    for rank, why in (
        (lambda i: i % 8, "in 50% of the prompts"),
        (lambda i: i // 4 % 2, "equal in each prompt"),
    ):
        rows = [row | {"rank": rank(i)} for i, row in enumerate(flat)]
        log = read_log(rows)
        assert log.ranks is None
        assert why in log.notes[0]
        assert read_log(rows, rank="rank").ranks is not None
        assert read_log(rows, rank=False).notes == ()
    assert read_log([row | {"rank": i % 4 + 1} for i, row in enumerate(flat)]).ranks is not None


def test_objects_of_python_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{'prompt': 'a', 'reward': 1}\n" * 3)
    with pytest.raises(ct.CollapseError, match="has no columns: neither a line of names"):
        read_log(tmp_path / "log.jsonl")


def test_epochs_are_steps() -> None:
    rows = [row | {"epoch": i % 2} for i, row in enumerate(SHAPES["a row a reward"][0])]
    log = read_log(rows)
    assert (log.step, log.rewards.size, log.left_out[0].count) == (1, 60, 60)


def test_steps_with_names() -> None:
    rows = [
        row | {"step": f"checkpoint-{100 * (1 + i % 2)}"}
        for i, row in enumerate(SHAPES["a row a reward"][0])
    ]
    log = read_log(rows)
    assert (log.step, log.rewards.size, log.left_out[0].count) == (200, 60, 60)
    assert "60 steps are names with numbers" in log.notes[0]
    words = [row | {"step": "final"} for row in rows]
    log = read_log(words)
    assert (log.step, log.rewards.size) == (None, 120)
    assert noted(words) == "the column 'step' holds no numbers, and so isn't read as steps"
    with pytest.raises(ct.CollapseError, match=r"read none with --no-steps \(step=False\)"):
        read_log(words, step="step")


# -- any shape -------------------------------------------------------------------------------------


@given(
    table=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), min_size=1, max_size=6),
    way=st.sampled_from(
        ["jsonl", "json", "parquet", "csv", "rows.csv", "rows.jsonl", "python", "mapping", "frame"]
    ),
    packed=st.sampled_from([None, "gzip", "bz2", "lzma"]),
)
@cases(60)
def test_any_rewards_come_back_from_any_layout(tmp_path_factory, table, way, packed) -> None:
    lists = [{"prompt": f"p{i}", "rewards": row} for i, row in enumerate(table)]
    rows = [{"prompt": one["prompt"], "reward": x} for one in lists for x in one["rewards"]]
    if way == "python":
        source = table
    elif way == "mapping":
        source = {one["prompt"]: one["rewards"] for one in lists}
    elif way == "frame":
        source = pl.DataFrame(lists)
    else:
        path = tmp_path_factory.mktemp("any") / "log"
        source = written(path, rows if way.startswith("rows") else lists, way.split(".")[-1])
        if packed:
            packer = __import__(packed)
            source.write_bytes(packer.compress(source.read_bytes()))
    log = read_log(source)
    np.testing.assert_array_equal(log.rewards, [x for row in table for x in row])
    np.testing.assert_array_equal(
        log.prompts, np.repeat(np.arange(len(table)), [len(r) for r in table])
    )


def test_rankings_come_from_the_same_sources(tmp_path: Path) -> None:
    rows = [{"prompt": t, "completions": ["a", "b", "c", "d"], "scores": row} for t, row in ROWS]
    expected = RankingDataset.from_records(rows)
    for way in ("parquet", "arrow", "json", "jsonl", "csv"):
        assert (
            RankingDataset.from_file(written(tmp_path / "data", rows, way)).rankings
            == expected.rankings
        )
    assert RankingDataset.from_records(pl.DataFrame(rows)).rankings == expected.rankings
    folder = tmp_path / "shards"
    folder.mkdir()
    for k in range(3):
        written(folder / f"{k}.jsonl", rows[10 * k : 10 * k + 10], "jsonl")
    assert RankingDataset.from_file(folder).rankings == expected.rankings
    assert RankingDataset.from_file(sorted(folder.iterdir())).rankings == expected.rankings
    text = "prompt,response,helpfulness\nq,a,1\nq,b,4\n"
    (tmp_path / "steer.csv").write_text(text)
    assert RankingDataset.from_file(tmp_path / "steer.csv")[0].completions == ("b", "a")


# -- the commands ----------------------------------------------------------------------------------


def test_commands_take_the_same_options_and_say_what_was_read(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from collapse_theory.cli import app

    lines = [
        f"{t},{s},{k},{step}\n"
        for step in (1, 2)
        for t, row in ROWS
        for k, s in enumerate(row)
    ]  # fmt: skip
    file = tmp_path / "log.csv"
    file.write_text("question,rating,place,iteration\n" + "".join(lines))
    options = ["--prompt-column", "question", "--reward", "rating", "--step-column", "iteration"]
    options += ["--rank", "place", "--where", "iteration=2", "--no-kinds"]

    def run(*arguments: str):
        return CliRunner().invoke(app, list(arguments))

    for command in (["diagnose", str(file), "--utility", "x"], ["design", "--from", str(file)]):
        found = run(*command, *options)
        assert found.exit_code == 0, found.stderr
        shown = " ".join(found.stdout.split())
        assert "120 of 240 rows used, 30 prompts of 4 completions, step 2" in shown
        assert (
            "columns: prompt = question, reward = rating, rank = place, step = iteration" in shown
        )
        assert "left out: 120 with something else than iteration=2" in shown
        content = json.loads(run(*command, *options, "--json").stdout)
        assert content["rows"] == {"read": 240, "used": 120, "bad": 0}
        assert content["columns"]["reward"] == "rating"
        assert content["left_out"][0]["count"] == 120
        for wrong, message in (
            (["--no-steps", "--step", "2"], "--no-steps excludes --step"),
            (["--no-ranks", "--rank", "place"], "--no-ranks and --rank exclude each other"),
            (["--where", "place"], "--where takes NAME=VALUE"),
        ):
            assert message in run(*command, *wrong).stderr
    assert "options of a log's columns" in run("design", "uniform", "--prompt", "p").stderr


def test_several_files_and_steps_of_one_log(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from collapse_theory.cli import app

    for k in (1, 2):
        rows = [{"prompt": t, "rewards": row, "step": k} for t, row in ROWS]
        written(tmp_path / f"{k}.jsonl", rows, "jsonl")
    files = [str(tmp_path / f"{k}.jsonl") for k in (1, 2)]
    found = CliRunner().invoke(app, ["diagnose", *files, "--utility", "x"])
    shown = " ".join(found.stdout.split())
    assert "120 of 240 rewards used, 30 prompts of 4 completions, step 2" in shown
    assert "in the course by step alone: 120 rewards of 1 other steps" in shown


def test_columns_are_named_alike_in_python_and_in_commands(tmp_path: Path) -> None:
    rows = [{"q": t, "r(x)": s, "step": k} for k in (1, 2) for t, _, s in SINGLE]
    file, frame = written(tmp_path / "log.csv", rows, "csv"), pl.DataFrame(rows)
    columns = {"prompt": "q", "reward": "r(x)"}
    for source in (file, str(file), frame, rows):
        found = ct.diagnose(source, utility=(), **columns)
        assert (found.prompts, found.step, found.index) == (PROMPTS, 2, found.index)
        assert ct.recommend(source, **columns).advice[0].prompts == PROMPTS
        assert ct.recommend(source, step=False, **columns).advice[0].scores == 2 * SCORES.size
    assert ct.recommend(read_log(frame, **columns)) == ct.recommend(frame, **columns)
    with pytest.raises(ct.CollapseError, match="no argument is called 'promt'; a log's columns"):
        ct.diagnose(frame, promt="q")
    with pytest.raises(ct.CollapseError, match="name their columns: prompt="):
        ct.diagnose(SCORES.ravel(), np.arange(120) // 4, reward="r(x)")
    with pytest.raises(ct.CollapseError, match=r"'question'.*there are 'q'"):
        ct.recommend(frame, prompt="question")
