from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from assay.data import parse_dates
from assay.errors import InputError


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2022-05-31", "2022-05-31"),
        (" 2022-05-31 ", "2022-05-31"),
        ("20220531", "2022-05-31"),
        (20220531, "2022-05-31"),
        ("2022/05/31", "2022-05-31"),
        ("2022-5-3", "2022-05-03"),
        ("2022-05-31T10:20Z", "2022-05-31T10:20:00"),
        ("2022-05-31 10:20:30.999999", "2022-05-31T10:20:30"),
        ("2022-05-31T10:20:30.5+02:00", "2022-05-31T08:20:30"),
        ("2022-05-31T23:20:30-0130", "2022-06-01T00:50:30"),
        ("20220531T102030Z", "2022-05-31T10:20:30"),
        ("1500-01-01", "1500-01-01"),
        ("9999-12-31", "9999-12-31"),
        (datetime.date(2022, 5, 31), "2022-05-31"),
        (np.datetime64("2022-05-31T10:20:30.5"), "2022-05-31T10:20:30"),
        (pd.Timestamp("2022-05-31 10:20", tz="Asia/Tokyo"), "2022-05-31T01:20:00"),
    ],
)
def test_iso_forms_are_read_in_utc(value: Any, date: str) -> None:
    found = parse_dates([value], "dates")
    assert found.dtype == np.dtype("datetime64[s]")
    assert found.tolist() == [np.datetime64(date, "s").item()]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.datetimes(timezones=st.one_of(st.none(), st.just(datetime.UTC))))
def test_what_python_writes_is_read_exactly(moment: datetime.datetime) -> None:
    found = parse_dates([moment.isoformat(), moment], "dates", "us")
    assert found.tolist() == [moment.replace(tzinfo=None)] * 2


def test_columns_of_dates_are_taken_as_they_are() -> None:
    dates = pd.to_datetime(pd.Series(["2022-05-31 10:00", "2023-01-01 00:00"]))
    np.testing.assert_array_equal(parse_dates(dates, "d"), dates.to_numpy().astype("datetime64[s]"))
    assert str(parse_dates(dates.dt.tz_localize("Asia/Tokyo"), "d")[0]) == "2022-05-31T01:00:00"
    with pytest.raises(InputError, match="d, row 2: the date is empty"):
        parse_dates(pd.Series([dates[0], pd.NaT]), "d")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "31/05/2022",
            "'31/05/2022' is ambiguous, as the day or the month may stand first. Write 2022-05-31",
        ),
        ("05/06/2022", "Write 2022-06-05 or 2022-05-06."),
        ("05.06.2022 10:00", "Write 2022-06-05 or 2022-05-06."),
        ("05-05-2022", "Write 2022-05-05."),
        ("31.12.99", "is no date in an ISO form. Write dates as 2022-05-31 or 2022-05-31T10:20:30Z."),
        ("May 2022", "is no date in an ISO form"),
        ("2022-02-30", "'2022-02-30' is not in the calendar"),
        ("2022-05-31T25:00", "is not in the calendar"),
        (1653955200, "'1653955200' is no date in an ISO form"),
        ("", "the date is empty"),
        (None, "the date is empty"),
        (float("nan"), "the date is empty"),
    ],
)
def test_other_forms_are_refused_with_the_form_to_write(value: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse_dates(["2022-05-31", value], "points.csv: column 'date'")
    assert str(error.value).startswith("points.csv: column 'date', row 2: ")
    assert words in str(error.value)
