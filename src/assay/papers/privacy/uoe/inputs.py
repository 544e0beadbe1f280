"""What to forget and to keep, from files and tables: texts, facts, multiple-choice questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assay import files
from assay.data import Rows, read_records
from assay.errors import InputError
from assay.papers.privacy.knowledge import FactRecord, encode_pair, start_tokens
from assay.papers.privacy.uoe.method import Sequences, scores_of

LETTERS = "ABCDEFGHIJ"
FORMS = '{"text": ...}, {"question": ..., "answer": ...} or {"question": ..., "choices": [...], "answer": 0}'

Located = tuple[str, Mapping[str, Any]]
"""A row after where it is: "forget.jsonl, line 3"."""


@dataclass(frozen=True, repr=False)
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


def read_documents(
    corpus: Rows, tokenizer: PreTrainedTokenizerBase, max_tokens: int, limit: int | None
) -> Documents:
    """Read a corpus.

    Raises:
        InputError: it cannot be read, or its rows are of no known form; names the row.
    """
    rows = list(islice(_rows(corpus), limit))
    if not rows:
        raise InputError(f"{corpus.source} has no rows: write one JSON object a line, {FORMS}.")
    form = _form(rows[0])
    for where, row in rows:
        if _form((where, row)) != form:
            raise InputError(f"{where}: not of the same form as the first row ({form}).")
    if form == "text":
        return _of_texts(rows, tokenizer, max_tokens)
    if form == "choices":
        return _of_choices(rows, tokenizer, max_tokens)
    return of_facts([_fact(row, number) for number, row in enumerate(rows, 1)], tokenizer, max_tokens)


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


def _rows(corpus: Rows) -> Iterable[Located]:
    table = corpus.table()
    if table is None:
        path = files.user_path(str(corpus.source))
        return ((f"{corpus.source}, line {number}", row) for number, row in read_records(path))
    rows: Iterable[Mapping[str, Any]] = table.load(needs=()).rows
    return ((f"{corpus.source}, row {number}", row) for number, row in enumerate(rows, 1))


def _form(located: Located) -> str:
    where, row = located
    if "text" in row:
        return "text"
    if ("question" in row or "query" in row) and "answer" in row:
        return "choices" if "choices" in row else "question and answer"
    raise InputError(f"{where}: has {', '.join(row) or 'nothing'}; expected {FORMS}.")


def _fact(located: Located, number: int) -> FactRecord:
    where, row = located
    question, answer = row.get("question", row.get("query")), row["answer"]
    try:
        entity = str(row.get("subject", number))
        return FactRecord(str(number), entity, str(question), answer, f"{question} {answer}")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _of_texts(rows: Sequence[Located], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Documents:
    start = start_tokens(tokenizer)
    room = max_tokens - len(start)
    documents, facts = [], []
    for number, (where, row) in enumerate(rows, 1):
        text = row["text"]
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: the text is empty or no text: {text!r:.60}.")
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


def _of_choices(rows: Sequence[Located], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Documents:
    """Put questions in the usual form: the choices by letter, and "Answer:" before the right letter."""
    facts = []
    most = len(rows[0][1]["choices"])
    for number, (where, row) in enumerate(rows, 1):
        choices, right = row["choices"], row["answer"]
        if len(choices) != most or not 2 <= most <= len(LETTERS):
            raise InputError(f"{where}: {len(choices)} choices; all questions need the same number.")
        if isinstance(right, bool) or not isinstance(right, int) or not 0 <= right < most:
            raise InputError(f"{where}: the answer must be a number from 0 to {most - 1}, got {right!r}.")
        listed = "\n".join(f"{LETTERS[place]}. {choice}" for place, choice in enumerate(choices))
        question, letter = f"{row['question']}\n{listed}\nAnswer:", LETTERS[right]
        facts.append(FactRecord(str(number), "question", question, letter, f"{question} {letter}"))
    documents = of_facts(facts, tokenizer, max_tokens)
    letters = [encode_pair(tokenizer, "Answer:", f" {letter}")[0][-1] for letter in LETTERS[:most]]
    if len(set(letters)) != most:
        raise InputError(f"The tokenizer has no tokens of their own for the letters {LETTERS[:most]}.")
    return replace(documents, letters=tuple(letters))
