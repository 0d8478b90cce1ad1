"""``model.py``: the network as one plain module, in source that depends on torch and safetensors alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn

from resnet_torch.batch_norm import set_trainable
from resnet_torch.imported import ImportedModel
from resnet_torch.imported import tails as graph_tails
from resnet_torch.inference import inference
from resnet_torch.model import PortedModel
from resnet_torch.resnet import ResNet
from resnet_torch.standalone.constructors import LINE_LENGTH, constructor, literal, statement
from resnet_torch.standalone.forward import Steps, ends_group, plain, steps_of, variables
from resnet_torch.standalone.own_source import PROJECT, Import, collect, import_lines
from resnet_torch.trainability import frozen_layers_of
from weight_transfer.description import Description
from weight_transfer.preprocessing import PRESETS, Preprocessing
from weight_transfer.weight_mapping import modules_of_layers

TENSOR, TUPLE, DICT = "Tensor", "tuple[Tensor, ...]", "dict[str, Tensor]"
COUNT = "num_batches_tracked"


def preprocessing_used(known: Description) -> Preprocessing | None:
    """Returns what a network's images go through, or None where they are fed as they are."""
    if not known.network.takes_images:
        return None
    shape = next(iter(known.network.inputs.values()))
    how = known.preprocessing.on_channels(shape[-1 if known.network.channels_last else 0] or 3)
    return None if how == PRESETS["none"] else how


def preprocessing_lines(how: Preprocessing) -> list[str]:
    """The operations of `weight_transfer.preprocess`, on ``x``: float32 RGB images, (N, H, W, C).

    The constants are tensors: CUDA multiplies by a number's reciprocal, and divides by a tensor.
    """

    def tensor(numbers: Sequence[float] | float) -> str:
        return f"torch.tensor({numbers}, device=x.device)"

    return [
        *(["x = x.flip(-1)  # RGB to BGR"] if how.channel_order == "BGR" else []),
        *([f"x = x / {tensor(how.divisor)}"] if how.divisor != 1 else []),
        *([f"x = x - {tensor(how.mean)}"] if how.mean else []),
        *([f"x = x / {tensor(how.std)}"] if how.std else []),
    ]


def model_source(model: PortedModel, title: str, how: Preprocessing | None, dtype: torch.dtype, made_by: str) -> str:
    """Writes the file.

    Args:
        model: What it is to build.
        title: What a person calls it, in plain words.
        how: What `preprocess` does, or None for no such function.
        dtype: Of the weights.
        made_by: Name and version of what writes this, in plain words.
    """
    network = steps_of(model)
    tails = tails_of(model)
    leaves = {path: model.get_submodule(path) for path in (*network.modules, *filter(None, tails))}
    modules = modules_of_layers(model.network)
    frozen = [modules[layer] for layer in frozen_layers_of(model)]
    own = collect([*_own_classes(leaves.values()), inference, *([set_trainable] if frozen else [])])
    body = [_class(model, network, leaves, tails), *([] if how is None else [_preprocess(how, dtype)])]
    body.append(_load(dtype, frozen=bool(frozen)))
    constants = "\n".join([_WEIGHTS, *([_frozen(frozen)] if frozen else [])])
    imports = {Import("__future__", "annotations"), Import("pathlib", "Path"), Import("safetensors.torch", "load_file")}
    imports |= {Import("torch", "Tensor"), Import("torch", "nn")} | own.imports
    text = "\n\n\n".join([*own.definitions.values(), *body])
    imports |= {one for one in _OPTIONAL_IMPORTS if one.bound in _words(text)}
    future = "from __future__ import annotations"
    others = import_lines(one for one in imports if one.module != "__future__")
    docstring = f'"""{title} in PyTorch.\n\nREADME.md says what goes in and what comes out. Written by {made_by}.\n"""'
    return f"{docstring}\n\n{future}\n\n{others}\n\n{constants}\n\n\n{text}\n"


_FREEZE = """\
    for layer in FROZEN:  # as in Keras; batch norms among them stay in inference mode
        set_trainable(model.get_submodule(layer), False, False)
"""
_WEIGHTS = 'WEIGHTS = Path(__file__).with_name("weights.safetensors")'
_OPTIONAL_IMPORTS = (Import("torch"), Import("typing", "Any"))


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def tails_of(model: nn.Module) -> list[str | None]:
    """Paths of the modules that `predict` alone applies, one for each output, None where it applies none."""
    for prefix, module in model.named_modules():
        if isinstance(module, ImportedModel):
            start = f"{prefix}." if prefix else ""
            return [None if tail is None else start + tail for tail in graph_tails(module.network)]
    return [None]


