"""Facts that a language model should forget or keep: their records, their files, who knows them."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from assay.data import LoadedTable, read_json_lines
from assay.errors import InputError, unknown
from assay.paper import Items
from assay.training.evaluation import mode

Split = Literal["forget", "retain"]
TOFU_ROWS_PER_AUTHOR = 20


@dataclass(frozen=True)
class FactRecord:
    """One fact: how it is asked for, what the answer is, and texts from which it can be read or derived."""

    id: str
    """Names the record; unique in its file."""
    entity: str
    """Whom or what the fact is about: facts of one entity are not independent."""
    question: str
    """What the model is asked."""
    answer: str
    """The right answer, without a space in front."""
    fact: str
    """A text that states the fact, for a prompt."""
    paraphrases: tuple[str, ...] = ()
    """The fact in other words."""
    axioms: tuple[str, ...] = ()
    """Statements from which the answer follows and none of which holds it."""
    choices: tuple[str, ...] = ()
    """Answers to choose from, the right one among them; none: the answer is free text."""
    split: Split = "forget"
    """Whether the model should forget the fact or keep it."""

    def __post_init__(self) -> None:
        _check(vars(self))


def _check(values: Mapping[str, Any]) -> None:
    """Refuse values of which no fact can be made."""
    for name in ("id", "entity", "question", "answer", "fact"):
        value = values[name]
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name!r} must be a text that is not empty, got {value!r:.60}.")
    for name in ("paraphrases", "axioms", "choices"):
        value = values.get(name, ())
        texts = value if isinstance(value, list | tuple) else [None]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError(f"{name!r} must be a list of texts, none empty, got {value!r:.60}.")
    split = values.get("split", "forget")
    if split not in get_args(Split):
        raise unknown("split", str(split), get_args(Split))
    answer, choices = values["answer"], values.get("choices", ())
    if choices and answer not in choices:
        raise InputError(f"the answer {answer!r:.60} is not among the choices {choices!r:.120}.")
    if len(set(choices)) != len(choices):
        raise InputError(f"a choice is repeated in {choices!r:.120}.")


# --- files --------------------------------------------------------------------------------------


def read_facts(path: Path | str) -> list[FactRecord]:
    """Read facts from a file of JSON lines, one object a line with the fields of `FactRecord`.

    `question`, `answer` and `entity` are required; `id` is the number of the line unless given, `fact` the
    question followed by the answer, `split` "forget".

    Raises:
        InputError: there is no such file, a line is no such object, or two facts have one id; names the line.
    """
    facts: dict[str, FactRecord] = {}
    for number, values in read_json_lines(path):
        where = f"{path}, line {number}"
        fact = _fact_of(values, number, where)
        if fact.id in facts:
            raise InputError(f"{where}: the id {fact.id!r} is that of an earlier fact; give each its own.")
        facts[fact.id] = fact
    return list(facts.values())


def write_facts(path: Path | str, facts: Iterable[FactRecord]) -> None:
    """Write facts as JSON lines that `read_facts` reads again."""
    lines = [json.dumps(dataclasses.asdict(fact), ensure_ascii=False) for fact in facts]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fact_of(values: dict[str, Any], number: int, where: str) -> FactRecord:
    known = [field.name for field in dataclasses.fields(FactRecord)]
    for name in values:
        if name not in known:
            raise InputError(f"{where}: {unknown('field', name, known)}")
    for name in ("question", "answer", "entity"):
        if name not in values:
            raise InputError(f"{where}: {name!r} is missing; every fact needs question, answer and entity.")
    filled: dict[str, Any] = {"id": number, "fact": f"{values['question']} {values['answer']}"} | values
    filled["id"] = str(filled["id"])
    try:
        _check(filled)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in filled.items()}
    return FactRecord(**fields)


def facts_from_tofu(table: LoadedTable | Iterable[Mapping[str, Any]], split: Split) -> list[FactRecord]:
    """Turn rows of TOFU (`locuslab/TOFU`) into facts.

    Rows, in the published order, have `question` and `answer`; 20 in turn are one author. TOFU's answers are
    sentences that do not always name what they answer, so the fact is the question followed by the answer.
    The `_perturbed` configurations also give paraphrases (`paraphrased_question`, `paraphrased_answer`) and,
    from `perturbed_answer`, wrong answers to choose from.

    Raises:
        InputError: a column is missing.
    """
    facts = []
    for place, row in enumerate(_rows(table, ("question", "answer"))):
        question, answer = row["question"], row["answer"]
        reworded = row.get("paraphrased_answer")
        asked = row.get("paraphrased_question") or question
        wrong = [text for text in (row.get("perturbed_answer") or ()) if text != answer]
        facts.append(
            FactRecord(
                id=f"{split}-{place}",
                entity=f"{split}-author-{place // TOFU_ROWS_PER_AUTHOR}",
                question=question,
                answer=answer,
                fact=f"{question} {answer}",
                paraphrases=(f"{asked} {reworded}",) if reworded else (),
                choices=tuple(dict.fromkeys((answer, *wrong))) if wrong else (),
                split=split,
            )
        )
    return facts


def facts_from_rwku(table: LoadedTable | Iterable[Mapping[str, Any]], split: Split) -> list[FactRecord]:
    """Turn probes of RWKU (`jinzhuoran/RWKU`, forget or neighbor levels 1 and 2) into facts.

    Rows have `subject`, `query` and `answer`. A query of level 1 has a blank `___`, and its fact is the
    query with the answer filled in; other facts are the query followed by the answer.

    Raises:
        InputError: a column is missing.
    """
    facts = []
    for place, row in enumerate(_rows(table, ("subject", "query", "answer"))):
        query, answer = row["query"], row["answer"]
        stated = query.replace("___", answer) if "___" in query else f"{query} {answer}"
        facts.append(FactRecord(f"{split}-{place}", row["subject"], query, answer, stated, split=split))
    return facts


def _rows(table: Any, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    rows = list(cast("Iterable[Mapping[str, Any]]", table.rows if isinstance(table, LoadedTable) else table))
    if not rows:
        raise InputError("There are no rows to make facts of.")
    missing = [name for name in columns if name not in rows[0]]
    if missing:
        raise InputError(f"The rows have no column {missing[0]!r}; they have {', '.join(sorted(rows[0]))}.")
    return rows


def refuse_overlap(forget: Sequence[FactRecord], retain: Sequence[FactRecord]) -> None:
    """Refuse facts that are to be forgotten and kept at once.

    Raises:
        InputError: a question about the same entity, or the text of a fact, is in both splits.
    """
    for what in (lambda fact: (_plain(fact.entity), _plain(fact.question)), lambda fact: _plain(fact.fact)):
        kept = {what(fact): fact.id for fact in retain}
        for fact in forget:
            if what(fact) in kept:
                raise InputError(
                    f"The fact {fact.id!r} is to be forgotten, and the same fact {kept[what(fact)]!r} is"
                    " to be kept: leave it in one of the two splits."
                )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


# --- facts for models that are trained from scratch ---------------------------------------------


def invented_names(number: int, first: str = "bdgkmnprstvz") -> list[str]:
    """Return the first `number` (at most 3,600) invented words of two syllables, always the same."""
    consonants, vowels = "bdgkmnprstvz", "aeiou"
    words = ["".join(letters) for letters in itertools.product(first, vowels, consonants, vowels)]
    if number > len(words):
        raise ValueError(f"there are {len(words)} invented words, not {number}")
    # A stride that has no factor in common with their number, so that the first words look different.
    stride = 1001
    return [words[place * stride % len(words)] for place in range(number)]


def invent_facts(entities: int, forgotten: int, values: int, generator: torch.Generator) -> list[FactRecord]:
    """Invent one fact an entity, for models that are trained from scratch: "Ranu mido".

    Names are the same for every generator, so that one tokenizer serves all: entities are capitalised, values
    are not. Which value an entity has is drawn uniformly and independently, so no fact tells of another, and
    chance is 1 / values. Which entities are to be forgotten is drawn too.

    Args:
        entities: how many.
        forgotten: how many of them are to be forgotten, at least one fewer.
        values: how many different answers there are; all are the choices of every fact.
        generator: draws values and the forgotten entities.
    """
    if not (0 < forgotten < entities and values > 1):
        raise ValueError(f"cannot forget {forgotten} of {entities} entities with {values} values")
    words = invented_names(entities + values)
    names, answers = [word.capitalize() for word in words[:entities]], tuple(words[entities:])
    drawn = torch.randint(values, (entities,), generator=generator).tolist()
    lost = set(torch.randperm(entities, generator=generator)[:forgotten].tolist())
    return [
        FactRecord(
            id=f"fact-{place}",
            entity=name,
            question=name,
            answer=answers[value],
            fact=f"{name} {answers[value]}",
            choices=answers,
            split="forget" if place in lost else "retain",
        )
        for place, (name, value) in enumerate(zip(names, drawn, strict=True))
    ]


# --- what a model says ---------------------------------------------------------------------------


@dataclass(frozen=True)
class AnswerScore:
    """How a model takes one answer after one prompt."""

    logprob: float
    """log p(answer | prompt), summed over the answer's tokens, in nats."""
    tokens: int
    """How many tokens the answer has."""
    greedy: bool
    """Whether greedy decoding of the prompt begins with the answer."""


