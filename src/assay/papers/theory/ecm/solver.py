"""A small language model that solves journeys, trained from scratch, and the prompts that it is asked.

It learns from whole prompts in the paper's form, each in a world of its own, so that a unit's value can only
come from the prompt. Three kinds of drill speed that up: bare equations, values of units, repeated tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from assay.papers.theory.ecm.config import Small
from assay.papers.theory.ecm.dealing import Dealing, choose_demos
from assay.papers.theory.ecm.encoding import QuestionEncoder
from assay.papers.theory.ecm.method import Demo, DemoRetriever, MathResistance, answers_match, render_prompt
from assay.papers.theory.ecm.problems import ENDING, UNITS, WORDINGS, Problem, World
from assay.papers.theory.ecm.results import Record
from assay.training.language import IGNORED, greedy_decode, next_token_loss, pad_rows

STEPS = (0.3, 0.3, 0.2, 0.1, 0.1)
"""Shares of problems with 1, 2, ..., 5 equations."""
DEMO_STEPS = (0.7, 0.3)
"""Shares of demonstrations with 1 and 2 equations."""
COPYING = 0.25
"""Part of the training in which every other batch is of repeated tokens: copying is learnt first."""
LONGEST_REPLY = 90
"""Tokens of a reply with reasoning."""
LONGEST_DIRECT = 12
"""Tokens of a reply without."""
SEED = 20250205
"""Of the training: one model serves all seeds, which differ in their problems."""

_PIECE = re.compile(
    r"\[QUESTION\]\n|\n\[ANSWER\]\n|\nLet's think step-by-step!|\n\n|\n|#### |<<|>>|\d|\w+|[^\w\s]"
)
_SPECIAL = ("<pad>", "<end>")


def _vocabulary() -> tuple[str, ...]:
    """Return every token: markers, digits, signs and the words of the problems."""
    texts = [
        part.format(a="", b="", c="", unit=unit) for parts in WORDINGS for part in parts for unit in UNITS
    ]
    words = {piece for text in (*texts, ENDING, "A is.") for piece in _PIECE.findall(text)}
    fixed = ("[QUESTION]\n", "\n[ANSWER]\n", "\nLet's think step-by-step!", "\n\n", "\n", "#### ", "<<", ">>")
    return (*_SPECIAL, *fixed, *"+*=0123456789", *sorted(words - {*"+*="}))


TOKENS = _vocabulary()
_IDS = {token: number for number, token in enumerate(TOKENS)}
PAD, END = 0, 1


def encode(text: str) -> list[int]:
    """Return the tokens of a text in the problems' own words."""
    return [_IDS[piece] for piece in _PIECE.findall(text)]


def decode(tokens: Sequence[int]) -> str:
    """Return the text of a reply, with spaces between words."""
    text = ""
    for token in tokens:
        piece = TOKENS[token]
        spaced = text[-1:].isalnum() and piece.isalnum() and not (text[-1] + piece).isdigit()
        text += f" {piece}" if spaced else piece
    return text


# --- what it learns from ------------------------------------------------------------------------

Row = tuple[list[int], list[int]]
"""Tokens, and those of them that are learnt."""


def prompt_row(random: np.random.Generator, shots: int, largest: int) -> Row:
    """Return a prompt with so many demonstrations, and all answers in it to learn."""
    world, unit = World.draw(random, largest), int(random.integers(len(UNITS)))
    tokens: list[int] = []
    labels: list[int] = []
    for _ in range(shots):
        about = unit if random.random() < 0.5 else None
        demo = world.problem(random, _draw(random, DEMO_STEPS), about)
        asked = encode(f"[QUESTION]\n{demo.question}\n[ANSWER]\n")
        answered = encode(f"{demo.solution}\n\n")
        tokens += asked + answered
        labels += [IGNORED] * len(asked) + answered
    problem, reason = world.problem(random, _draw(random, STEPS), unit), random.random() < 0.7
    asked = encode(render_prompt(problem.question, reason=reason))
    answered = [*encode(problem.solution if reason else f"#### {problem.answer}"), END]
    return tokens + asked + answered, labels + [IGNORED] * len(asked) + answered


def equations_row(random: np.random.Generator) -> Row:
    """Return a few bare equations."""
    text = ""
    for _ in range(9):
        low, high = ((2, 10), (10, 100), (100, 1000))[_draw(random, (0.4, 0.45, 0.15)) - 1]
        first = int(random.integers(low, high))
        if random.random() < 0.7:
            second = int(random.integers(2, 10))
            text += f"<<{first}*{second}={first * second}>>\n"
        else:
            second = int(random.integers(2, 100))
            text += f"<<{first}+{second}={first + second}>>\n"
    tokens = encode(text)
    return tokens, tokens


def values_row(random: np.random.Generator, largest: int) -> Row:
    """Return a list of what units are worth, to learn where a unit is named again."""
    world = World.draw(random, largest)
    seen: set[int] = set()
    tokens: list[int] = []
    labels: list[int] = []
    for unit in random.integers(len(UNITS), size=12).tolist():
        said = encode(f"A {UNITS[unit]} is {world.values[unit]}.\n")
        tokens += said
        labels += [token if unit in seen and TOKENS[token].isdigit() else IGNORED for token in said]
        seen.add(unit)
    return tokens, labels


