"""The reference side of a verification: runs Keras, writes down what every layer gives.

Run as ``python -m resnet_keras.recording REQUEST.json`` by `weight_transfer.parity.verify`, in a
process of its own. It prints JSON lines: progress, then one result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from resnet_keras.images import load_images
from resnet_keras.rebuilding import Rebuilt, last_activations_of, rebuild
from resnet_keras.reference import Reference, load_reference, reference_from_config
from resnet_keras.resnet import resnet
from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.structure import can_resize, same_layers
from weight_transfer.errors import VerificationError
from weight_transfer.graph import layers, weighted
from weight_transfer.keras_graph import KerasGraph, keras_graph
from weight_transfer.layer_graph import LayerGraph
from weight_transfer.layer_types import ROLE_ALIASES
from weight_transfer.model_config import model_graph
from weight_transfer.network import Network, backbone_of, graph_of, network_from_dict, preprocessing_of
from weight_transfer.parity.environment import environment
from weight_transfer.parity.inputs import Case, load_cases, loaded
from weight_transfer.parity.losses import Loss, final_activations, loss_of, target
from weight_transfer.parity.processes import serve, steps
from weight_transfer.parity.recording import OUTPUT, TOP, Origin, RecordingWriter, output_names
from weight_transfer.parity.sketch import DETAILS

ZERO = 1e-9  # of its layer's largest: a smaller gradient is zero but for rounding
STATISTICS = ("moving_mean", "moving_variance")


def record(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the reference in float64 and float32.

    Args:
        request: ``checkpoint``, ``sha256``, ``reference`` (``file`` or ``twin``), ``arrays``
            (``layer/role`` to the file's name), ``network`` (None for whatever model the file holds),
            ``config`` (of a weights-only file's model, where the network is an imported one), ``inputs``
            (what `save_cases` wrote), ``detail`` (a name of `DETAILS`), ``output`` (the recording to write).

    Returns:
        An empty result: the recording says all.
    """
    network = None if request["network"] is None else network_from_dict(request["network"])
    reference = _reference(request, network)
    graph = keras_graph({"class_name": type(reference.model).__name__, "config": reference.model.get_config()})
    subject = _any_subject(reference, graph) if network is None else _subject(reference, graph, network)
    preprocessing = "none" if network is None else preprocessing_of(network)
    channels = _channels(subject)
    shown = load_cases(Path(request["inputs"]))
    for case in shown:
        if len(case.arrays) != len(graph.inputs):
            raise VerificationError(
                f"{case.name}: {len(case.arrays)} arrays. Expected {len(graph.inputs)}, one for each input of the "
                f"model: {', '.join(graph.inputs)}"
            )
    progress = steps(sum(2 if case.check == "inference" else 1 for case in shown))
    skipped: dict[str, str] = {}
    output = Path(request["output"])
    with RecordingWriter(output, DETAILS[request["detail"]], output.parent) as writer:
        writer.feeds = subject.feeds
        for case in shown:
            pixels = loaded(case, channels, load_images)
            inputs = [_network_input(array, case.raw, preprocessing) for array in pixels]
            if case.check == "inference":
                writer.add_case(case)
                _record_inference(subject, writer, case, inputs, progress)
                continue
            try:
                tensors = list(_training(subject, inputs))
            except (tf.errors.OpError, LookupError) as error:
                skipped["training"] = f"Keras cannot train this network in float64: {str(error).splitlines()[0]}"
                continue
            writer.add_case(case)
            if zero := [name for _, name, _, peak in tensors if peak == 0.0]:
                skipped["gradient"] = f"gradients that are zero in Keras prove nothing: {', '.join(zero)}"
            for check, name, array, peak in tensors:
                if peak != 0.0:
                    writer.add(case.name, check, name, array, peak)
            next(progress)
        writer.origin = Origin(
            source=Path(request["checkpoint"]).name,
            sha256=request["sha256"],
            reference=request["reference"],
            loaded_by=reference.loaded_by,
            recorded=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=environment(),
            module=reference.module.__name__,
            preprocessing=preprocessing,
            channels=channels,
            last_activations=subject.last_activations,
            outputs=subject.outputs or tuple(subject.taps.get(value, value) for value in graph.outputs),
            skipped=skipped,
        )
    return {}


