"""``README.md`` of a standalone port: what it is, what goes in and comes out, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from resnet_torch.standalone.constructors import literal
from resnet_torch.standalone.model_source import MODES_IN_WORDS, tails_of
from weight_transfer.architecture import Architecture
from weight_transfer.converted import Converted, Origin
from weight_transfer.graph import layers
from weight_transfer.images import WAYS, ImageLoading
from weight_transfer.network import Network, channels_last, graph_of, preprocessing_of, title_of

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
    mode: str | None,
    dtype: torch.dtype,
    in_shapes: Mapping[str, Shape],
) -> str:
    """Writes the words.

    Args:
        converted: Where the port comes from.
        model: The port.
        package: Name of the folder.
        mode: Of ``preprocess``, or None where there is none.
        dtype: Of the weights.
        in_shapes: Of each input, channels first.
    """
    title = plain_text(title_of(converted.network))
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{title} in PyTorch, ported from a Keras checkpoint: `model.py` is the network, `weights.safetensors` "
            "its weights. It needs torch and safetensors, nothing else.",
            "",
            *_loading(package, mode, dtype, in_shapes),
            *_inputs(converted, mode, dtype, in_shapes),
            *_outputs(converted.network, model),
            *_origin(converted),
        ]
    )


def _loading(package: str, mode: str | None, dtype: torch.dtype, in_shapes: Mapping[str, Shape]) -> list[str]:
    names = "load, preprocess" if mode else "load"
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
        *_example(mode, dtype, in_shapes, prefix),
        "```",
        "",
        "`predict` runs in inference mode without gradients. `forward` (`model(x)`) is for training and gives what "
        "the usual losses take: logits, where the network ends in softmax or sigmoid.",
        "",
    ]


def _example(mode: str | None, dtype: torch.dtype, in_shapes: Mapping[str, Shape], prefix: str) -> list[str]:
    if mode:
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


def _inputs(converted: Converted, mode: str | None, dtype: torch.dtype, in_shapes: Mapping[str, Shape]) -> list[str]:
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
        _preprocessing(network, mode),
        "",
        *_image_loading(converted.description.image_loading, in_shapes),
    ]


def _image_loading(image_loading: ImageLoading | None, in_shapes: Mapping[str, Shape]) -> list[str]:
    """How files become the images, for a network that takes one."""
    shapes = list(in_shapes.values())
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] not in (1, 3, 4):
        return []
    if image_loading is None:
        known = "; ".join(f"`{way.title}` ({way.words})" for way in WAYS.values())
        return [f"Image loading: not known. Ways that Keras code has, with different pixels: {known}.", ""]
    way = WAYS[image_loading]
    return [f"Image loading (`{image_loading}`): {way.title}; {way.words}.", ""]


def _order(network: Network) -> str:
    if channels_last(network):
        return "Channels come first, where the Keras model took them last: `x.movedim(-1, 1)` of its input."
    return "Channels come first, as in the Keras model."


def _preprocessing(network: Network, mode: str | None) -> str:
    if mode is None:
        known = preprocessing_of(network)
        said = f" (Keras calls it `{known}`, which leaves such inputs as they are)" if known != "none" else ""
        return f"Preprocessing: none is known{said}. Feed what the training code fed, scaled as it scaled it."
    shown = {
        "caffe": "x[..., ::-1] - [103.939, 116.779, 123.68]",
        "tf": "x / 127.5 - 1.0",
        "torch": "(x / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]",
    }
    return (
        f"Preprocessing (`{mode}` in keras.applications): {MODES_IN_WORDS[mode]}. `preprocess` takes RGB images in "
        f"0..255, (N, H, W, C), and returns the input: `{shown[mode]}`, then `movedim(-1, 1)`. It does not resize."
    )


def _outputs(network: Network, model: nn.Module) -> list[str]:
    rows = [f"| {name} | {shape_text(shape)} | {what} |" for name, shape, what in output_rows(network, model)]
    graph = graph_of(network)
    named = graph is not None and graph.output_names is not None
    several = f"Both methods return a {'dict of these names' if named else 'tuple in this order'}."
    note = [several, ""] if named or len(rows) > 1 else []
    return ["## Outputs", "", "| output | shape | `predict` |", "|---|---|---|", *rows, "", *note]


def output_rows(network: Network, model: nn.Module) -> list[tuple[str, Shape, str]]:
    """Name, shape as PyTorch has it, and what `predict` does, of each output."""
    graph = graph_of(network)
    if isinstance(network, Architecture):
        shape = layers(network)[-1].out_shape
        applied: str = network.head.activation if network.head.classes is not None else "linear"
        return [("`output`", _channels_first(shape, "channels_last"), _applied(applied))]
    if graph is None:
        return []
    names, shapes = graph.output_names or graph.outputs, graph.shapes
    rows = []
    for name, value, tail in zip(names, graph.outputs, tails_of(model), strict=True):
        applied = "linear" if tail is None else type(model.get_submodule(tail)).__name__.lower()
        rows.append((f"`{plain_text(name)}`", _channels_first(shapes[value], graph.data_format), _applied(applied)))
    return rows


def _applied(activation: str) -> str:
    return "as `forward`" if activation == "linear" else f"{activation} of `forward`'s logits"


def _channels_first(shape: Shape, data_format: str) -> Shape:
    return (*shape[-1:], *shape[:-1]) if data_format == "channels_last" else tuple(shape)


def _origin(converted: Converted) -> list[str]:
    origin = converted.origin
    back = "; `weight-transfer convert` takes it back to Keras" if graph_of(converted.network) is None else ""
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
