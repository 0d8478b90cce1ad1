"""Networks of every kind that has a table somewhere, as real Keras saves them, and what it finds in their way back.

Functions to call through ``keras_side``, many files in one call: starting Keras takes longer than most networks.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_acting
import keras_functions
import keras_graphs
import keras_kinds
import keras_listed
import keras_owner_steps
import keras_owners
import keras_random_models
import keras_schemas
import keras_users_classes
import keras_way_back
import keras_zoo
import numpy as np
from keras_scale import scale_class

ENDINGS = (".keras", ".h5")
BATCH = 2
SIZE = 33  # of an image, in pixels
SMALL = ((2, 2, 4), (3, 3, 6), (2, 2, 8), (4, 4, 10))  # filters of each stage
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Judged:
    """What Keras finds in a file that came back.

    Attributes:
        lines: What is otherwise: configs, arrays, what learns, outputs; none where all is as it was.
        held_against: The ending of the owner's file that it was held against: Keras loads not all that it writes.
        num_arrays: Arrays compared.
        num_outputs: Outputs compared; 0 where TensorFlow computes the network on no CPU.
    """

    lines: list[str]
    held_against: str
    num_arrays: int
    num_outputs: int


def judged(
    library: str, pairs: Sequence[tuple[Sequence[Path], Path]], *, compiled: bool = False, but: str = ""
) -> list[Judged]:
    """Has a Keras load each file that came back, beside its owner's.

    Args:
        library: ``keras`` or ``tf_keras``.
        pairs: The owner's files of one network, of which the first that Keras loads counts, and the file.
        compiled: Whether the files must load as they were compiled.
        but: Arguments that end so may be others.

    Raises:
        RuntimeError: Keras loads none of the owner's files.
    """
    keras = importlib.import_module(library)
    found, last = [], None
    for owned, back in pairs:
        keras.backend.clear_session()
        if last is None or last[0] != owned:
            last = (owned, *_first_loaded(keras, owned))
        _, before, path = last
        after = load(keras, back, compile=compiled)
        outputs = [_outputs(model) for model in (before, after)]
        lines = [*keras_way_back.unlike(before, after, but), *(f"output {n} is another" for n in _unequal(*outputs))]
        counts = len(before.get_weights()), len(outputs[0] or ())
        found.append(Judged([f"{back.name}: {line}" for line in lines], path.suffix, *counts))
    return found


def arrays_of(library: str, paths: Sequence[Path]) -> list[list[np.ndarray]]:
    """Every array of each file's model, as Keras loads it."""
    keras = importlib.import_module(library)
    return [load(keras, path).get_weights() for path in paths]


def load(keras: Any, path: Path, **options: Any) -> Any:
    """Loads a file of either Keras, with the class and the function that a file may hold and Keras has not."""
    own = {"Scale": scale_class(keras), "relu6": keras.activations.get("relu6")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.models.load_model(path, custom_objects=own, **{"compile": False, **options})


def _first_loaded(keras: Any, paths: Sequence[Path]) -> tuple[Any, Path]:
    problems = []
    for path in paths:
        try:
            return load(keras, path), path
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"{path.name}: {type(error).__name__}: {str(error)[:300]}")
    raise RuntimeError(f"{keras.__name__} loads none of its own files: {problems}")


def _outputs(model: Any) -> list[np.ndarray] | None:
    """What a model makes of seeded inputs; None where TensorFlow has no such operation on a CPU."""
    rng = np.random.default_rng(5)
    inputs = [_drawn(rng, tensor) for tensor in model.inputs]
    try:
        outputs = model(_packed(model, inputs), training=False)
    except Exception as error:
        if "channels_first" in json.dumps(model.get_config(), default=str) and _on_no_cpu(error):
            return None
        raise
    return [np.asarray(y) for y in keras_random_models.listed(outputs)]


def _on_no_cpu(error: Exception) -> bool:
    words = ("NHWC", "NCHW", "channels_first", "No OpKernel", "NDHWC")
    return any(word in str(error) for word in words)


def _drawn(rng: np.random.Generator, tensor: Any) -> np.ndarray:
    dtype, shape = str(getattr(tensor.dtype, "name", tensor.dtype)), [BATCH, *(n or 16 for n in tensor.shape[1:])]
    return rng.integers(0, 256, shape).astype(dtype) if "int" in dtype else rng.normal(size=shape).astype(dtype)


