"""Prompts as people have them: lines of text, dialogues, questions, programs to complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay import files
from assay.data import Table
from assay.data.paths import existing_file
from assay.errors import InputError
from assay.papers.language.eft.config import PromptFile

TURN = "\n\nAssistant:"
"""What comes before a reply in hh-rlhf."""
COLUMNS = ("prompt", "text", "question", "title")


@dataclass(frozen=True)
class PromptRow:
    """One prompt, and what is known of its answer."""

    prompt: str
    answer: str | None = None
    """A reply that is to be scored: the chosen one of hh-rlhf, the solution of HumanEval."""
    check: str | None = None
    """A program that tests a completion, after which it stands."""


def read_prompts(source: PromptFile, limit: int | None = None) -> list[PromptRow]:
    """Read prompts from a text file, JSON lines or a table.

    | rows have | prompt | answer |
    |---|---|---|
    | chosen, rejected (hh-rlhf) | the dialogue up to the last "\\n\\nAssistant:" | the rest of `chosen` |
    | prompt, canonical_solution, test, entry_point (HumanEval) | prompt | canonical_solution |
    | title, selftext (ELI5) | both, with an empty line between | none |
    | prompt, text, question or title | that | answer, if there is such a column |

    Raises:
        InputError: there is no such file, a prompt is empty, or no column is a prompt; names the row.
    """
    named = str(source.source)
    if source.table() is None and not files.user_path(named).name.lower().endswith(
        (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz", ".csv", ".tsv", ".parquet")
    ):
        path = existing_file(files.user_path(named), (".txt", ".text", ".prompts"))
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8.") from None
        rows = [PromptRow(line) for line in lines][:limit]
        while rows and not rows[-1].prompt.strip():
            rows.pop()
    else:
        rows = [_row(record, f"{named}, row {n}") for n, record in enumerate(_records(source, limit), 1)]
    if not rows:
        raise InputError(f"{named} has no prompts.")
    for number, row in enumerate(rows, 1):
        if not row.prompt.strip():
            raise InputError(f"{named}, prompt {number} is empty: a model needs something to reply to.")
    return rows


def _records(source: PromptFile, limit: int | None) -> Sequence[Mapping[str, Any]]:
    table = source.table()
    if table is None:
        named = str(source.source)
        suffixes = files.user_path(named).name.lower().removesuffix(".gz")
        kind = "json" if suffixes.endswith(("json", "jsonl", "ndjson")) else suffixes.rpartition(".")[2]
        table = Table(f"{'csv' if kind == 'tsv' else kind}:{named}")
    rows = table.load(needs=()).rows
    return list(rows.select(range(min(limit or len(rows), len(rows)))))


def _row(record: Mapping[str, Any], where: str) -> PromptRow:
    """Return a record of any of the known forms as a prompt."""
    if isinstance(record.get("chosen"), str):
        dialogue = record["chosen"]
        start = dialogue.rfind(TURN)
        if start < 0:
            raise InputError(
                f"{where}: 'chosen' has no reply after {TURN!r}: this is no dialogue of hh-rlhf."
            )
        end = start + len(TURN)
        return PromptRow(dialogue[:end], dialogue[end:] or None)
    if isinstance(record.get("canonical_solution"), str):
        test, entry = record.get("test"), record.get("entry_point")
        check = f"{test}\n\ncheck({entry})\n" if test and entry else None
        return PromptRow(_text(record, ("prompt",), where), record["canonical_solution"], check)
    if isinstance(record.get("title"), str) and not isinstance(record.get("prompt"), str):
        told = record.get("selftext")
        return PromptRow(record["title"] + (f"\n\n{told}" if isinstance(told, str) and told.strip() else ""))
    answer = record.get("answer")
    return PromptRow(_text(record, COLUMNS, where), answer if isinstance(answer, str) and answer else None)


def _text(record: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if isinstance(record.get(name), str):
            return str(record[name])
    raise InputError(
        f"{where}: no column is a prompt. Name one {', '.join(names)}; it has {', '.join(map(str, record))}."
    )
