"""Files and tables of texts, facts and questions, as a model reads them."""

import pandas as pd
import pytest
import torch

from assay.data import Rows
from assay.errors import InputError
from assay.papers.privacy.uoe.inputs import read_documents
from papers.privacy.uoe.moe_models import lines, texts


def test_long_texts_are_cut_and_start_with_the_start_token(tokenizer, tmp_path):
    found = read_documents(Rows(lines(tmp_path / "t.jsonl", texts(0, 2))), tokenizer, 5, None)
    assert found.sequences.mask.sum(1).tolist() == [5, 3, 5, 3]
    assert (found.sequences.input_ids[:, 0] == tokenizer.bos_token_id).all()
    assert [fact.id for fact in found.facts] == ["1", "1", "2", "2"]
    assert len(read_documents(Rows(lines(tmp_path / "t.jsonl", texts(0, 9))), tokenizer, 50, 4)) == 4


def test_wmdp_questions_are_scored_by_letter(tokenizer, tmp_path):
    """Rows as cais/wmdp and cais/mmlu have them."""
    rows = [
        {"question": "word1", "choices": ["word2", "word3", "word4", "word5"], "answer": n} for n in (2, 0)
    ]
    found = read_documents(Rows(lines(tmp_path / "q.jsonl", rows)), tokenizer, 100, None)
    text = tokenizer.decode(found.sequences.input_ids[0])
    assert text.endswith("word1\nA. word2\nB. word3\nC. word4\nD. word5\nAnswer: C")
    logits = torch.zeros(2, found.sequences.input_ids.shape[1], len(tokenizer))
    logits[:, -2, 5] = 9.0  # no letter, and so not counted
    logits[:, -2, found.letters[2]] = 3.0
    assert found.scores(logits, found.sequences).tolist() == [1.0, 0.0]


def test_rwku_probes_and_parquet_tables(tokenizer, tmp_path):
    """Rows as jinzhuoran/RWKU has them, in the files that the hub serves."""
    rows = [
        {"query": f"word{n} is ___", "answer": f"word{n + 1}", "subject": "word9", "level": "1"}
        for n in range(3)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "forget_level1.parquet")
    found = read_documents(Rows(f"parquet:{tmp_path}/forget_level1.parquet"), tokenizer, 100, None)
    assert [fact.answer for fact in found.facts] == ["word1", "word2", "word3"]
    assert (found.sequences.labels != -100).sum(1).tolist() == [1, 1, 1]
    pd.DataFrame(texts(0, 3)).to_parquet(tmp_path / "corpus.parquet")
    assert len(read_documents(Rows(f"parquet:{tmp_path}/corpus.parquet"), tokenizer, 100, None)) == 3


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], "is empty"),
        ([{"title": "x"}], r"line 1: has title; expected"),
        (
            [{"text": "word1 word2"}, {"question": "a", "answer": "b"}],
            "line 2: not of the same form as the first row",
        ),
        ([{"text": " "}], "line 1: the text is empty"),
        ([{"question": "word1", "answer": ""}], "line 1: 'answer' must be a text"),
        ([{"question": "word1", "choices": ["a", "b"], "answer": 2}], "number from 0 to 1, got 2"),
        ([{"question": "q", "choices": ["a"], "answer": 0}], "1 choices"),
    ],
)
def test_files_that_cannot_be_read(tokenizer, tmp_path, rows, match):
    with pytest.raises(InputError, match=match):
        read_documents(Rows(lines(tmp_path / "x.jsonl", rows)), tokenizer, 100, None)


def test_lines_that_are_no_objects(tokenizer, tmp_path):
    for text, match in (("{oops", "line 1, column 2: Expecting"), ("[1]", "line 1: expected an object")):
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(InputError, match=match):
            read_documents(Rows(str(tmp_path / "x.jsonl")), tokenizer, 100, None)
    path = lines(tmp_path / "x.jsonl", [{"question": "word1 word2 word3", "answer": "word4"}])
    with pytest.raises(InputError, match="at most 3 fit"):
        read_documents(Rows(path), tokenizer, 3, None)


def test_line_separators_and_delimited_text(tokenizer, tmp_path):
    (tmp_path / "u.jsonl").write_text('{"text": "word1 word2\u2028word3"}\n{"text": "word4 word5"}\n')
    assert len(read_documents(Rows(str(tmp_path / "u.jsonl")), tokenizer, 50, None)) == 2
    (tmp_path / "q.csv").write_text("question,answer\nword1,word2\nword3,word4\n")
    found = read_documents(Rows(str(tmp_path / "q.csv")), tokenizer, 50, None)
    assert [fact.answer for fact in found.facts] == ["word2", "word4"]


def test_fingerprints_follow_the_content(tmp_path):
    one, two = (Rows(lines(tmp_path / f"{n}.jsonl", texts(n, 2))) for n in (1, 2))
    assert one.fingerprint() != two.fingerprint()
    lines(tmp_path / "2.jsonl", texts(1, 2))
    assert one.fingerprint() == two.fingerprint()
    assert Rows().fingerprint() == "made here"
    assert "cais/wmdp" in str(Rows("hub:cais/wmdp/wmdp-cyber#test").table())