def _packed(model: Any, inputs: list[Any]) -> Any:
    import tensorflow as tf

    tensors = [tf.constant(x) for x in inputs]
    form = None if hasattr(model, "add") else model.input  # Keras 3 says none of a Sequential that it loaded
    if isinstance(form, dict):
        return dict(zip(form, tensors, strict=True))
    return tensors if len(tensors) > 1 else tensors[0]


def _unequal(one: list[np.ndarray] | None, other: list[np.ndarray] | None) -> list[int]:
    """The numbers of outputs that are not the same to the last bit, or nothing that can be compared."""
    if one is None or other is None:
        return [] if one is other else [-1]
    if len(one) != len(other):
        return [-1]
    pairs = enumerate(zip(one, other, strict=True))
    return [n for n, (x, y) in pairs if x.dtype != y.dtype or x.tobytes() != y.tobytes() or not _is_finite(x)]


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array.astype("float64")).all())


def saved(library: str, names: Sequence[str], folder: Path, endings: Sequence[str] = ENDINGS) -> dict[str, list[Path]]:
    """Saves networks of `networks`, with drawn weights, in each container that this Keras can write them to.

    Returns:
        The files of each network.
    """
    keras, table = importlib.import_module(library), networks(library)
    return {
        name: _saved(keras, table[name], folder / f"{library}-{number}", endings) for number, name in enumerate(names)
    }


def _saved(keras: Any, build: Callable[[Any], Any], stem: Path, endings: Sequence[str]) -> list[Path]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    model = build(keras)
    weigh(model)
    return save(model, stem, endings)


def weigh(model: Any) -> None:
    """Draws every array; of a network of many layers small enough that nothing overflows."""
    keras_random_models.weigh(model, 4)
    kernels = [one for path, one in keras_random_models.variables(model).items() if "kernel" in path]
    for kernel in kernels:
        kernel.assign(np.asarray(kernel) * 0.5)
    for layer in keras_random_models._flat(model):
        if type(layer).__name__ == "Normalization" and layer.input_mean is None:
            layer.finalize_state()  # what it computes with


