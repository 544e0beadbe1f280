"""What to forget and to keep, from files and tables: texts, facts, multiple-choice questions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay import files
from assay.data import Rows
from assay.data.paths import existing_file
from assay.errors import InputError
from assay.papers.privacy.knowledge import FactRecord, encode_pair, refuse_overlap, start_tokens
from assay.papers.privacy.uoe.method import Sequences, scores_of

LETTERS = "ABCDEFGHIJ"
FORMS = '{"text": ...}, {"question": ..., "answer": ...} or {"question": ..., "choices": [...], "answer": 0}'


@dataclass(frozen=True)
class Documents:
    """Documents as a model reads them, and how a model's logits for them are scored."""

    sequences: Sequences
    facts: tuple[FactRecord, ...]
    """What each document says; a long text has several documents."""
    letters: tuple[int, ...] | None = None
    """Tokens of the letters to choose from, for multiple-choice questions."""

    def __len__(self) -> int:
        return len(self.facts)

    def rows(self, index: Tensor) -> Documents:
        """Return some of the documents."""
        facts = tuple(self.facts[row] for row in index.tolist())
        return replace(self, sequences=self.sequences.rows(index), facts=facts)

    def scores(self, logits: Float[Tensor, "n t vocabulary"], batch: Sequences) -> Float[Tensor, " n"]:
        """Return the score of each document: 1 for a right answer, the share of right tokens of a text."""
        if self.letters is None:
            return scores_of(logits, batch.labels)
        last = batch.mask.sum(1) - 1
        row = torch.arange(len(last), device=last.device)
        letters = torch.tensor(self.letters, device=last.device)
        chosen = letters[logits[row, last - 1][:, letters].argmax(-1)]
        return (chosen == batch.input_ids[row, last]).float()


def read(corpus: Rows, tokenizer: PreTrainedTokenizerBase, max_tokens: int, limit: int | None) -> Documents:
    """Read a corpus.

    Raises:
        InputError: it cannot be read, or its rows are of no known form; names the row.
    """
    rows = list(_rows(corpus))[:limit]
    if not rows:
        raise InputError(f"{corpus.source} has no rows: write one JSON object a line, {FORMS}.")
    form = _form(rows[0], f"{corpus.source}, row 1")
    for number, row in enumerate(rows, 1):
        if _form(row, f"{corpus.source}, row {number}") != form:
            raise InputError(f"{corpus.source}, row {number}: not of the same form as row 1 ({form}).")
    if form == "text":
        return _of_texts(
            [_text(row["text"], corpus, n) for n, row in enumerate(rows, 1)], tokenizer, max_tokens
        )
    if form == "choices":
        return _of_choices(rows, tokenizer, str(corpus.source), max_tokens)
    facts = [_fact(row, corpus, number) for number, row in enumerate(rows, 1)]
    return of_facts(facts, tokenizer, max_tokens)


def of_facts(facts: Sequence[FactRecord], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Documents:
    """Return facts as documents whose labelled part is the answer.

    Raises:
        InputError: a fact has more tokens than fit.
    """
    pairs = [encode_pair(tokenizer, fact.question, f" {fact.answer}") for fact in facts]
    for fact, (ids, _) in zip(facts, pairs, strict=True):
        if len(ids) > max_tokens:
            raise InputError(
                f"{fact.question!r:.60} and its answer have {len(ids)} tokens; at most {max_tokens} fit."
            )
    sequences = Sequences.of([ids for ids, _ in pairs], [border for _, border in pairs])
    return Documents(sequences, tuple(facts))


def check_disjoint(forget: Documents, retain: Documents) -> None:
    """Refuse what is to be forgotten and kept at once.

    Raises:
        InputError: a text or a question stands in both sets.
    """
    refuse_overlap(forget.facts, retain.facts)


# --- rows ---------------------------------------------------------------------------------------


def _rows(corpus: Rows) -> Iterable[Mapping[str, Any]]:
    table = corpus.table()
    if table is not None:
        return list(table.load(needs=()).rows)
    file = existing_file(_path(corpus), (".jsonl", ".ndjson", ".json"))
    return [_object(line, f"{file}, line {n}") for n, line in _lines(file.read_text(encoding="utf-8-sig"))]


def _path(corpus: Rows) -> Any:

    return files.user_path(str(corpus.source))


def _lines(text: str) -> Iterable[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: this is no JSON: {error.msg}. Write one object a line, {FORMS}."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, {FORMS}, got {line!r:.60}.")
    return value


def _form(row: Mapping[str, Any], where: str) -> str:
    if "text" in row:
        return "text"
    if ("question" in row or "query" in row) and "answer" in row:
        return "choices" if "choices" in row else "question and answer"
    raise InputError(f"{where}: has {', '.join(row) or 'nothing'}; expected {FORMS}.")


def _text(value: Any, corpus: Rows, number: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{corpus.source}, row {number}: the text is empty or no text: {value!r:.60}.")
    return value


def _fact(row: Mapping[str, Any], corpus: Rows, number: int) -> FactRecord:
    question = row.get("question", row.get("query"))
    try:
        fact = f"{question} {row['answer']}"
        return FactRecord(str(number), str(row.get("subject", number)), str(question), row["answer"], fact)
    except InputError as error:
        raise InputError(f"{corpus.source}, row {number}: {error}") from None


# --- documents ----------------------------------------------------------------------------------


def _of_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Documents:
    start = start_tokens(tokenizer)
    room = max_tokens - len(start)
    documents, facts = [], []
    for number, text in enumerate(texts, 1):
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        whole = FactRecord(str(number), "text", text, "-", text)
        for begin in range(0, len(ids), room):
            piece = [*start, *ids[begin : begin + room]]
            if len(piece) > 1:
                documents.append(piece)
                facts.append(whole)
    if not documents:
        raise InputError("The texts have no tokens to learn from: each needs at least two.")
    return Documents(Sequences.of(documents), tuple(facts))


def _of_choices(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, where: str, max_tokens: int
) -> Documents:
    """Put questions in the usual form: the choices by letter, and "Answer:" before the right letter."""
    facts = []
    most = len(rows[0]["choices"])
    for number, row in enumerate(rows, 1):
        choices, right = row["choices"], row["answer"]
        if len(choices) != most or not 2 <= most <= len(LETTERS):
            raise InputError(
                f"{where}, row {number}: {len(choices)} choices; all questions need the same number."
            )
        if isinstance(right, bool) or not isinstance(right, int) or not 0 <= right < most:
            raise InputError(
                f"{where}, row {number}: the answer must be a number from 0 to {most - 1}, got {right!r}."
            )
        listed = "\n".join(f"{LETTERS[place]}. {choice}" for place, choice in enumerate(choices))
        question = f"{row['question']}\n{listed}\nAnswer:"
        facts.append(
            FactRecord(str(number), "question", question, LETTERS[right], f"{question} {LETTERS[right]}")
        )
    documents = of_facts(facts, tokenizer, max_tokens)
    letters = [encode_pair(tokenizer, "Answer:", f" {letter}")[0][-1] for letter in LETTERS[:most]]
    if len(set(letters)) != most:
        raise InputError(f"The tokenizer has no tokens of their own for the letters {LETTERS[:most]}.")
    return replace(documents, letters=tuple(letters))