def score_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[str],
    batch_size: int = 64,
    chat: bool = False,
) -> list[AnswerScore]:
    """Score each answer after its prompt, in one forward pass and without generating.

    Greedy decoding begins with the answer exactly if each of its tokens is the likeliest after all before it.
    Prompt and answer are tokenised together, so that a token may not split where they meet; tokens that end
    after the prompt are the answer's. The last token is not fed, so that answers of one token to the same
    prompt cost one pass together.

    Args:
        model: any causal language model of transformers; it is used in eval mode, without gradients.
        tokenizer: its fast tokenizer.
        prompts: one for each answer.
        answers: with the space in front if there is to be one.
        batch_size: different inputs that go through the model at once.
        chat: put each prompt into the tokenizer's chat template as a user's message.

    Raises:
        InputError: the tokenizer is a slow one or has no chat template, an answer has no token, or a prompt
            does not fit into the model.
    """
    pairs = [
        encode_pair(tokenizer, prompt, answer, chat) for prompt, answer in zip(prompts, answers, strict=True)
    ]
    limit = context_length(model)
    longest = max((len(ids) for ids, _ in pairs), default=0)
    if limit is not None and longest > limit:
        raise InputError(f"A prompt and its answer have {longest} tokens; the model takes {limit}.")
    inputs: dict[tuple[int, ...], list[int]] = {}
    for row, (ids, _) in enumerate(pairs):
        inputs.setdefault(tuple(ids[:-1]), []).append(row)
    scores: dict[int, AnswerScore] = {}
    distinct = sorted(inputs, key=lambda ids: -len(ids))
    for start in range(0, len(distinct), batch_size):
        batch = distinct[start : start + batch_size]
        first = min(pairs[row][1] for ids in batch for row in inputs[ids]) - 1
        logprobs = _log_probs(model, batch, first)
        for place, fed in enumerate(batch):
            for row in inputs[fed]:
                scores[row] = _score(logprobs[place], *pairs[row], first)
    return [scores[row] for row in range(len(pairs))]