def save(model: Any, stem: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """Saves a model in each container that its Keras can write it to."""
    paths = []
    for ending in endings:
        path = stem.parent / f"{stem.name}{ending}"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                model.save(path)
            except (TypeError, NotImplementedError):  # tf_keras writes no Ellipsis and no tensor into a .keras file
                path.unlink(missing_ok=True)
                continue
        paths.append(path)
    return paths


# Networks of every kind


@functools.cache
def networks(library: str) -> Mapping[str, Callable[[Any], Any]]:
    """Every network by ``kind: name``, as functions of a Keras."""
    tables: dict[str, Mapping[str, Callable[[Any], Any]]] = {
        "acting": {name: functools.partial(_acting, name) for name in keras_acting.CASES},
        "listed": keras_listed.VARIANTS,
        "graph": keras_graphs.MODELS,
        "kind": {name: build for name, build in keras_kinds.KINDS.items() if name not in ("native", "own head")},
        "owner": {name: functools.partial(_of_owner, name) for name in keras_owner_steps.NETWORKS},
        "schema": keras_schemas.SPECIAL,
        "policy": {f"{policy} {head}": functools.partial(_policy, policy, head) for policy, head in POLICIES},
        "zoo": {name: keras_zoo.NETWORKS[name] for name in ZOO},
        "function": {name: functools.partial(_function, name) for name in keras_functions.PORTED[library]},
        "no function": {name: functools.partial(_function, name) for name in keras_functions.MORE[library]},
        "user's": {name: build for name, build in keras_users_classes.KINDS.items() if name != "optimizer"},
        "pixels": {name: functools.partial(_pixels, name) for name in keras_owners.ON_PIXELS},
        "odd": ODD,
    }
    return {f"{kind}: {name}": build for kind, table in tables.items() for name, build in table.items()}


POLICIES = [
    (policy, head)
    for policy in ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
    for head in (None, "float32")
]
ZOO = (
    "sequential", "1-D", "1-D, flatten head", "3-D", "pre-activation", "outputs in a list", "outputs in a dict",
    "squeeze excite", "separable", "fused activations", "other norms", "decoder",
)  # fmt: skip


def _acting(name: str, keras: Any) -> Any:
    return keras_acting._network(keras, **keras_acting.CASES[name])


def _of_owner(name: str, keras: Any) -> Any:
    return keras_owner_steps.NETWORKS[name](keras)[0]


def _policy(policy: str, head: str | None, keras: Any) -> Any:
    return keras_owners.small(keras, policy, head, "float32" if policy.startswith("mixed") else policy)


def _function(name: str, keras: Any) -> Any:
    image = keras.Input(keras_functions.SHAPE)
    function = keras_functions.ALL[keras.__name__][name]
    return keras.Model(image, function(keras, keras.layers.Conv2D(3, 1)(image), image))


def _pixels(name: str, keras: Any) -> Any:
    image = keras.layers.Input((9, 8, 3), dtype="uint8", name="pixels")
    x = keras_owners.ON_PIXELS[name][0](keras.layers, image)
    return keras.Model(image, keras.layers.Dense(4, name="last")(keras.layers.Flatten(name="flat")(x)))


def _residual(keras: Any, image: Any, **names: str) -> Any:
    layers = keras.layers
    x = layers.Conv2D(4, 3, padding="same", name=names.get("first", "conv_a"))(image)
    y = layers.Conv2D(4, 3, padding="same", name=names.get("second", "conv_b"))(layers.ReLU(name="relu")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    return keras.Model(image, layers.Dense(3, activation="softmax", name=names.get("last", "top"))(x))


def _named(first: str, second: str, last: str = "top", image: str = "image") -> Callable[[Any], Any]:
    """Names that are words of Python, attributes of modules, or paths."""
    return lambda keras: _residual(
        keras, keras.layers.Input((8, 8, 3), name=image), first=first, second=second, last=last
    )


def _odd_pool(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((11, 10, 3))
    x = layers.MaxPooling2D((2, 1), strides=1, padding="same")(image)
    x = layers.add([x, layers.Conv2D(3, 1)(x)])
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def _odd_transposed(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((7, 9, 3))
    x = layers.Conv2DTranspose(6, 4, strides=2, use_bias=False, padding="same", kernel_regularizer="l2")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.add([x, layers.Conv2D(6, (3, 4), padding="same")(x)]))


def _odd_series(keras: Any) -> Any:
    layers = keras.layers
    series = layers.Input((33, 2))
    x = layers.Conv1D(4, 5, strides=2, padding="same")(series)
    x = layers.add([x, layers.Conv1D(4, 4, padding="same")(x)])
    return keras.Model(series, layers.Dense(1)(layers.Flatten()(x)))


def _unbuilt_input(keras: Any) -> Any:
    """A Sequential whose first layer says its input, as Keras 2's guides have it."""
    layers = keras.layers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 3 would rather be given an Input
        first = layers.Conv2D(3, 3, activation="relu", input_shape=(12, 12, 3))
        return keras.Sequential([first, layers.Flatten(), layers.Dense(5, activation="softmax")])


def _free_sizes(keras: Any) -> Any:
    return _residual(keras, keras.layers.Input((None, None, 3)))


def _linear_bottleneck(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((12, 12, 3))
    x = layers.BatchNormalization(name="stem_norm")(layers.Conv2D(8, 3, padding="same", use_bias=False)(image))
    y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.999)(layers.Conv2D(16, 1, use_bias=False)(x)))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)))
    y = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(y))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(4, activation="softmax")(x))


def _bilinear(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(4, 3, padding="same")(image))
    return keras.Model(image, layers.Conv2D(3, 3, padding="same", activation="tanh")(x))


def _channels_first(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((3, 8, 8))
    x = layers.Conv2D(4, 3, padding="same", data_format="channels_first", name="conv")(image)
    x = layers.BatchNormalization(axis=1, name="norm")(x)
    x = layers.MaxPooling2D(2, data_format="channels_first")(x)
    return keras.Model(image, layers.Dense(2)(layers.Flatten(data_format="channels_first")(x)))


def _synchronized(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.BatchNormalization(synchronized=True, name="norm")(layers.Conv2D(4, 3, name="conv")(image))
    return keras.Model(image, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D(name="pool")(x)))


def _instance_norm(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.GroupNormalization(groups=-1, axis=-1, epsilon=1e-5, name="norm")(layers.Conv2D(4, 3)(image))
    return keras.Model(image, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D(name="pool")(x)))


def _slashes(keras: Any) -> Any:
    """Names with a slash two nested models deep."""
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="layer1/conv")(image)
    inner = keras.Model(image, layers.ReLU()(layers.BatchNormalization(name="layer1/conv_bn")(x)), name="inner")
    image = layers.Input((8, 8, 3))
    middle = keras.Model(image, layers.GlobalAveragePooling2D()(inner(image)), name="mid")
    image = layers.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(2, name="head")(middle(image)))


