"""T2UE's parts: the generator, surrogates, the training, noise from captions, and adding it to pictures.

generator = TextConditionedNoiseGenerator(text_dim=512)
T2UETrainer(generator, CLIPSurrogate(model, tokenizer)).fit(batches, captions)     # once, by the provider
noise = export_noise(generator, embed, captions, "noise", names=files)             # from captions alone
apply_noise("photos", noise, "protected")                                          # where the photos are
"""

from .generator import (
    SemanticBatchNorm,
    TextConditionedNoiseGenerator,
    check_noise_size,
    clamp_noise,
    resize_noise,
)
from .loss import Retrieved, contrastive_logits, entropy_floor, info_nce, retrieval
from .noise import (
    TEMPLATE,
    Kind,
    NoiseFolder,
    NoiseManifest,
    class_prompts,
    export_noise,
    make_noise,
    random_vectors,
    varied_prompts,
    weights_hash,
)
from .protect import Applied, Resize, add_noise, apply_noise, match_names, protect
from .surrogate import CLIPSurrogate, Surrogate, Texts, TwoTowers, warn_of_long_captions
from .trainer import (
    CaptionBank,
    MinMinLoss,
    T2UETrainer,
    as_unit,
    check_captions,
    excess_loss,
    train_surrogate,
)

__all__ = [
    "TEMPLATE",
    "Applied",
    "CLIPSurrogate",
    "CaptionBank",
    "Kind",
    "MinMinLoss",
    "NoiseFolder",
    "NoiseManifest",
    "Resize",
    "Retrieved",
    "SemanticBatchNorm",
    "Surrogate",
    "T2UETrainer",
    "TextConditionedNoiseGenerator",
    "Texts",
    "TwoTowers",
    "add_noise",
    "apply_noise",
    "as_unit",
    "check_captions",
    "check_noise_size",
    "clamp_noise",
    "class_prompts",
    "contrastive_logits",
    "entropy_floor",
    "excess_loss",
    "export_noise",
    "info_nce",
    "make_noise",
    "match_names",
    "protect",
    "random_vectors",
    "resize_noise",
    "retrieval",
    "train_surrogate",
    "varied_prompts",
    "warn_of_long_captions",
    "weights_hash",
]
