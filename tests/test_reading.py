"""Reading reward logs: every format, and files damaged in many ways; no row is lost in silence."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collapse_theory as ct
from collapse_theory.data.parts import BROKEN_CSV, BROKEN_JSON, CUT, TWICE
from collapse_theory.diagnosis import BadRows, RewardLog, read_log
from tests.problems import cases

PROMPTS, COMPLETIONS = 30, 4
NAMES = ("prompt", "kind", "rank", "reward")


def rows_of(count: int = PROMPTS, plain: bool = True) -> list[list[str]]:
    """Return the rows of a realistic log; with quotes, commas and line ends unless plain."""
    generator = random.Random(5)
    rows = []
    for i in range(count):
        text = f"prompt {i}" if plain else f'Say "hello, {i}"\nin two lines; 5" tall'
        for k in range(COMPLETIONS):
            reward = f"{1 - k / 3 + generator.uniform(-0.05, 0.05):.6f}"
            rows.append([text, ("open", "closed")[i % 2], str(k), reward])
    return rows


def csv_of(rows: list[list[str]], header: tuple[str, ...] = NAMES, mark: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue().encode()


def jsonl_of(rows: list[list[str]]) -> bytes:
    lines = [
        json.dumps({"prompt": p, "kind": k, "rank": int(r), "reward": float(v)})
        for p, k, r, v in rows
    ]
    return "\n".join(lines).encode() + b"\n"


ROWS = rows_of()
CSV, JSONL = csv_of(ROWS), jsonl_of(ROWS)
REWARDS = np.array([float(row[3]) for row in ROWS])


@dataclass
class Reader:
    folder: Path

    def __call__(self, data: bytes, name: str = "log.csv", **options) -> RewardLog:
        path = self.folder / name
        path.write_bytes(data)
        log = read_log(path, **options)
        # The one law of this file: every row that was read is there, or counted.
        assert log.read == log.rewards.size + log.bad_count + sum(r.count for r in log.left_out)
        assert all(rows.count >= len(rows.lines) > 0 for rows in log.bad)
        return log


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def same(log: RewardLog, rewards: np.ndarray = REWARDS) -> None:
    """Check that a log is the undamaged one."""
    np.testing.assert_array_equal(log.rewards, rewards)
    np.testing.assert_array_equal(log.prompts, np.arange(rewards.size) // COMPLETIONS)
    names = np.array(log.kind_names)[log.kinds]
    np.testing.assert_array_equal(names, np.array(["open", "closed"])[log.prompts % 2])
    np.testing.assert_array_equal(log.ranks, np.arange(rewards.size) % COMPLETIONS)
    assert (log.read, log.bad) == (rewards.size, ())


# -- whole files in every format ---------------------------------------------------------------


def parquet(path: Path, data: bytes) -> bytes:
    pl.read_csv(data).write_parquet(path / "made.parquet")
    return (path / "made.parquet").read_bytes()


def numbered(first: bytes) -> bytes:
    """Return the log with a first column of numbers, named by nothing or by `first`."""
    head, *rows = CSV.splitlines(keepends=True)
    return b"".join([first + b"," + head, *(b"%d," % at + row for at, row in enumerate(rows))])


def pretty(objects: list, together: bool) -> bytes:
    """Return objects over several lines: one list, or one after another."""
    some = [objects] if together else objects
    return "\n".join(json.dumps(one, indent=2) for one in some).encode()


def with_commas(rows: list[list[str]]) -> list[list[str]]:
    return [[*row[:3], row[3].replace(".", ",")] for row in rows]


def two_lists() -> bytes:
    return pretty(OBJECTS[:9], True) + pretty(OBJECTS[9:], True)


OBJECTS = [json.loads(text) for text in JSONL.splitlines()]
COLUMNS = {name: [one[name] for one in OBJECTS] for name in NAMES}

WHOLE = {
    "csv": ("log.csv", CSV),
    "csv, no last line end": ("log.csv", CSV.rstrip()),
    "csv.gz": ("log.csv.gz", gzip.compress(CSV)),
    "gz of two members": ("log.csv.gz", gzip.compress(CSV[:900]) + gzip.compress(CSV[900:])),
    "gz under a wrong name": ("log.csv", gzip.compress(CSV)),
    "crlf": ("log.csv", CSV.replace(b"\n", b"\r\n")),
    "crlf.gz": ("log.csv.gz", gzip.compress(CSV.replace(b"\n", b"\r\n"))),
    "csv.bz2": ("log.csv.bz2", bz2.compress(CSV)),
    "csv.xz": ("log.csv.xz", lzma.compress(CSV)),
    "jsonl.xz under a wrong name": ("log.csv", lzma.compress(JSONL)),
    "utf-16": ("log.csv", CSV.decode().encode("utf-16")),
    "utf-16, tabs, as from Excel": ("log.txt", csv_of(ROWS, mark="\t").decode().encode("utf-16")),
    "utf-32": ("log.csv", CSV.decode().encode("utf-32")),
    "carriage returns": ("log.csv", CSV.replace(b"\n", b"\r")),
    "a quoted header": ("log.csv", CSV.replace(b"prompt,kind", b'"prompt","kind"', 1)),
    "comments": ("log.csv", b"# a run\n#\n\n" + CSV.replace(b"\nprompt 9", b"\n#x\nprompt 9")),
    "Excel's sep=": ("log.csv", b"sep=;\n" + csv_of(ROWS, mark=";")),
    "names of rows, as pandas": ("log.csv", numbered(b"")),
    "names of rows, as R": ("log.csv", numbered(b"")[1:]),
    "decimal commas": ("log.csv", csv_of(with_commas(ROWS), mark=";")),
    "bom": ("log.csv", b"\xef\xbb\xbf" + CSV),
    "bom and crlf": ("log.csv", b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")),
    "blank lines": ("log.csv", CSV.replace(b"\n", b"\n\n")),
    "blank lines at the end": ("log.csv", CSV + b"\n\n\n"),
    "semicolons": ("log.csv", csv_of(ROWS, mark=";")),
    "blanks": ("log.tsv", CSV.replace(b"prompt ", b"prompt").replace(b",", b"   ")),
    "tabs": ("log.tsv", csv_of(ROWS, mark="\t")),
    "all quoted": ("log.csv", b'"' + CSV.replace(b",", b'","').replace(b"\n", b'"\n"')[:-1]),
    "spaces": ("log.csv", CSV.replace(b",", b" , ")),
    "blanks and hyphens in the header": (
        "log.csv",
        CSV.replace(b"prompt,kind,rank,reward", b"Prompt-ID,prompt type,Rank,Reward Score", 1),
    ),
    "capitals in the header": ("log.csv", CSV.replace(b"reward", b"Reward", 1)),
    "trailing commas": ("log.csv", CSV.replace(b"\n", b",\n")),
    "jsonl": ("log.jsonl", JSONL),
    "jsonl.gz": ("log.jsonl.gz", gzip.compress(JSONL)),
    "jsonl with crlf": ("log.jsonl", JSONL.replace(b"\n", b"\r\n")),
    "jsonl with a bom": ("log.jsonl", b"\xef\xbb\xbf" + JSONL),
    "jsonl with blank lines": ("log.jsonl", JSONL.replace(b"\n", b"\n\n")),
    "jsonl without an ending": ("log", JSONL),
    "a JSON list": ("log.json", json.dumps([json.loads(x) for x in JSONL.splitlines()]).encode()),
    "a JSON list of lines": ("log", b"\xef\xbb\xbf [" + JSONL[:-1].replace(b"\n", b",\r\n") + b"]"),
    "jsonl, more keys": ("log.jsonl", JSONL.replace(b'"kind"', b'"more": [1, {"a": 2}], "kind"')),
    "a pretty-printed JSON list": ("log.json", pretty(OBJECTS, True)),
    "pretty-printed objects": ("log.json", pretty(OBJECTS, False)),
    "JSON lists, one after another": ("log.json", two_lists()),
    "JSON columns": ("log.json", json.dumps(COLUMNS).encode()),
    "JSON columns, as pandas": (
        "log.json",
        json.dumps({k: {str(i): x for i, x in enumerate(v)} for k, v in COLUMNS.items()}).encode(),
    ),
    "JSON as pandas splits it": (
        "log.json",
        json.dumps({"columns": NAMES, "data": [list(one.values()) for one in OBJECTS]}).encode(),
    ),
    "JSON by the number of the row": (
        "log.json",
        json.dumps(dict(enumerate(OBJECTS))).encode(),
    ),
    "JSON objects without line ends": ("log.json", JSONL.replace(b"\n", b"")),
    "JSON with more beside the rows": (
        "log.json",
        json.dumps({"meta": {"a": 1}, "models": ["a"], "results": OBJECTS}).encode(),
    ),
    "JSON with the rows inside": ("log.json", json.dumps({"version": 1, "data": OBJECTS}).encode()),
    "JSON as the data sets' viewer has it": (
        "log.json",
        json.dumps({"rows": [{"row_idx": 0, "row": one} for one in OBJECTS]}).encode(),
    ),
    "gzip in gzip": ("log.csv.gz", gzip.compress(gzip.compress(CSV))),
    "two byte order marks": ("log.csv", b"\xef\xbb\xbf" * 2 + CSV),
    "jsonl, decimal commas": (
        "log.jsonl",
        b"".join(
            json.dumps(one | {"reward": f"{one['reward']:.6f}".replace(".", ",")}).encode() + b"\n"
            for one in OBJECTS
        ),
    ),
    "jsonl, numbers as text": ("log.jsonl", JSONL.replace(b'"rank": 0', b'"rank": "0"')),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
def test_whole_files(read: Reader, case: str) -> None:
    name, data = WHOLE[case]
    same(read(data, name))


@pytest.mark.parametrize(
    ("texts", "rewards", "note"),
    [
        (['"0,5"', '"1,034"'], [0.5, 1.034], "have decimal commas"),
        (['"1,034.50"', '"2,000"'], [1034.5, 2000], "have commas between thousands"),
        (['"1.034,50"', '"2,000"'], [1034.5, 2], "have decimal commas"),
        (["TRUE", "false"], [1, 0], "that are true or false"),
    ],
)
def test_commas_and_words_in_rewards(read: Reader, texts, rewards, note) -> None:
    log = read("\n".join(["prompt,reward", *(f"a,{text}" for text in texts)]).encode())
    assert log.rewards.tolist() == rewards
    assert f"2 rewards {note}" in log.notes[0]


def test_an_empty_column_is_no_kind(read: Reader) -> None:
    log = read(b"prompt,kind,reward\na,,0.5\na, ,1\n")
    assert log.rewards.tolist() == [0.5, 1]
    assert str(log.notes[0]) == "the column 'kind' holds nothing, and so isn't read as kinds"


def test_lists_as_numpy_prints_them(read: Reader) -> None:
    assert read(b"prompt,rewards\na,[0.5 1.  2e1]\n").rewards.tolist() == [0.5, 1, 20]


@pytest.mark.parametrize("name", ["log.parquet", "log.pq", "log"])
def test_parquet(read: Reader, tmp_path: Path, name: str) -> None:
    same(read(parquet(tmp_path, CSV), name))


def test_parquet_of_other_types(read: Reader, tmp_path: Path) -> None:
    frame = pl.read_csv(CSV).with_columns(
        pl.col("prompt").cast(pl.Categorical),
        pl.col("kind").cast(pl.Enum(["open", "closed"])),
        pl.col("reward").cast(pl.Float32),
        pl.col("rank").cast(pl.UInt8),
    )
    frame.write_parquet(tmp_path / "other.parquet")
    same(read((tmp_path / "other.parquet").read_bytes(), "log.parquet"), np.float32(REWARDS))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl"])
def test_prompts_with_quotes_commas_and_lines(read: Reader, ending: str) -> None:
    rows = rows_of(plain=False)
    data = jsonl_of(rows) if ending == "jsonl" else csv_of(rows)
    same(read(gzip.compress(data) if ending.endswith("gz") else data, f"log.{ending}"))


def test_a_prompt_of_a_megabyte(read: Reader) -> None:
    limit = csv.field_size_limit()
    rows = [["x" * 1_000_000 + ', "y"', *row[1:]] for row in ROWS[:4]]
    assert read(csv_of(rows)).count == 1
    assert csv.field_size_limit() == limit, "the csv module's own limit stays"


def test_chats_are_prompts(read: Reader) -> None:
    chats = JSONL.replace(b'"prompt 3"', b'[{"role": "user", "content": "hello"}]')
    same(read(chats, "log.jsonl"))


def test_polars_and_the_line_by_line_way_agree(read: Reader, tmp_path: Path) -> None:
    # A quoted header sends a file the other way; NaN does so for JSON.
    rows = [
        *ROWS[:7],
        ["", "open", "0", "1"],
        ["p", "", "0", "1"],
        ["p", "open", "x", "1"],
        *ROWS[8:],
    ]
    rows += [["q", "open", "0", text] for text in ("", "abc", "nan", "-inf", "1e400", "1,5")]
    plain = csv_of([row for row in rows if "," not in row[3]])
    quick = read(plain)
    slow = read(plain.replace(b"prompt,", b'"prompt",', 1))
    assert quick == slow
    assert quick.bad_count == 7
    assert [str(note) for note in quick.notes] == [
        "1 rows have no rank: their rewards count, but in no pair of ranks"
    ]


# -- columns -----------------------------------------------------------------------------------


def test_columns_by_other_names(read: Reader) -> None:
    data = csv_of(ROWS, ("question no", "type", "place", "r(x)"))
    names = {"prompt": "question no", "reward": "r(x)", "kind": "type", "rank": "place"}
    same(read(data, **names))
    without = read(data, prompt="question no", reward="r(x)")
    assert without.kinds is None
    assert without.ranks is None


def test_score_is_a_reward(read: Reader) -> None:
    same(read(csv_of(ROWS, ("prompt", "kind", "rank", "score"))))


def test_columns_left_out(read: Reader) -> None:
    log = read(CSV, kind=False, rank=False)
    assert log.kinds is None
    assert log.ranks is None


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (("prompt", "kind", "rank", "rewrd"), {}, r"'reward' or 'score'.*did you mean 'rewrd'"),
        (("text", "kind", "rank", "reward"), {}, "'prompt' or.*'text', 'kind'.*--prompt NAME"),
        (NAMES, {"reward": "rewrd"}, "'rewrd'.*did you mean 'reward'"),
        (NAMES, {"kind": "type"}, r"'type' \(for kind\); there are 'prompt', 'kind'"),
        (("prompt", "kind", "reward", "reward"), {}, "2 columns are called 'reward'"),
        (NAMES, {"kind": "prompt"}, "'prompt' can't be two things"),
        (NAMES, {"where": {"split": "train"}}, "'split'"),
        (NAMES, {"where": {"kind": "opn"}}, "no rows with kind=opn"),
        (NAMES, {"at": 3}, "no step column"),
        (NAMES, {"format": "xml"}, "arrow, arrow stream, csv, json, jsonl, parquet"),
        (NAMES, {"format": "parquet"}, "no Parquet file"),
        (("0", "open", "1", "0.5"), {}, "first line of a CSV file names its columns"),
        (("p", "open", "1", "0.5"), {"prompt": "p", "reward": "0.5"}, "put a line of names"),
    ],
)
def test_wrong_columns_and_options(read: Reader, header, options, message) -> None:
    with pytest.raises(ct.CollapseError, match=message):
        read(csv_of(ROWS, header), **options)


def test_where_and_steps(read: Reader) -> None:
    objects = [json.loads(line) | {"step": s} for s in (100, 200) for line in JSONL.splitlines()]
    data = "\n".join(map(json.dumps, objects)).encode()
    last = read(data, "log.jsonl")
    assert (last.step, last.read, last.rewards.size) == (200, 2 * REWARDS.size, REWARDS.size)
    assert str(last.left_out[0]) == "120 with another step than 200"
    assert read(data, "log.jsonl", at=100).step == 100
    opened = read(data, "log.jsonl", where={"kind": "open"})
    assert opened.kind_names == ("open",)
    assert [rows.count for rows in opened.left_out] == [120, 60]
    assert read(data, "log.jsonl", where=[("step", "100.0")]).step == 100
    assert read(data, "log.jsonl", step=False).read == 2 * REWARDS.size
    with pytest.raises(ct.CollapseError, match="no step 150; there are 100, 200"):
        read(data, "log.jsonl", at=150)


# -- damaged files: each one by hand -----------------------------------------------------------

UNSURE = "a comma that is decimal or parts thousands, as in 1,034; write it without"
NUMBER, FINITE = "no number as reward", "a reward that is NaN or infinite"
KIND = "a kind that isn't the one of their prompt's other rows"


def line(number: int, text: str) -> bytes:
    """Return the log with this line instead; the header is line 1."""
    lines = CSV.decode().splitlines()
    lines[number - 1] = text
    return "\n".join(lines).encode()


DAMAGED = {
    "empty reward": (line(7, "prompt 1,closed,1,"), NUMBER, [7]),
    "word": (line(7, "prompt 1,closed,1,high"), NUMBER, [7]),
    "decimal or thousands": (line(7, 'prompt 1,closed,1,"1,034"'), UNSURE, [7]),
    "two numbers": (line(7, "prompt 1,closed,1,0.5 0.6"), NUMBER, [7]),
    "nan": (line(7, "prompt 1,closed,1,nan"), FINITE, [7]),
    "NaN": (line(7, "prompt 1,closed,1,NaN"), FINITE, [7]),
    "inf": (line(7, "prompt 1,closed,1,-inf"), FINITE, [7]),
    "too large": (line(7, "prompt 1,closed,1,1e999"), FINITE, [7]),
    "no prompt": (line(7, ",closed,1,0.5"), "no prompt", [7]),
    "a blank prompt": (line(7, "  ,closed,1,0.5"), "no prompt", [7]),
    "no kind": (line(7, "prompt 1,,1,0.5"), "no kind", [7]),
    "another kind": (line(7, "prompt 1,open,1,0.5"), KIND, [7]),
    "cut line": (line(7, "prompt 1,clo"), NUMBER, [7]),
    "more fields": (line(7, "prompt, 1,closed,1,0.5"), BROKEN_CSV, [7]),
    "two lines in one": (line(7, "prompt 1,closed,1,0.5prompt 1,closed,2,0.4"), BROKEN_CSV, [7]),
    "last line cut": (line(121, "prompt 29,closed"), NUMBER, [121]),
    "a quote that isn't closed": (line(7, '"prompt 1,closed,1,0.5'), NUMBER, [7]),
    "binary": (line(7, "\x00\x01\x02"), NUMBER, [7]),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_bad_line_is_named_and_no_other_is_lost(read: Reader, case: str, zipped: bool) -> None:
    data, reason, lines = DAMAGED[case]
    log = read(gzip.compress(data) if zipped else data, "log.csv.gz" if zipped else "log.csv")
    if case == "a quote that isn't closed":
        # Read as it stands: the quote belongs to the prompt.
        assert (log.bad, log.count) == ((), PROMPTS + 1)
        return
    assert [(rows.reason, rows.count, list(rows.lines)) for rows in log.bad] == [(reason, 1, lines)]
    assert log.read == REWARDS.size
    np.testing.assert_array_equal(log.rewards, np.delete(REWARDS, lines[0] - 2))


BROKEN = {
    "no object": (b"[1, 2]", BROKEN_JSON),
    "a number": (b"5", BROKEN_JSON),
    "cut": (b'{"prompt": "prompt 1", "kind": "clo', BROKEN_JSON),
    "NaN": (b'{"prompt": "prompt 1", "kind": "closed", "rank": 1, "reward": NaN}', FINITE),
    "too large": (b'{"prompt": "prompt 1", "kind": "closed", "rank": 1, "reward": 1e999}', FINITE),
    "null": (b'{"prompt": "prompt 1", "kind": "closed", "rank": 1, "reward": null}', NUMBER),
    "list": (b'{"prompt": "prompt 1", "kind": "closed", "rank": 1, "reward": [0.5]}', NUMBER),
    "no reward": (b'{"prompt": "prompt 1", "kind": "closed", "rank": 1}', NUMBER),
    "no prompt": (b'{"kind": "closed", "rank": 1, "reward": 0.5}', "no prompt"),
    "null prompt": (b'{"prompt": null, "kind": "closed", "rank": 1, "reward": 0.5}', "no prompt"),
    "another kind": (b'{"prompt": "prompt 1", "kind": "open", "rank": 1, "reward": 0.5}', KIND),
    "deep": (b"[" * 100_000, BROKEN_JSON),
    "twice": (b'{"prompt": "prompt 1", "reward": 0.5, "kind": "closed", "reward": 0.6}', TWICE),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_bad_object_is_named_and_no_other_is_lost(read: Reader, case: str) -> None:
    text, reason = BROKEN[case]
    lines = JSONL.splitlines()
    lines[5] = text
    log = read(b"\n".join(lines), "log.jsonl")
    assert [(rows.reason, rows.count, rows.lines) for rows in log.bad] == [(reason, 1, (6,))]
    np.testing.assert_array_equal(log.rewards, np.delete(REWARDS, 5))


def test_lines_are_those_of_the_file_where_prompts_run_over_several(read: Reader) -> None:
    rows = rows_of(plain=False)
    rows[2][3], rows[9][3] = "x", "nan"
    log = read(csv_of(rows))
    # Two lines a row, after the header.
    assert [rows.lines for rows in log.bad] == [(6,), (20,)]


@pytest.mark.parametrize("before", [b"\n", b"# a run\n", b"sep=,\n"])
def test_lines_are_those_of_the_file_below_other_lines(read: Reader, before: bytes) -> None:
    log = read(before + line(7, "prompt 1,closed,1,nan"))
    assert [rows.lines for rows in log.bad] == [(8,)]


def test_many_bad_rows_are_counted_and_the_first_named(read: Reader) -> None:
    log = read(CSV.replace(b",0,", b",0,x"))
    assert log.bad == (BadRows(NUMBER, PROMPTS, (2, 6, 10, 14, 18)),)
    assert str(log.bad[0]) == "30 with no number as reward (line 2, 6, 10, 14, 18, ...)"


def test_rows_of_parquet_are_named_as_rows(read: Reader, tmp_path: Path) -> None:
    log = read(parquet(tmp_path, line(7, "prompt 1,closed,1,nan")), "log.parquet")
    assert str(log.bad[0]) == f"1 with {FINITE} (row 6)"


def test_objects_of_a_json_list_are_named_as_rows(read: Reader) -> None:
    log = read(b"[\n5,\n" + JSONL.strip().replace(b"\n", b",\n") + b"]", "log.json")
    assert str(log.bad[0]) == f"1 with {BROKEN_JSON} (row 1)"


def test_the_majority_has_the_kind(read: Reader) -> None:
    # The first row of prompt 1 is the odd one.
    log = read(line(6, "prompt 1,open,0,0.9"))
    assert log.bad == (BadRows(KIND, 1, (6,)),)
    half = read(CSV.replace(b"prompt 1,closed,2", b"prompt 1,open,2").replace(
        b"prompt 1,closed,3", b"prompt 1,open,3"))  # fmt: skip
    assert half.bad == (BadRows(KIND, 2, (8, 9)),), "of equals the first"


def test_bytes_that_are_no_utf8_are_told_and_kept(read: Reader) -> None:
    log = read(CSV.replace(b"prompt 3,", b"pr\xf6mpt 3,"))
    same(RewardLog(**{name: getattr(log, name) for name in ("rewards", "prompts", "kinds",
        "kind_names", "ranks", "read", "bad", "columns")}))  # fmt: skip
    assert str(log.notes[0]).startswith("4 lines aren't UTF-8 (line 14, 15, 16, 17)")


def test_odd_bytes_among_the_names_are_told(read: Reader) -> None:
    log = read(CSV.replace(b"kind", b"k\xf6nd", 1))
    assert str(log.notes[0]).startswith("1 lines aren't UTF-8 (line 1)")


def test_small_blocks_are_as_one(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields run over the ends of blocks, and bad lines spoil their own block's speed alone."""
    rows = rows_of(plain=False)
    rows[9][3] = "nan"
    files = [(csv_of(rows), "a.csv"), (jsonl_of(rows).replace(b"NaN", b"nan"), "a.jsonl")]
    files += [(CSV.replace(b"prompt 7,", b"prompt,7,"), "b.csv"), (CSV + b"\n#", "c.csv")]
    whole = [read(data, name) for data, name in files]
    monkeypatch.setattr("collapse_theory.data.text._BLOCK", 50)
    monkeypatch.setattr("collapse_theory.data.parts._CHUNK", 7)
    assert [read(data, name) for data, name in files] == whole


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_gzip_is_read_up_to_the_cut_and_told(read: Reader, share: float) -> None:
    rows = rows_of(2000)
    data = gzip.compress(csv_of(rows))
    log = read(data[: int(share * len(data))], "log.csv.gz")
    assert 0 < log.rewards.size < len(rows)
    np.testing.assert_array_equal(log.rewards, [float(r[3]) for r in rows[: log.rewards.size]])
    assert log.bad == (BadRows(CUT, 1, (log.rewards.size + 2,)),)
    assert "cut off or damaged" in log.notes[0]


