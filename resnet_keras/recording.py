"""The reference side of a verification: runs Keras, writes down what every tap gives.

Run as ``python -m resnet_keras.recording REQUEST.json`` by `weight_transfer.parity.verify`, in a
process of its own. It prints JSON lines: progress, then one result.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # the backend that keeps float64 batch norm in float64
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the reference is the CPU's; the GPU is the port's
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from safetensors.numpy import load_file, save_file

from resnet_keras.resnet import resnet
from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.structure import can_resize, same_layers
from weight_transfer.graph import layers, weighted
from weight_transfer.model_config import ModelGraph, model_graph
from weight_transfer.parity.error import tap_error

SUFFIXES = {"legacy-h5": ".h5", "keras-zip": ".keras"}
OUTPUT = "output"  # the tap of what the model returns


def record(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the reference in float64 and float32.

    Args:
        request: ``checkpoint``, ``container``, ``reference`` (``file`` or ``twin``), ``arrays``
            (``layer/role`` to the file's name), ``architecture``, ``inputs`` (a safetensors file
            of images, (N, H, W, C)), ``cases`` (name to whether it is preprocessed here),
            ``output`` (the safetensors file to write, ``case/tap`` in float64).

    Returns:
        ``taps`` in order, ``noise`` (float32's error by case and tap), ``loaded_by``.
    """
    architecture = Architecture.from_dict(request["architecture"])
    module, loaded_by, model = _reference(request, architecture)
    graph = model_graph({"class_name": type(model).__name__, "config": model.get_config()})
    taps = _taps(graph, architecture)
    classifier = architecture.names.classifier if architecture.head.classes else None
    inputs = load_file(request["inputs"])
    recorded: dict[str, np.ndarray] = {}
    noise: dict[str, dict[str, float]] = {}
    steps = _steps(len(request["cases"]) * 2)
    rebuilt = {dtype: _rebuild(module, model, graph, dtype, taps, classifier) for dtype in ("float64", "float32")}
    for case, raw in request["cases"].items():
        x = _network_input(inputs[case], raw, architecture.conventions.preprocessing)
        truth = _run(rebuilt["float64"], x)
        next(steps)
        rough = _run(rebuilt["float32"], x)
        next(steps)
        noise[case] = {tap: tap_error(rough[tap], truth[tap]).error for tap in truth}
        recorded |= {f"{case}/{tap}": np.ascontiguousarray(value) for tap, value in truth.items()}
    save_file(recorded, request["output"])
    return {"taps": [*taps, OUTPUT], "noise": noise, "loaded_by": loaded_by}


def _reference(request: Mapping[str, Any], architecture: Architecture) -> tuple[Any, str, Any]:
    """The module that built the reference, what to call it, and the model."""
    if request["reference"] == "file":
        return _load(Path(request["checkpoint"]), SUFFIXES[request["container"]])
    model = resnet(architecture)
    with read_checkpoint(request["checkpoint"]) as checkpoint:
        for layer in weighted(layers(architecture)):
            names = [request["arrays"][f"{layer.name}/{role}"] for role in layer.weights]
            model.get_layer(layer.name).set_weights([checkpoint[name] for name in names])
    return keras, f"our Keras twin in Keras {keras.__version__}", model


def _load(path: Path, suffix: str) -> tuple[Any, str, Any]:
    """Loads a full-model file by the first Keras that can.

    Keras decides by the extension, so the file is shown under a name that has the right one.
    """
    refusals = []
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(path.resolve())
        for module in _keras_modules():
            try:
                model = module.models.load_model(link, compile=False, safe_mode=True)
                return module, f"{module.__name__} {module.__version__} from the file", model
            except Exception as error:  # any refusal of this Keras; the next may load it
                refusals.append(f"{module.__name__} {module.__version__}: {str(error).splitlines()[0][:200]}")
    raise RuntimeError("no installed Keras loads this file. " + "; ".join(refusals))


def _keras_modules() -> Iterator[Any]:
    yield keras
    try:
        import tf_keras
    except ImportError:
        return
    yield tf_keras


def _taps(graph: ModelGraph, architecture: Architecture) -> dict[str, str]:
    """The file's layer behind each tap of the architecture."""
    same = same_layers(graph, architecture)
    return {layer.name: same[layer.name] for layer in layers(architecture) if layer.tap and layer.name in same}


def _layers_by_name(model: Any) -> dict[str, Any]:
    """All layers, nested models dissolved."""
    found = {}
    for layer in model.layers:
        found |= _layers_by_name(layer) if hasattr(layer, "layers") else {layer.name: layer}
    return found


def _rebuild(
    module: Any, model: Any, graph: ModelGraph, dtype: str, taps: Mapping[str, str], classifier: str | None
) -> Any:
    """The loaded model's own layers and weights in another dtype, flat, with every tap as an output.

    The classifier gives logits; its activation, if it has one of its own, becomes a layer behind it.
    The spatial size is left free where the layers allow it.
    """
    originals = _layers_by_name(model)
    tensors: dict[str, Any] = {}
    free = can_resize(graph)
    for node in graph.nodes.values():
        if node.class_name == "InputLayer":
            shape = (
                originals[node.name].output.shape[1:] if module is keras else originals[node.name].input_shape[0][1:]
            )
            shape = (None, None, shape[-1]) if free else tuple(shape)
            inputs = tensors[node.name] = module.Input(shape, dtype=dtype, name=node.name)
            continue
        config = {**originals[node.name].get_config(), "dtype": dtype}
        activation = "linear"
        if node.name == classifier:
            activation, config["activation"] = config["activation"], "linear"
        layer = type(originals[node.name]).from_config(config)
        fed = [tensors[name] for name in node.inputs]
        tensors[node.name] = layer(fed if len(fed) > 1 else fed[0])
        layer.set_weights(originals[node.name].get_weights())
        if activation != "linear":
            tensors[OUTPUT] = module.layers.Activation(activation, dtype=dtype)(tensors[node.name])
    outputs = {tap: tensors[name] for tap, name in taps.items()}
    outputs[OUTPUT] = tensors.get(OUTPUT, tensors[graph.outputs[0]])
    return module.Model(inputs, outputs)


def _network_input(images: np.ndarray, raw: bool, preprocessing: str) -> np.ndarray:
    """What Keras's own code feeds the network for these images."""
    if not raw or preprocessing == "none" or images.shape[-1] != 3:
        return images.astype(np.float32)
    return keras.applications.imagenet_utils.preprocess_input(images.astype(np.float32), mode=preprocessing)


def _run(model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    return {tap: np.asarray(value) for tap, value in model(x.astype(model.inputs[0].dtype), training=False).items()}


def _steps(total: int) -> Iterator[None]:
    """Prints progress each time it is asked for the next step."""
    for step in range(1, total + 1):
        print(json.dumps({"progress": step / total}), flush=True)
        yield


def main() -> None:
    """Reads a request, records, prints the result."""
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"result": record(request)}), flush=True)


if __name__ == "__main__":
    main()