def _batch(random: np.random.Generator, small: Small, copying: bool) -> tuple[Tensor, Tensor]:
    if copying:
        half = random.integers(len(_SPECIAL), len(TOKENS), (32, int(random.integers(7, 29))))
        tokens = torch.from_numpy(np.concatenate([half, half], axis=1))
        labels = tokens.clone()
        labels[:, : half.shape[1] + 1] = IGNORED
        return tokens, labels
    shots = int(random.integers(4))  # one number for a batch, so that its rows are of like length
    drawn = [prompt_row(random, shots, small.largest) for _ in range(small.rows)]
    drawn += [equations_row(random) for _ in range(small.rows // 3)]
    drawn += [values_row(random, small.largest) for _ in range(small.rows // 5)]
    return pad_rows([row for row, _ in drawn], PAD), pad_rows([row for _, row in drawn], IGNORED)


def _draw(random: np.random.Generator, shares: Sequence[float]) -> int:
    return 1 + int(random.choice(len(shares), p=shares))


# --- the model ----------------------------------------------------------------------------------


def build_solver(small: Small) -> LlamaForCausalLM:
    """Return an untrained model."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(TOKENS),
            hidden_size=small.width,
            intermediate_size=2 * small.width,
            num_hidden_layers=small.layers,
            num_attention_heads=4,
            max_position_embeddings=512,
            initializer_range=0.06,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def train_solver(small: Small, device: str) -> dict[str, Tensor]:
    """Train the model and return its weights. It draws from a stream of its own, whatever the seed."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    model: Any = build_solver(small)
    model.to(torch.device(device)).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), small.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, small.steps))
    for step in range(small.steps):
        tokens, labels = _batch(random, small, step % 2 == 0 and step < COPYING * small.steps)
        loss = next_token_loss(model, (tokens.to(device), labels.to(device)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return dict(model.cpu().state_dict())


def _rate(step: int, steps: int) -> float:
    """Rise for 50 steps, stay until 30 % of the way, then fall to a twentieth."""
    done = step / steps
    return min(1.0, (step + 1) / 50) * (1 - 0.95 * max(0.0, done - 0.3) / 0.7)


# --- what it is asked ---------------------------------------------------------------------------


def ask_solver(
    small: Small,
    weights: dict[str, Tensor],
    dealing: Dealing,
    encoder: QuestionEncoder,
    seed: int,
    device: str,
) -> tuple[list[Record], list[bool], list[Demo]]:
    """Draw a world with a pool of solved problems, and ask the model problems of it.

    Returns:
        The records, whether each prompt shows what its unit is worth, and the pool.
    """
    random = np.random.default_rng(seed)
    world = World.draw(random, small.largest)
    pool = [world.problem(random, _draw(random, DEMO_STEPS)) for _ in range(small.demos)]
    asked = [world.problem(random, _draw(random, STEPS)) for _ in range(small.queries)]
    plans = dealing.plans(len(asked), random)
    retriever = DemoRetriever(encoder, [each.question for each in pool], seed)
    chosen = choose_demos([each.question for each in asked], plans, retriever)
    demos = [tuple(pool[row] for row in rows) for rows in chosen]
    replies = _replies(small, weights, asked, demos, [plan.direct for plan in plans], device)
    told = [any(demo.unit == each.unit for demo in shown) for each, shown in zip(asked, demos, strict=True)]
    records = [
        Record(
            question=each.question,
            difficulty=MathResistance().difficulty(each.solution),
            correct=answers_match(decode(reply), each.solution),
            demos=tuple(Demo(demo.question, demo.solution) for demo in shown),
            way="direct" if plan.direct else "cot",
            reasoning=0.0 if plan.direct else float(len(reply)),
            group=str(each.wording),
            solution=each.solution,
        )
        for each, shown, reply, plan in zip(asked, demos, replies, plans, strict=True)
    ]
    return records, told, [Demo(each.question, each.solution) for each in pool]


def _replies(
    small: Small,
    weights: dict[str, Tensor],
    asked: Sequence[Problem],
    demos: Sequence[tuple[Problem, ...]],
    direct: Sequence[bool],
    device: str,
) -> list[list[int]]:
    """Return the greedy replies, those at once and those with reasoning each in their own batches."""
    model: Any = build_solver(small)
    model.load_state_dict(weights)
    model.to(torch.device(device)).eval()
    prompts = [
        encode(
            render_prompt(
                each.question, [Demo(one.question, one.solution) for one in shown], reason=not at_once
            )
        )
        for each, shown, at_once in zip(asked, demos, direct, strict=True)
    ]
    replies: list[list[int]] = [[] for _ in asked]
    for at_once, longest in ((True, LONGEST_DIRECT), (False, LONGEST_REPLY)):
        places = [place for place, each in enumerate(direct) if each == at_once]
        found = greedy_decode(model, [prompts[place] for place in places], longest, END, PAD, 128)
        for place, reply in zip(places, found, strict=True):
            replies[place] = reply
    return replies
