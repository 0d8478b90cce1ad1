"""A network as steps, one a layer, and each step as a line of Python."""

from __future__ import annotations

import dataclasses
import keyword
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from resnet_torch.blocks import ResidualBlock
from resnet_torch.imported import ImportedModel, in_form
from resnet_torch.imported import steps as graph_steps
from resnet_torch.resnet import ResNet
from weight_transfer.errors import TransferError, listing
from weight_transfer.graph import Graph
from weight_transfer.resnet.layout import ends_block
from weight_transfer.resnet.recipe import resnet_graph

CHAIN = "x"  # a value that the next line alone reads: naming each would keep all of them in memory
IMAGES = "images"  # the one input of a ResNet
TAKEN = frozenset({CHAIN, "self", "nn", "torch", "F"})


@dataclass(frozen=True)
class Step:
    """One line of ``forward``.

    Attributes:
        value: Name of its result among the steps.
        inputs: Of what it reads.
        module: Path of the layer, or None for an addition.
        name: What Keras calls the result.
    """

    value: str
    inputs: tuple[str, ...]
    module: str | None
    name: str


@dataclass(frozen=True)
class Steps:
    """A whole network.

    Attributes:
        inputs: The values that go in.
        input_names: What a person calls them.
        steps: Each behind those it reads.
        outputs: What is returned: a name, a tuple of names, or a dict to names.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: Any
    input_names: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """Paths of the layers in the order of their first call."""
        return tuple(dict.fromkeys(step.module for step in self.steps if step.module is not None))


class _LayerTracer(fx.Tracer):
    """Stops at layers; goes into blocks, heads and the sequences that carry Keras names."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tells whether a module is one line."""
        if isinstance(m, nn.Sequential):
            return "0" in dict(m.named_children())  # blocks count from 1
        return not isinstance(m, ResidualBlock | ResNet | ImportedModel)


def steps_of(model: nn.Module) -> Steps:
    """Reads a network's steps: an imported one's off its calls, a ResNet's by running it on stand-ins."""
    if isinstance(model, ImportedModel):
        return _of_graph(model.network)
    names: dict[str, str] = {}
    skipped: set[str] = set()
    for prefix, resnet in model.named_modules():
        if isinstance(resnet, ResNet):
            start = f"{prefix}." if prefix else ""
            names |= {start + path: name for path, name in _block_names(resnet).items()}
            # The identity of a shortcut is no layer: its step would be a line that does nothing.
            skipped |= {start + path for path, module in resnet.named_modules() if _is_empty_shortcut(path, module)}
    return dataclasses.replace(_read(_LayerTracer().trace(model), names, frozenset(skipped)), input_names=(IMAGES,))


def _of_graph(network: Graph) -> Steps:
    said = [call.value for call in network.calls if call.training is not None]
    if said:
        raise TransferError(
            f"layers are called in a mode of their own (training=True or False), which plain PyTorch has not:"
            f"{listing(said)}\nUse the converted file by load_model."
        )
    values = {value: f"input {number}" for number, value in enumerate(network.inputs)}
    inputs = tuple(values.values())
    made: list[Step] = []
    for number, step in enumerate(graph_steps(network)):
        fed = tuple(values[value] for value in step.call.inputs)
        for module in step.modules:
            made.append(Step(f"{number} {module}", fed, module, module.rpartition(".")[2]))
            fed = (made[-1].value,)
        values[step.call.value] = fed[0]
    outputs = in_form([values[value] for value in network.outputs], network)
    return Steps(inputs, tuple(made), outputs, tuple(network.inputs))


def _is_empty_shortcut(path: str, module: nn.Module) -> bool:
    return type(module) is nn.Identity and path.endswith(".shortcut")


def _block_names(resnet: ResNet) -> dict[str, str]:
    """What Keras calls each block's output, by the path of its last ReLU."""
    layout = resnet_graph(resnet.architecture).layout
    return {modules[-1]: path for path, modules in layout.items() if ends_block(modules)}


def _read(graph: fx.Graph, names: Mapping[str, str], skipped: frozenset[str]) -> Steps:
    inputs: list[str] = []
    steps: list[Step] = []
    outputs: Any = None
    same: dict[str, str] = {}  # results of skipped steps
    for node in graph.nodes:
        if node.op == "placeholder":
            inputs.append(node.name)
        elif node.op == "output":
            outputs = fx.node.map_arg(node.args[0], lambda one: same.get(one.name, one.name))
        elif node.op == "call_module" and node.target in skipped:
            same[node.name] = same.get(node.args[0].name, node.args[0].name)
        elif node.op == "call_module" or node.target is operator.add:
            fed = tuple(same.get(one.name, one.name) for one in node.args)
            module = str(node.target) if node.op == "call_module" else None
            name = "add" if module is None else names.get(module, module.rpartition(".")[2])
            steps.append(Step(node.name, fed, module, name))
        else:
            raise TransferError(f"{node.op} {node.target} has no line of Python. Report this network.")
    return Steps(tuple(inputs), tuple(steps), outputs)


def variables(network: Steps) -> dict[str, str]:
    """Returns a Python variable for every value: the Keras name, or ``x`` where the next line alone reads it."""
    readers: dict[str, list[int]] = {}
    for position, step in enumerate(network.steps):
        for value in set(step.inputs):
            readers.setdefault(value, []).append(position)
    for value in flat(network.outputs):
        readers.setdefault(value, []).append(len(network.steps))
    chosen: dict[str, str] = {}
    taken = set(TAKEN)
    for value, name in zip(network.inputs, network.input_names, strict=True):
        chosen[value] = _unique(identifier(name), taken)
    for position, step in enumerate(network.steps):
        chained = readers.get(step.value) == [position + 1]
        chosen[step.value] = CHAIN if chained else _unique(identifier(step.name), taken)
    return chosen


def flat(outputs: Any) -> list[str]:
    """The values among outputs of any form."""
    if isinstance(outputs, str):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, Mapping) else outputs)


def identifier(name: str) -> str:
    """Returns a variable like the name."""
    text = "".join(c if c.isascii() and c.isalnum() else "_" for c in name).lstrip("_")
    text = text if text[:1].isalpha() else f"layer_{text}"
    return f"{text}_" if keyword.iskeyword(text) or keyword.issoftkeyword(text) else text


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def plain(name: str) -> bool:
    """Whether a module's name can be written behind a dot: no keyword, none that a class would mangle."""
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def ends_group(network: Steps, root: nn.Module) -> set[int]:
    """Positions of the steps behind which a blank line helps: where a block or a nested model ends."""
    ends: set[int] = set()
    for position, (step, following) in enumerate(zip(network.steps, network.steps[1:], strict=False)):
        if _place(step, root) != _place(following, root) and None not in (step.module, following.module):
            ends.add(position)
        merges = len(step.inputs) > 1
        activated = following.inputs == (step.value,) and following.module is not None
        activated = activated and _is_activation(root.get_submodule(following.module or ""))
        if merges:
            ends.add(position + activated)
    return ends - {len(network.steps) - 1}


def _place(step: Step, root: nn.Module) -> Sequence[str]:
    """The nested model, or the block, that a step is in."""
    path = (step.module or "").split(".")[:-1]
    return path if isinstance(root, ImportedModel) else [part for part in path if part not in ("residual", "shortcut")]


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" or isinstance(module, nn.Identity)
