"""What networks under published names are fed, and what they name: a checkpoint says neither, its layers' names do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weight_transfer.architecture import DEPTHS, Architecture, standard_filters
from weight_transfer.graph import Graph
from weight_transfer.images import ImageLoading
from weight_transfer.preprocessing import INSIDE, NOT_KNOWN, Preprocessing, preset
from weight_transfer.resnet.dialects import DIALECTS, IMAGENET_CLASSES, TUTORIAL

IMAGENET_SIZES = (224, None)  # of the input's height and width
# Layers that change the numbers of an image as preprocessing does.
INSIDE_CLASSES = frozenset(
    {"Rescaling", "Normalization", "TFOpLambda", "SlicingOpLambda", "GetItem"}
    | {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative"}
)
# Layers that may stand before it: they move pixels, and leave their numbers alone.
MOVING_CLASSES = frozenset({"Resizing", "CenterCrop", "Cast", "ZeroPadding2D", "GaussianNoise"})


@dataclass(frozen=True)
class Published:
    """One piece of code that people take networks from.

    Attributes:
        layers: Names that all of its networks have, and others have not.
        preprocessing: The preset that its users feed.
        classifier: What its layer of ImageNet's classes is called.
    """

    layers: frozenset[str]
    preprocessing: str
    classifier: str | None = None


# The first that fits counts. Source: preprocess_input in keras/src/applications/{resnet_v2,densenet,mobilenet_v2,
# mobilenet,xception}.py, Keras 3.15; classification_models/models_factory.py of qubvel/classification_models, where
# a batch norm `bn_data` takes images as they are.
PUBLISHED: tuple[Published, ...] = (
    Published(frozenset({"conv2_block1_preact_bn"}), "tf", "predictions"),
    Published(frozenset({"conv1_conv", "pool2_conv"}), "torch", "predictions"),
    Published(frozenset({"Conv1", "bn_Conv1"}), "tf", "predictions"),
    Published(frozenset({"conv1", "conv_dw_1"}), "tf"),
    Published(frozenset({"block1_conv1", "block1_conv1_bn"}), "tf"),
    Published(frozenset({"bn_data", "conv0"}), "none", "fc1"),
    *(
        Published(frozenset({d.names.stem_conv, d.names.stem_norm}), d.preprocessing, d.names.classifier)
        for d in DIALECTS.values()
    ),
)


def expected_preprocessing(network: Graph, trained_on: bool = False) -> Preprocessing:
    """Returns what is done to a network's images, as far as the network alone shows it.

    ``inside the network`` where its own first layers do it; ``known`` for ImageNet's published networks; else
    ``guessed``: what networks of such names usually get, or nothing.

    Args:
        network: Which.
        trained_on: Whether it was trained on since: then it is none of the published ones.
    """
    graph, backbone = network.imported, network.architecture
    shape = next(iter(network.inputs.values()), ())
    channels = 0 if not shape else shape[-1 if network.channels_last else 0] or 0
    if backbone is not None:
        found = preset(DIALECTS[backbone.dialect].preprocessing if backbone.dialect in DIALECTS else "none", "guessed")
    elif graph is None or len(shape) != 3:
        return NOT_KNOWN
    elif _is_inside(graph):
        return INSIDE
    else:
        code = _published(graph)
        found = NOT_KNOWN if code is None else preset(code.preprocessing, "guessed")
    return found.with_certainty("guessed" if trained_on or not is_imagenet(network) else "known").on_channels(channels)


def expected_loading(network: Graph) -> ImageLoading:
    """Returns how a network's images were loaded, where nobody says it: a guess."""
    backbone = network.architecture
    return "opencv" if backbone is not None and backbone.dialect == TUTORIAL.key else "keras"


def is_imagenet(network: Graph) -> bool:
    """Whether a file's network tells ImageNet's classes apart: 1000 under the names and in the shape of published code.

    A head of 1000 classes alone does not say so, nor does a network that was trained on since.
    """
    shape = next(iter(network.inputs.values()), ())
    sizes = shape[:2] if network.channels_last else shape[1:]
    if len(shape) != 3 or not set(sizes) <= set(IMAGENET_SIZES) or shape[-1 if network.channels_last else 0] != 3:
        return False
    if network.resnet is not None:
        return _is_imagenet_resnet(network.resnet)
    graph = network.imported
    if graph is None or network.architecture is not None or len(graph.outputs) != 1:
        return False
    code, last = _published(graph), _ends(graph)
    return code is not None and last == code.classifier and graph.shapes[graph.outputs[0]] == (IMAGENET_CLASSES,)


def _is_imagenet_resnet(a: Architecture) -> bool:
    standard = (a.block, a.block_counts) in DEPTHS.values() and a.stem_filters == 64
    named = a.dialect in DIALECTS and a.dialect != TUTORIAL.key and a.names.classifier == _classifier(a.dialect)
    widths = a.filters == standard_filters(a.block, len(a.block_counts))
    head = a.head.classes == IMAGENET_CLASSES and a.head.hidden_units is None and a.head.activation != "sigmoid"
    return standard and named and widths and head


def _classifier(dialect: str) -> str:
    return DIALECTS[dialect].names.classifier


def _published(graph: Graph) -> Published | None:
    names = {path.rpartition("/")[2] for path in graph.layers}
    return next((code for code in PUBLISHED if code.layers <= names), None)


def _ends(graph: Graph) -> str | None:
    """Name of the layer that holds the last kernel before the output, activations passed over."""
    made: Mapping[str, str] = {call.value: call.layer for call in graph.calls}
    read = {call.value: call.inputs for call in graph.calls}
    value = graph.outputs[0]
    while value in made:
        layer = graph.layers[made[value]]
        if layer.weights or len(read[value]) != 1:
            return layer.path.rpartition("/")[2]
        value = read[value][0]
    return None


def _is_inside(graph: Graph) -> bool:
    """Whether the first layer that computes with the image's numbers is one of preprocessing."""
    value = next(iter(graph.inputs), None)
    while value is not None:
        readers = [call for call in graph.calls if value in call.inputs]
        classes = [graph.layers[call.layer].class_name for call in readers]
        if any(name in INSIDE_CLASSES and len(call.inputs) == 1 for name, call in zip(classes, readers, strict=True)):
            return True
        moving = len(readers) == 1 and (classes[0] in MOVING_CLASSES or classes[0].startswith("Random"))
        value = readers[0].value if moving else None
    return False
