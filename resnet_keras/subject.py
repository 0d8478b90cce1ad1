"""A Keras model as the reference of a comparison: rebuilt in a dtype, its values and arrays by the port's names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from resnet_keras.images import load_images, network_input
from resnet_keras.moving_statistics import STATISTICS
from resnet_keras.rebuilt_model import Rebuilt, last_activations_of, rebuild
from resnet_keras.reference import Reference, load_reference, reference_from_config
from resnet_keras.resnet import resnet
from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.structure import can_resize, same_values
from weight_transfer.errors import VerificationError
from weight_transfer.graph import Graph, read_graph
from weight_transfer.layer_types import ROLE_ALIASES
from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.inputs import Case, loaded
from weight_transfer.parity.losses import Loss, loss_of, target
from weight_transfer.parity.protocol import ReferenceModel
from weight_transfer.parity.recording import OUTPUT, output_names
from weight_transfer.preprocessing import PRESETS, Preprocessing
from weight_transfer.resnet.layout import network_from_dict
from weight_transfer.resnet.recipe import resnet_graph


@dataclass(frozen=True)
class Subject:
    """The reference, and what the port calls its values and layers.

    Attributes:
        reference: As it was loaded.
        models: The same rebuilt, by dtype.
        taps: Name of each value that both sides name.
        layers: By path in the reference, the port's name of each layer with arrays.
        feeds: By tap, the nearest taps that it is computed from.
        last_activations: Of each output, the softmax or sigmoid that ends it.
        outputs: Names for what the model returns, where layers show their logits in its place.
        preprocessing: Of raw images.
        any_size: Whether the models are rebuilt for images of any size.
    """

    reference: Reference
    models: Mapping[str, Rebuilt]
    taps: Mapping[str, str]
    layers: Mapping[str, str]
    feeds: dict[str, tuple[str, ...]]
    last_activations: tuple[str | None, ...]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing
    any_size: bool = False

    @property
    def graph(self) -> Graph:
        """Who reads whom."""
        return next(iter(self.models.values())).graph

    @property
    def channels(self) -> int:
        """Of the images that the model takes; 0 where it takes something else."""
        shapes = [tuple(tensor.shape) for tensor in self.reference.model.inputs]
        images = len(shapes) == 1 and len(shapes[0]) == 4 and self.graph.channels_last
        return int(shapes[0][-1] or 0) if images else 0

    def inputs(self, case: Case) -> list[np.ndarray]:
        """What Keras's own code feeds the model for some inputs.

        Raises:
            VerificationError: The model has another number of inputs.
        """
        names = self.graph.inputs
        if len(case.arrays) != len(names):
            raise VerificationError(
                f"{case.name}: {len(case.arrays)} arrays. Expected {len(names)}, one for each input of the "
                f"model: {', '.join(names)}"
            )
        pixels = loaded(case, self.channels, load_images)
        return [network_input(x, self.preprocessing) if case.raw else x.astype(np.float32) for x in pixels]

    def run(
        self, dtype: str, inputs: list[Any], note: Callable[[str, Any], Any], *, training: bool = False
    ) -> tuple[list[Any], Any]:
        """Runs one batch.

        Args:
            dtype: Of which model.
            inputs: As Keras takes them.
            note: Called with the name of every tap and its tensor as it is computed. What it returns, if it
                returns something, is what the layers behind it read. A last layer with a softmax or sigmoid of
                its own is noted before it too, as `logits_name` calls it.
            training: Whether batch norms run in training mode.

        Returns:
            The outputs before their last activation, and the first output.
        """
        model = self.models[dtype]
        moved = not training and any(call.training for call in model.graph.calls)  # which inference is to leave alone
        before = [(one.own, one.array) for one in self.variables(dtype) if moved and one.role in STATISTICS]
        last: dict[str, Any] = {}

        def shown(name: str | None, tensor: Any) -> Any:
            replaced = None if name is None else note(name, tensor)
            return tensor if replaced is None else replaced

        def named(value: str, tensor: Any, finish: Any) -> Any:
            tap = self.taps.get(value)
            if finish is None or self.outputs:
                tensor = shown(tap, tensor)
                finished = tensor if finish is None else finish(tensor)
            else:
                tensor = shown(tap and logits_name(tap), tensor)
                finished = shown(tap, finish(tensor))
            if value in model.graph.outputs:
                last[value] = finished
            return tensor

        logits = model.run(inputs, named, training=training)
        for name, value in zip(self.outputs, model.graph.outputs, strict=False):
            last[value] = shown(name, last[value])
        for variable, array in before:
            variable.assign(array)
        return logits, last[model.graph.outputs[0]]

    def loss(self, logits: Sequence[Any], labels: Any = None) -> Any:
        """The loss of a step: the sum of the outputs' losses.

        Args:
            logits: What `run` returned.
            labels: Classes of the images, (N,), in place of those that `target` makes up.
        """
        losses = map(loss_of, self.last_activations)
        return tf.add_n([_loss(kind, values, labels) for kind, values in zip(losses, logits, strict=True)])

    @property
    def output_names(self) -> tuple[str, ...]:
        """Under which name each output is recorded as the model returns it."""
        return self.outputs or tuple(self.taps.get(value, value) for value in self.graph.outputs)

    @property
    def variables_by_layer(self) -> dict[str, list[Variable]]:
        """The arrays by the port's name of their layer, in the order in which the loaded layer has them too."""
        found: dict[str, list[Variable]] = {}
        for one in self.variables("float64"):
            found.setdefault(one.layer, []).append(one)
        return found

    def variables(self, dtype: str) -> list[Variable]:
        """Every array of the model, layer by layer."""
        return list(_variables(self.models[dtype], self.layers))


