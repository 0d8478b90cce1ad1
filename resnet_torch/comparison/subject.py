"""A PyTorch module as a comparison sees it: which module gives which Keras layer's output, and where the arrays are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.imported import ImportedModel, steps, tails
from resnet_torch.layers.activations import activation_module
from resnet_torch.model import PortedModel
from resnet_torch.resnet import ACTIVATIONS, ResNet
from resnet_torch.wrappers import description_of_module
from weight_transfer.errors import VerificationError, nearest
from weight_transfer.layer_types import LAYER_TYPES, Weight
from weight_transfer.module_paths import HEAD
from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.losses import Loss, loss_of
from weight_transfer.parity.recorded_network import RecordedLayer
from weight_transfer.parity.recording import OUTPUT, Origin
from weight_transfer.preprocessing import PRESETS, Preprocessing
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.weight_mapping import Row, mapping

Note = Callable[[str, Tensor], Tensor | None]  # returns what the layers behind it read, if that is something else

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORM_ROLES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Stop(Exception):
    """Ends a forward pass when what was looked for is there."""


@dataclass(frozen=True)
class Tap:
    """Where a Keras layer's output is in a module.

    Attributes:
        modules: Paths of the modules that compute it, one behind the other: a convolution and its
            activation are one layer in Keras.
        call: Which call of the last one, from 0: a shared layer is called more than once.
    """

    modules: tuple[str, ...]
    call: int = 0


@dataclass(frozen=True)
class Subject:
    """A module to compare.

    Attributes:
        model: It.
        taps: By Keras layer.
        endings: By tap, what turns this output of ``model`` into what Keras returns: position, function.
        rows: By Keras array ``layer/role``, which tensor of the state dict it is, and how it is laid out.
        channels_last: Whether Keras's tensors are (N, ..., C) where the module's are (N, C, ...).
        preprocessing: What is done to raw images before the network.
        channels: Of the images that the network takes; 0 for other inputs.
        losses: Of each output of ``model``.
        fused: By Keras layer, the activation that is part of it in Keras and that the module's forward pass may call
            behind it.
        own_layouts: Whether an output may lie as Keras's does, as behind a ``nn.Linear`` over the last axis.
        placed: A tensor of the dtype that the module takes, on its device, where it has no parameters to show it.
    """

    model: nn.Module
    taps: Mapping[str, Tap]
    rows: Mapping[str, Row]
    endings: Mapping[str, tuple[int, Callable[[Tensor], Tensor]]] = field(default_factory=dict)
    channels_last: bool = True
    preprocessing: Preprocessing = PRESETS["none"]
    channels: int = 0
    losses: tuple[Loss, ...] = ("mean square",)
    fused: Mapping[str, tuple[Callable[[Tensor], Tensor], ...]] = field(default_factory=dict)
    own_layouts: bool = False
    placed: Tensor = field(default_factory=lambda: torch.empty(0))

    def run(self, inputs: Sequence[Tensor], note: Note) -> list[Tensor]:
        """Runs the module in the mode it is in.

        Args:
            inputs: Channels first.
            note: Called with each Keras layer's name and its output, in the order of execution. What it returns,
                if it returns something, takes the output's place; it may raise `Stop`.

        Returns:
            The outputs before a last softmax or sigmoid; none after `Stop`.
        """
        shown = {name: tap for name, tap in self.taps.items() if name not in self.endings}
        try:
            with _hooks(self.model, shown, note):
                outputs = flat(self.model(*inputs))
            for name, (position, finish) in self.endings.items():
                note(name, finish(outputs[position]))
        except Stop:
            return []
        return outputs

    def to_keras(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Returns a tensor as Keras lays it out."""
        array = self.as_it_lies(tensor)
        return np.moveaxis(array, 1, -1) if self.channels_last and array.ndim > 2 else array

    def as_it_lies(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Returns the numbers of a tensor in its own order of axes."""
        value = tensor.detach().cpu()
        array: np.ndarray[Any, Any] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        return array

    def from_keras(self, array: np.ndarray[Any, Any]) -> Tensor:
        """Returns an array of Keras as the module takes it, in its dtype and on its device."""
        array = np.moveaxis(array, -1, 1) if self.channels_last and array.ndim > 2 else array
        like = next(self.model.parameters(), self.placed)
        return torch.from_numpy(np.ascontiguousarray(array)).to(like.device, like.dtype)


def flat(outputs: Any) -> list[Tensor]:
    """The tensors of what a module returned, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [*outputs.values()] if isinstance(outputs, Mapping) else [*outputs]


@contextmanager
def _hooks(model: nn.Module, taps: Mapping[str, Tap], note: Note) -> Iterator[None]:
    calls: Counter[str] = Counter()
    by_path: dict[str, dict[int, list[str]]] = {}
    for name, tap in taps.items():
        by_path.setdefault(tap.modules[-1], {}).setdefault(tap.call, []).append(name)

    def hook(path: str) -> Callable[[nn.Module, Any, Any], Any]:
        def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            for name in by_path[path].get(calls[path], ()):
                replaced = note(name, output)
                output = output if replaced is None else replaced
            calls[path] += 1
            return output

        return after

    handles = [model.get_submodule(path).register_forward_hook(hook(path)) for path in by_path]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def subject_of(model: PortedModel) -> Subject:
    """Describes a converted model."""
    network = model.network
    rows = {row.keras: row for row in mapping(network)}
    taps, endings = _of_resnet(model) if isinstance(model, ResNet) else _of_graph(model, "")
    losses = tuple(map(loss_of, network.final_activations))
    shapes = list(network.inputs.values())
    how = description_of_module(model).preprocessing
    channels = shapes[0][-1] if len(shapes) == 1 and len(shapes[0]) == 3 and network.channels_last else 0
    return Subject(model, taps, rows, endings, network.channels_last, how, channels or 0, losses)


Found = tuple[dict[str, Tap], dict[str, tuple[int, Callable[[Tensor], Tensor]]]]


def _of_resnet(model: ResNet) -> Found:
    layout = resnet_graph(model.architecture).layout
    names = model.architecture.names
    padded = {names.stem_conv: f"stem.{names.stem_pad}", names.pool: f"stem.{names.pool_pad}"}
    modules = {path for path, _ in model.named_modules()}
    pads = {name: (path,) for name, path in padded.items() if path in modules}
    taps = {path: Tap((*pads.get(path, ()), *places)) for path, places in layout.items() if places}
    if isinstance(model.head, ImportedModel):
        own, endings = _of_graph(model.head, HEAD)
        return taps | own, endings
    head = model.architecture.head
    finish = ACTIVATIONS["linear" if head.classes is None else head.activation]
    return {**taps, OUTPUT: Tap(())}, {OUTPUT: (0, finish)}


def _of_graph(model: PortedModel, prefix: str) -> Found:
    taps: dict[str, Tap] = {}
    calls: Counter[str] = Counter()
    network = model.network
    left_out = tails(network)
    ended = {value for value, tail in zip(network.outputs, left_out, strict=True) if tail is not None}
    for step in steps(network):
        value = step.call.value
        if step.modules:
            name = logits_name(value) if value in ended else value
            taps[name] = Tap(tuple(prefix + path for path in step.modules), calls[step.modules[-1]])
        calls.update(step.modules)
    endings: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {}
    for position, (value, tail) in enumerate(zip(network.outputs, left_out, strict=True)):
        if tail is not None:
            taps[value] = Tap((prefix + tail,))
            endings[value] = (position, model.get_submodule(tail))
    return taps, endings


def subject_of_module(
    model: nn.Module,
    names: Mapping[str, str],
    wanted: Sequence[str],
    origin: Origin,
    *,
    gives_predictions: bool = False,
) -> Subject:
    """Describes any module whose parts have Keras's names, or the names that a person gives.

    Args:
        model: The module.
        names: Path of the module behind a Keras layer, where it is not the layer's name, and no other's ends in it.
        wanted: The Keras layers to look for.
        origin: Of the recording to compare with.
        gives_predictions: Whether the module applies a last softmax or sigmoid itself.

    Raises:
        VerificationError: ``names`` points at a module or a layer that is not there.
    """
    modules = dict(model.named_modules())
    wrong = [f"{layer} -> {path}{nearest(path, list(modules))}" for layer, path in names.items() if path not in modules]
    wrong += [f"{layer}{nearest(layer, wanted)}" for layer in names if layer not in wanted]
    if wrong:
        raise VerificationError(
            f"the name map points at what is not there: {'; '.join(wrong)}. Expected Keras layer to path of a module."
        )
    by_name: dict[str, list[str]] = {}
    for path in modules:
        by_name.setdefault(path.rpartition(".")[2], []).append(path)
    taps = {}
    logits = {logits_name(name) for name in origin.outputs}
    for layer in wanted:
        if layer in logits:
            continue  # of a last layer, which is compared with its activation
        plain = layer.replace(".", "_")
        whole = plain.replace("/", ".")
        found = [whole] if whole in modules else by_name.get(plain.rpartition("/")[2], [])
        if layer in names:
            taps[layer] = Tap((names[layer],))
        elif len(found) == 1:
            taps[layer] = Tap((found[0],))
    recorded = {} if origin.network is None else {layer.name: layer for layer in origin.network.layers}
    rows = {
        row.keras: row
        for layer, tap in taps.items()
        for row in _rows_of(layer, tap.modules[0], modules, recorded.get(layer))
    }
    fused = {layer: _fused(recorded[layer]) for layer in taps if layer in recorded}
    last = origin.last_activations
    endings = {
        name: (position, ACTIVATIONS["linear" if gives_predictions else activation or "linear"])
        for position, (name, activation) in enumerate(zip(origin.outputs, last, strict=True))
    }
    for name, activation in zip(origin.outputs, last, strict=True):
        taps[name] = Tap(()) if gives_predictions else _ended(model, taps.get(name, Tap(())), name, activation)
    return Subject(
        model,
        taps,
        rows,
        endings,
        channels_last=origin.network is None or origin.network.channels_last,
        preprocessing=origin.preprocessing,
        channels=origin.channels,
        losses=tuple(map(loss_of, last)),
        fused=fused,
        own_layouts=True,
    )


def _fused(layer: RecordedLayer) -> tuple[Callable[[Tensor], Tensor], ...]:
    activation = layer.settings.get("activation") if layer.arrays else None
    return (activation_module(dict(activation)),) if isinstance(activation, Mapping) else ()


def _ended(model: nn.Module, tap: Tap, name: str, activation: str | None) -> Tap:
    """A last layer with its activation behind it, which the module leaves out: for explanations."""
    if not tap.modules or activation is None:
        return tap
    if isinstance(model, nn.Sequential):  # which would run it
        return Tap(())
    path = f"{name.replace('.', '_')}_finishing"
    arguments = {"axis": 1} if activation == "softmax" else {}
    model.add_module(path, activation_module({"name": activation, **arguments}))
    return Tap((*tap.modules, path), tap.call)


def _rows_of(layer: str, path: str, modules: Mapping[str, nn.Module], recorded: RecordedLayer | None) -> Iterator[Row]:
    """The arrays of a layer, in Keras's layout: by its Keras class, or where that is not recorded by the module's.

    They are the module's own, or those of the one part of it that has them all.
    """
    module = modules[path]
    if recorded is not None and recorded.class_name in LAYER_TYPES and recorded.settings:
        weights = LAYER_TYPES[recorded.class_name].weights(recorded.settings, recorded.in_shapes)
        held = module.state_dict(keep_vars=True)
        names = [weight.torch for weight in weights.values()]
        parts = [f"{part}." for part, _ in module.named_modules() if part]
        whole = [part for part in ("", *parts) if all(part + name in held for name in names)]
        part = whole[0] if whole[:1] == [""] or len(whole) == 1 else ""
        for role, weight in weights.items():
            if part + weight.torch in held:
                yield Row(f"{layer}/{role}", f"{path}.{part}{weight.torch}", weight)
        return
    if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
        size = range(module.weight.ndim - 2)
        shape = tuple(module.weight.shape[axis] for axis in (*(2 + axis for axis in size), 1, 0))  # Keras's
        yield Row(f"{layer}/kernel", f"{path}.weight", Weight(shape, "weight", (len(size) + 1, len(size), *size)))
        if module.bias is not None:
            yield Row(f"{layer}/bias", f"{path}.bias", Weight(tuple(module.bias.shape), "bias"))
    if isinstance(module, BATCH_NORMS):
        for role, name in BATCH_NORM_ROLES.items():
            tensor = getattr(module, name)
            if tensor is not None:
                yield Row(f"{layer}/{role}", f"{path}.{name}", Weight(tuple(tensor.shape), name))
