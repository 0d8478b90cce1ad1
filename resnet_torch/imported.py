"""A network imported from a Keras model's graph: a `torch.fx.GraphModule` whose modules carry the Keras names.

`print(model.code)` shows the network as Python; every layer is an ordinary module, found, replaced,
frozen and trained as in any other.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from resnet_torch.batch_norm import MovingVariance
from resnet_torch.inference import inference
from resnet_torch.layers import BUILDERS
from resnet_torch.layers.activations import activation_module
from weight_transfer.conversion.mapping import mapping
from weight_transfer.layer_graph import GraphLayer, LayerGraph

Outputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


class ImportedModel(fx.GraphModule):
    """Any imported Keras network.

    `forward` ends before a last softmax or sigmoid, as `ResNet` does, so that the usual losses take
    its outputs; `predict` applies it. Build one with `import_graph`.

    Attributes:
        meta: ``network`` is the `LayerGraph`, ``tails`` the modules that only `predict` applies, ``values``
            the Keras value (a layer's path, ``#2`` for its second call) by the name of the node that gives it.
    """

    @property
    def network(self) -> LayerGraph:
        """What was imported."""
        network: LayerGraph = self.meta["network"]
        return network

    def predict(self, *inputs: Tensor) -> Outputs:
        """Returns what the Keras model returns, without gradients, in inference mode.

        Args:
            *inputs: Preprocessed, in the file's order, channels first.

        Returns:
            One tensor, a tuple in the file's order, or a dict where Keras returns one.
        """
        with inference(self):
            return self.finished(self(*inputs))

    def finished(self, outputs: Outputs) -> Outputs:
        """Returns outputs of `forward` with the activations that it leaves out."""
        tails: list[str | None] = self.meta["tails"]
        values = list(outputs.values() if isinstance(outputs, dict) else _as_tuple(outputs))
        done = [
            value if tail is None else self.get_submodule(tail)(value)
            for value, tail in zip(values, tails, strict=True)
        ]
        return _in_form(done, self.network)


def import_graph(network: LayerGraph, moving_variance: MovingVariance = "keras3") -> ImportedModel:
    """Builds the PyTorch module of an imported network, with weights as PyTorch starts them.

    Args:
        network: What to build.
        moving_variance: Which Keras its batch norms learn like.

    Returns:
        The module in training mode; its state dict's keys are those of `mapping`.
    """
    root = nn.Module()
    for layer in network.layers.values():
        _put(root, layer.module, _build(layer))
        if layer.fused_activation is not None:
            _put(root, f"{layer.module}_activation", activation_module(layer.fused_activation))
    for module in root.modules():
        if hasattr(module, "moving_variance"):
            module.moving_variance = moving_variance
    graph, tails, names = _wire(network)
    model = ImportedModel(root, graph, class_name="ImportedModel")
    for tail in tails:
        if tail is not None:  # not in the graph, so GraphModule did not copy it
            _put(model, tail, root.get_submodule(tail))
    model.meta = {"network": network, "tails": tails, "values": names}
    return model


def _build(layer: GraphLayer) -> nn.Module:
    shapes = {row.torch.removeprefix(f"{layer.module}."): row.torch_shape for row in _rows(layer)}
    return BUILDERS[layer.class_name](layer.settings, shapes, layer.in_shapes)


def _rows(layer: GraphLayer) -> Any:
    one = LayerGraph("", {layer.path: layer}, (), {}, ())
    return mapping(one)


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Adds a module under a dotted path, with plain modules for the nested models on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    root.add_module(name, module)


def _wire(network: LayerGraph) -> tuple[fx.Graph, list[str | None], dict[str, str]]:
    """The fx graph, the modules that only `predict` applies, and the Keras value behind each node."""
    graph = fx.Graph()
    nodes = {value: graph.placeholder(_identifier(value)) for value in network.inputs}
    names: dict[str, str] = {}
    tails: dict[str, str] = {}
    final = {v for v, name in zip(network.outputs, network.final_activations, strict=True) if name is not None}
    for call in network.calls:
        layer = network.layers[call.layer]
        fed = tuple(nodes[name] for name in call.inputs)
        modules = [layer.module]
        if layer.fused_activation is not None:
            modules.append(f"{layer.module}_activation")
        if call.value in final:
            tails[call.value] = modules.pop()
        for module in modules:
            fed = (graph.call_module(module, fed),)
        nodes[call.value] = fed[0]
        if call.value not in tails:
            names[fed[0].name] = call.value
    graph.output(_in_form([nodes[value] for value in network.outputs], network))
    return graph, [tails.get(value) for value in network.outputs], names


def _identifier(value: str) -> str:
    name = "".join(character if character.isalnum() else "_" for character in value)
    return name if name and not name[0].isdigit() else f"input_{name}"


def _in_form(values: list[Any], network: LayerGraph) -> Any:
    """One value, a tuple, or a dict, as Keras returns them."""
    if network.output_names is not None:
        return dict(zip(network.output_names, values, strict=True))
    return values[0] if len(values) == 1 else tuple(values)


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