def _own_classes(modules: Iterable[nn.Module]) -> list[type[nn.Module]]:
    found: dict[type[nn.Module], None] = {}
    for module in modules:
        for one in module.modules():
            if type(one).__module__.partition(".")[0] in PROJECT:
                found[type(one)] = None
    return list(found)


def _class(model: nn.Module, network: Steps, leaves: Mapping[str, nn.Module], tails: Sequence[str | None]) -> str:
    names = variables(network)
    parameters = "".join(f", {names[value]}: Tensor" for value in network.inputs)
    form = _form(network)
    parts = [
        'class Model(nn.Module):\n    """The network; the modules carry the Keras layers\' names."""',
        "\n".join(["    def __init__(self) -> None:", "        super().__init__()", *_init(model, network, leaves)]),
        "\n".join([*_signature("forward", parameters, form), *_forward(model, network, names)]),
        "\n".join([*_signature("predict", parameters, form), *_predict(model, network, names, tails)]),
    ]
    if any(hasattr(one, COUNT) for leaf in leaves.values() for one in leaf.modules()):
        parts.append(_STATE_DICT)
    return "\n\n".join(parts)


# Keras counts no batches, and a batch norm with a fixed momentum does not read the count.
_STATE_DICT = '''\
    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns the tensors of weights.safetensors: without the batch norms' counts, which Keras does not keep."""
        state = super().state_dict(*args, **kwargs)
        return {name: tensor for name, tensor in state.items() if not name.endswith(".num_batches_tracked")}'''


def _signature(name: str, parameters: str, form: str) -> list[str]:
    line = f"    def {name}(self{parameters}) -> {form}:"
    if len(line) <= LINE_LENGTH:
        return [line]
    inner = f"        self{parameters}"
    broken = [inner] if len(inner) <= LINE_LENGTH else [f"        {one}," for one in f"self{parameters}".split(", ")]
    return [f"    def {name}(", *broken, f"    ) -> {form}:"]


def _form(network: Steps) -> str:
    if isinstance(network.outputs, str):
        return TENSOR
    return DICT if isinstance(network.outputs, Mapping) else TUPLE


def _init(model: nn.Module, network: Steps, leaves: Mapping[str, nn.Module]) -> list[str]:
    """Lines that build every layer, a blank one where a group of the forward pass ends."""
    ends = ends_group(network, model)
    after = {step.module for position, step in enumerate(network.steps) if position in ends}
    containers = _containers(leaves)
    lines: list[str] = []
    written: set[str] = set()
    for path, module in leaves.items():
        for container in _parents(path):
            if container not in written:
                written.add(container)
                lines += _assign(container, f"nn.{containers[container]}", [])
        lines += _layer(path, module)
        if path in after:
            lines.append("")
    return lines[:-1] if lines and not lines[-1] else lines


def _parents(path: str) -> list[str]:
    parts = path.split(".")[:-1]
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _containers(leaves: Iterable[str]) -> dict[str, str]:
    """The class of each container: one with keys where a name in it cannot stand behind a dot."""
    found: dict[str, str] = {}
    for leaf in leaves:
        for path in [*_parents(leaf), leaf]:
            parent, _, name = path.rpartition(".")
            if parent and (parent not in found or not plain(name)):
                found[parent] = "Module" if plain(name) else "ModuleDict"
    return found


def _layer(path: str, module: nn.Module) -> list[str]:
    if isinstance(module, nn.Sequential) and "0" not in dict(module.named_children()):
        parts = [line for name, part in module.named_children() for line in _layer(f"{path}.{name}", part)]
        return [*_assign(path, "nn.Sequential", []), *parts]
    return _assign(path, *constructor(module))


def _assign(path: str, function: str, arguments: list[str]) -> list[str]:
    if "." in path or plain(path):
        return statement(f"{attribute(path)} = ", function, arguments)
    return statement("", "self.add_module", [literal(path), f"{function}({', '.join(arguments)})"])


def attribute(path: str) -> str:
    """Returns the expression for a module inside a method."""
    first, *others = path.split(".")
    start = f"self.{first}" if plain(first) else f"self.get_submodule({literal(first)})"
    return start + "".join(f".{name}" if plain(name) else f"[{literal(name)}]" for name in others)


