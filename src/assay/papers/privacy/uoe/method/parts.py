"""What is trained: float32 leaves of single experts and their routers, or the whole model."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from assay.artefact import Artefact
from assay.errors import InputError, unknown
from assay.papers.privacy.unlearning import matching_parameters
from assay.papers.privacy.uoe.method.layouts import SHARED, MoELayer, Target, moe_layout
from assay.papers.privacy.uoe.method.sequences import replaced

Whole = Literal["model", "no-routers", "routers", "experts"]
_NAME = re.compile(r"(?P<name>.+?)(\[(?P<expert>\d+)\])?")


@dataclass(frozen=True, repr=False)
class ExpertDelta(Artefact):
    """The trained slices alone, which turn the original model into the unlearned one.

    They are new values by the name of the parameter; `name[e]` is expert e of a fused tensor.
    """

    values: dict[str, Tensor]

    def __repr__(self) -> str:
        return f"ExpertDelta({self.numbers:,} numbers in {', '.join(self.values)})"

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return sum(value.numel() for value in self.values.values())

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Write the values into the original model, or one of the same shape.

        Raises:
            InputError: the model has no such parameter, or it has another shape.
        """
        parameters = dict(model.named_parameters())
        places = [self._place(parameters, name) for name in self.values]  # refuses before it writes
        for place, value in zip(places, self.values.values(), strict=True):
            place.copy_(value)

    def _place(self, parameters: dict[str, nn.Parameter], name: str) -> Tensor:
        match = _NAME.fullmatch(name)
        if match is None or match["name"] not in parameters:
            raise InputError(f"The delta has {name}, and the model does not: it was made from another model.")
        whole = parameters[match["name"]].data
        place = whole if match["expert"] is None else whole[int(match["expert"])]
        if place.shape != self.values[name].shape:
            raise InputError(
                f"The delta has {name} {tuple(self.values[name].shape)}, and the model {tuple(place.shape)}:"
                " it was made from another model."
            )
        return place


class ExpertLeaves:
    """Copies of chosen experts and of their layers' routers, in float32 and with a gradient.

    Fused experts are slices of one tensor, so an optimiser cannot hold one of them; a copy can be held, and
    its state has the size of the slice. While `active`, the model computes with the copies. `write_back`
    rounds them to the model's number format and leaves every other number as it was, to the bit.

    Args:
        model: a mixture-of-experts model.
        targets: the experts, as (layer, expert).
        train_experts: whether the experts' weights are trained.
        train_router: whether the router weights of their layers are trained.

    Raises:
        InputError: the model has no such expert.
        ValueError: nothing is trained.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Sequence[Target],
        train_experts: bool = True,
        train_router: bool = True,
    ) -> None:
        if not (train_experts or train_router):
            raise ValueError("there is nothing to train: keep the experts, the router or both")
        self.model = model
        layers = {layer.index: layer for layer in moe_layout(model)}
        self.targets = tuple(dict.fromkeys(targets))
        if not targets:
            raise InputError("There is no target: name at least one (layer, expert).")
        for index, expert in self.targets:
            if index not in layers:
                known = ", ".join(map(str, layers))
                raise InputError(f"Layer {index} has no experts; the layers {known} have.")
            layers[index].tensors(expert)  # refuses an expert that is not there
        wanted = {index for index, _ in self.targets}
        self.layers = [layer for index, layer in layers.items() if index in wanted]
        self.start = min(wanted)
        """The lowest layer that changes: what is below needs to be computed only once."""
        self._trains_experts = train_experts
        self._stored: dict[str, Tensor] = {}
        for layer in self.layers:
            if train_router:
                self._stored[f"{layer.name}.{layer.router_name}.weight"] = layer.router_weight.data
            for index, expert in self.targets if train_experts else ():
                if index == layer.index:
                    for name, value in layer.tensors(expert).items():
                        sliced = layer.fused and expert != SHARED
                        self._stored[f"{name}[{expert}]" if sliced else name] = value
        self._leaves = {name: nn.Parameter(value.float().clone()) for name, value in self._stored.items()}

    def parameters(self) -> list[nn.Parameter]:
        """Return the leaves."""
        return list(self._leaves.values())

    def router_weight(self, layer: MoELayer) -> Tensor:
        """Return the router weight of a layer as it is trained, or the model's own."""
        leaf = self._leaves.get(f"{layer.name}.{layer.router_name}.weight")
        return layer.router_weight if leaf is None else leaf

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make the model compute with the leaves inside the block, and freeze all else."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_only_these_train(self.model, ()))
            for layer in self.layers:
                for module, forward in self._substitutes(layer):
                    stack.enter_context(replaced(vars(module), "forward", forward))
            yield

    def _substitutes(self, layer: MoELayer) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
        """Yield the modules of a layer that compute with leaves, and how."""
        router = self._inside(f"{layer.name}.{layer.router_name}.")
        if router:
            yield layer.router, _with_weights(layer.router, router)
        fused: dict[int, dict[str, nn.Parameter]] = {}
        for index, expert in self.targets:
            if index != layer.index or not self._trains_experts:
                continue
            if isinstance(expert, str):
                shared = cast(nn.Module, getattr(layer.block, layer.shared_name or ""))
                yield shared, _with_weights(shared, self._inside(f"{layer.name}.{layer.shared_name}."))
            elif layer.fused:
                own, end = self._inside(f"{layer.name}.experts."), f"[{expert}]"
                fused[expert] = {k.removesuffix(end): leaf for k, leaf in own.items() if k.endswith(end)}
            else:
                module = cast(nn.ModuleList, layer.experts)[expert]
                yield module, _with_weights(module, self._inside(f"{layer.name}.experts.{expert}."))
        if fused:
            yield layer.experts, _split_experts(layer.experts, fused)

    def _inside(self, prefix: str) -> dict[str, nn.Parameter]:
        cut = len(prefix)
        return {name[cut:]: leaf for name, leaf in self._leaves.items() if name.startswith(prefix)}

    @torch.no_grad()
    def write_back(self) -> None:
        """Write the leaves into the model; every other number stays bitwise the same."""
        for name, stored in self._stored.items():
            stored.copy_(self._leaves[name])

    def delta(self) -> ExpertDelta:
        """Return the trained slices as the model holds them after `write_back`."""
        return ExpertDelta(
            {name: leaf.detach().to(self._stored[name]).cpu().clone() for name, leaf in self._leaves.items()}
        )