def _lambda(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 3))
    x = layers.Lambda(lambda x: x * 2, name="twice")(layers.Conv2D(4, 3, name="conv")(image))
    return keras.Model(image, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D(name="pool")(x)))


def _masked(keras: Any) -> Any:
    layers = keras.layers
    series = layers.Input((6, 3))
    x = layers.Conv1D(4, 3, name="conv")(layers.Masking(0.0, name="masking")(series))
    return keras.Model(series, layers.Dense(2, name="top")(layers.GlobalAveragePooling1D(name="pool")(x)))


def _recurrent(keras: Any) -> Any:
    series = keras.layers.Input((6, 3))
    return keras.Model(series, keras.layers.LSTM(4, name="lstm")(series))


ODD: Mapping[str, Callable[[Any], Any]] = {
    "words of Python": _named("for", "lambda", "class", image="in"),
    "attributes of a module": _named("train", "forward", "register_buffer"),
    "names that collide": _named("fc", "fc_activation", "fc_"),
    "dots and underscores": _named("a.b", "a_b", "a-b"),
    "a path of another": _named("b/conv/pad", "b/conv"),  # which Keras 3 allows no more
    "pool of odd size": _odd_pool,
    "transposed of even kernel": _odd_transposed,
    "a series of odd length": _odd_series,
    "input of the first layer": _unbuilt_input,
    "free sizes": _free_sizes,
    "linear bottleneck": _linear_bottleneck,
    "bilinear upsampling": _bilinear,
    "channels first": _channels_first,
    "synchronized norm": _synchronized,
    "instance norm": _instance_norm,
    "slashes in nested models": _slashes,
    "Lambda": _lambda,
    "Masking": _masked,
    "LSTM": _recurrent,
}


# Every dialect


def dialect_network(keras: Any, dialect: str, depth: int | None) -> Any:
    """A ResNet of few filters in a dialect; of two stages where no depth is named.

    Keras 3's is built layer by layer by `resnet_keras`, tf_keras's from the recipe's config.
    """
    from weight_transfer.resnet.dialects import design, head_for
    from weight_transfer.resnet.keras_config import legacy_keras_config

    usual = head_for(dialect, 3)
    head = head_for(dialect, None) if dialect == "mask-rcnn" else usual
    form: dict[str, Any] = {"in_shape": (SIZE, SIZE, 3), "head": head, "dialect": dialect, "stem_filters": 3}
    if depth is None:
        form |= {"block_counts": (2, 1), "filters": SMALL[:2]}
    else:
        form |= {"depth": depth, "filters": SMALL if depth >= 50 else tuple(stage[:1] * 2 for stage in SMALL)}
    if keras.__name__ == "keras":
        from resnet_keras import create_resnet

        return create_resnet(**form)
    return keras.models.model_from_json(json.dumps(legacy_keras_config(design(**form))))


def saved_dialects(library: str, cases: Sequence[tuple[str, int | None]], folder: Path) -> list[list[Path]]:
    """Saves a ResNet of each dialect and depth in both containers."""
    keras = importlib.import_module(library)
    return [
        _saved(
            keras,
            functools.partial(dialect_network, dialect=dialect, depth=depth),
            folder / f"{library}-{dialect}-{depth}",
            ENDINGS,
        )
        for dialect, depth in cases
    ]


# Every class of layer

LayerCase = tuple[str, Sequence[tuple[int, ...]], Mapping[str, Any], str | None]  # class, shapes, arguments, format


def saved_layers(library: str, groups: Sequence[Sequence[LayerCase]], folder: Path) -> list[list[Path]]:
    """Saves a network for each group of layers: every layer on inputs of its own, its value an output."""
    keras = importlib.import_module(library)
    return [
        _saved(keras, functools.partial(_side_by_side, cases=cases), folder / f"{library}-layers-{number}", ENDINGS)
        for number, cases in enumerate(groups)
    ]