def test_a_gzip_with_a_wrong_checksum_is_told(read: Reader) -> None:
    data = bytearray(gzip.compress(CSV))
    data[-6] ^= 0xFF
    assert read(bytes(data), "log.csv.gz").bad[0].reason == CUT


REFUSED = {
    "empty": (b"", "log.csv", "is empty"),
    "empty gzip": (gzip.compress(b""), "log.csv.gz", "is empty"),
    "empty jsonl": (b"\n\n", "log.jsonl", "no column"),
    "header alone": (b"prompt,reward\n", "log.csv", "no rows"),
    "line ends alone": (b"\n\n\n", "log.csv", "is empty|no column"),
    "no good row": (CSV.replace(b".", b"x"), "log.csv", r"120 with no num.*'reward' holds '[01]x"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "log.csv", "git lfs pull"),
    "blanks": (b"the prompt\na b c\nd\n", "log.csv", "not blanks; say which holds the prompt"),
    "a gzip's first bytes": (
        gzip.compress(CSV)[:9],
        "log.csv.gz",
        "can't be unpacked from its start",
    ),
    "no gzip": (b"\x1f\x8b" + CSV, "log.csv.gz", "can't be unpacked from its start"),
    "a JSON list": (b"[" + JSONL.replace(b"\n", b","), "log.json", "isn't whole; line 1: not JSON"),
    "a key twice": (
        b'[{"prompt": "a", "reward": 1, "reward": 2}]',
        "log.json",
        "'reward' stands twice",
    ),
    "no Parquet": (CSV, "log.parquet", "no Parquet"),
    "half a Parquet": (b"PAR1" + bytes(500), "log.parquet", "damaged, or not written to its end"),
    "a photograph": (bytes(random.Random(3).randbytes(5000)), "log.csv", "log.csv"),
    "packed by LZ4": (b"\x04\x22\x4d\x18x", "log.lz4", "packed by LZ4; unpack it"),
    "labels without queries": (b"1 1:0.5 2:0.25\n" * 4, "rank.train", "sizes in rank.train.query"),
    "html": (b"<!DOCTYPE html><html>404</html>", "log.csv", "is a web page"),
    "kinds everywhere": (
        csv_of([[f"p{i % 50}", str(i), "0", "0.5"] for i in range(1500)]),
        "log.csv",
        "more than 1000 different",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_with_nothing_sensible_are_refused(read: Reader, case: str) -> None:
    data, name, message = REFUSED[case]
    with pytest.raises(ct.CollapseError, match=message):
        read(data, name)


def test_a_zipped_parquet_and_a_cut_one(read: Reader, tmp_path: Path) -> None:
    whole = parquet(tmp_path, CSV)
    same(read(gzip.compress(whole), "log.parquet.gz"))
    with pytest.raises(ct.CollapseError, match="can't be unpacked to its end"):
        read(gzip.compress(whole)[:-100], "log.parquet.gz")
    with pytest.raises(ct.CollapseError, match="damaged"):
        read(whole[:-100], "log.parquet")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_log(tmp_path / "none.csv")
    with pytest.raises(ct.CollapseError, match="is a folder"):
        read_log(tmp_path)


# -- damage at random --------------------------------------------------------------------------


@given(
    name=st.sampled_from(["log.csv", "log.csv.gz", "log.jsonl", "log.jsonl.gz", "log.parquet"]),
    damage=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.sampled_from([b"", b'"', b"\n", b",", b"\x00", b"\xff", b"nan", b"{", b"\r", b"9"]),
            st.integers(0, 40),
        ),
        min_size=1,
        max_size=6,
    ),
)
@cases(80)
def test_any_damage_is_counted_or_refused(tmp_path_factory, name, damage) -> None:
    folder = tmp_path_factory.mktemp("damage")
    data = bytearray(
        parquet(folder, CSV) if "parquet" in name else JSONL if "jsonl" in name else CSV
    )
    first = len(data)
    for where, piece, length in damage:
        place = int(where * len(data))
        first = min(first, place)
        data[place : place + length] = piece
    whole = bytes(data)
    try:
        log = Reader(folder)(gzip.compress(whole) if name.endswith("gz") else whole, name)
    except ct.CollapseError:
        return
    assert np.isfinite(log.rewards).all()
    assert log.rewards.size > 0
    assert log.prompts.max() + 1 == np.unique(log.prompts).size
    header = 0 if "jsonl" in name else len(CSV.splitlines()[0]) + 1
    # Two quotes in a CSV file make one field of all that is between them, lines too.
    quotes = [piece for _, piece, _ in damage if piece == b'"' and "csv" in name]
    if "parquet" not in name and first >= header and len(quotes) < 2:
        # A line's damage stays with it: two lines for each place, and those a deletion joins.
        # Only a damaged header is that of all rows.
        assert log.rewards.size >= REWARDS.size - 8 * len(damage)