@dataclass(frozen=True)
class Variable:
    """One array of the model.

    Attributes:
        layer: The port's name of its layer.
        role: ``kernel``, ``gamma``, ...
        own: As the layer holds it: a `keras.Variable` or a `tf.Variable`.
        trains: Whether it learns.
    """

    layer: str
    role: str
    own: Any
    trains: bool

    @property
    def name(self) -> str:
        """``layer/role``."""
        return f"{self.layer}/{self.role}"

    @property
    def tensor(self) -> Any:
        """As TensorFlow knows it."""
        return self.own if isinstance(self.own, tf.Variable) else self.own.value

    @property
    def array(self) -> np.ndarray:
        """Its numbers."""
        return np.asarray(tf.convert_to_tensor(self.tensor))


def subject_of(model: ReferenceModel, dtypes: Sequence[str]) -> Subject:
    """Loads the reference of a verification.

    Args:
        model: What to load.
        dtypes: In which to rebuild it.
    """
    network = None if model.network is None else network_from_dict(model.network)
    reference = _reference(model, network)
    graph = read_graph({"class_name": type(reference.model).__name__, "config": reference.model.get_config()})
    if network is None:
        return _any_subject(reference, graph, dtypes)
    native = network.resnet is not None
    taps = {value: name for name, value in _taps(graph, network).items()}
    names = {path: path for path in graph.listed}
    if backbone := network.architecture:
        own = {path for path, layer in resnet_graph(backbone).layers.items() if layer.weights}
        names |= {path: layer.name for path, layer in graph.listed.items() if layer.name in own}
    free = native and can_resize(graph)
    last = network.final_activations
    models = {dtype: rebuild(reference, graph, dtype, last, free_size=free) for dtype in dtypes}
    outputs = (OUTPUT,) if native else ()
    feeds = _feeds(graph, taps, outputs)
    return Subject(reference, models, taps, names, feeds, tuple(last), outputs, model.preprocessing, any_size=free)


def _any_subject(reference: Reference, graph: Graph, dtypes: Sequence[str]) -> Subject:
    """Describes a model of which only Keras knows what it is: every value under its own name."""
    taps = {call.value: call.value for call in graph.calls}
    names = {path: path for path in graph.listed}
    last = last_activations_of(graph)
    outputs = output_names(len(graph.outputs), taps)
    models = {dtype: rebuild(reference, graph, dtype, last) for dtype in dtypes}
    return Subject(reference, models, taps, names, _feeds(graph, taps, outputs), tuple(last), outputs, PRESETS["none"])


def _variables(model: Rebuilt, names: Mapping[str, str]) -> Iterator[Variable]:
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
            yield Variable(names[path], role, variable, id(variable) in learning)


def _loss(kind: Loss, logits: Any, labels: Any) -> Any:
    wanted = target(kind, tuple(logits.shape), labels)
    if kind == "cross entropy":
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))
    if kind == "binary cross entropy":
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits))
    return tf.reduce_mean(tf.square(logits - wanted))


def _reference(asked: ReferenceModel, network: Graph | None) -> Reference:
    """The model that Keras loads from the file, or one that takes the file's weights."""
    if asked.reference == "file":
        found = load_reference(asked.checkpoint)
        return dataclasses.replace(found, loaded_by=f"{found.loaded_by} from the file")
    with read_checkpoint(asked.checkpoint) as checkpoint:
        arrays = {name: checkpoint[source] for name, source in asked.arrays.items()}
    if network is not None and network.resnet is not None:
        with _dtype_policy("float64" if any(array.dtype == np.float64 for array in arrays.values()) else "float32"):
            model = resnet(network.resnet)
        for path, layer in network.layers.items():
            if layer.weights:
                model.get_layer(path).set_weights([arrays[f"{path}/{role}"] for role in layer.weights])
        return Reference(keras, model, f"our Keras twin in Keras {keras.__version__}")
    if asked.config is None:
        raise VerificationError(
            f"{asked.checkpoint}: nothing says which model takes its arrays. Received: no ResNet, and config=None. "
            "Convert it with the model's config."
        )
    found = reference_from_config(asked.config, arrays)
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


def _taps(graph: Graph, network: Graph) -> dict[str, str]:
    """The value in the reference behind each tap of the network."""
    backbone, imported = network.architecture, network.imported
    taps = {} if backbone is None else _taps_of_resnet(graph, backbone)
    return taps if imported is None else taps | _taps_of_graph(graph, imported)


def _taps_of_resnet(graph: Graph, architecture: Architecture) -> dict[str, str]:
    """The value in the reference behind each tap of the architecture."""
    same = same_values(graph.checked(), architecture)
    layout = resnet_graph(architecture).layout
    return {path: same[path] for path, modules in layout.items() if modules and path in same}


def _taps_of_graph(graph: Graph, network: Graph) -> dict[str, str]:
    """Every value that both sides name."""
    theirs = {call.value for call in graph.calls}
    return {call.value: call.value for call in network.calls if call.value in theirs}


def _feeds(graph: Graph, taps: Mapping[str, str], outputs: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """By tap, the nearest taps before it."""
    nearest: dict[str, tuple[str, ...]] = dict.fromkeys(graph.inputs, ())
    feeds = {}
    for call in graph.calls:
        fed = tuple(dict.fromkeys(tap for name in call.inputs for tap in nearest[name]))
        nearest[call.value] = (taps[call.value],) if call.value in taps else fed
        if call.value in taps:
            feeds[taps[call.value]] = fed
    return feeds | {name: nearest[value] for name, value in zip(outputs, graph.outputs, strict=False)}
