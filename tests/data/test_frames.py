from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from assay.data import read_frame
from assay.errors import InputError

CSV = "id,user,score,text\n18230347238677134001,1,0.5,a\n18230347238677134002,,1.5,NA\n"


def test_a_frame_holds_what_the_file_says(write) -> None:
    frame = read_frame(write("x.csv", CSV))
    assert list(frame["id"]) == ["18230347238677134001", "18230347238677134002"]
    assert list(frame["text"]) == ["a", "NA"]
    assert frame["score"].tolist() == [0.5, 1.5]
    assert frame["user"].tolist() == [1, pd.NA]
    assert str(frame["user"].dtype) == "Int64"


def test_all_kinds_of_files_give_the_same_frame(tmp_path: Path, write) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "n": [1, 2], "x": [0.5, 1.5]}, index=[7, 9])
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "x.tsv", sep="\t", index=False)
    for name in ("x.parquet", "x.jsonl", "x.tsv"):
        pd.testing.assert_frame_equal(read_frame(tmp_path / name), frame.reset_index(drop=True))


def test_what_is_no_table_is_refused(write) -> None:
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_frame(write("x.parquet", b"PAR1 nothing PAR1"))
    with pytest.raises(InputError, match=r"should be a file that ends in \.csv"):
        read_frame(write("x.xlsx", b"PK"))