@given(
    texts=st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_characters="\r\x00\x1c\x1d\x1e\x1f"), max_size=30
        ),
        min_size=1,
        max_size=8,
        unique=True,
    )
)
@cases(30)
def test_any_text_can_be_a_prompt(tmp_path_factory, texts: list[str]) -> None:
    rows = [[text, "open", str(k), str(k)] for text in texts for k in range(2)]
    read = Reader(tmp_path_factory.mktemp("texts"))
    good = sum(bool(text.strip()) for text in texts)
    expected = np.repeat(np.arange(good), 2)
    for name, data in (("log.csv", csv_of(rows)), ("log.jsonl", jsonl_of(rows))):
        if not good:
            with pytest.raises(ct.CollapseError):
                read(data, name)
            continue
        log = read(data, name)
        np.testing.assert_array_equal(log.prompts, expected)
        assert log.bad_count == 2 * (len(texts) - good)


def test_a_log_goes_to_json_and_back(read: Reader) -> None:
    log = read(line(7, "prompt 1,closed,1,nan"))
    again = RewardLog.from_dict(json.loads(json.dumps(log.to_dict())))
    assert again == log
    assert hash(again) == hash(log)
    assert again.prompts.dtype == log.prompts.dtype
    assert not log.rewards.flags.writeable
    assert "1 bad row" in repr(log)