def _side_by_side(keras: Any, cases: Sequence[LayerCase]) -> Any:
    numbers = keras.Input((3,), name="numbers")  # without an array a file is no checkpoint
    inputs, outputs = [numbers], [keras.layers.Dense(2, name="dense")(numbers)]
    for number, (name, shapes, arguments, data_format) in enumerate(cases):
        fed = [keras.Input(shape, name=f"input_{number}_{place}") for place, shape in enumerate(shapes)]
        outputs.append(_called(keras, number, name, arguments, data_format, fed))
        inputs += fed
    return keras.Model(inputs, outputs, name="layers")


def _called(
    keras: Any, number: int, name: str, arguments: Mapping[str, Any], data_format: str | None, fed: list[Any]
) -> Any:
    import keras_unweighted_layers

    case = keras_unweighted_layers.Case(name, [tuple(x.shape[1:]) for x in fed], dict(arguments), data_format)
    if name in keras_unweighted_layers.OPERATIONS or name.endswith("preprocess_input"):
        return keras_unweighted_layers._call(keras, case, fed, data_format)
    kind = scale_class(keras) if name == "Scale" else getattr(keras.layers, name)
    given = {**_beside(keras, kind), **arguments, "name": f"layer_{number}"}
    if data_format is not None:
        given["data_format"] = data_format
    if isinstance(given.get("activation"), dict):  # a layer as activation
        ((inner, options),) = given["activation"].items()
        given["activation"] = getattr(keras.layers, inner)(**options)
    layer = kind(**given)
    value = layer(fed if len(fed) > 1 else fed[0])
    layer.trainable = not layer.weights or number % 3 != 0
    return value


def _beside(keras: Any, kind: type) -> dict[str, Any]:
    """An argument of training for each that a class takes, none of them the default."""
    found: dict[str, Any] = {}
    for name in inspect.signature(kind.__init__).parameters:
        what = name.rpartition("_")[2]
        if what == "initializer" and "kernel" in name:
            found[name] = keras.initializers.VarianceScaling(0.7, "fan_out", "uniform", seed=3)
        elif what == "initializer":
            found[name] = keras.initializers.Constant(0.3)
        elif what == "regularizer":
            found[name] = keras.regularizers.L1L2(0.01, 0.02)
        elif what == "constraint":
            found[name] = keras.constraints.MaxNorm(1.5, axis=0)
        elif name in ("seed", "momentum"):
            found[name] = {"seed": 7, "momentum": 0.9}[name]
    return found


# Weights alone, and the model's description beside them


def saved_weights(library: str, folder: Path) -> dict[str, tuple[Path, Path, Path]]:
    """Saves the weights of networks; returns by name the file, a file that describes the model, and the owner's own."""
    keras = importlib.import_module(library)
    names = [name for name in WITH_CONFIG if library == "tf_keras" or name != "several GPUs"]
    return {name: _saved_weights(keras, name, folder / f"{library}-{name.replace(' ', '-')}") for name in names}


def _saved_weights(keras: Any, name: str, stem: Path) -> tuple[Path, Path, Path]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    model, described = WITH_CONFIG[name](keras)
    weigh(model)
    weights = Path(f"{stem}{'_weights.h5' if name == 'several GPUs' else '.weights.h5'}")  # as Keras 2 had them
    config = Path(f"{stem}.json")
    model.save_weights(weights)
    text = described.get_config() if name.startswith("get_config") else json.loads(described.to_json())
    config.write_text(json.dumps(text, default=list))
    if described is not model and name == "another order":
        described.load_weights(weights)
    elif described is not model:
        described.set_weights(model.get_weights())
    (own,) = save(described, stem, (".keras",))
    return weights, config, own


def _alone(keras: Any) -> tuple[Any, Any]:
    model = _residual(keras, keras.layers.Input((8, 8, 3), name="image"))
    return model, model


def _chain(keras: Any) -> tuple[Any, Any]:
    layers = keras.layers
    rows = [layers.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(3, name="top")]
    model = keras.Sequential(rows)
    return model, model


def _another_order(keras: Any) -> tuple[Any, Any]:
    """The layers, named by counters, were created in another order than by the run that describes them."""
    model = keras_listed._two_convs(keras, swapped=True)
    keras.backend.clear_session()
    return model, keras_listed._two_convs(keras, swapped=False)


