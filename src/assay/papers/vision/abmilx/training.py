"""Models of bags: how they are built from options, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from assay.errors import InputError, refusals
from assay.models import MLP, ConvNet, ModelSource, Standardise, load_model
from assay.papers.vision.abmilx.config import EncoderTraining, Layers, Learning, Train
from assay.papers.vision.abmilx.evaluation import encode_bag
from assay.papers.vision.abmilx.inputs.bags import BagLoader, BagSet, InMemory
from assay.papers.vision.abmilx.method import (
    ABMIL,
    ABMILX,
    CLAM,
    DSMIL,
    EndToEndMIL,
    GatedABMIL,
    MaxMIL,
    MeanMIL,
    RandomCropFlip,
    RandomInstanceSampler,
    TransMIL,
    VisionEncoder,
    discrete_hazard_nll,
)
from assay.papers.vision.abmilx.method.aggregators import Aggregator, Shared
from assay.training import Compute, History, batches, fit, warmup_cosine
from assay.trial import Trial, derive_seed, random_state

HIDDEN, WIDTH = 128, 64
"""Units of the perceptron, and numbers that the encoders made here give for an instance."""
LARGEST_PERCEPTRON = 16
"""Pixels of a picture's side up to which its encoder is a perceptron; above, it is convolutional."""
STAGES = 3
"""Stages of a ResNet that are kept (section 4.1)."""
LARGEST_POOL = 4096
"""Training instances by which features are standardised, and on which encoders are pre-trained."""


# --- models -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncoderSpec:
    """What it takes to build an encoder."""

    shape: tuple[int, ...]
    """Of an instance: (channels, height, width) or (features,)."""
    augment: float | None = None
    """Least share of a training picture that a random crop keeps."""
    stages: int | None = None
    """Stages that are kept of a transformers model."""
    config: dict[str, Any] | None = None
    """That of a transformers model; without one an encoder is made here."""

    @property
    def kind(self) -> Literal["none", "perceptron", "convolutional", "transformers"]:
        """Which network it is; features need none."""
        if self.config is not None:
            return "transformers"
        if len(self.shape) != 3:
            return "none"
        return "convolutional" if max(self.shape[1:]) > LARGEST_PERCEPTRON else "perceptron"


@dataclass(frozen=True)
class ModelSpec:
    """What it takes to build a model."""

    encoder: EncoderSpec
    aggregator: str
    outputs: int
    layers: Layers
    chunk: int | None = None