def _forward(model: nn.Module, network: Steps, names: Mapping[str, str]) -> list[str]:
    classifies = isinstance(model, ResNet) and model.architecture.head.classes is not None
    what = "logits" if classifies or any(tails_of(model)) else "outputs"
    lines = [f'        """Returns the {what}; README.md has the shapes."""']
    ends = ends_group(network, model)
    for position, step in enumerate(network.steps):
        fed = [names[value] for value in step.inputs]
        target = f"{names[step.value]} = "
        if step.module is None:
            lines.append(f"        {target}{' + '.join(fed)}")
        else:
            lines += statement(target, attribute(step.module), fed)
        if position in ends:
            lines.append("")
    return [*lines, *_return(network, lambda value, _: names[value])]


def _predict(model: nn.Module, network: Steps, names: Mapping[str, str], tails: Sequence[str | None]) -> list[str]:
    said = "what the Keras model returns, in inference mode and without gradients"
    lines = [f'        """Returns {said}."""', "        with inference(self):"]
    call = f"self({', '.join(names[value] for value in network.inputs)})"
    if isinstance(model, ResNet) and model.own_head is None:
        head = model.architecture.head
        ends = {"softmax": ".softmax(dim=1)", "sigmoid": ".sigmoid()"}
        return [*lines, f"            return {call}{ends.get(head.activation, '') if head.classes else ''}"]
    if not any(tails):
        return [*lines, f"            return {call}"]
    if isinstance(network.outputs, str):
        return [*lines, f"            return {attribute(str(tails[0]))}({call})"]
    lines.append(f"            outputs = {call}")
    keys = list(network.outputs) if isinstance(network.outputs, Mapping) else list(range(len(network.outputs)))

    def finished(_: str, position: int) -> str:
        value = f"outputs[{literal(keys[position])}]"
        tail = tails[position]
        return value if tail is None else f"{attribute(tail)}({value})"

    return [*lines, *(f"    {line}" for line in _return(network, finished))]


def _return(network: Steps, value: Callable[[str, int], str]) -> list[str]:
    outputs = network.outputs
    if isinstance(outputs, str):
        return [f"        return {value(outputs, 0)}"]
    if isinstance(outputs, Mapping):
        pairs = enumerate(outputs.items())
        items = [f"{literal(key)}: {value(one, position)}" for position, (key, one) in pairs]
        return _bracketed("{", items, "}")
    items = [value(one, position) for position, one in enumerate(outputs)]
    line = f"        return {', '.join(items)}"
    return [line] if len(line) <= LINE_LENGTH - 4 else _bracketed("(", items, ")")


def _bracketed(opening: str, items: Sequence[str], closing: str) -> list[str]:
    line = f"        return {opening}{', '.join(items)}{closing}"
    if len(line) <= LINE_LENGTH - 4:  # room for the deeper indent of `predict`
        return [line]
    return [f"        return {opening}", *(f"            {item}," for item in items), f"        {closing}"]


def _preprocess(how: Preprocessing, dtype: torch.dtype) -> str:
    cast = "" if dtype is torch.float32 else f".to({dtype})"
    lines = "".join(f"    {line}\n" for line in preprocessing_lines(how))
    return (
        "def preprocess(images: Any) -> Tensor:\n"
        f'    """Returns what the network takes of RGB images, by {how.words}.\n\n'
        "    Args:\n        images: RGB in 0..255, (N, H, W, C), a NumPy array or a tensor.\n\n"
        '    Returns:\n        (N, C, H, W).\n    """\n'
        f"    x = torch.as_tensor(images).to(torch.float32)\n{lines}"
        f"    return x.movedim(-1, 1).contiguous(){cast}"
    )


def _frozen(paths: Sequence[str]) -> str:
    line = f"FROZEN = {literal(tuple(paths))}"
    return (
        line if len(line) <= LINE_LENGTH else "\n".join(["FROZEN = (", *(f"    {literal(one)}," for one in paths), ")"])
    )


def _load(dtype: torch.dtype, *, frozen: bool) -> str:
    made = "Model()" if dtype is torch.float32 else f"Model().to({dtype})"
    return (
        "def load(path: str | Path = WEIGHTS) -> Model:\n"
        '    """Returns the network with its weights, in evaluation mode, on the CPU."""\n'
        f"    model = {made}\n"
        "    model.load_state_dict(load_file(path))\n" + (_FREEZE if frozen else "") + "    return model.eval()"
    )