def _log_probs(model: Any, batch: Sequence[Sequence[int]], first: int) -> Tensor:
    """Return log p of the next token at all places from `first` on: [n, t - first, vocabulary]."""
    device = next(model.parameters(), torch.empty(0)).device
    width = max(len(ids) for ids in batch)
    # Padded on the right: a causal model does not look at what comes later.
    input_ids = torch.tensor([[*ids, *[ids[-1]] * (width - len(ids))] for ids in batch], device=device)
    attended = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in batch], device=device)
    options = {}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = width - first
    with mode(model, training=False), torch.inference_mode():
        logits = model(input_ids=input_ids, attention_mask=attended, **options).logits
        logprobs: Tensor = logits[:, first - width :].float().log_softmax(-1)
    return logprobs


def _score(logprobs: Tensor, ids: Sequence[int], border: int, first: int) -> AnswerScore:
    targets = torch.tensor(ids[border:], device=logprobs.device)
    steps = logprobs[border - 1 - first : len(ids) - 1 - first]
    greedy = bool((steps.argmax(-1) == targets).all())
    return AnswerScore(float(steps.gather(1, targets[:, None]).sum()), len(targets), greedy)


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, chat: bool = False
) -> tuple[list[int], int]:
    """Tokenise a prompt and its answer together; the second value is where the answer begins.

    The start token comes first, once: where the tokenizer puts it, or where the chat template does.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} cannot say where its tokens are in a text: the model needs a fast"
            " tokenizer, one with a tokenizer.json."
        )
    before = prompt
    if chat:
        if tokenizer.chat_template is None:
            raise InputError("This model's tokenizer has no chat template: leave the chat off.")
        messages = [{"role": "user", "content": prompt}]
        before = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        answer = answer.lstrip()
    encoded = tokenizer(before + answer, add_special_tokens=False, return_offsets_mapping=True)
    ids, ends = list(encoded["input_ids"]), [end for _, end in encoded["offset_mapping"]]
    border = next((place for place, end in enumerate(ends) if end > len(before)), len(ids))
    if border == len(ids):
        raise InputError(f"The answer {answer!r:.60} has no token: there is nothing to score.")
    start = [] if chat else start_tokens(tokenizer)
    if not start and border == 0:
        raise InputError(f"Nothing comes before the answer {answer!r:.60}, and there is no start token.")
    return [*start, *ids], border + len(start)


def start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the start token that the tokenizer puts before a text, or nothing."""
    begins = list(tokenizer("")["input_ids"][:1])
    return begins if begins == [tokenizer.bos_token_id] else []


