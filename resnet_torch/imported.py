"""A network imported from a Keras model's graph: a plain module whose parts carry the Keras layers' names.

Its forward pass walks the calls of the graph; no source is generated. Every layer is an ordinary module, found,
replaced, frozen and trained as in any other, and the whole is copied, pickled and saved as any other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, fx, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.inference import cast_inputs
from resnet_torch.initializers import initialize
from resnet_torch.layers import LAYER_MODULES
from resnet_torch.layers.activations import activation_module
from resnet_torch.layers.normalizations import BatchNorm
from resnet_torch.model import FeatureInfo, Outputs, PortedModel
from weight_transfer.description import MovingVariance
from weight_transfer.errors import ArchitectureError
from weight_transfer.feature_maps import feature_maps
from weight_transfer.graph import Call, Graph, Layer
from weight_transfer.new_classifier import classifier_of
from weight_transfer.weight_mapping import Row


class ImportedModel(PortedModel):
    """Any imported Keras network.

    `forward` ends before a last softmax or sigmoid, as `ResNet` does, so that the usual losses take
    its outputs; `predict` applies it. Build one with `import_graph`. Every attribute is private or in
    `TAKEN_NAMES`, so that a layer can be called like it.

    Args:
        network: What to build.
    """

    def __init__(self, network: Graph) -> None:
        super().__init__()
        for path, layer in network.layers.items():
            for place, module in zip(network.modules[path], _build(layer), strict=True):
                _put(self, place, module)
        self._arrange(network)
        self._without_chance = False

    def _arrange(self, network: Graph) -> None:
        self._network = network
        self._moves, self._output_places = _moves(network)
        self._tails = tails(network)
        self._feature_maps: tuple[str, ...] | None = None  # found when they are first asked for

    @property
    def network(self) -> Graph:
        """What was imported; its ``modules`` say which layer is which module."""
        return self._network

    def forward(self, x: Tensor, *more: Tensor) -> Outputs:
        """Returns the outputs before a last softmax or sigmoid, in the form in which Keras returns them.

        Args:
            x: The first input, preprocessed, channels first.
            *more: The others, in the file's order.

        Raises:
            TypeError: The network has another number of inputs.
        """
        values = self._run(dict(enumerate(self._inputs(x, more))), self._moves)
        outputs: Outputs = in_form([values[place] for place in self._output_places], self.network)
        return outputs

    def features(self, x: Tensor, *more: Tensor) -> dict[str, Tensor]:
        """Returns the feature maps that detectors, segmenters and new heads build on.

        Args:
            x: The first input, preprocessed, channels first.
            *more: The others, in the file's order.

        Returns:
            The last feature map of each size, (N, C, H, W), by the name of the Keras layer that gives it; the last
            of all is what global pooling reads.

        Raises:
            ArchitectureError: It is not clear which map that is; the message says what to do.
        """
        places = self._places_of_features()
        inputs = cast_inputs(self, self._inputs(x, more))
        values = self._run(dict(enumerate(inputs)), self._moves_until(max(places.values())), frozenset(places.values()))
        return {name: values[place] for name, place in places.items()}

    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Returns the names, channels and reductions of what `features` gives."""
        shapes, last = self.network.shapes, self.network.channels_last
        size = next(iter(self.network.inputs.values()))[0 if last else 1]
        return tuple(
            FeatureInfo(name, shape[-1 if last else 0] or 0, _reduction(size, shape[0 if last else 1]))
            for name, shape in ((name, shapes[name]) for name in self._places_of_features())
        )

    def forward_features(self, x: Tensor, *more: Tensor) -> Tensor:
        """Returns the last feature map, which global pooling reads.

        Args:
            x: The first input, preprocessed, channels first.
            *more: The others, in the file's order.

        Raises:
            ArchitectureError: It is not clear which map that is.
        """
        place = max(self._places_of_features().values())
        features: Tensor = self._run(dict(enumerate(self._inputs(x, more))), self._moves_until(place), {place})[place]
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Outputs:
        """Returns the outputs that a feature map gives, in the form in which Keras returns them.

        Args:
            x: What `forward_features` gives.
            pre_logits: Whether to end before the classifier, at the features that it reads.

        Raises:
            ArchitectureError: The outputs need more than the last feature map.
        """
        return self._run_from({max(self._places_of_features().values()): x}, pre_logits=pre_logits)

    def _run_from(self, known: Mapping[int, Tensor], *, pre_logits: bool = False) -> Outputs:
        """Returns the outputs that some values give.

        Args:
            known: By place: the inputs come first, then what each call gives.
            pre_logits: Whether to end before the classifier.

        Raises:
            ArchitectureError: The outputs need other values too.
        """
        ends = self._output_places
        if pre_logits:
            classifier = classifier_of(self.network)
            calls = [call.layer for call in self.network.calls]
            ends = self._moves[calls.index(classifier)].inputs
        needed, waiting = set[int](), set(ends)
        while waiting:
            place = waiting.pop()
            if place in known or place in needed:
                continue
            if place < len(self.network.inputs):
                name = list(self.network.inputs)[place]
                raise ArchitectureError(f"its head reads {name!r} beside the last feature map. Call the whole model.")
            needed.add(place)
            waiting.update(self._moves[place - len(self.network.inputs)].inputs)
        moves = [move for move in self._moves if move.output in needed]
        values = self._run(dict(known), moves, {*known, *needed})
        found = [values[place] for place in ends]
        outputs: Outputs = found[0] if pre_logits else in_form(found, self.network)
        return outputs

    def _places_of_features(self) -> dict[str, int]:
        if self._feature_maps is None:
            self._feature_maps = feature_maps(self.network)
        names = [*self.network.inputs, *(call.value for call in self.network.calls)]
        return {name: names.index(name) for name in self._feature_maps}

    def _moves_until(self, place: int) -> Sequence[_Move]:
        return self._moves[: place - len(self.network.inputs) + 1]

    def _inputs(self, x: Tensor, more: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        names = self.network.inputs
        if isinstance(more, tuple) and len(more) != len(names) - 1:  # a tracer's stand-in has no length
            raise TypeError(f"expected {len(names)} inputs: {', '.join(names)}. Received: {1 + len(more)}")
        return (x, *(more[place] for place in range(len(names) - 1)))

    def _run(self, values: dict[int, Any], moves: Sequence[_Move], kept: Collection[int] = ()) -> dict[int, Any]:
        """The values by place after some moves; those that nothing reads any more are let go, unless they are kept."""
        for move in moves:
            fed = [values[place] for place in move.inputs]
            for path in move.modules:
                module: Any = self
                for name in path:
                    module = module._modules[name]  # looked up, so that a replaced layer is used
                fed = [module(*fed) if move.training is None else self._in_mode(module, move.training, fed)]
            values[move.output] = fed[0]
            for place in move.last_read:
                if place not in kept:
                    del values[place]
        return values

    def _in_mode(self, module: Any, training: bool, fed: list[Any]) -> Any:
        """Calls a layer in the mode that its call says, whatever the model's is; a frozen batch norm stays as it is."""
        if training and (getattr(module, "frozen", False) or (self._without_chance and _is_chance(module))):
            return module(*fed)
        before, module.training = module.training, training
        try:
            return module(*fed)
        finally:
            module.training = before

    def finished(self, outputs: Outputs) -> Outputs:
        """Returns outputs of `forward` with the activations that it leaves out."""
        values = list(outputs.values() if isinstance(outputs, dict) else _as_tuple(outputs))
        done = [
            value if tail is None else self.get_submodule(tail)(value)
            for value, tail in zip(values, self._tails, strict=True)
        ]
        finished: Outputs = in_form(done, self.network)
        return finished

    def _parts(self) -> dict[str, list[nn.Module]]:
        """The layers of each nested model."""
        found: dict[str, list[nn.Module]] = {}
        for path, places in self.network.modules.items():
            above = path.split("/")[:-1]
            for depth in range(len(above)):
                found.setdefault("/".join(above[: depth + 1]), []).append(self.get_submodule(places[0]))
        return found

    def _take_network(self, network: Graph, renewed: Collection[str]) -> None:
        if network.architecture is not None:
            raise ArchitectureError(f"{self.network.name}: an imported graph stays one. Received: {network!r}")
        before, weight = self.network, next(self.parameters())
        for path, layer in network.layers.items():
            same = (layer.settings, layer.in_shapes) == (before.layers[path].settings, before.layers[path].in_shapes)
            if same and path not in renewed:
                continue
            for place in before.modules[path]:
                parent, _, name = place.rpartition(".")
                delattr(self.get_submodule(parent), name)
            modules = _build(layer)
            if path in renewed:
                initialize(cast(nn.Linear, modules[0]), "glorot_uniform")  # or a convolution; Keras's default
            for place, module in zip(network.modules[path], modules, strict=True):
                _put(self, place, module.to(weight.device, weight.dtype).train(self.training))
        self._arrange(network)

    @property
    def code(self) -> str:
        """The forward pass as Python, one line a module; to read, for nothing runs it."""
        graph = _ModuleTracer().trace(self)
        for node in graph.nodes:
            node.type = None
        source: str = graph.python_code("self").src
        return source.strip()


class _ModuleTracer(fx.Tracer):
    """Goes into no module."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


@dataclass(frozen=True)
class Step:
    """One call of a layer, as the port runs it.

    Attributes:
        call: The call.
        modules: Paths of the modules it runs through, one behind the other; without the one that `predict`
            alone applies.
    """

    call: Call
    modules: tuple[str, ...]


def steps(network: Graph) -> tuple[Step, ...]:
    """Returns what the port of a network runs, in order."""
    final = _final_values(network)
    return tuple(
        Step(call, network.modules[call.layer][: -1 if call.value in final else None]) for call in network.calls
    )


def tails(network: Graph) -> tuple[str | None, ...]:
    """Returns the path of the module that `predict` alone applies to each output, None where it applies none."""
    final, layer_of = _final_values(network), {call.value: call.layer for call in network.calls}
    return tuple(network.modules[layer_of[value]][-1] if value in final else None for value in network.outputs)


def _final_values(network: Graph) -> set[str]:
    return {v for v, name in zip(network.outputs, network.final_activations, strict=True) if name is not None}


@dataclass(frozen=True)
class _Move:
    """A step by places in the list of values: the inputs, then what each step gives.

    Attributes:
        modules: Their paths in parts.
        inputs: Places of what it reads.
        output: Place of what it gives.
        last_read: Places of values that nothing reads after it.
        training: The mode that its call says.
    """

    modules: tuple[tuple[str, ...], ...]
    inputs: tuple[int, ...]
    output: int
    last_read: tuple[int, ...]
    training: bool | None


def _moves(network: Graph) -> tuple[tuple[_Move, ...], tuple[int, ...]]:
    """The steps by places, and the places of the outputs."""
    places = {value: place for place, value in enumerate([*network.inputs, *(call.value for call in network.calls)])}
    outputs = tuple(places[value] for value in network.outputs)
    read_by: dict[int, int] = {places[call.value]: number for number, call in enumerate(network.calls)}
    for number, call in enumerate(network.calls):
        read_by.update((places[value], number) for value in call.inputs)
    last_read: dict[int, list[int]] = {}
    for place, number in read_by.items():
        if place not in outputs:
            last_read.setdefault(number, []).append(place)
    return tuple(
        _Move(
            tuple(tuple(path.split(".")) for path in step.modules),
            tuple(places[value] for value in step.call.inputs),
            places[step.call.value],
            tuple(last_read.get(number, ())),
            step.call.training,
        )
        for number, step in enumerate(steps(network))
    ), outputs


@contextmanager
def without_chance(model: nn.Module) -> Iterator[None]:
    """Keeps dropout and noise that act in inference too from acting, so that two frameworks can be compared."""
    imported = [module for module in model.modules() if isinstance(module, ImportedModel)]
    for one in imported:
        one._without_chance = True
    try:
        yield
    finally:
        for one in imported:
            one._without_chance = False


def _is_chance(module: nn.Module) -> bool:
    """Whether a layer with two modes draws numbers: each does but batch norm."""
    return not isinstance(module, BatchNorm2d)


def import_graph(network: Graph, moving_variance: MovingVariance = "keras3") -> ImportedModel:
    """Builds the PyTorch module of an imported network, with weights as PyTorch starts them.

    Args:
        network: What to build.
        moving_variance: Which Keras its batch norms learn like.

    Returns:
        The module in training mode; its state dict's keys are those of `mapping`.
    """
    model = ImportedModel(network)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.moving_variance = moving_variance
    modes: dict[str, set[bool | None]] = {}
    for call in network.calls:
        modes.setdefault(call.layer, set()).add(call.training)
    for path, said in modes.items():
        norm = model.get_submodule(network.modules[path][0])
        if isinstance(norm, BatchNorm):
            norm.both_modes = len(said) > 1
    return model


def _build(layer: Layer) -> list[nn.Module]:
    """The modules of a layer: its own, and a fused activation's."""
    shapes = {weight.torch: Row(role, weight.torch, weight).torch_shape for role, weight in layer.weights.items()}
    try:
        own = LAYER_MODULES[layer.class_name].build(layer.settings, shapes, layer.in_shapes)
        return [own] if layer.fused_activation is None else [own, activation_module(layer.fused_activation)]
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise ArchitectureError(
            f"layer {layer.path!r} ({layer.class_name}) cannot be built: its settings are damaged ({error!r}). "
            "Convert the checkpoint again."
        ) from error


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Adds a module under a dotted path, with plain modules for the nested models on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)


def in_form(values: list[Any], network: Graph) -> Any:
    """Returns one value, a tuple, or a dict, as the Keras model does."""
    if network.output_names is not None:
        return dict(zip(network.output_names, values, strict=True))
    return values[0] if len(values) == 1 else tuple(values)


def _reduction(image: int | None, places: int | None) -> int | None:
    """Pixels of an image to a place of a map, as a power of two: a map of 7 or 8 places of 225 pixels has 32."""
    return None if not image or not places else 2 ** round(math.log2(image / places))


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
