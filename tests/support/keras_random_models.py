"""Random networks over all layer families, built by real Keras, with what their owner gets: through ``keras_side``.

A network is a seed: the same seed is the same network in either Keras, as far as that has its layers. No layer
is random in training: dropout and noise are there with a rate of 0, random augmentation is not.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras_floatx import floatx

MAX_ELEMENTS = 1500  # of one example's value
MAX_VALUE = 1e3
BATCH = 3
ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softmax", "log_softmax",
    "softplus", "softsign", "sigmoid", "sparse_sigmoid", "hard_sigmoid", "hard_silu", "tanh", "hard_tanh",
    "log_sigmoid", "tanh_shrink", "soft_shrink", "hard_shrink", "squareplus", "sparse_plus", "exponential",
)  # fmt: skip
MERGES = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate")


class Drawn:
    """A network in the making: every method takes a symbolic tensor and returns one, or raises what Keras raises."""

    def __init__(self, keras: Any, rng: random.Random, dtype: str, depth: int = 0) -> None:
        self.keras = keras
        self.layers = keras.layers
        self.rng = rng
        self.dtype = dtype
        self.depth = depth

    # What to draw.

    def pick(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    def maybe(self, share: float = 0.5) -> bool:
        return self.rng.random() < share

    def each(self, rank: int, *choices: int) -> Any:
        return self.pick(*choices) if rank == 1 else tuple(self.pick(*choices) for _ in range(rank))

    def activation_name(self) -> str:
        named = [name for name in ACTIVATIONS if hasattr(self.keras.activations, name)]
        return self.pick(*named, "relu", "relu", "relu")

    def regularizer(self) -> Any:
        if not self.maybe(0.15):
            return None
        kind = self.pick("L1", "L2", "L1L2")
        amounts = (0.01, 0.02) if kind == "L1L2" else (0.01,)
        return getattr(self.keras.regularizers, kind)(*amounts)

    def penalized_activation(self) -> dict[str, Any]:
        """For an Activation, whose penalty tf_keras drops from what it saves."""
        return {"activity_regularizer": self.regularizer()} if self.keras.__name__ == "keras" else {}

    def options(self, *regularized: str) -> dict[str, Any]:
        """An activation and regularizers, the output's included."""
        found = {f"{name}_regularizer": self.regularizer() for name in (*regularized, "activity")}
        if self.maybe():
            found["activation"] = self.activation_name()
        return found

    # Layers that keep the shape.

    def activation(self, x: Any) -> Any:
        layers, rank = self.layers, len(x.shape) - 2
        kind = self.pick("name", "name", "ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax", "ThresholdedReLU")
        if kind == "name":
            return layers.Activation(self.activation_name(), **self.penalized_activation())(x)
        if kind == "ReLU":
            arguments = {"max_value": self.pick(None, 6.0, 0.75), "negative_slope": self.pick(0.0, 0.25)}
            return layers.ReLU(threshold=self.pick(0.0, 0.0, 0.5), **arguments)(x)
        if kind == "PReLU":
            shared = list(range(1, rank + 1)) if self.maybe() else None
            return layers.PReLU(shared_axes=shared or None, alpha_regularizer=self.regularizer())(x)
        if kind == "Softmax":
            return layers.Softmax(axis=self.pick(-1, *range(1, len(x.shape))))(x)
        if kind == "ELU":
            return layers.ELU(alpha=self.pick(1.0, 0.4))(x)
        return getattr(layers, kind)()(x)

    def norm(self, x: Any) -> Any:
        layers, last = self.layers, len(x.shape) - 1
        kind = self.pick("Batch", "Batch", "Batch", "Layer", "Group", "Data")
        epsilon = {"epsilon": self.pick(1e-3, 1.001e-5, 0.017)}
        affine = {"scale": self.maybe(0.8), "center": self.maybe(0.8)}
        affine |= {f"{name}_regularizer": self.regularizer() for name in ("beta", "gamma")}
        if kind == "Batch":
            axis, momentum = self.pick(-1, -1, *range(1, last + 1)), self.pick(0.99, 0.9)
            return layers.BatchNormalization(axis=axis, momentum=momentum, **epsilon, **affine)(x)
        if kind == "Layer":
            return layers.LayerNormalization(axis=self.pick(-1, list(range(1, last + 1))), **epsilon, **affine)(x)
        if kind == "Data":
            return layers.Normalization(axis=-1, mean=0.25, variance=self.pick(0.5, 2.0))(x)
        groups = [n for n in range(1, x.shape[-1]) if x.shape[-1] % n == 0] or [1]
        return layers.GroupNormalization(groups=self.pick(*groups), **epsilon, **affine)(x)

    def quiet(self, x: Any) -> Any:
        """A layer that would be random, without its effect; or one that adds to the loss alone."""
        rank = len(x.shape) - 2
        kind = self.pick("Dropout", "GaussianDropout", "AlphaDropout", "GaussianNoise", "Spatial", "Activity")
        if kind == "Activity":
            return self.layers.ActivityRegularization(l1=self.pick(0.0, 0.01), l2=0.02)(x)
        if kind == "Spatial" and rank:
            return getattr(self.layers, f"SpatialDropout{rank}D")(0.0)(x)
        return getattr(self.layers, kind if kind != "Spatial" else "Dropout")(0.0)(x)

    def operation(self, x: Any) -> Any:
        """Arithmetic as people write it between layers."""
        kind = self.pick("times", "plus", "from", "over", "negative", "channels", "rows", "self")
        return {
            "times": lambda: x * 1.5,
            "plus": lambda: x + 0.5,
            "from": lambda: 1.0 - x,
            "over": lambda: x / 2.0,
            "negative": lambda: -x,
            "channels": lambda: x[..., :1],
            "rows": lambda: x[:, 1:],
            "self": lambda: x + x,
        }[kind]()

    # Layers with kernels.

    def conv(self, x: Any, filters: int | None = None, *, keep: bool = False) -> Any:
        rank = len(x.shape) - 2
        if not rank:
            return self.dense(x, filters)
        arguments = {
            "kernel_size": self.each(rank, 1, 2, 3),
            "padding": "same" if keep else self.pick("same", "valid"),
            "use_bias": self.maybe(0.7),
        }
        strided = not keep and self.maybe(0.3)
        if strided:
            arguments["strides"] = self.each(rank, 1, 2)
        kind = "" if keep or rank == 3 else self.pick("", "", "", "Depthwise", "Separable")
        if kind and strided:  # TensorFlow's depthwise kernels want the same along each axis
            arguments["strides"] = 2
        if not strided and rank < 3 and self.maybe(0.2):
            arguments["dilation_rate"] = 2
        if kind == "Depthwise":
            layer = getattr(self.layers, f"DepthwiseConv{rank}D")
            options = self.options("depthwise", "bias")
            return layer(depth_multiplier=self.pick(1, 2), **options, **arguments)(x)
        filters = filters or self.pick(2, 4, 6)
        if kind == "Separable":
            options = self.options("depthwise", "pointwise", "bias")
            return getattr(self.layers, f"SeparableConv{rank}D")(filters, **options, **arguments)(x)
        if rank == 1 and not keep and self.maybe(0.2):
            arguments["padding"] = "causal"
        if x.shape[-1] % 2 == 0 and filters % 2 == 0 and self.maybe(0.2):
            arguments["groups"] = 2
        return getattr(self.layers, f"Conv{rank}D")(filters, **self.options("kernel", "bias"), **arguments)(x)

    def transposed(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        arguments = {"kernel_size": self.each(rank, 1, 2, 3), "strides": self.each(rank, 1, 2)}
        layer = getattr(self.layers, f"Conv{rank}DTranspose")
        return layer(self.pick(2, 3), padding=self.pick("same", "valid"), **arguments, **self.options("kernel"))(x)

    def dense(self, x: Any, units: int | None = None) -> Any:
        return self.layers.Dense(units or self.pick(2, 3, 5), use_bias=self.maybe(0.8), **self.options("kernel"))(x)

    # Layers that change the shape.

    def pool(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        if rank == 3 and self.dtype == "float64":  # TensorFlow pools three axes in float32 alone
            return self.conv(x)
        size = self.each(rank, 2, 3)
        layer = getattr(self.layers, f"{self.pick('Max', 'Average')}Pooling{rank}D")
        strides = self.pick(None, 1) if rank == 3 else self.pick(None, self.each(rank, 1, 2))
        return layer(size, strides=strides, padding=self.pick("same", "valid"))(x)

    def global_pool(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        return getattr(self.layers, f"Global{self.pick('Max', 'Average')}Pooling{rank}D")(keepdims=self.maybe())(x)

    def margins(self, rank: int) -> Any:
        pairs = tuple((self.pick(0, 1, 2), self.pick(0, 1)) for _ in range(rank))
        return pairs[0] if rank == 1 else pairs

    def pad(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        return getattr(self.layers, f"ZeroPadding{rank}D")(self.margins(rank))(x)

    def crop(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        return getattr(self.layers, f"Cropping{rank}D")(self.margins(rank))(x)

    def upsample(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        smooth = rank == 2 and self.dtype == "float32" and self.maybe()  # TensorFlow resizes smoothly in float32 alone
        arguments = {"interpolation": "bilinear"} if smooth else {}
        return getattr(self.layers, f"UpSampling{rank}D")(self.each(rank, 1, 2), **arguments)(x)

    def resize(self, x: Any) -> Any:
        kind = "nearest" if self.dtype == "float64" else self.pick("nearest", "bilinear")
        return self.layers.Resizing(self.pick(4, 7), self.pick(5, 6), interpolation=kind)(x)

    def permute(self, x: Any) -> Any:
        axes = list(range(1, len(x.shape)))
        self.rng.shuffle(axes)
        return self.layers.Permute(axes)(x)

    def reshape(self, x: Any) -> Any:
        sizes = list(x.shape[1:])
        return self.layers.Reshape(self.pick((sizes[0], -1), (-1, sizes[-1]), (*sizes, 1), (1, *sizes)))(x)

    def flatten(self, x: Any) -> Any:
        return self.layers.Flatten()(x)

    def repeat(self, x: Any) -> Any:
        return self.layers.RepeatVector(self.pick(2, 3))(x)

    def rescale(self, x: Any) -> Any:
        scale = self.pick(0.5, [0.25 * (1 + n) for n in range(x.shape[-1])])
        return self.layers.Rescaling(scale, offset=self.pick(0.0, -0.5))(x)

    # What is made of several.

    def merge(self, x: Any) -> Any:
        kind = self.pick(*MERGES)
        branches = [
            self.conv(x, x.shape[-1], keep=True) for _ in range(1 if kind == "Subtract" else self.pick(1, 1, 2))
        ]
        layer = getattr(self.layers, kind)
        return layer(axis=self.pick(-1, 1))([x, *branches]) if kind == "Concatenate" else layer()([x, *branches])

    def excite(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        pooled = getattr(self.layers, f"GlobalAveragePooling{rank}D")(keepdims=self.maybe())(x)
        if len(pooled.shape) == 2:
            pooled = self.layers.Reshape((*[1] * rank, x.shape[-1]))(pooled)
        return self.layers.Multiply()([x, self.layers.Dense(x.shape[-1], activation="sigmoid")(pooled)])

    def shared(self, x: Any) -> Any:
        """One layer, or one model, that is called twice."""
        rank, channels = len(x.shape) - 2, x.shape[-1]
        kind = self.pick("norm", "conv", "activation", "model")
        if kind == "norm":
            layer: Any = self.layers.BatchNormalization(momentum=0.9)
        elif kind == "activation":
            layer = self.layers.Activation("tanh", **self.penalized_activation())
        elif kind == "model":
            layer = self.model_of(x, lambda drawn, y: drawn.activation(drawn.conv(drawn.norm(y), channels, keep=True)))
        elif rank:
            layer = getattr(self.layers, f"Conv{rank}D")(channels, 3, padding="same", **self.options("kernel"))
        else:
            layer = self.layers.Dense(channels, **self.options("kernel"))
        first = layer(x)
        return layer(first) if self.maybe() else self.layers.Add()([first, layer(self.activation(x))])

    def nested(self, x: Any) -> Any:
        if self.depth > 1:
            return self.conv(x)
        return self.model_of(x, lambda drawn, y: drawn.walk(y, drawn.rng.randint(1, 3)))(x)

    def model_of(self, x: Any, body: Callable[[Drawn, Any], Any]) -> Any:
        """A model on tensors like x, as a Sequential where it is a chain."""
        inside = Drawn(self.keras, self.rng, self.dtype, self.depth + 1)
        entrance = self.layers.Input(tuple(x.shape[1:]))
        model = self.keras.Model(entrance, body(inside, entrance))
        chain = [layer for layer in model.layers if layer.__class__.__name__ != "InputLayer"]
        plain = all(len(layer._inbound_nodes) == 1 for layer in chain) and len(chain) == len(model.layers) - 1
        if plain and _is_chain(model) and self.maybe():
            return self.keras.Sequential([self.layers.Input(tuple(x.shape[1:])), *chain])
        return model

    def walk(self, x: Any, steps: int) -> Any:
        """Puts so many random layers behind x; what Keras refuses, or what would grow too large, is drawn again."""
        for _ in range(steps):
            for _try in range(20):
                try:
                    y = getattr(self, self.pick(*STEPS[min(len(x.shape) - 2, 3)]))(x)
                except Exception:  # options that do not fit: Keras and TensorFlow raise their own
                    continue
                sizes = tuple(y.shape[1:])
                if sizes and None not in sizes and 0 not in sizes and np.prod(sizes) <= MAX_ELEMENTS and len(sizes) < 5:
                    x = y
                    break
        return x


_ANY = ("activation", "activation", "norm", "norm", "quiet", "operation", "merge", "merge", "shared", "nested")
_SPATIAL = (
    *_ANY, "conv", "conv", "conv", "transposed", "dense", "pool", "pool", "global_pool", "pad", "crop", "upsample",
    "permute", "reshape", "flatten", "rescale", "excite",
)  # fmt: skip
STEPS = {0: (*_ANY, "dense", "dense", "repeat", "reshape"), 1: _SPATIAL, 2: (*_SPATIAL, "resize"), 3: _SPATIAL}


def _is_chain(model: Any) -> bool:
    """Whether every layer reads the one before it."""
    read = [getattr(layer, "input", None) for layer in model.layers[1:]]
    return all(
        one is before.output for one, before in zip(read, model.layers, strict=False) if not isinstance(one, list)
    ) and not any(isinstance(one, list) for one in read)


def draw(keras: Any, seed: int) -> tuple[Any, str]:
    """Builds a network; returns it and its dtype."""
    rng = random.Random(seed)
    dtype = "float32" if rng.random() < 0.25 else "float64"
    with floatx(keras, dtype):
        drawn = Drawn(keras, rng, dtype)
        rank = rng.choice((2, 2, 2, 1, 3, 0))
        inputs = [
            keras.layers.Input((*(rng.randint(5, 9 if rank < 3 else 6) for _ in range(rank)), rng.choice((2, 3))))
        ]
        x = drawn.rescale(inputs[0]) if drawn.maybe(0.2) else inputs[0]
        x = drawn.conv(x)  # a file without any weights is no checkpoint
        if drawn.maybe(0.2):
            inputs.append(keras.layers.Input(tuple(x.shape[1:])))
            x = getattr(keras.layers, rng.choice(("Add", "Concatenate", "Maximum")))()([x, inputs[1]])
        ends = []
        for _ in range(rng.randint(2, 5)):
            x = drawn.walk(x, 1)
            if drawn.maybe(0.15):
                ends.append(x)
        if drawn.maybe():
            x = drawn.layers.Dense(3, activation=rng.choice(("softmax", "sigmoid", None)), name="head")(x)
        outputs = list({id(end): end for end in (*ends, x)}.values())
        form: Any = outputs if len(outputs) > 1 else outputs[0]
        if len(outputs) > 1 and drawn.maybe(0.3):
            form = dict(zip("zyxwvu", outputs, strict=False))
        model = keras.Model(inputs if len(inputs) > 1 else inputs[0], form)
        for layer in _flat(model):
            layer.trainable = not drawn.maybe(0.1)
        return model, dtype


def weigh(model: Any, seed: int) -> None:
    """Draws every array: kernels that keep the signal's size, statistics away from 0."""
    generator = np.random.default_rng(seed)
    for path, variable in variables(model).items():
        shape, role = tuple(variable.shape), path.rpartition("/")[2]
        if "variance" in role or "gamma" in role:
            value = generator.uniform(0.5, 1.5, shape)
        elif "kernel" in role:
            fan_in = np.prod(shape[:-2]) if "depthwise" in role else np.prod(shape[:-1])
            value = generator.normal(0, np.sqrt(1.5 / fan_in), shape)
        else:
            value = generator.normal(0, 0.3, shape)
        variable.assign(value)


def variables(model: Any) -> dict[str, Any]:
    """Every array but random seeds by the path of its layer and its role: ``inner/conv2d/kernel``."""
    found = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= {f"{layer.name}/{path}": variable for path, variable in variables(layer).items()}
        else:
            named = {variable.name.rpartition("/")[2].partition(":")[0]: variable for variable in layer.weights}
            found |= {f"{layer.name}/{role}": one for role, one in named.items() if "seed" not in role}
    return found


def answers(library: str, seeds: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Builds, saves (``SEED.keras``, ``SEED.h5``) and runs networks; see `_answer`."""
    keras = __import__(library)
    found = []
    for seed in seeds:
        keras.backend.clear_session()
        found.append(_answer(keras, seed, folder))
    return found


def _answer(keras: Any, seed: int, folder: Path) -> dict[str, Any]:
    """What the owner of a network gets.

    Returns:
        ``inputs``; ``predicted`` and ``trained``, the outputs of `predict` and of ``model(x, training=True)``, a
        dict's by sorted key; ``penalty``, the sum of `model.losses` after it; ``gradients`` of that and of the
        outputs times `weights`; ``after``, every array then. All by path, in Keras's layout.
    """
    import tensorflow as tf

    model, dtype, inputs, predicted = usable(keras, seed, folder)
    tensors = [tf.constant(x) for x in inputs]
    with floatx(keras, dtype), tf.GradientTape() as tape:
        trained = listed(model(tensors if len(tensors) > 1 else tensors[0], training=True))
        penalty = tf.add_n([tf.cast(loss, dtype) for loss in model.losses]) if model.losses else tf.zeros((), dtype)
        loss = penalty + tf.add_n([tf.reduce_sum(y * tf.constant(weights(y.shape), dtype)) for y in trained])
    named = variables(model)
    trainable = {id(one): path for path, one in named.items()}
    watched = [one if callable(one.value) else one.value for one in model.trainable_variables]  # Keras 3 wraps them
    found = tape.gradient(loss, watched, unconnected_gradients="zero")
    pairs = zip(model.trainable_variables, found, strict=True)
    return {
        "seed": seed,
        "dtype": dtype,
        "inputs": inputs,
        "predicted": predicted,
        "trained": [np.asarray(y) for y in trained],
        "penalty": float(penalty),
        "gradients": {trainable[id(one)]: np.asarray(gradient) for one, gradient in pairs},
        "after": {path: np.asarray(variable) for path, variable in named.items()},
        "layers": sorted({layer.__class__.__name__ for layer in _flat(model)}),
    }


def usable(keras: Any, seed: int, folder: Path) -> tuple[Any, str, list[Any], list[Any]]:
    """A network that this Keras can save and whose values stay small, its dtype, inputs and predictions."""
    for place in range(50):
        model, dtype = draw(keras, seed + 1_000_003 * place)
        weigh(model, seed)
        generator = np.random.default_rng(seed)
        inputs = [generator.normal(size=(BATCH, *x.shape[1:])).astype(dtype) for x in model.inputs]
        with floatx(keras, dtype):
            predicted = listed(model.predict_on_batch(inputs if len(inputs) > 1 else inputs[0]))
        if all(np.isfinite(y).all() and np.abs(y).max() < MAX_VALUE for y in predicted) and _saved(
            keras, model, seed, folder
        ):
            return model, dtype, inputs, predicted
    raise RuntimeError(f"seed {seed} gives no network that {keras.__name__} can save")


def _saved(keras: Any, model: Any, seed: int, folder: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for suffix in (".keras", ".h5"):
                model.save(folder / f"{keras.__name__}-{seed}{suffix}")
        except (TypeError, ValueError, NotImplementedError):  # tf_keras writes no Ellipsis
            return False
    return True


def _flat(model: Any) -> list[Any]:
    return [one for layer in model.layers for one in (_flat(layer) if hasattr(layer, "layers") else [layer])]


def listed(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return [outputs[key] for key in sorted(outputs)]
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def weights(shape: Sequence[int]) -> np.ndarray:
    """What the elements of an output count in the loss, all differently."""
    return np.cos(np.arange(np.prod(shape, dtype=int), dtype=np.float64)).reshape(tuple(shape)) / shape[0]
