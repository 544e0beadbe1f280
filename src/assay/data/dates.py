"""Dates and times as users write them: in ISO forms, or not at all."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from assay.errors import InputError

if TYPE_CHECKING:
    import numpy as np

_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2}|\d{8})"
    r"([T ](?P<time>\d{2}(:?\d{2}(:?\d{2}([.,]\d{1,9})?)?)?)\s?(?P<zone>Z|UTC|[+-]\d{2}(:?\d{2})?)?)?",
    re.IGNORECASE | re.ASCII,
)
_DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d{2})\b.*", re.DOTALL)


def parse_dates(
    texts: Iterable[Any], what: str, unit: Literal["s", "ms", "us", "ns"] = "s"
) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Return dates or times in UTC, datetime64 [n].

    Taken are ISO forms (2022-05-31, 20220531, 2022-05-31T10:20:30.5Z, with a zone such as +02:00), and dates
    and times of Python, NumPy and pandas. What has no zone counts as UTC.

    Args:
        texts: one date a row.
        what: how errors call them, such as "points.csv: column 'date'".
        unit: the resolution; what is finer is cut off.

    Raises:
        InputError: a date is empty, no date, or not in an ISO form; names the row and the form to write.
    """
    import numpy as np

    array = getattr(texts, "dtype", None)
    if array is not None and getattr(array, "kind", "") == "M" and getattr(array, "tz", None) is None:
        found = np.asarray(texts, dtype="datetime64[ns]").astype(f"datetime64[{unit}]")
        if np.isnat(found).any():
            raise InputError(f"{what}, row {int(np.flatnonzero(np.isnat(found))[0]) + 1}: the date is empty.")
        return found
    values = [_parse(value, f"{what}, row {row}") for row, value in enumerate(texts, start=1)]
    return np.array(values, dtype="datetime64[ns]").astype(f"datetime64[{unit}]")


def _parse(value: Any, where: str) -> np.datetime64:
    import numpy as np

    if isinstance(value, np.datetime64):
        value = str(value)
    if hasattr(value, "isoformat"):  # of Python and pandas
        value = value.isoformat()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if value is None or value != value or (isinstance(value, str) and value.strip() in ("", "NaT")):
        raise InputError(f"{where}: the date is empty.")
    text = str(value).strip()
    match = _ISO.fullmatch(text)
    if match is None or not isinstance(value, str):
        raise InputError(f"{where}: {_refusal(text)}")
    try:
        return _in_utc(match)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {text!r} is no date of the calendar.") from None


def _in_utc(match: re.Match[str]) -> np.datetime64:
    import numpy as np

    date, time = match["date"].replace("-", ""), (match["time"] or "").replace(":", "").replace(",", ".")
    clock, _, fraction = time.partition(".")
    hours, minutes, seconds = (int(clock[place : place + 2] or 0) for place in (0, 2, 4))
    moment = datetime.datetime(int(date[:4]), int(date[4:6]), int(date[6:8]), hours, minutes, seconds)
    zone = (match["zone"] or "").upper()
    if zone not in ("", "Z", "UTC"):
        digits = zone[1:].replace(":", "")
        shift = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
        moment += -shift if zone[0] == "+" else shift
    return np.datetime64(moment, "ns") + np.timedelta64(int(fraction[:9].ljust(9, "0")), "ns")


def _refusal(text: str) -> str:
    match = _DAY_OR_MONTH_FIRST.fullmatch(text)
    if match is None:
        return f"{text[:40]!r} is no date in an ISO form. Write dates as 2022-05-31 or 2022-05-31T10:20:30Z."
    first, second, year = int(match[1]), int(match[2]), match[3].rjust(4, "2" if len(match[3]) == 4 else "0")
    year = match[3] if len(match[3]) == 4 else f"20{match[3]}"
    meant = [
        f"{year}-{month:02d}-{day:02d}"
        for day, month in dict.fromkeys(((first, second), (second, first)))
        if 1 <= month <= 12 and 1 <= day <= 31
    ]
    return (
        f"{text[:40]!r} is ambiguous: the day or the month may stand first. Write {' or '.join(meant)}."
        if meant
        else f"{text[:40]!r} is no date of the calendar. Write dates as 2022-05-31."
    )