def _several_gpus(keras: Any) -> tuple[Any, Any]:
    """As `multi_gpu_model` made it: the one model is called on parts of the batch, and all weights stand in it."""
    single = _residual(keras, keras.layers.Input((8, 8, 3), name="image"))
    image = keras.layers.Input((8, 8, 3))
    halves = [keras.layers.Lambda(lambda x, part=part: x[part::2], name=f"lambda_{part}")(image) for part in range(2)]
    parallel = keras.layers.Concatenate(axis=0, name="all")([single(half) for half in halves])
    return keras.Model(image, parallel), single


def _subclassed(keras: Any) -> tuple[Any, Any]:
    """A model that is code, and the same network as a graph."""
    graph = _residual(keras, keras.layers.Input((8, 8, 3), name="image"))

    class Network(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv_a = keras.layers.Conv2D(4, 3, padding="same", name="conv_a")
            self.conv_b = keras.layers.Conv2D(4, 3, padding="same", name="conv_b")
            self.top = keras.layers.Dense(3, activation="softmax", name="top")

        def call(self, image: Any) -> Any:
            x = self.conv_a(image)
            y = self.conv_b(keras.activations.relu(x))
            return self.top(
                keras.ops.mean(x + y, axis=(1, 2)) if hasattr(keras, "ops") else keras.backend.mean(x + y, axis=(1, 2))
            )

    model = Network()
    model(np.zeros((1, 8, 8, 3), "float32"))
    return model, graph


WITH_CONFIG: Mapping[str, Callable[[Any], tuple[Any, Any]]] = {
    "to_json": _alone,
    "get_config": _alone,
    "get_config of a chain": _chain,
    "another order": _another_order,
    "several GPUs": _several_gpus,
    "subclassed": _subclassed,
}


# With an optimizer

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adam": {"amsgrad": True, "clipnorm": 1.0},
    "AdamW": {"weight_decay": 0.01},
    "RMSprop": {"momentum": 0.5, "centered": True},
}


def saved_trained(
    library: str, builders: Sequence[tuple[str, Any]], folder: Path, ending: str
) -> list[tuple[str, Path]]:
    """Saves networks that were trained for two steps, each with another optimizer; returns its class and the file.

    Args:
        library: ``keras`` or ``tf_keras``.
        builders: Names in `networks`, or ``dialect`` and its name.
        folder: For the files.
        ending: Of the container.
    """
    keras = importlib.import_module(library)
    found = []
    for number, (kind, name) in enumerate(builders):
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        own = kind == "dialect"
        model = dialect_network(keras, name, None) if own else networks(library)[f"{kind}: {name}"](keras)
        weigh(model)
        optimizer = list(OPTIMIZERS)[number % len(OPTIMIZERS)]
        model.compile(getattr(keras.optimizers, optimizer)(LEARNING_RATE, **OPTIMIZERS[optimizer]), "mse")
        _train(model, 2)
        (path,) = save(model, folder / f"{library}-trained-{number}", (ending,))
        found.append((optimizer, path))
    return found


def next_steps(library: str, paths: Sequence[Path]) -> list[tuple[list[float], list[np.ndarray], int]]:
    """Trains each file on by one step, as it was compiled: the loss, every array after it, steps counted in all."""
    keras = importlib.import_module(library)
    found = []
    for path in paths:
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        model = load(keras, path, compile=True)
        losses = _train(model, 1)
        found.append((losses, model.get_weights(), int(np.asarray(model.optimizer.iterations))))
    return found


def _train(model: Any, steps: int) -> list[float]:
    model.run_eagerly = True
    rng = np.random.default_rng(7)
    x = [_drawn(rng, tensor) for tensor in model.inputs]
    shapes = [np.shape(one) for one in _outputs(model) or ()]
    if "sparse" in str(model.loss):
        y = [rng.integers(0, shape[-1], shape[:-1]) for shape in shapes]
    else:
        y = [rng.normal(size=shape).astype("float32") for shape in shapes]
    fed, wanted = (values if len(values) > 1 else values[0] for values in (x, y))
    losses = []
    for _ in range(steps):
        model.reset_metrics()
        losses.append(float(np.ravel(model.train_on_batch(fed, wanted))[0]))
    return losses