class PatchEncoder(nn.Module):
    """An encoder of pixels from 0 to 255, or of features, which it brings to mean 0 and deviation 1."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        size = 1 if len(spec.shape) == 3 else spec.shape[0]
        scale = {"none": (0.0, 1.0), "transformers": (0.0, 255.0)}.get(spec.kind, (127.5, 127.5))
        self.standardise = Standardise(size, *scale)
        self.augment = nn.Identity() if spec.augment is None else RandomCropFlip(spec.augment)
        self.network, self.out_dim = build_network(spec)

    def forward(self, instances: Tensor) -> Tensor:
        """Return one vector for each instance."""
        encoded: Tensor = self.network(self.augment(self.standardise(instances.float())))
        return encoded


def build_network(spec: EncoderSpec) -> tuple[nn.Module, int]:
    """Return the network behind the normalisation, and the width of what it gives."""
    size = int(torch.Size(spec.shape).numel())
    if spec.kind == "none":
        return nn.Flatten(), size
    if spec.kind == "perceptron":
        return nn.Sequential(nn.Flatten(), MLP(size, (HIDDEN,), WIDTH), nn.ReLU()), WIDTH
    if spec.kind == "convolutional":
        network = ConvNet(spec.shape[0], 1, width=WIDTH // 4, depth=3)
        network.head = nn.Identity()  # type: ignore[assignment]  # its features are wanted
        return network, WIDTH
    from transformers import AutoConfig, AutoModel

    settings = dict(spec.config or {})
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    encoder = VisionEncoder(AutoModel.from_config(config), spec.stages)
    return encoder, encoder.out_dim


def build_aggregator(spec: ModelSpec, in_dim: int) -> Aggregator:
    """Return the aggregator on features of a width."""
    layers = spec.layers
    shared: Shared = {
        "embed_dim": layers.embed_dim,
        "norm": None if layers.norm == "none" else layers.norm,
        "activation": layers.activation,
        "bias": layers.bias,
        "dropout": layers.dropout,
    }
    abmilx = partial(
        ABMILX,
        num_heads=layers.num_heads,
        ffn=layers.ffn,
        alpha_init="xavier" if layers.alpha_init is None else layers.alpha_init,
        attn_bias=layers.attn_bias,
    )
    kinds: dict[str, Callable[..., Aggregator]] = {
        "abmilx": abmilx,
        "mhla": partial(abmilx, refine=False),
        "abmil": ABMIL,
        "gated": GatedABMIL,
        "mean": MeanMIL,
        "max": MaxMIL,
        "transmil": partial(TransMIL, num_heads=layers.num_heads),
        "clam-sb": CLAM,
        "clam-mb": partial(CLAM, multi_branch=True),
        "dsmil": DSMIL,
    }
    return kinds[spec.aggregator](in_dim, spec.outputs, **shared)


def build_model(spec: ModelSpec) -> EndToEndMIL:
    """Return encoder and aggregator as one module, with random weights."""
    encoder = PatchEncoder(spec.encoder)
    aggregator = build_aggregator(spec, encoder.out_dim)
    return EndToEndMIL(encoder, aggregator, spec.chunk, checkpoint_encoder=spec.chunk is not None)


# --- what is trained, and from where ------------------------------------------------------------


@dataclass(frozen=True)
class TrainingSetup:
    """How a model is trained."""

    model: ModelSpec
    learning: Learning
    encoder_training: EncoderTraining = "joint"
    sampler: RandomInstanceSampler | None = None
    compute: Compute = Compute(accelerator="cpu")


def setup_of(
    config: Train, shape: tuple[int, ...], outputs: int, compute: Compute, encoder: EncoderSpec | None = None
) -> TrainingSetup:
    """Return how a model of instances of this shape is trained; refuse layers that do not fit together."""
    if config.layers.norm == "batch" and config.training.batch_size < 2:
        raise InputError("--layers.norm batch needs a --training.batch-size of at least 2, or give layer.")
    augment = config.training.augment if len(shape) == 3 else None
    encoder = encoder or EncoderSpec(shape, augment)
    patches = config.patches
    spec = ModelSpec(encoder, config.aggregator, outputs, config.layers, patches.chunk)
    shares = (1 - patches.low_share, patches.low_share) if patches.low_share else (1.0,)
    with refusals():
        build_model(spec)
        sampler = RandomInstanceSampler(patches.instances, shares) if patches.instances else None
    return TrainingSetup(spec, config.training, config.encoder_training, sampler, compute)


def prepare(
    config: Train, bags: BagSet, outputs: int, trial: Trial
) -> tuple[TrainingSetup, dict[str, Tensor]]:
    """Return how a model of given bags is trained, and the weights that its encoder starts from."""
    single = [bag.bag_id for bag in bags if len(bag.sizes) < 2]
    if config.patches.low_share and single:
        raise InputError(
            f"--patches.low-share needs a second magnification, which the bag {single[0]!r} does not have."
        )
    first = bags.bags[0].read(torch.arange(1))
    shape = tuple(first.shape[1:])
    if config.patch_encoder.source is not None:
        if len(shape) != 3:
            raise InputError("--patch-encoder needs pictures; these bags hold features.")
        source = ModelSource(config.patch_encoder.source)
        try:
            spec, weights = users_encoder(source, EncoderSpec(shape, config.training.augment))
        except ValueError as error:
            raise InputError(f"--patch-encoder {source}: {error}") from error
        return setup_of(config, shape, outputs, trial.compute, spec), weights
    setup = setup_of(config, shape, outputs, trial.compute)
    with random_state(derive_seed(trial.seed, "encoder")):
        joint = setup.encoder_training == "joint"
        if len(shape) == 3 and joint:  # pixels are standardised without a sample
            return setup, fresh_encoder(setup.model.encoder, first).state_dict()
        values, labels = some_instances(bags, trial.generator("instances"))
        if joint:
            return setup, fresh_encoder(setup.model.encoder, values).state_dict()
        return setup, pretrained_encoder(setup, values, labels)


def users_encoder(source: ModelSource, made_here: EncoderSpec) -> tuple[EncoderSpec, dict[str, Tensor]]:
    """Load a vision model; return how to build its encoder, and the encoder's weights."""
    from transformers import AutoModel

    model = load_model(source, AutoModel, dtype="float32")
    stages = STAGES if hasattr(getattr(model, "encoder", None), "stages") else None
    spec = replace(made_here, stages=stages, config=model.config.to_diff_dict())
    encoder = PatchEncoder(spec)
    assert isinstance(encoder.network, VisionEncoder)
    kept = encoder.network.model
    names = kept.state_dict().keys()
    kept.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name in names})
    return spec, encoder.state_dict()