@dataclass(frozen=True)
class _Subject:
    """The reference in both dtypes, and what the port calls its values and layers.

    Attributes:
        models: By dtype.
        taps: Name of each value that both sides name.
        layers: By path in the reference, the port's name of each layer with arrays.
        feeds: By tap, the nearest taps that it is computed from.
        last_activations: Of each output, the softmax or sigmoid that ends it.
        outputs: Names for what the model returns, where layers show their logits in its place.
        in_shapes: Of the model's inputs, batch axis first.
    """

    models: Mapping[str, Rebuilt]
    taps: Mapping[str, str]
    layers: Mapping[str, str]
    feeds: dict[str, tuple[str, ...]]
    last_activations: tuple[str | None, ...]
    outputs: tuple[str, ...]
    in_shapes: tuple[tuple[int | None, ...], ...]

    def run(
        self, dtype: str, inputs: list[np.ndarray], note: Callable[[str, np.ndarray], None], *, training: bool = False
    ) -> tuple[list[Any], np.ndarray]:
        """Runs one batch; ``note`` is called with every tap as it is computed. Returns logits and first output."""
        model = self.models[dtype]
        last: dict[str, np.ndarray] = {}

        def named(value: str, tensor: Any, finished: Any) -> None:
            if value in model.graph.outputs:
                last[value] = finished.numpy()
            if value in self.taps:
                note(self.taps[value], (tensor if self.outputs else finished).numpy())

        logits = model.run(inputs, named, training=training)
        for name, value in zip(self.outputs, model.graph.outputs, strict=False):
            note(name, last[value])
        return logits, last[model.graph.outputs[0]]


def _subject(reference: Reference, graph: KerasGraph, network: Network) -> _Subject:
    """Describes the reference of a network that was identified."""
    native = isinstance(network, Architecture)
    taps = {value: name for name, value in _taps(graph, network).items()}
    names = {path: path for path in graph.layers}
    if backbone := backbone_of(network):
        own = {layer.name for layer in weighted(layers(backbone))}
        names |= {path: layer.name for path, layer in graph.layers.items() if layer.name in own}
    free = native and can_resize(model_graph(graph))
    return _built(reference, graph, taps, names, final_activations(network), (OUTPUT,) if native else (), free=free)


def _any_subject(reference: Reference, graph: KerasGraph) -> _Subject:
    """Describes a model of which only Keras knows what it is: every value under its own name."""
    taps = {call.value: call.value for call in graph.calls if call.value not in graph.inputs}
    names = {path: path for path in graph.layers}
    return _built(reference, graph, taps, names, last_activations_of(graph), output_names(len(graph.outputs), taps))


def _built(
    reference: Reference,
    graph: KerasGraph,
    taps: Mapping[str, str],
    names: Mapping[str, str],
    last_activations: Sequence[str | None],
    outputs: tuple[str, ...],
    *,
    free: bool = False,
) -> _Subject:
    models = {
        dtype: rebuild(reference, graph, dtype, last_activations, free_size=free) for dtype in ("float64", "float32")
    }
    in_shapes = tuple(tuple(tensor.shape) for tensor in reference.model.inputs)
    return _Subject(models, taps, names, _feeds(graph, taps, outputs), tuple(last_activations), outputs, in_shapes)


def _record_inference(
    subject: _Subject, writer: RecordingWriter, case: Case, inputs: list[np.ndarray], progress: Iterator[None]
) -> None:
    _, output = subject.run("float64", inputs, lambda tap, value: writer.add(case.name, "inference", tap, value))
    if case.raw and output.ndim == 2 and output.shape[1] > 1:
        writer.tops[case.name] = [_top(row) for row in output]
    next(progress)
    subject.run("float32", inputs, lambda tap, value: writer.measure_noise(case.name, "inference", tap, value))
    next(progress)


def _top(scores: np.ndarray) -> list[tuple[int, float]]:
    best = np.argsort(-scores, kind="stable")[:TOP]
    return [(int(number), float(scores[number])) for number in best]


def _training(subject: _Subject, inputs: list[np.ndarray]) -> Iterator[tuple[Any, str, np.ndarray, float | None]]:
    """One step in float64: yields check, name, tensor and peak of all it gives."""
    found: list[tuple[str, np.ndarray]] = []
    model = subject.models["float64"]
    with tf.GradientTape() as tape:
        logits, _ = subject.run("float64", inputs, lambda tap, value: found.append((tap, value)), training=True)
        losses = map(loss_of, subject.last_activations)
        loss = tf.add_n([_loss(kind, values) for kind, values in zip(losses, logits, strict=True)])
    for tap, value in found:
        yield "training", tap, value, None
    yield "loss", "loss", loss.numpy().reshape(1), None
    variables = list(_variables(model, subject.layers))
    gradients = tape.gradient(loss, [tensor for *_, tensor, trainable in variables if trainable])
    named = [row for row in variables if row[3]]
    by_layer: dict[str, list[tuple[str, np.ndarray]]] = {}
    for (layer, role, _, _), gradient in zip(named, gradients, strict=True):
        if gradient is not None:
            by_layer.setdefault(layer, []).append((role, tf.convert_to_tensor(gradient).numpy()))
    of_all = max((float(np.max(np.abs(gradient))) for roles in by_layer.values() for _, gradient in roles), default=0.0)
    for layer, roles in by_layer.items():
        largest = max(float(np.max(np.abs(gradient))) for _, gradient in roles) or of_all
        for role, gradient in roles:
            own = float(np.max(np.abs(gradient)))
            yield "gradient", f"{layer}/{role}", gradient, largest if own <= ZERO * largest else None
    for layer, role, tensor, _ in variables:
        if role in STATISTICS:
            yield "statistics", f"{layer}/{role}", tf.convert_to_tensor(tensor).numpy(), None


