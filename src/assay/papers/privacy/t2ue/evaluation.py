"""How well texts and pictures find each other."""

from __future__ import annotations

import torch

from assay.paper import Value
from assay.papers.privacy.t2ue.inputs import CaptionedPictures, PictureFiles, read_square
from assay.papers.privacy.t2ue.method import CLIPSurrogate, as_unit, contrastive_logits, retrieval


@torch.no_grad()
def evaluate_retrieval(clip: CLIPSurrogate, pairs: CaptionedPictures) -> dict[str, Value]:
    """Return Hit@10 and the median rank in both directions, with all captions of the pictures."""
    assert isinstance(pairs.pictures, PictureFiles)
    device = clip.mean.device
    embedded = [
        clip.encode_image(as_unit(read_square(path, pairs.size)[None].to(device)))
        for path in pairs.pictures.paths
    ]
    texts = clip.encode_text([text for own in pairs.captions for text in own])
    owner = torch.tensor([row for row, own in enumerate(pairs.captions) for _ in own], device=device)
    rows = torch.arange(len(embedded), device=device)
    similarity = contrastive_logits(torch.cat(embedded), texts, torch.zeros((), device=device))
    to_text, to_image = retrieval(similarity, rows, owner), retrieval(similarity.T, owner, rows)
    return {
        "image_to_text_hit": to_text.hit_at_10,
        "text_to_image_hit": to_image.hit_at_10,
        "image_to_text_rank": to_text.median_rank,
        "text_to_image_rank": to_image.median_rank,
    }