class WholeModel:
    """The model's own parameters: what the published methods train.

    Args:
        model: in float32, since an optimiser's small steps are lost in bfloat16.
        which: all parameters, all but the routers, the routers alone, the routed experts alone, or
            "re:PATTERN" for those in whose name a regular expression is found.

    Raises:
        ValueError: the model is not in float32, or no parameter matches.
    """

    start = 0

    def __init__(self, model: nn.Module, which: Whole | str = "model") -> None:
        self.model = model
        routers = {id(layer.router_weight) for layer in moe_layout(model)}
        experts = {id(weight) for layer in moe_layout(model) for weight in layer.experts.parameters()}
        chosen: dict[str, Callable[[nn.Parameter], bool]] = {
            "model": lambda weight: True,
            "no-routers": lambda weight: id(weight) not in routers,
            "routers": lambda weight: id(weight) in routers,
            "experts": lambda weight: id(weight) in experts,
        }
        if which.startswith("re:"):
            self._parameters = matching_parameters(model, which.removeprefix("re:"))
        elif which not in chosen:
            raise unknown("part of the model", which, (*chosen, "re:PATTERN"))
        else:
            self._parameters = [weight for weight in model.parameters() if chosen[which](weight)]
        odd = next((weight.dtype for weight in self._parameters if weight.dtype != torch.float32), None)
        if odd is not None:
            raise ValueError(f"the model is in {odd}: load it in float32 to train all of it")

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters."""
        return self._parameters

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Free these parameters inside the block, and freeze all others."""
        with _only_these_train(self.model, self._parameters):
            yield

    def router_weight(self, layer: MoELayer) -> Tensor:
        """Return the router's own weight."""
        return layer.router_weight

    def write_back(self) -> None:
        """Do nothing: the parameters are the model's own."""


Part = ExpertLeaves | WholeModel
"""What unlearning may change: both give parameters, are active inside a block and are written back."""


def _with_weights(module: nn.Module, leaves: dict[str, nn.Parameter]) -> Callable[..., Any]:
    """Return the module's forward pass with other weights, rounded to its own number format."""
    forward = module.forward
    owners = {name: module.get_submodule(name.rpartition(".")[0]) for name in leaves}

    def with_leaves(*given: Any, **named: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for name, leaf in leaves.items():
                weights, last = cast("dict[str, Any]", owners[name]._parameters), name.rpartition(".")[2]
                stack.enter_context(replaced(weights, last, leaf.to(weights[last].dtype)))
            return forward(*given, **named)

    return with_leaves


def _split_experts(experts: nn.Module, leaves: dict[int, dict[str, nn.Parameter]]) -> Callable[..., Any]:
    """Return the forward pass of fused experts in which some are computed from leaves."""
    forward, activation = experts.forward, cast("Callable[[Tensor], Tensor]", experts.act_fn)

    def expert_of(hidden: Tensor, own: dict[str, nn.Parameter]) -> Tensor:
        gate, up = functional.linear(hidden, own["gate_up_proj"].to(hidden.dtype)).chunk(2, dim=-1)
        return functional.linear(activation(gate) * up, own["down_proj"].to(hidden.dtype))

    def split(
        hidden_states: Float[Tensor, "tokens d"],
        top_k_index: Int[Tensor, "tokens chosen"],
        top_k_weights: Float[Tensor, "tokens chosen"],
    ) -> Float[Tensor, "tokens d"]:
        # One row for each token and chosen expert, so that no expert runs for tokens that a leaf takes.
        rows = torch.arange(len(hidden_states), device=hidden_states.device)
        rows = rows.repeat_interleave(top_k_index.shape[1])
        chosen, weights = top_k_index.flatten(), top_k_weights.flatten()
        output = torch.zeros_like(hidden_states)
        taken = torch.zeros_like(chosen, dtype=torch.bool)
        for expert, own in leaves.items():
            mine = chosen == expert
            taken |= mine
            computed = expert_of(hidden_states[rows[mine]], own) * weights[mine, None]
            output = output.index_add(0, rows[mine], computed.to(output.dtype))
        others = rows[~taken]
        if len(others):
            rest = forward(hidden_states[others], chosen[~taken, None], weights[~taken, None])
            output = output.index_add(0, others, rest)
        return output

    return split


@contextlib.contextmanager
def _only_these_train(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    before = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.requires_grad_(False)
    for weight in parameters:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, flag in before:
            weight.requires_grad_(flag)
