"""Where the routers and experts of a mixture-of-experts model are, for fused and for separate experts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.errors import InputError

SOFTMAX_ROUTERS = (
    "DeepseekV2TopkRouter",
    "Linear",
    "MixtralTopKRouter",
    "OlmoeTopKRouter",
    "Qwen2MoeTopKRouter",
    "Qwen3MoeTopKRouter",
)
"""Classes of routers whose affinities are softmax(W h) over all experts, without a bias."""

SHARED: Literal["shared"] = "shared"
Expert = int | Literal["shared"]
Target = tuple[int, Expert]
"""A decoder layer and one of its routed experts, or "shared" for the one that every token runs through."""


@dataclass(frozen=True, eq=False)
class MoELayer:
    """One sparse layer: a router, routed experts, and perhaps a shared expert.

    Fused experts (transformers 5) are two tensors, `gate_up_proj` [E, 2 i, d] and `down_proj` [E, d, i];
    separate ones (transformers 4) are modules in a list.
    """

    index: int
    """Number of the decoder layer, from 0, dense layers counted."""
    name: str
    """Path of the sparse block in the model."""
    block: nn.Module
    router_name: str
    n_experts: int
    top_k: int
    fused: bool
    shared_name: str | None
    """Attribute of the block with the shared expert, if there is one."""

    @property
    def router(self) -> nn.Module:
        """The module that chooses the experts."""
        return cast(nn.Module, getattr(self.block, self.router_name))

    @property
    def experts(self) -> nn.Module:
        """The routed experts: one module with fused tensors, or a list of modules."""
        return cast(nn.Module, self.block.experts)

    @property
    def router_weight(self) -> Float[Tensor, "experts d"]:
        """W of the affinities softmax(W h)."""
        return cast(Tensor, self.router.weight)

    def tensors(self, expert: Expert) -> dict[str, Tensor]:
        """Return the weights of one expert by their names in the model; those of fused experts are views.

        Raises:
            InputError: there is no such expert.
        """
        if isinstance(expert, str):
            if self.shared_name is None:
                raise InputError(f"{self.name} has no shared expert.")
            inside, module = self.shared_name, getattr(self.block, self.shared_name)
        elif not 0 <= expert < self.n_experts:
            raise InputError(f"{self.name} has the experts 0 to {self.n_experts - 1}, not {expert}.")
        elif self.fused:
            fused = self.experts.named_parameters()
            return {f"{self.name}.experts.{name}": weight.data[expert] for name, weight in fused}
        else:
            inside, module = f"experts.{expert}", cast(nn.ModuleList, self.experts)[expert]
        return {f"{self.name}.{inside}.{name}": weight.data for name, weight in module.named_parameters()}

    def affinities(
        self, hidden: Float[Tensor, "... d"], weight: Float[Tensor, "experts d"] | None = None
    ) -> Float[Tensor, "tokens experts"]:
        """Return softmax(W h) over all experts in float32, before any top-k or rescaling.

        Args:
            hidden: what the router is given.
            weight: used in place of the router's own W.
        """
        chosen = self.router_weight if weight is None else weight
        return functional.linear(hidden.flatten(0, -2).float(), chosen.float()).softmax(-1)

    def choices(self, output: Any) -> Int[Tensor, "tokens chosen"]:
        """Return the experts that the router's output sends each token to."""
        if isinstance(output, tuple):
            return cast(Tensor, output[2]).flatten(0, -2)
        return cast(Tensor, output).flatten(0, -2).topk(self.top_k, dim=-1).indices


def moe_layout(model: nn.Module, softmax_routers: Sequence[str] = SOFTMAX_ROUTERS) -> list[MoELayer]:
    """Find the sparse layers of a model, in order.

    Args:
        model: a causal language model of transformers, such as Qwen2-MoE, OLMoE, Mixtral or DeepSeek-V2.
        softmax_routers: names of router classes whose affinities are softmax(W h); add your own.

    Raises:
        InputError: the model is dense or quantised, or its router or experts are of an unknown kind.
    """
    _refuse_quantised(model)
    layers = [
        _layer(model, name, block, softmax_routers)
        for name, block in model.named_modules()
        if hasattr(block, "experts") and re.search(r"\.(\d+)\.", f"{name}.")
    ]
    if not layers:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise InputError(
            f"This model ({kind}) is dense: none of its layers has experts. Give a mixture-of-experts model,"
            " such as Qwen2-MoE, OLMoE, Mixtral or DeepSeek-V2."
        )
    return layers


def _layer(model: nn.Module, name: str, block: nn.Module, softmax_routers: Sequence[str]) -> MoELayer:
    router_name = next((part for part in ("gate", "router") if hasattr(block, part)), None)
    router = getattr(block, router_name) if router_name else None
    weight = getattr(router, "weight", None)
    kind = type(router).__name__
    if router_name is None or not isinstance(weight, Tensor) or weight.ndim != 2:
        found = ", ".join(f"{key} ({type(child).__name__})" for key, child in block.named_children())
        raise InputError(f"{name} has no router with a weight [experts, width]; found {found}.")
    if kind not in softmax_routers:
        raise InputError(
            f"{name} has a router of the class {kind}, and only {', '.join(softmax_routers)} are known to"
            " give softmax(W h). If yours does, call moe_layout(model, softmax_routers=(...)) with its name."
        )
    if getattr(router, "bias", None) is not None:
        raise InputError(f"The router {name}.{router_name} has a bias; softmax(W h) does not describe it.")
    return MoELayer(
        index=int(re.findall(r"\.(\d+)\.", f"{name}.")[-1]),
        name=name,
        block=block,
        router_name=router_name,
        n_experts=len(weight),
        top_k=_top_k(model, block, router),
        fused=_is_fused(name, cast(nn.Module, block.experts), *weight.shape),
        shared_name=next(
            (part for part in ("shared_expert", "shared_experts") if hasattr(block, part)), None
        ),
    )


def _top_k(model: nn.Module, block: nn.Module, router: Any) -> int:
    config = getattr(model, "config", None)
    places = ((router, "top_k"), (block, "top_k"), (config, "num_experts_per_tok"))
    return int(next(getattr(where, name) for where, name in places if getattr(where, name, None) is not None))


def _is_fused(name: str, experts: nn.Module, n_experts: int, width: int) -> bool:
    """Tell fused experts from separate ones; refuse what is neither."""
    if isinstance(experts, nn.ModuleList):
        if len(experts) == n_experts:
            return False
    else:
        shapes = {key: tuple(weight.shape) for key, weight in experts.named_parameters()}
        up, down = shapes.get("gate_up_proj", ()), shapes.get("down_proj", ())
        if len(shapes) == 2 and up[::2] == (n_experts, width) and down == (n_experts, width, up[1] // 2):
            return True
    found = ", ".join(f"{key} {tuple(weight.shape)}" for key, weight in experts.named_parameters())
    raise InputError(
        f"The experts of {name} are of an unknown kind ({type(experts).__name__}: {found or 'no weights'})."
        f" Expected gate_up_proj [{n_experts}, 2 i, {width}] and down_proj [{n_experts}, {width}, i], or a"
        f" list of {n_experts} modules."
    )


def _refuse_quantised(model: nn.Module) -> None:
    config = getattr(model, "config", None)
    described = getattr(config, "quantization_config", None)
    odd = next((name for name, weight in model.named_parameters() if not weight.is_floating_point()), None)
    if described is not None or odd is not None or getattr(model, "is_quantized", False):
        raise InputError(
            f"This model is quantised ({odd or 'its config has a quantization_config'}): its experts cannot"
            " be trained. Load the weights in float32 or bfloat16."
        )