def fresh_encoder(spec: EncoderSpec, sample: Tensor) -> PatchEncoder:
    """Return an encoder with random weights, which standardises features by those of a sample."""
    encoder = PatchEncoder(spec)
    if sample.ndim == 2:
        encoder.standardise.fit(sample, constant=1.0)
    return encoder


def pretrained_encoder(setup: TrainingSetup, values: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the weights of an encoder that was trained to classify single instances."""
    encoder = fresh_encoder(setup.model.encoder, values)
    if setup.model.encoder.kind == "none":
        return encoder.state_dict()
    classes, targets = labels.unique(return_inverse=True)
    model = nn.Sequential(encoder, nn.Linear(encoder.out_dim, max(2, len(classes))))
    loader = batches(
        values,
        targets,
        batch_size=min(64, len(values)),
        generator=torch.Generator().manual_seed(torch.initial_seed()),
        drop_last=True,
    )
    fit(
        model,
        loader,
        lambda network, batch: cross_entropy(network(batch[0]), batch[1]),
        optimizer=adamw(model, 1e-3, setup.learning),
        epochs=setup.learning.epochs,
        compute=setup.compute,
    )
    return {name: tensor.cpu() for name, tensor in encoder.state_dict().items()}


def some_instances(bags: BagSet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return instances of all bags, as many of each as there is room for, with their bags' labels."""
    each = max(1, LARGEST_POOL // len(bags))
    rows = [torch.randperm(len(bag), generator=generator)[:each] for bag in bags]
    labels = torch.cat([torch.full((len(row),), bag.label) for bag, row in zip(bags, rows, strict=True)])
    return torch.cat([bag.read(row) for bag, row in zip(bags, rows, strict=True)]), labels


# --- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A trained model and what it took."""

    model: EndToEndMIL
    rate: float
    history: History


def train_model(
    setup: TrainingSetup,
    encoder: dict[str, Tensor],
    bags: BagSet,
    targets: Tensor,
    rate: float,
    generator: torch.Generator,
) -> Trained:
    """Train a model from an encoder's weights; a frozen encoder sees each bag once, before the training."""
    model = build_model(setup.model)
    model.encoder.load_state_dict(encoder)
    trained: nn.Module = model
    if setup.encoder_training == "frozen":
        model.encoder.requires_grad_(False)
        bags = encoded(model, bags, setup.compute)
        trained = EndToEndMIL(nn.Identity(), model.aggregator)
    learning = setup.learning
    loader = BagLoader(bags, targets, learning.batch_size, generator, setup.sampler)
    optimizer = adamw(trained, rate, learning)
    steps, warmup = (epochs * len(loader) for epochs in (learning.epochs, learning.warmup))
    average = None
    if learning.ema is not None:  # of the weights and the buffers
        update = get_ema_multi_avg_fn(learning.ema)
        average = AveragedModel(trained, _device(setup.compute), multi_avg_fn=update, use_buffers=True)
    history = fit(
        trained,
        loader,
        joint_loss,
        optimizer=optimizer,
        epochs=learning.epochs,
        scheduler=LambdaLR(optimizer, warmup_cosine(steps, warmup)),
        clip=5.0,
        compute=setup.compute,
        on_step=None if average is None else lambda step, loss: average.update_parameters(trained),
    )
    if average is not None:
        trained.load_state_dict(average.module.state_dict())
    model.to(next(trained.parameters()).device).eval()
    return Trained(model, rate, history)


def adamw(model: nn.Module, rate: float, learning: Learning) -> torch.optim.AdamW:
    """Return the optimizer of the parameters that train."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, weight_decay=learning.weight_decay, fused=True)


def joint_loss(model: nn.Module, batch: tuple[Tensor, Tensor | None, Tensor]) -> Tensor:
    """Return the aggregator's loss of bag labels [B], or the likelihood of intervals and censoring [B, 2]."""
    instances, mask, targets = batch
    if targets.ndim == 2:
        return discrete_hazard_nll(model(instances, mask), targets[:, 0], targets[:, 1].bool())
    loss: Tensor = model(instances, mask, targets)
    return loss


def encoded(model: EndToEndMIL, bags: BagSet, compute: Compute) -> BagSet:
    """Return the bags with the vectors of their instances in place of these, at each magnification."""
    model.to(_device(compute)).eval()
    with torch.no_grad():
        found = [[encode_bag(model, bag, number).cpu() for number in range(len(bag.sizes))] for bag in bags]
    model.cpu()
    vectors = (
        replace(bag, readers=tuple(map(InMemory, tensors))) for bag, tensors in zip(bags, found, strict=True)
    )
    return replace(bags, bags=tuple(vectors))


def _device(compute: Compute) -> torch.device:
    return torch.device("cpu") if compute.accelerator == "cpu" else compute.fabric().device