def _variables(model: Rebuilt, names: Mapping[str, str]) -> Iterator[tuple[str, str, Any, bool]]:
    """Yields layer, role, the TensorFlow variable and whether it learns, layer by layer."""
    for path, layer in model.layers.items():
        if not hasattr(layer, "weights"):
            continue
        learning = {id(variable) for variable in layer.trainable_variables}
        # conv1/kernel, conv1/kernel:0, attention/query/kernel beside attention/key/kernel
        parts = [getattr(variable, "path", variable.name).partition(":")[0].split("/") for variable in layer.weights]
        last = Counter(words[-1] for words in parts)
        for variable, words in zip(layer.weights, parts, strict=True):
            role = words[-1] if last[words[-1]] == 1 else "/".join(words[1:])
            if type(layer).__name__.startswith("DepthwiseConv"):  # a SeparableConv's has two kernels
                role = ROLE_ALIASES.get(role, role)
            tensor = variable if isinstance(variable, tf.Variable) else variable.value
            yield names[path], role, tensor, id(variable) in learning


def _loss(kind: Loss, logits: Any) -> Any:
    wanted = target(kind, tuple(logits.shape))
    if kind == "cross entropy":
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))
    if kind == "binary cross entropy":
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits))
    return tf.reduce_mean(tf.square(logits - wanted))


def _reference(request: Mapping[str, Any], network: Network | None) -> Reference:
    """The model that Keras loads from the file, or one that takes the file's weights."""
    path = Path(request["checkpoint"])
    if request["reference"] == "file":
        found = load_reference(path)
        return Reference(found.module, found.model, f"{found.loaded_by} from the file")
    with read_checkpoint(path) as checkpoint:
        arrays = {name: checkpoint[source] for name, source in request["arrays"].items()}
    if isinstance(network, Architecture):
        with _dtype_policy("float64" if any(array.dtype == np.float64 for array in arrays.values()) else "float32"):
            model = resnet(network)
        for layer in weighted(layers(network)):
            model.get_layer(layer.name).set_weights([arrays[f"{layer.name}/{role}"] for role in layer.weights])
        return Reference(keras, model, f"our Keras twin in Keras {keras.__version__}")
    found = reference_from_config(request["config"], arrays)
    return Reference(found.module, found.model, f"the description given, in {found.loaded_by}")


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Builds layers that hold all digits of a file."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _taps(graph: KerasGraph, network: Network) -> dict[str, str]:
    """The value in the reference behind each tap of the network."""
    backbone, imported = backbone_of(network), graph_of(network)
    taps = {} if backbone is None else _taps_of_resnet(graph, backbone)
    return taps if imported is None else taps | _taps_of_graph(graph, imported)


def _taps_of_resnet(graph: KerasGraph, architecture: Architecture) -> dict[str, str]:
    """The value in the reference behind each tap of the architecture."""
    values = {layer.name: path for path, layer in graph.layers.items()}
    same = same_layers(model_graph(graph), architecture)
    return {layer.name: values[same[layer.name]] for layer in layers(architecture) if layer.tap and layer.name in same}


def _taps_of_graph(graph: KerasGraph, network: LayerGraph) -> dict[str, str]:
    """Every value that both sides name."""
    theirs = {call.value for call in graph.calls}
    return {call.value: call.value for call in network.calls if call.value in theirs}


def _feeds(graph: KerasGraph, taps: Mapping[str, str], outputs: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """By tap, the nearest taps before it."""
    nearest: dict[str, tuple[str, ...]] = {}
    feeds = {}
    for call in graph.calls:
        fed = tuple(dict.fromkeys(tap for name in call.inputs for tap in nearest[name]))
        nearest[call.value] = (taps[call.value],) if call.value in taps else fed
        if call.value in taps:
            feeds[taps[call.value]] = fed
    return feeds | {name: nearest[value] for name, value in zip(outputs, graph.outputs, strict=False)}


def _channels(subject: _Subject) -> int:
    """Of the images that the model takes; 0 where it takes something else."""
    shapes = subject.in_shapes
    return int(shapes[0][-1]) if len(shapes) == 1 and len(shapes[0]) == 4 else 0


def _network_input(images: np.ndarray, raw: bool, preprocessing: str) -> np.ndarray:
    """What Keras's own code feeds the network for these images."""
    if not raw or preprocessing == "none" or images.shape[-1] != 3:
        return images.astype(np.float32)
    return keras.applications.imagenet_utils.preprocess_input(images.astype(np.float32), mode=preprocessing)


if __name__ == "__main__":
    serve(record)
