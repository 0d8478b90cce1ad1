"""``README.md`` of a standalone port: what it is, what goes in and comes out, where it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from resnet_torch.standalone.constructors import literal
from resnet_torch.standalone.model_source import preprocessing_lines, tails_of
from weight_transfer.converted import Converted
from weight_transfer.description import Description, Origin
from weight_transfer.graph import Graph
from weight_transfer.images import WAYS, crop_text
from weight_transfer.preprocessing import Preprocessing
from weight_transfer.weight_mapping import modules_of_layers

TOOL = "keras-resnet-to-torch"
LONGEST = 200
Shape = tuple[int | None, ...]


def plain_text(text: str) -> str:
    """Returns a text from a file as one that can stand in a docstring or in Markdown, whatever it holds."""
    kept = "".join(c if c.isprintable() and c not in "\"'`\\<>|{}[]" else "_" for c in text)
    return kept[:LONGEST] or "_"


def made_by(origin: Origin) -> str:
    """Name and version of this tool, as the converted file has it."""
    return f"{TOOL} {plain_text(origin.tool_version)}"


def readme(
    converted: Converted,
    model: nn.Module,
    package: str,
    how: Preprocessing | None,
    dtype: torch.dtype,
    in_shapes: Mapping[str, Shape],
) -> str:
    """Writes the words.

    Args:
        converted: Where the port comes from.
        model: The port.
        package: Name of the folder.
        how: What ``preprocess`` does, or None where there is none.
        dtype: Of the weights.
        in_shapes: Of each input, channels first.
    """
    title = plain_text(converted.network.title)
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{title} in PyTorch, ported from a Keras checkpoint: `model.py` is the network, `weights.safetensors` "
            "its weights. It needs torch and safetensors, nothing else.",
            "",
            *_loading(package, how is not None, dtype, in_shapes),
            *_inputs(converted, how, dtype, in_shapes),
            *_outputs(converted.network, model),
            *_training(converted.description),
            *_origin(converted),
        ]
    )


def _loading(package: str, prepared: bool, dtype: torch.dtype, in_shapes: Mapping[str, Shape]) -> list[str]:
    names = "load, preprocess" if prepared else "load"
    importing = [f"from {package} import {names}"]
    if not package.isidentifier():  # `import` takes no such name, import_module does
        importing = ["from importlib import import_module", "", f"port = import_module({literal(package)})"]
    prefix = "" if package.isidentifier() else "port."
    return [
        "## Use",
        "",
        "With the folder that holds this one on `sys.path` (the current one is, in a script beside it):",
        "",
        "```python",
        *importing,
        "",
        f"model = {prefix}load()  # evaluation mode, on the CPU",
        *_example(prepared, dtype, in_shapes, prefix),
        "```",
        "",
        "`predict` runs in inference mode without gradients. `forward` (`model(x)`) is for training and gives what "
        "the usual losses take: logits, where the network ends in softmax or sigmoid.",
        "",
    ]


def _example(prepared: bool, dtype: torch.dtype, in_shapes: Mapping[str, Shape], prefix: str) -> list[str]:
    if prepared:
        return [
            "# images: RGB, uint8 in 0..255, (N, H, W, C), a NumPy array or a tensor",
            f"outputs = model.predict({prefix}preprocess(images))",
        ]
    inputs = ", ".join(in_shapes)
    comments = [f"# {name}: {dtype}, {shape_text(shape)}" for name, shape in in_shapes.items()]
    return [*comments, f"outputs = model.predict({inputs})"]


def shape_text(shape: Shape) -> str:
    """``(N, 3, 224, 224)``; a free size is ``any``."""
    return f"({', '.join(['N', *('any' if n is None else str(n) for n in shape)])})"


def _inputs(
    converted: Converted, how: Preprocessing | None, dtype: torch.dtype, in_shapes: Mapping[str, Shape]
) -> list[str]:
    network = converted.network
    rows = [f"| `{name}` | {shape_text(shape)} | {dtype} |" for name, shape in in_shapes.items()]
    return [
        "## Inputs",
        "",
        "| input | shape | dtype |",
        "|---|---|---|",
        *rows,
        "",
        _order(network),
        "",
        _preprocessing(converted.description, how),
        "",
        *_image_loading(converted.description),
    ]


def _image_loading(described: Description) -> list[str]:
    """How files become the images, for a network that takes one."""
    image_loading = described.image_loading
    cut = "" if described.crop is None else f" Crop: {crop_text(described.crop)}."
    if not described.network.takes_images:
        return []
    if image_loading is None:
        known = "; ".join(f"`{way.title}` ({way.words})" for way in WAYS.values())
        return [f"Image loading: not known. Ways that Keras code has, with different pixels: {known}.{cut}", ""]
    way = WAYS[image_loading]
    return [f"Image loading (`{image_loading}`): {way.title}; {way.words}.{cut}", ""]


def _order(network: Graph) -> str:
    if network.channels_last:
        return "Channels come first, where the Keras model took them last: `x.movedim(-1, 1)` of its input."
    return "Channels come first, as in the Keras model."


def _preprocessing(described: Description, how: Preprocessing | None) -> str:
    certainty = described.preprocessing.certainty
    if certainty == "inside the network":
        return "Preprocessing: inside the network. Feed RGB in 0..255, as float32."
    if how is None and certainty == "guessed":
        return "Preprocessing: none is known. Feed what the training code fed, scaled as it scaled it."
    if how is None:
        return "Preprocessing: none (known). Feed RGB in 0..255, as float32."
    guess = " It is a guess, by the layers' names: ask whoever trained it." if certainty == "guessed" else ""
    steps = "; ".join(
        f"`{line.partition('  #')[0].replace(', device=x.device', '')}`" for line in preprocessing_lines(how)
    )
    return (
        f"Preprocessing ({certainty}): {how.words}. `preprocess` takes RGB images in 0..255, (N, H, W, C), and returns "
        f"the input: {steps}; then `movedim(-1, 1)`. It does not resize.{guess}"
    )


def _outputs(network: Graph, model: nn.Module) -> list[str]:
    rows = [f"| {name} | {shape_text(shape)} | {what} |" for name, shape, what in output_rows(network, model)]
    named = network.output_names is not None
    several = f"Both methods return a {'dict of these names' if named else 'tuple in this order'}."
    note = [several, ""] if named or len(rows) > 1 else []
    return ["## Outputs", "", "| output | shape | `predict` |", "|---|---|---|", *rows, "", *note]


def output_rows(network: Graph, model: nn.Module) -> list[tuple[str, Shape, str]]:
    """Name, shape as PyTorch has it, and what `predict` does, of each output."""
    if network.resnet is not None:
        shape = network.shapes[network.outputs[0]]
        applied = network.final_activations[0] or "linear"
        return [("`output`", _channels_first(shape, "channels_last"), _applied(applied))]
    names, shapes = network.output_names or network.outputs, network.shapes
    rows = []
    for name, value, tail in zip(names, network.outputs, tails_of(model), strict=True):
        applied = "linear" if tail is None else type(model.get_submodule(tail)).__name__.lower()
        rows.append((f"`{plain_text(name)}`", _channels_first(shapes[value], network.data_format), _applied(applied)))
    return rows


def _applied(activation: str) -> str:
    return "as `forward`" if activation == "linear" else f"{activation} of `forward`'s logits"


def _channels_first(shape: Shape, data_format: str) -> Shape:
    return (*shape[-1:], *shape[:-1]) if data_format == "channels_last" else tuple(shape)


def _training(known: Description) -> list[str]:
    """What acts in training: which layers do not learn, and what stands in no module of the package."""
    modules = modules_of_layers(known.network)

    def places(layers: Iterable[str]) -> str:
        return ", ".join(f"`{modules[layer] if layer in modules else plain_text(layer)}`" for layer in layers)

    dropped = {
        "Regularizers, whose penalties no loss has here": _of_layers(known.regularizers, places),
        "Constraints, which no step keeps here": _of_layers(known.constraints, places),
        "Compiled with": "; ".join(f"{name} {plain_text(json.dumps(x))}" for name, x in known.compiled_loss.items()),
    }
    rows = [f"- {what}: {said}." for what, said in dropped.items() if said]
    rows += [f"- {plain_text(remark)}" for remark in known.remarks]
    frozen = [f"These layers do not learn, as in the Keras model (`trainable=False`): {places(known.frozen)}.", ""]
    left = ["What the Keras model has or had, and this package leaves to you:", "", *rows, ""]
    found = [*(frozen if known.frozen else []), *(left if rows else [])]
    return ["## Training", "", *found] if found else []


def _of_layers(held: Mapping[str, Mapping[str, Any]], places: Callable[[Iterable[str]], str]) -> str:
    """By argument, the layers that have it."""
    arguments = dict.fromkeys(argument for of_layer in held.values() for argument in of_layer)
    return "; ".join(
        f"{plain_text(argument)} of {places(layer for layer, given in held.items() if argument in given)}"
        for argument in arguments
    )


def _origin(converted: Converted) -> list[str]:
    origin = converted.origin
    back = "; `weight-transfer convert` takes it back to Keras" if converted.network.imported is None else ""
    version = plain_text(origin.keras_version or "of a version that the file does not tell")
    file = [
        f"| Keras file | `{plain_text(origin.source)}` ({plain_text(origin.container)}) |",
        f"| its SHA-256 | `{plain_text(origin.sha256)}` |",
        f"| written by Keras | {version} |",
    ]
    trained = ["| trained | in PyTorch |"] if converted.description.training is not None else []
    compared = "compares it with the Keras file" if origin.source else "compares it with a Keras file"
    return [
        "## Where it comes from",
        "",
        "| | |",
        "|---|---|",
        *(file if origin.source else []),
        *trained,
        f"| ported by | {made_by(origin)} |",
        "",
        "When this folder was written, its model gave the same outputs as the port it was made from, bit for bit. "
        f"`weights.safetensors` is that port: `weight-transfer verify` {compared}{back}.",
        "",
    ]