def context_length(model: Any) -> int | None:
    """Return how many tokens the model takes, where its config says so."""
    config = getattr(model, "config", None)
    limit: int | None = getattr(config and config.get_text_config(), "max_position_embeddings", None)
    return limit


def closed_book_accuracy(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[FactRecord],
    question: str = "{question}",
    answer: str = " {answer}",
    batch_size: int = 64,
) -> Items:
    """Return which questions a model answers with nothing but the question: 1 or 0 a fact.

    An answer counts if it is the likeliest of the fact's choices, or, where there are none, if greedy
    decoding begins with it. `.value` is the fraction; facts of one entity form a cluster.

    Args:
        model: a causal language model.
        tokenizer: its fast tokenizer.
        facts: what is asked.
        question: the form of a question.
        answer: the form of an answer.
        batch_size: prompts that go through the model at once.
    """
    prompts = [question.format(question=fact.question) for fact in facts]
    right = [
        bool(correct)
        for correct, _ in answer_facts(model, tokenizer, prompts, facts, answer, batch_size=batch_size)
    ]
    return Items([fact.id for fact in facts], right, [fact.entity for fact in facts])


def answer_facts(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    facts: Sequence[FactRecord],
    answer: str = " {answer}",
    batch_size: int = 64,
    chat: bool = False,
) -> list[tuple[bool, float]]:
    """Return for each prompt about a fact whether the model answers it, and log p(answer) a token.

    See `closed_book_accuracy` for what counts. Choices are compared by their summed log-probability.
    """
    options = [fact.choices or (fact.answer,) for fact in facts]
    asked = [prompt for prompt, texts in zip(prompts, options, strict=True) for _ in texts]
    said = [answer.format(answer=text) for texts in options for text in texts]
    scores = iter(score_answers(model, tokenizer, asked, said, batch_size, chat))
    found = []
    for fact, texts in zip(facts, options, strict=True):
        of = {text: next(scores) for text in texts}
        best = max(of, key=lambda text: of[text].logprob)
        right = of[fact.answer]
        correct = best == fact.answer if fact.choices else right.greedy
        found.append((correct, right.logprob / right.tokens))
    return found
