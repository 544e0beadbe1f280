"""T2UE's parts: the generator, surrogates, the training, noise from captions, and adding it to pictures.

generator = TextConditionedNoiseGenerator(text_dim=512)
T2UETrainer(generator, CLIPSurrogate(model, tokenizer)).fit(batches, captions)     # once, by the provider
noise = export_noise(generator, embed, {"a.jpg": "a cat on a mat"}, "noise")       # from captions alone
apply_noise("photos", noise, "protected")                                          # where the photos are
"""

from .generator import (
    SavedGenerator as SavedGenerator,
    SemanticBatchNorm as SemanticBatchNorm,
    TextConditionedNoiseGenerator as TextConditionedNoiseGenerator,
    clamp_noise as clamp_noise,
    resize_noise as resize_noise,
)
from .loss import (
    Retrieved as Retrieved,
    contrastive_logits as contrastive_logits,
    entropy_floor as entropy_floor,
    info_nce as info_nce,
    retrieval as retrieval,
)
from .noise import (
    TEMPLATE as TEMPLATE,
    Kind as Kind,
    NoiseFolder as NoiseFolder,
    NoiseManifest as NoiseManifest,
    class_prompts as class_prompts,
    export_noise as export_noise,
    make_noise as make_noise,
    random_vectors as random_vectors,
    varied_prompts as varied_prompts,
    weights_hash as weights_hash,
)
from .protect import (
    Applied as Applied,
    Resize as Resize,
    add_noise as add_noise,
    apply_noise as apply_noise,
    match_names as match_names,
    protect as protect,
)
from .surrogate import (
    CLIPSurrogate as CLIPSurrogate,
    EncoderKind as EncoderKind,
    Surrogate as Surrogate,
    Texts as Texts,
    TwoTowers as TwoTowers,
    load_surrogate as load_surrogate,
    text_encoder as text_encoder,
    warn_of_long_captions as warn_of_long_captions,
)
from .trainer import (
    CaptionBank as CaptionBank,
    MinMinLoss as MinMinLoss,
    T2UETrainer as T2UETrainer,
    as_unit as as_unit,
    check_captions as check_captions,
    excess_loss as excess_loss,
    train_surrogate as train_surrogate,
)
