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
    r"(?P<date>\d{4}(?P<mark>[-/])\d{1,2}(?P=mark)\d{1,2}|\d{8})"
    r"([T ](?P<time>\d{2}(:?\d{2}(:?\d{2}([.,]\d{1,9})?)?)?)\s?(?P<zone>Z|UTC|[+-]\d{2}(:?\d{2})?)?)?",
    re.IGNORECASE | re.ASCII,
)
_YEAR_LAST = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})\b.*", re.DOTALL | re.ASCII)


def parse_dates(
    texts: Iterable[Any], what: str, unit: Literal["s", "ms", "us"] = "s"
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

    kind = getattr(texts, "dtype", None)
    if isinstance(kind, np.dtype) and kind.kind == "M":  # a pandas type with a zone is another
        found: np.ndarray[Any, Any] = np.asarray(texts).astype(f"datetime64[{unit}]")
        if np.isnat(found).any():
            raise InputError(f"{what}, row {int(np.flatnonzero(np.isnat(found))[0]) + 1}: the date is empty.")
        return found
    values = [_parse(value, f"{what}, row {row}", unit) for row, value in enumerate(texts, start=1)]
    return np.array(values, dtype=f"datetime64[{unit}]")


def _parse(value: Any, where: str, unit: str) -> np.datetime64:
    if hasattr(value, "isoformat"):  # of Python and pandas; what is no time there is called NaT
        value = value.isoformat()
    text = "" if value is None or value != value else str(value).strip()
    if text in ("", "NaT"):
        raise InputError(f"{where}: the date is empty.")
    match = _ISO.fullmatch(text)
    if match is None:
        raise InputError(f"{where}: {_refusal(text)}")
    try:
        return _in_utc(match, unit)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {text!r} is not in the calendar.") from None


def _in_utc(match: re.Match[str], unit: str) -> np.datetime64:
    import numpy as np

    date, mark = match["date"], match["mark"]
    year, month, day = date.split(mark) if mark else (date[:4], date[4:6], date[6:])
    clock, _, fraction = (match["time"] or "").replace(":", "").replace(",", ".").partition(".")
    hours, minutes, seconds = (int(clock[place : place + 2] or 0) for place in (0, 2, 4))
    parts = (int(year), int(month), int(day), hours, minutes, seconds, int(fraction[:6].ljust(6, "0")))
    moment = datetime.datetime(*parts)
    zone = (match["zone"] or "").upper()
    if zone not in ("", "Z", "UTC"):
        digits = zone[1:].replace(":", "")
        shift = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
        moment += -shift if zone[0] == "+" else shift
    found: np.datetime64 = np.datetime64(moment, "us").astype(f"datetime64[{unit}]")
    return found


def _refusal(text: str) -> str:
    match = _YEAR_LAST.fullmatch(text)
    first, second, year = (int(match[1]), int(match[2]), match[3]) if match else (0, 0, "")
    meant = [
        f"{year}-{month:02d}-{day:02d}"
        for day, month in dict.fromkeys(((first, second), (second, first)))
        if 1 <= month <= 12 and 1 <= day <= 31
    ]
    if meant:
        iso = " or ".join(meant)
        return f"{text[:40]!r} is ambiguous, as the day or the month may stand first. Write {iso}."
    return f"{text[:40]!r} is no date in an ISO form. Write dates as 2022-05-31 or 2022-05-31T10:20:30Z."
