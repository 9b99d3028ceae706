"""Rankings from files: every layout, every kind of bad row, and the collator's batches."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import cases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny import VOCABULARY, tokenizer  # noqa: E402

from collapse_theory.data.layouts import LAYOUTS  # noqa: E402
from collapse_theory.data.ranking import ranks_of_scores  # noqa: E402
from collapse_theory.errors import CollapseError  # noqa: E402
from collapse_theory.training import (  # noqa: E402
    Ranking,
    RankingCollator,
    RankingDataset,
    ranking_of,
)
from collapse_theory.training.labels import RankingLabels, labels_of, to_grid  # noqa: E402

GOOD = {"prompt": "2 + 2?", "completions": ["4", "four", "5"], "kind": "closed"}


def jsonl(path: Path, rows) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# -- layouts -----------------------------------------------------------------------------


def ratings(helpfulness, honesty):
    return {
        "helpfulness": {"Rating": helpfulness, "Type": ["1"], "Rationale": "..."},
        "honesty": {"Rating": honesty, "Rationale": "..."},
    }


def feedback(response, overall, fine=None, rated=("3", "N/A")):
    row = {"response": response, "overall_score": overall, "model": "m"}
    row["annotations"] = ratings(*rated)
    return row if fine is None else {**row, "fine-grained_score": fine}


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
REPLY = {"role": "assistant", "content": "4"}
WRONG = {"role": "assistant", "content": "5"}
TOOL = [
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]},
    {"role": "tool", "content": "4", "name": "add"},
]
TRANSCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: 2 + 2?\n\nAssistant:"

# Rows as published, cut to what is read and a little that isn't, and the ranking they make.
LAYOUT_CASES = [
    ("own", GOOD, Ranking("2 + 2?", ("4", "four", "5"), kind="closed")),
    (
        "own",
        {"prompt": "2 + 2?", "completions": ["4", "four", "5"], "ranks": [1, 1, 2]},
        Ranking("2 + 2?", ("4", "four", "5"), (0, 0, 1)),
    ),
    (
        "own",
        {"prompt": "2 + 2?", "completions": ["5", "4"], "scores": [0.0, 0.9], "models": ["a", "b"]},
        Ranking("2 + 2?", ("5", "4"), (1, 0)),
    ),
    (
        "nectar",
        {
            "prompt": "\n\nHuman: 2 + 2?\n\nAssistant: ",
            "answers": [
                {"answer": "5", "model": "a", "rank": 3.0},
                {"answer": "4", "model": "b", "rank": 1.0},
                {"answer": "four", "model": "c", "rank": 2.0},
            ],
            "turns": 1,
            "num_responses": 3,
            "source": ["lmsys-chat-1m"],
            "good_natured": True,
        },
        Ranking("2 + 2?", ("5", "4", "four"), (2, 0, 1)),
    ),
    (
        "ultrafeedback",
        {
            "source": "evol_instruct",
            "instruction": "2 + 2?",
            "models": ["a", "b"],
            # Its overall score is the known misprint: a 1 written as 10.
            "completions": [feedback("5", 10.0, 1.25), feedback("4", 8.5, 4.75)],
            "correct_answers": ["None"],
        },
        Ranking("2 + 2?", ("5", "4"), (1, 0)),
    ),
    (
        "ultrafeedback",
        {
            "instruction": "2 + 2?",
            "completions": [
                feedback("5", 9, rated=("1", "N/A")),
                feedback("4", 8, rated=("5", "4")),
            ],
        },
        Ranking("2 + 2?", ("5", "4"), (1, 0)),
    ),
    (
        "pairs",
        {
            "prompt": "2 + 2?",
            "chosen": [{"role": "user", "content": "2 + 2?"}, REPLY],
            "rejected": [{"role": "user", "content": "2 + 2?"}, WRONG],
            "score_chosen": 8.0,
            "score_rejected": 4.0,
        },
        Ranking("2 + 2?", ("4", "5")),
    ),
    (
        "pairs",
        {"chosen": [*CHAT, REPLY], "rejected": [*CHAT, WRONG]},
        Ranking("2 + 2?", ("4", "5"), turns=(("system", "Be brief."),)),
    ),
    (
        "pairs",
        {"prompt": CHAT, "chosen": [REPLY], "rejected": [WRONG]},
        Ranking("2 + 2?", ("4", "5"), turns=(("system", "Be brief."),)),
    ),
    ("pairs", {"prompt": CHAT[1:], "chosen": "4", "rejected": "5"}, Ranking("2 + 2?", ("4", "5"))),
    (
        "pairs",
        {"prompt": "2 + 2?", "chosen": [REPLY], "rejected": [WRONG]},
        Ranking("2 + 2?", ("4", "5")),
    ),
    (
        "pairs",
        {"chosen": f"{TRANSCRIPT} 4", "rejected": f"{TRANSCRIPT} 5"},
        Ranking("2 + 2?", ("4", "5"), turns=(("user", "Hi"), ("assistant", "Hello."))),
    ),
    (
        "pairs",
        {"prompt": TRANSCRIPT, "chosen": "4", "rejected": "5", "margin": 3},
        Ranking(
            "2 + 2?",
            ("4", "5"),
            turns=(("user", "Hi"), ("assistant", "Hello.")),
            margins=((0, 3), (0, 0)),
        ),
    ),
    (
        "own",
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}],
            "completions": [[REPLY], WRONG],
            "rewards": [0.2, 0.1],
            "weight": 2,
            "pair_weights": [[9, 0.5], [9, 9]],
        },
        Ranking("2 + 2?", ("4", "5"), pair_weights=((0, 0.5), (0, 0)), weight=2.0),
    ),
    (
        "pairs",
        {"chosen": [*TOOL, REPLY], "rejected": [*TOOL, WRONG]},
        Ranking(
            "",
            ("4", "5"),
            turns=(
                ("user", "2 + 2?"),
                ("assistant", "", '{"tool_calls": [{"function": {"name": "add"}}]}'),
                ("tool", "4", '{"name": "add"}'),
            ),
        ),
    ),
    (
        "helpsteer2-preference",
        {
            "split": "train",
            "prompt": "Hi<extra_id_1>Assistant\nHello.\n<extra_id_1>User\n2 + 2?",
            "response_1": "5",
            "response_2": "4",
            "preference_strength": 2,
        },
        Ranking("2 + 2?", ("5", "4"), (1, 0), turns=(("user", "Hi"), ("assistant", "Hello."))),
    ),
    (
        "helpsteer3",
        {"context": CHAT, "response1": "4", "response2": "5", "overall_preference": -1},
        Ranking("2 + 2?", ("4", "5"), turns=(("system", "Be brief."),)),
    ),
    (
        "safe-rlhf",
        {
            "prompt": "2 + 2?",
            "response_0": "5",
            "response_1": "4",
            "is_response_0_safe": True,
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        Ranking("2 + 2?", ("5", "4"), (1, 0)),
    ),
    (
        "shp",
        {"history": "2 + 2?", "human_ref_A": "4", "human_ref_B": "5", "labels": 1, "score_A": 9},
        Ranking("2 + 2?", ("4", "5")),
    ),
    (
        "summaries",
        {
            "info": {"subreddit": "maths", "title": "Sums", "post": "2 + 2?", "article": None},
            "summaries": [{"text": "5", "policy": "a"}, {"text": "4", "policy": "b"}],
            "choice": 1,
        },
        Ranking("SUBREDDIT: r/maths\n\nTITLE: Sums\n\nPOST: 2 + 2?\n\nTL;DR:", ("5", "4"), (1, 0)),
    ),
    ("pairs", {"chosen": "yes", "rejected": "no"}, Ranking("", ("yes", "no"))),
    (  # its text, not its number, is the prompt
        "ultrafeedback",
        {
            "prompt_id": "17",
            "instruction": "2 + 2?",
            "completions": [
                {"response": "5", "overall_score": 9, "fine-grained_score": 1},
                {"response": "4", "overall_score": 1, "fine-grained_score": 5},
            ],
        },
        Ranking("2 + 2?", ("5", "4"), (1, 0)),
    ),
]


@pytest.mark.parametrize(("name", "row", "ranking"), LAYOUT_CASES)
def test_each_layout_is_recognised_and_read(name, row, ranking, tmp_path):
    data = RankingDataset.from_records([row])
    assert data[0] == ranking
    assert RankingDataset.from_records([row], layout=name)[0] == ranking
    assert ranking_of(row) == ranking_of(ranking.row()) == ranking
    assert RankingDataset.from_file(jsonl(tmp_path / "x.jsonl", [row, "", row])).rankings == (
        ranking,
        ranking,
    )


def test_all_layouts_are_tested():
    assert {layout.name for layout in LAYOUTS} == {name for name, *_ in LAYOUT_CASES} | {"long"}


HELPSTEER = [
    ("2 + 2?", "4", 4, 4, 1),
    ("Name a colour", "blue", 3, 3, 0),
    ("2 + 2?", "5", 0, 0, 3),
    ("Name a colour", "seven", 0, 1, 4),
    ("2 + 2?", "It is 4.", 4, 3, 2),
    ("Alone", "yes", 4, 4, 4),
]


def helpsteer_rows():
    names = ("prompt", "response", "helpfulness", "correctness", "verbosity")
    return [dict(zip(names, row, strict=True)) for row in HELPSTEER]


def test_helpsteer_rows_are_gathered_by_prompt():
    data = RankingDataset.from_records(helpsteer_rows())
    assert data[0] == Ranking("2 + 2?", ("4", "It is 4.", "5"), (0, 0, 1))
    assert data[1] == Ranking("Name a colour", ("blue", "seven"))
    assert data.report.read == 6
    assert data.report.bad == ((6, "1 completion: a ranking needs two or more"),)


def test_helpsteer_by_a_weighted_sum_of_attributes():
    score = {"helpfulness": 0.65, "correctness": 0.8, "verbosity": -0.4}
    data = RankingDataset.from_records(helpsteer_rows()[:5], score=score)
    assert data[0].completions == ("4", "It is 4.", "5")
    assert data[0].ranks == (0, 1, 2)
    with pytest.raises(CollapseError, match="no column 'honesty'"):
        RankingDataset.from_records(helpsteer_rows(), score="honesty")


NAMED = [
    ("prompt", "completion", "reward"),
    ("question", "answer", "score"),
    ("instruction", "output", "rating"),
    ("Prompt", "Response", "Scores"),
    ("query_id", "text", "helpfulness"),
]


@pytest.mark.parametrize("names", NAMED)
def test_rows_of_a_completion_go_by_the_names_of_logs(names, tmp_path):
    rows = [("q", "a", 1), ("q", "b", "3.5"), ("r", "c", None), ("r", "d", 0), ("r", "e", "1,5")]
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    data = RankingDataset.from_file(jsonl(tmp_path / "x.jsonl", rows))
    assert data.rankings == (Ranking("q", ("b", "a")), Ranking("r", ("e", "d")))
    assert [line for line, _ in data.report.bad] == [3]
    ranked = [{**row, "rank": k} for k, row in enumerate(rows[:2])]
    for row in ranked:
        del row[names[2]]
    assert RankingDataset.from_records(ranked)[0].completions == ("a", "b")


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "answers": ["a", "b"], "score": [0.1, 0.2]},
        {"instruction": "q", "completions": ["a", "b"], "Scores": [1, 2]},
        {"prompt": "q", "responses": ["a", "b"], "rank": [2, 1]},
        {"prompt": "q", "completions": ["a", "b"], "ranking": [1, 0]},
        {"prompt": "q", "outputs": [{"text": "a", "reward": 1}, {"text": "b", "reward": 2}]},
        {"prompt": "q", "candidates": [["a", 0.1], ["b", "0.2"]]},
    ],
)
def test_lists_of_completions_go_by_the_names_of_logs(row):
    assert RankingDataset.from_records([row])[0] == Ranking("q", ("a", "b"), (1, 0))


def test_numbers_that_may_be_an_order_are_refused():
    row = {"prompt": "q", "completions": ["a", "b", "c"]}
    assert ranking_of({**row, "ranking": [2, 1, 3]}).ranks == (1, 0, 2)
    with pytest.raises(CollapseError, match="each completion's rank, or the numbers of the best"):
        ranking_of({**row, "ranking": [2, 3, 1]})
    with pytest.raises(CollapseError, match="the prompt is empty"):
        ranking_of({"prompt": "", "chosen": "a", "rejected": "b"})


@pytest.mark.parametrize("packed", [False, True])
def test_files_plain_packed_as_a_list_and_parquet(tmp_path, packed):
    pl = pytest.importorskip("polars")
    rows = [row for name, row, _ in LAYOUT_CASES if name == "nectar"] * 3
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    listed = b"\xef\xbb\xbf" + json.dumps(rows, indent=1).encode()
    expected = RankingDataset.from_records(rows)
    for content in (text, text.replace(b"\n", b"\r\n"), listed):
        path = tmp_path / "rows"
        path.write_bytes(gzip.compress(content) if packed else content)
        assert RankingDataset.from_file(path) == expected
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    assert RankingDataset.from_file(tmp_path / "rows.parquet") == expected


def test_pairs_in_csv(tmp_path):
    path = tmp_path / "pairs.csv"
    text = 'prompt,chosen,rejected\n2 + 2?,"four, or ""4""\nin short",5\n3?,3\n?,a,b,c\n'
    path.write_bytes(gzip.compress(text.encode()))
    data = RankingDataset.from_file(path)
    assert data.rankings == (Ranking("2 + 2?", ('four, or "4"\nin short', "5")),)
    assert data.report.bad == (
        (4, "no rejected (layout pairs)"),
        (5, "4 fields under 3 names"),
    )


# -- what is named -----------------------------------------------------------------------


def test_columns_that_are_not_used_and_identical_completions_are_named(caplog):
    words = {"prompt": "w1", "completions": ["w2", "w3", "w4"]}
    rows = [
        {**words, "ranks": [0, 0, 1], "scores": [1, 1, 0], "source": "a", "weight": None},
        {**words, "completions": ["w4", "w4", "w5"], "source": "b"},
        {"prompt": "?", "completions": ["same", "same"], "kind": "closed"},
    ]
    with caplog.at_level(logging.WARNING):
        report = RankingDataset.from_records(rows).report
    assert (report.identical, report.unused, report.bad) == (2, ("scores", "source"), ())
    assert caplog.text.count("2 with identical completions, whose pairs don't count") == 1
    assert "columns not used: scores, source" in caplog.text
    collator = RankingCollator(tokenizer())
    with caplog.at_level(logging.WARNING):
        batches = [collator(rows)["labels"] for _ in range(2)]
    assert caplog.text.count("columns not used: scores, source") == 2  # by each reader once
    assert collator.identical == 4
    assert batches[1].ne(-100).tolist() == [1, 1, 0]
    assert batches[1].pairs("pair_weights", 1.0)[1].tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


def test_long_rankings_are_left_out_on_request():
    data = RankingDataset.from_records(
        {"prompt": "w1", "completions": ["w2 " * long, "w3"]} for long in (2, 30, 3, 40)
    )
    kept = data.filter(RankingCollator(tokenizer(), max_length=12).fits, "too long")
    assert kept.rankings == (data[0], data[2])
    assert str(kept.report) == "4 rows read, 2 rankings kept, none bad; 2 left out: too long"
    with pytest.raises(CollapseError, match="no ranking is left: all 4 are too long"):
        data.filter(RankingCollator(tokenizer(), max_length=5).fits, "too long")


def test_rows_of_datasets_are_read_by_the_same_function():
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": "q", "completions": ["bad", "good"], "scores": [0.1, s]} for s in (0.9, 0)]
    mapped = datasets.Dataset.from_list(rows).map(lambda row: ranking_of(row).row())
    data = RankingDataset.from_records(rows)
    assert RankingDataset.from_records(mapped).rankings == data.rankings
    ranks = RankingCollator(tokenizer())(rows)["labels"]["ranks"]
    assert ranks.tolist() == [list(ranking.ranks) for ranking in data] == [[1, 0], [0, 1]]


TALK = "\n\nHuman: a\n\nAssistant: b"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": f"{TALK}\n\nHuman: c", "rejected": f"{TALK}\n\nHuman: d"}, "must end with a"),
        ({"chosen": TALK, "rejected": "\n\nHuman: z\n\nAssistant: b"}, "differ before their last"),
        ({"chosen": TALK, "rejected": "yes"}, "rejected is no transcript"),
        ({"chosen": TALK, "rejected": TALK.replace("b", " ")}, "differ before their last message"),
        (
            {"prompt": f"{TALK}\n\nAssistant:", "chosen": "x", "rejected": "y"},
            "last message before",
        ),
        ({"prompt": f"\n\nHuman: a{TALK}", "chosen": "x", "rejected": "y"}, "don't take turns"),
        (
            {"prompt": TALK, "completions": ["x", "y"]},
            "the last message before the reply is by 'as",
        ),
        ({"prompt": "\n\nHuman:\n\nAssistant:", "completions": ["x", "y"]}, "don't take turns"),
        (
            {"prompt": "\n\nAssistant: a\n\nHuman: b\n\nAssistant:", "completions": ["x", "y"]},
            "don't take turns: assistant, user",
        ),
        ({"prompt": "See <|im_start|>user\na", "completions": ["x", "y"]}, "turns: nobody, user"),
        ({"prompt": "<|im_start|>tool\na", "completions": ["x", "y"]}, "don't take turns: tool"),
        ({"prompt": "q", "completions": ["x [INST] a", "y"]}, "must be one message of the assis"),
    ],
)
def test_transcripts_that_make_no_turns_are_refused_with_their_line(row, message):
    good = {**dict.fromkeys(row, "q"), "chosen": "x", "rejected": "y"}
    if "completions" in row:
        good = GOOD
    report = RankingDataset.from_records([good, row]).report
    assert report.bad[0][0] == 2
    assert message in report.bad[0][1]
    with pytest.raises(CollapseError, match=message):
        ranking_of(row)


@pytest.mark.parametrize(
    "text",
    [
        "\r\n\r\nHuman: a\r\n\r\nAssistant: b\r\n\r\nHuman: c\r\n\r\nAssistant:",
        "\n \n Human: a\n\n Assistant: b\n\n  Human: c\n \nAssistant: ",
        "Human: a\nAssistant: b\nHuman: c\nAssistant:",
        "\nUser: a\nAssistant: b\nUser: c",
        "### Human: a### Assistant: b\n### Human: c\n### Assistant:",
        "\n\nH: a\n\nA: b\n\nH: c\n\nA:",
        "### Instruction:\na\n\n### Response:\nb\n\n### Instruction:\nc\n\n### Response:\n",
        "USER: a ASSISTANT: b</s>USER: c ASSISTANT:",
        "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]",
        "<|prompter|>a<|endoftext|><|assistant|>b<|endoftext|><|prompter|>c<|endoftext|><|assistant|>",
        "<|user|>\na</s>\n<|assistant|>\nb</s>\n<|user|>\nc</s>\n<|assistant|>\n",
        "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
        "<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>"
        "assistant<|end_header_id|>\n\nb<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nc",
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc",
    ],
)
def test_transcripts_with_other_spaces_and_marks(text):
    for row in (
        {"prompt": text, "completions": ["x", "y"]},
        {"prompt": text, "completions": ["<|im_start|>assistant\nx<|im_end|>", "y"]},
    ):
        ranking = ranking_of(row)
        assert (ranking.turns, ranking.prompt) == ((("user", "a"), ("assistant", "b")), "c")
        assert ranking.completions == ("x", "y")


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\na\n\nx [/INST]",
        "s\n\n### Instruction:\na\n\n### Input:\nx\n\n### Response:",
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na\n\nx<|im_end|>",
    ],
)
def test_transcripts_with_a_system_message(text):
    ranking = ranking_of({"prompt": text, "completions": ["y", "z"]})
    assert (ranking.turns, ranking.prompt) == ((("system", "s"),), "a\n\nx")


@pytest.mark.parametrize(
    "text",
    [
        "Human: a history",
        "Say:\n\nHuman: a\n\nAssistant: b",
        "A: b",
        "H: hydrogen\n\nA: argon",
        "### Input:\n3",
        "A USER: s",
    ],
)
def test_ordinary_prompts_are_no_transcripts(text):
    assert ranking_of({"prompt": text, "completions": ["x", "y"]}).prompt == text


def test_a_ranking_made_by_hand_is_taken_apart_by_the_collator():
    chat = tokenizer()
    chat.chat_template = "{% for m in messages %}{{ m.role[0] }} {{ m.content }} {% endfor %}"
    chat.add_tokens(["u", "a", "t"])
    made = [Ranking("\n\nHuman: w1\n\nAssistant: w2\n\nHuman: w3\n\nAssistant:", ("w4", "w5"))]
    tokens = RankingCollator(chat)(made)["input_ids"][0]
    assert chat.decode(tokens) == "u w1 a w2 u w3 a w4"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"margins": [[0, 1]]}, "margins must be a finite number, or a table of 3 by 3"),
        ({"margins": "big"}, "margins must be a finite number"),
        ({"margin": float("nan")}, "margins must be a finite number"),
        ({"pair_weights": [[0, -1, 1]] * 3}, "pair_weights must be 0 or more"),
        ({"weight": -1}, "the weight must be 0 or more"),
        ({"weight": "much"}, "the weight must be a finite number"),
    ],
)
def test_margins_and_weights_that_are_none(more, message):
    with pytest.raises(CollapseError, match=message):
        ranking_of({**GOOD, **more})


# -- bad data ----------------------------------------------------------------------------

BAD_ROWS = [
    ({"prompt": "p", "completions": ["only"], "kind": "open"}, "1 completion"),
    ({"prompt": "p", "completions": [], "kind": "open"}, "0 completion"),
    ({"prompt": "p", "completions": "ab", "kind": "open"}, "completions must be a list of texts"),
    ({"prompt": "p", "completions": ["a", " \n"], "kind": "open"}, "completion 1 is empty"),
    ({"prompt": "p", "completions": ["a", 3], "kind": "open"}, "completion 1 must be text, got 3"),
    ({"prompt": "", "completions": ["a", "b"], "kind": "open"}, "the prompt is empty"),
    ({"prompt": 7, "completions": ["a", "b"], "kind": "open"}, "prompt must be text"),
    ({"completions": ["a", "b"], "kind": "open"}, "no prompt"),
    ({"prompt": "p", "kind": "open"}, "no completions"),
    (
        {"prompt": "p", "completions": ["a", "b"], "ranks": [0], "kind": "open"},
        "2 completions but 1 ranks",
    ),
    (
        {"prompt": "p", "completions": ["a", "b"], "ranks": [0, None], "kind": "open"},
        "rank must be a finite",
    ),
    (
        {"prompt": "p", "completions": ["a", "b"], "ranks": "01", "kind": "open"},
        "ranks must be a list",
    ),
    (
        {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1], "kind": "open"},
        "nothing to compare",
    ),
    (
        {"prompt": "p", "completions": ["a", "b"], "scores": [1.0], "kind": "open"},
        "2 completions but 1 scores",
    ),
    (
        {"prompt": "p", "completions": ["a", "b"], "scores": [1.0, float("nan")], "kind": "open"},
        "finite number",
    ),
    (
        {"prompt": "p", "completions": ["a", "b"], "scores": ["1", "2"], "kind": "open"},
        "finite number, got '1'",
    ),
    ({"prompt": "p", "completions": ["a", "b"], "kind": "odd"}, "unknown kind 'odd'"),
    ({"prompt": "p", "completions": ["a", "b"], "kind": ["open"]}, "kind must be text"),
    ({"prompt": "p", "completions": ["a", "b"]}, "no kind"),
    ({"prompt": "p", "completions": ["a", "b"], "ranks": [], "kind": "open"}, "but 0 ranks"),
    ('{"prompt": "p", "completions": ["a"', "not JSON"),
    ("[1, 2]", "must be an object"),
    ("null", "must be an object"),
    ("\x00\x01", "not JSON"),
]


def test_every_bad_row_is_named_with_its_line(tmp_path, caplog):
    rows = [GOOD]
    for bad, _ in BAD_ROWS:
        rows += [bad, "", GOOD]
    with caplog.at_level(logging.WARNING):
        data = RankingDataset.from_file(jsonl(tmp_path / "x.jsonl", rows), kinds=["closed", "open"])
    assert len(data) == len(BAD_ROWS) + 1
    assert data.report.read == 2 * len(BAD_ROWS) + 1
    lines, reasons = zip(*data.report.bad, strict=True)
    assert lines == tuple(range(2, 3 * len(BAD_ROWS) + 1, 3))
    for reason, (_, expected) in zip(reasons, BAD_ROWS, strict=True):
        assert expected in reason
    assert f"{len(BAD_ROWS)} bad: line 2: 1 completion" in caplog.text


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_file_without_a_good_row_is_refused(row, reason, tmp_path):
    path = jsonl(tmp_path / "x.jsonl", [row])
    with pytest.raises(CollapseError, match=r"x.jsonl: ") as caught:
        RankingDataset.from_file(path, kinds=["open"], layout="own")
    assert reason in str(caught.value)
    assert "line 1" in str(caught.value)


def test_unreadable_files(tmp_path):
    rows = [
        {**GOOD, "prompt": f"{n} {np.random.default_rng(n).bytes(40).hex()}"} for n in range(400)
    ]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    data = RankingDataset.from_file(path)
    assert 100 < len(data) < 300
    assert "the file is damaged from here on" in data.report.bad[-1][1]
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + b'{"prompt": "\xff"}\n')
    assert "not UTF-8" in RankingDataset.from_file(path).report.bad[0][1]
    for content, message in [
        (b"", "is empty: it needs rows"),
        (b"\n \n", "no ranking is left: 0 rows"),
        (b"[]", "no ranking is left"),
        (b'[{"prompt": "p"', "line 1: not JSON"),
        (b"PAR1xxxx", "damaged, or not written to its end"),
        (b"\x28\xb5\x2f\xfdxx", "can't be unpacked: "),
        (b'{"question": "?", "answer": "!"}', "line 1 has the columns question, answer, which are"),
        (b"prompt,completions\np,a", "not JSON"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CollapseError, match=message):
            RankingDataset.from_file(path)
    path.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode())[:-2000])
    with pytest.raises(CollapseError, match=r"is JSON that isn't whole; it is cut off or"):
        RankingDataset.from_file(path)
    with pytest.raises(FileNotFoundError):
        RankingDataset.from_file(tmp_path / "none.jsonl")
    with pytest.raises(CollapseError, match="unknown layout 'csv'; known: nectar"):
        RankingDataset.from_file(path, layout="csv")


def test_bad_pairs():
    same = [{"role": "user", "content": "a"}, REPLY]
    other = [{"role": "user", "content": "b"}, WRONG]
    for row, message in [
        ({"chosen": same, "rejected": other}, "differ before their last message"),
        ({"chosen": [REPLY], "rejected": "no"}, "rejected must be text or a list of messages"),
        ({"chosen": [{"role": "user"}], "rejected": same}, "needs a role and a content"),
        ({"chosen": [REPLY, REPLY], "rejected": [REPLY, WRONG]}, "by 'assistant', not 'user'"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "the prompt must be text"),
        ({"chosen": "a", "rejected": " "}, "completion 1 is empty"),
    ]:
        with pytest.raises(CollapseError, match=message):
            RankingDataset.from_records([row])


def test_kinds_come_from_a_column_or_a_function():
    row = {**GOOD, "source": "arithmetic", "level": 3}
    assert RankingDataset.from_records([row]).kinds == ("closed",)
    assert RankingDataset.from_records([row], kind="source").kinds == ("arithmetic",)
    assert RankingDataset.from_records([row], kind="level").kinds == ("3",)
    by_length = RankingDataset.from_records(
        [row], kind=lambda r: "a" if len(r["prompt"]) < 9 else "b"
    )
    assert by_length[0].kind == "a"
    with pytest.raises(CollapseError, match="no column 'sort' to take the kind from"):
        RankingDataset.from_records([row], kind="sort")
    changing = [{**r, "kind": f"k{n}"} for n, r in enumerate(helpsteer_rows()[:5])]
    with pytest.raises(CollapseError, match="line 3: kind 'k2', but line 1 has 'k0'"):
        RankingDataset.from_records(changing)


@cases(30)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9).filter(lambda s: len(set(s)) > 1))
def test_ranks_keep_the_order_and_the_ties_of_scores(scores):
    ranks = ranks_of_scores(scores)
    for s, r in zip(scores, ranks, strict=True):
        for other, its in zip(scores, ranks, strict=True):
            assert (s > other) == (r < its)
            assert (s == other) == (r == its)
    assert set(ranks) == set(range(len(set(scores))))
    assert Ranking("p", tuple(map(str, range(len(ranks)))), ranks).ranks == ranks


def test_datasets_are_values_and_part_by_prompt():
    rows = [{**GOOD, "prompt": f"{n % 10}"} for n in range(30)]
    data = RankingDataset.from_records(rows)
    assert pickle.loads(pickle.dumps(data)) == data
    assert RankingDataset.from_dict(json.loads(json.dumps(data.to_dict()))) == data
    assert data.names[:11] == (*map(str, range(10)), "0 (2)")
    assert len(set(data.names)) == 30
    train, held = data.split(0.3, seed=1)
    assert len(train) == 21
    assert not {r.prompt for r in train} & {r.prompt for r in held}
    assert data.split(0.3, seed=1) == (train, held)
    with pytest.raises(CollapseError, match="leaves one side empty"):
        data.split(0.01)
    with pytest.raises(CollapseError, match="item 0 is a dict"):
        RankingDataset((GOOD,))
    with pytest.raises(CollapseError, match="at least one ranking"):
        RankingDataset(())


# -- the collator ------------------------------------------------------------------------


def rankings():
    return RankingDataset.from_records(
        [
            {"prompt": "w1 w2", "completions": ["w3", "w4 w5 w6", "w7"], "kind": "open"},
            {"prompt": "w8", "completions": ["w9", "w1"], "ranks": [1, 0], "kind": "closed"},
        ]
    )


def test_each_completion_is_encoded_once_and_prompts_of_all_sizes_go_together():
    batch = RankingCollator(tokenizer(), kinds=["closed", "open"])(list(rankings()))
    assert batch["input_ids"].shape == (5, 8)
    words = [[VOCABULARY[i] for i in row] for row in batch["input_ids"].tolist()]
    assert words[1] == ["[CLS]", "w1", "w2", "[SEP]", "w4", "w5", "w6", "[SEP]"]
    assert words[4] == ["[CLS]", "w8", "[SEP]", "w1", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]
    assert batch["attention_mask"].sum(1).tolist() == [6, 8, 6, 5, 5]
    labels = batch["labels"]
    assert labels["ranks"].tolist() == [[0, 1, 2], [1, 0, -1]]
    assert labels["kinds"].tolist() == [1, 0]
    assert int(labels.ne(-100).sum()) == 2
    plain = RankingCollator(tokenizer())(list(rankings()))["labels"]
    assert set(plain) == {"ranks", "weights", "margins", "pair_weights"}
    assert plain.pairs("margins", 0.0) is None


def test_a_long_prompt_leaves_something_of_the_completions():
    long = Ranking(" ".join(["w1"] * 40), ("w2 w3", "w4"))
    cut = RankingCollator(tokenizer(), max_length=12)([long])["input_ids"]
    assert cut.shape == (2, 12)
    assert {VOCABULARY[i] for i in cut[0].tolist()} >= {"w2", "w3"}


def test_completions_cut_alike_are_named_once(caplog):
    alike = Ranking("w1", (" ".join(["w2"] * 90), " ".join(["w2"] * 80)))
    collator = RankingCollator(tokenizer(), max_length=10)
    with caplog.at_level(logging.WARNING):
        collator([alike])
        collator([alike])
    assert caplog.text.count("cut at max_length=10 tokens, completions of 'w1' are the same") == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_identical_completions_are_counted_in_workers_too(workers):
    rows = [Ranking("w1", ("w2", "w2", "w3")), Ranking("w1", ("w2", "w3"))] * 4
    collator = RankingCollator(tokenizer())
    loader = torch.utils.data.DataLoader(rows, 2, collate_fn=collator, num_workers=workers)
    assert len(list(loader)) == 4
    assert collator.identical == 4


def test_templates():
    chat = tokenizer()
    chat.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}w1 {% elif m.role == 'system' %}w9 "
        "{% else %}w2 {% endif %}{{ m.content }} {% endfor %}"
    )
    ranking = Ranking("w3", ("w4", "w5"), turns=(("system", "w6"),))

    def words(tokens):
        return [VOCABULARY[i] for i in tokens["input_ids"][0].tolist()]

    assert words(RankingCollator(chat)([ranking])) == ["w9", "w6", "w1", "w3", "w2", "w4"]
    pair = RankingCollator(chat, template="pair")([ranking])
    assert words(pair) == ["[CLS]", "w6", "w3", "[SEP]", "w4", "[SEP]"]
    decoder = tokenizer(pair=False)
    assert RankingCollator(decoder).template == "joined"
    assert words(RankingCollator(decoder)([ranking])) == ["w6", "w3", "w4", "[SEP]"]


def test_what_the_collator_refuses():
    bare = tokenizer()
    bare.pad_token = None
    with pytest.raises(CollapseError, match=r"tokenizer.pad_token = tokenizer.eos_token"):
        RankingCollator(bare)
    with pytest.raises(CollapseError, match="unknown template 'text'; known: auto, chat"):
        RankingCollator(tokenizer(), template="text")
    with pytest.raises(CollapseError, match="no chat template"):
        RankingCollator(tokenizer(), template="chat")
    for length in (0, 4, 2.5, True):
        with pytest.raises(CollapseError, match="max_length must be a whole number of tokens, 5"):
            RankingCollator(tokenizer(), max_length=length)
    for kinds in ("open", [], [1], 3):
        with pytest.raises(CollapseError, match="kinds must be a list of texts"):
            RankingCollator(tokenizer(), kinds=kinds)
    with pytest.raises(CollapseError, match="twice"):
        RankingCollator(tokenizer(), kinds=["a", "a"])
    with pytest.raises(CollapseError, match="'w8' has the kind 'closed'; known kinds: 'open'"):
        RankingCollator(tokenizer(), kinds=["open"])(list(rankings()))
    with pytest.raises(CollapseError, match="has no kind"):
        RankingCollator(tokenizer(), kinds=["open"])([Ranking("p", ("a", "b"))])
    with pytest.raises(CollapseError, match="remove_unused_columns=False"):
        RankingCollator(tokenizer())([{"label": 1}])
    with pytest.raises(CollapseError, match="must be an object with columns, got str"):
        RankingCollator(tokenizer())(["text"])


def test_labels_move_detach_and_count():
    ranks = torch.tensor([[0, 1, -1], [0, 0, -1], [2, -100, -100], [-1, -1, -1]])
    labels = RankingLabels(ranks=ranks)
    assert labels.ne(-100).tolist() == [True, False, False, False]
    assert type(labels.to("cpu")) is RankingLabels
    assert pickle.loads(pickle.dumps(labels)).ne(-100).sum() == 1


@cases(20)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_tables_of_pairs_come_back_from_labels_that_trainer_has_padded(sizes, seed):
    rng = np.random.default_rng(seed)
    made = [
        Ranking("p", [f"{k}" for k in range(n)], margins=rng.normal(size=(n, n)) if odd else None)
        for n, odd in zip(sizes, rng.random(len(sizes)) < 0.5, strict=True)
    ]
    from transformers.trainer_pt_utils import nested_concat

    parts = [labels_of([one], [range(len(one))]) for one in made]
    whole = parts[0]
    for part in parts[1:]:
        whole = nested_concat(whole, part, padding_index=-100)
    tables = RankingLabels(whole).pairs("margins", 0.0)
    for row, one in enumerate(made):
        n, expected = len(one), 0.0 if one.margins is None else one.margins
        found = 0.0 if tables is None else tables[row, :n, :n].numpy()
        assert found == pytest.approx(expected, abs=1e-6)


@cases(20)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=6), st.randoms())
def test_the_grid_undoes_the_collators_order(sizes, random):
    rows = [[random.random() for _ in range(size)] for size in sizes]
    width = max(sizes)
    ranks = torch.tensor([list(range(len(row))) + [-1] * (width - len(row)) for row in rows])
    flat = torch.tensor([value for row in rows for value in row], requires_grad=True)
    grid = to_grid(flat[:, None], ranks)
    for row, values, place in zip(rows, grid.tolist(), ranks.tolist(), strict=True):
        assert values == pytest.approx(row + [0.0] * (width - len(row)))
        assert place[: len(row)] == list(range(len(row)))
    (gradient,) = torch.autograd.grad(
        (grid * torch.arange(grid.numel()).view(grid.shape)).sum(), flat
    )
    expected = torch.arange(grid.numel()).view(grid.shape)[ranks >= 0]
    assert torch.equal(gradient, expected.to(gradient.dtype))
