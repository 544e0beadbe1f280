"""The paper's other victim: a CLIP trained from scratch on pairs, and how well it retrieves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from assay.errors import InputError
from assay.models import ModelSource, load_tokenizer
from assay.paper import Value
from assay.papers.privacy.t2ue.config import Retrieve
from assay.papers.privacy.t2ue.method import (
    CLIPSurrogate,
    NoiseFolder,
    add_noise,
    as_unit,
    contrastive_logits,
    info_nce,
    match_names,
    resize_noise,
    retrieval,
)
from assay.papers.privacy.t2ue.pairs import FilesOfPictures, find_pairs, read_square
from assay.papers.privacy.t2ue.provider import compute_on, inner_folder
from assay.training import fit
from assay.trial import Trial


@dataclass(frozen=True)
class HeldOut:
    """Clean pictures that test, with their captions."""

    paths: tuple[str, ...]
    """The files."""
    captions: tuple[tuple[str, ...], ...]
    """The captions of each."""
    size: int
    """Pixels of each side."""


class Published(Dataset[tuple[Tensor, int]]):
    """Training pictures with their noise, if any, and the number of one of their captions."""

    def __init__(self, source: FilesOfPictures, rows: Sequence[int], noise: NoiseFolder | None) -> None:
        self.paths, self.size, self.noise = [source.paths[row] for row in rows], source.size, noise
        found = None if noise is None else match_names(source.names, noise)
        self.rows = None if found is None else [found[row] for row in rows]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        pixels = read_square(Path(self.paths[row]), self.size)
        if self.noise is not None and self.rows is not None:
            eps = self.noise.manifest.eps
            pattern = resize_noise(self.noise[self.rows[row]][None], (self.size, self.size), eps)
            pixels = add_noise(pixels[None], pattern, eps)[0]
        return pixels, row


class ContrastiveLoss(nn.Module):
    """CLIP's own loss for a batch of pictures and one caption of each, drawn anew at each visit."""

    def __init__(self, captions: Sequence[Sequence[str]], tokenizer: Any, max_tokens: int) -> None:
        super().__init__()
        self.captions, self.tokenizer, self.max_tokens = captions, tokenizer, max_tokens

    def forward(self, model: Any, batch: Sequence[Tensor]) -> Tensor:
        """Return the loss."""
        pixels, rows = batch
        texts = []
        for row in rows.tolist():
            own = self.captions[row]
            texts.append(own[int(torch.randint(len(own), ()))])
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        embeddings = model(
            as_unit(pixels),
            tokens["input_ids"].to(pixels.device),
            tokens["attention_mask"].to(pixels.device),
        )
        return info_nce(contrastive_logits(*embeddings))


class Scratch(nn.Module):
    """A CLIP with new weights that maps pictures in [0, 1] and tokens to embeddings and the scale."""

    def __init__(self, source: ModelSource) -> None:
        from transformers import AutoConfig, CLIPModel

        super().__init__()
        config = AutoConfig.from_pretrained(
            source.weights(),
            trust_remote_code=False,
            local_files_only=source.kind != "hub",
            revision=source.revision or "main",
        )
        if config.model_type != "clip":
            raise InputError(f"{source} is a {config.model_type}; its sizes must be those of a CLIP.")
        self.clip = CLIPSurrogate(CLIPModel(config), load_tokenizer(source))
        self.clip.model.requires_grad_(True)

    def forward(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Return the embeddings of pictures and texts, and the logarithm of the scale."""
        text = self.clip.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return self.clip.encode_image(pixels), text.pooler_output, self.clip.logit_scale.clamp(max=4.6052)


def train_clip(config: Retrieve, trial: Trial) -> tuple[Scratch, HeldOut]:
    """Train on a part of the pairs, protected if noise is given; return the model and the other part."""
    if config.surrogate.source is None:
        raise InputError("--surrogate is missing: name the CLIP whose sizes and tokenizer to use.")
    model = Scratch(ModelSource(config.surrogate.source))
    size = model.clip.size
    source, captions = find_pairs(replace(config.pairs, image_size=size))
    parts = trial.split(len(source), test=config.test)
    noise = None
    if config.protection is not None:
        noise = NoiseFolder(inner_folder(Path(config.protection), "noise", "noise.json"))
    published = Published(source, parts.train.tolist(), noise)
    loader = DataLoader(
        published,
        config.batch_size,
        shuffle=True,
        generator=trial.generator("batches"),
        drop_last=len(published) > config.batch_size,
        num_workers=source.workers,
    )
    loss = ContrastiveLoss(
        [captions[row] for row in parts.train], model.clip.tokenizer, model.clip.max_tokens
    )
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.1)
    steps = config.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    compute = compute_on(str(trial.device), config.precision)
    history = fit(
        model, loader, loss, optimizer=optimizer, epochs=config.epochs, scheduler=scheduler, compute=compute
    )
    trial.count("gradient_steps", history.gradient_steps)
    trial.save("victim", {"weights": model.clip.model.state_dict(), "losses": history.losses})
    held_out = HeldOut(
        tuple(source.paths[row] for row in parts.test),
        tuple(tuple(captions[row]) for row in parts.test),
        size,
    )
    return model.eval(), held_out


@torch.no_grad()
def measure_retrieval(model: Scratch, held_out: HeldOut) -> dict[str, Value]:
    """Return Hit@10 and the median rank in both directions, with all captions of the clean test pictures."""
    device = model.clip.mean.device
    images = torch.cat(
        [
            model.clip.encode_image(as_unit(read_square(Path(path), held_out.size)[None].to(device)))
            for path in held_out.paths
        ]
    )
    texts = model.clip.encode_text([text for own in held_out.captions for text in own])
    owner = torch.tensor([row for row, own in enumerate(held_out.captions) for _ in own], device=device)
    rows = torch.arange(len(images), device=device)
    similarity = contrastive_logits(images, texts, torch.zeros((), device=device))
    to_text, to_image = retrieval(similarity, rows, owner), retrieval(similarity.T, owner, rows)
    return {
        "image_to_text_hit": to_text.hit_at_10,
        "text_to_image_hit": to_image.hit_at_10,
        "image_to_text_rank": to_text.median_rank,
        "text_to_image_rank": to_image.median_rank,
    }
