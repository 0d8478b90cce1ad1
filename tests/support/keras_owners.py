"""Files as their owners had them, with what their own model predicts: Theano's kernels, other dtypes, Normalization.

Runs in the process that imports Keras; `write` is called through the `keras_side` fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np


class Owned(NamedTuple):
    """A file, what its model was given, and what it gave."""

    file: Path
    x: np.ndarray
    y: np.ndarray


def write(folder: Path, kind: str) -> dict[str, Owned]:
    """Writes all files of a kind, in both Kerases; a key of `KINDS`."""
    import keras
    import tf_keras

    written = {}
    for family, lib in (("keras", keras), ("tf_keras", tf_keras)):
        for name, owned in KINDS[kind](lib, folder / f"{family}_{kind}"):
            written[f"{family} {name}"] = owned
    return written


def predicted(model: Any, x: np.ndarray) -> np.ndarray:
    """The owner's own predictions, in an array that NumPy and a pickle know."""
    y = model.predict(x, verbose=0)
    return y if y.dtype in (np.float16, np.float64) else np.asarray(y, np.float32)


def randomized(model: Any) -> Any:
    """Gives every weight distinct numbers of an ordinary size; variances are positive."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "seed" in weight.name or "count" in weight.name:
            continue
        low = 0.5 if "variance" in weight.name else -0.5
        weight.assign(generator.uniform(low, 1.0, tuple(weight.shape)).astype("float32"))
    return model


def images(rank: int = 2, channels: int = 3) -> np.ndarray:
    """A batch of pixels around 0."""
    return np.random.default_rng(1).normal(size=(3, *(9, 8, 7)[:rank], channels)).astype("float32")


def saved(model: Any, start: Path, x: np.ndarray) -> Iterator[tuple[str, Owned]]:
    """Saves a model in each container."""
    y = predicted(model, x)
    for suffix in (".h5", ".keras"):
        model.save(f"{start}{suffix}")
        yield suffix, Owned(Path(f"{start}{suffix}"), x, y)


def theano(lib: Any, start: Path) -> Iterator[tuple[str, Owned]]:
    """Kernels of every convolution, turned as Theano had them; the right values are those of TensorFlow's."""
    layers = lib.layers
    for rank in (1, 2, 3):
        i = layers.Input(images(rank).shape[1:])
        x = getattr(layers, f"Conv{rank}D")(4, 3, name="conv")(i)
        x = layers.BatchNormalization(name="norm")(x)
        x = getattr(layers, f"Conv{rank}DTranspose")(5, 2, name="transposed")(x)
        if rank < 3:
            x = getattr(layers, f"SeparableConv{rank}D")(4, 3, depth_multiplier=2, name="separable")(x)
            x = getattr(layers, f"DepthwiseConv{rank}D")(2, name="depthwise")(x)
        pooled = getattr(layers, f"GlobalAveragePooling{rank}D")(name="pool")(x)
        model = randomized(lib.Model(i, layers.Dense(3, name="dense")(pooled)))
        file = Path(f"{start}_{rank}.h5")
        model.save(file)
        turn_kernels(file)
        yield f"{rank}-D", Owned(file, images(rank), predicted(model, images(rank)))


def turn_kernels(file: Path) -> None:
    """Makes of a file what Keras 2 on Theano would have written."""
    with h5py.File(file, "r+") as opened:
        arrays: list[h5py.Dataset] = []
        opened["model_weights"].visititems(lambda _, item: arrays.append(item) if hasattr(item, "shape") else None)
        for array in arrays:
            role = array.name.rpartition("/")[2].partition(":")[0]
            if role in ("kernel", "depthwise_kernel") and array.ndim > 2:
                array[...] = array[()][(slice(None, None, -1),) * (array.ndim - 2)]
        for group in (opened, opened["model_weights"]):
            group.attrs["backend"] = b"theano"
            group.attrs["keras_version"] = b"2.1.5"


def small(lib: Any, policy: str | None, head: str | None = None, input_dtype: str = "float32") -> Any:
    """A residual network whose layers have one dtype policy."""
    layers, own = lib.layers, {} if policy is None else {"dtype": policy}
    i = layers.Input((9, 8, 3), dtype=input_dtype, name="images")
    x = layers.Conv2D(4, 3, padding="same", name="conv", **own)(i)
    y = layers.ReLU(name="relu", **own)(layers.BatchNormalization(name="norm", **own)(x))
    y = layers.Conv2D(4, 3, padding="same", name="conv_2", **own)(y)
    x = layers.GlobalAveragePooling2D(name="pool", **own)(layers.Add(name="add", **own)([x, y]))
    last = {"dtype": head} if head else own
    x = layers.Dense(3, name="dense", **own)(x)
    return randomized(lib.Model(i, layers.Activation("softmax", name="softmax", **last)(x)))


def policies(lib: Any, start: Path) -> Iterator[tuple[str, Owned]]:
    """Uniform and mixed policies, with a float32 end as the guide has it and without."""
    for policy in ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"):
        for head in (None, "float32"):
            own = policy if policy in ("float16", "bfloat16", "float64") else "float32"
            model = small(lib, policy, head, own)
            for suffix, owned in saved(model, Path(f"{start}_{policy}_{head}"), images()):
                yield f"{policy} {head} {suffix}", owned


def stored(lib: Any, start: Path) -> Iterator[tuple[str, Owned]]:
    """Models of float32 whose file holds some kernels in other widths."""
    for dtype in ("float16", "float64"):
        model = small(lib, None)
        for weight in model.weights:
            weight.assign(np.asarray(weight).astype("float16").astype("float32"))
        file = Path(f"{start}_{dtype}.h5")
        model.save(file)
        with h5py.File(file, "r+") as opened:
            for layer in ("conv", "conv_2"):
                group = opened[f"model_weights/{layer}/{layer}"]
                (name,) = (name for name in group if name.startswith("kernel"))
                kernel = group[name][()].astype(dtype)
                del group[name]
                group[name] = kernel
        yield dtype, Owned(file, images(), predicted(model, images()))


def normalization(lib: Any, start: Path) -> Iterator[tuple[str, Owned]]:
    """`Normalization` as `adapt` leaves it and with statistics given, along several axes, and inverted."""
    layers = lib.layers
    given = {"mean": [1.0, 2.0, 3.0], "variance": [0.5, 1.0, 2.0]}
    data = np.random.default_rng(2).normal(5, 3, (64, 9, 8, 3)).astype("float32")
    cases: Mapping[str, dict[str, Any]] = {
        "adapted": {},
        "whole": {"axis": None},
        "rows": {"axis": 1},
        "rows and channels": {"axis": (1, 3)},
        "inverted": {"invert": True},
        "given": given,
        "given, inverted": {**given, "invert": True},
    }
    for name, arguments in cases.items():
        i = layers.Input((9, 8, 3))
        norm = layers.Normalization(name="norm", **arguments)
        if "mean" not in arguments:
            norm.adapt(data)
        x = layers.Conv2D(4, 3, name="conv")(norm(i))
        model = lib.Model(i, layers.Dense(2, name="dense")(layers.GlobalAveragePooling2D(name="pool")(x)))
        file = f"{start}_{name.replace(', ', '_').replace(' ', '_')}"
        for suffix, owned in saved(model, Path(file), data[:3]):
            yield f"{name} {suffix}", owned
        model.save_weights(f"{file}.weights.h5")
        Path(f"{file}.weights.json").write_text(model.to_json())
        yield f"{name} .weights.h5", owned._replace(file=Path(f"{file}.weights.h5"))


# Layers on pixels of uint8; the last of each pair says whether the port must refuse them.
ON_PIXELS: Mapping[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "max pooling": (lambda layers, x: layers.MaxPooling2D()(x), False),
    "global max pooling": (lambda layers, x: layers.GlobalMaxPooling2D()(x), False),
    "upsampling": (lambda layers, x: layers.UpSampling2D()(x), False),
    "zero padding": (lambda layers, x: layers.ZeroPadding2D()(x), False),
    "cropping": (lambda layers, x: layers.Cropping2D()(x), False),
    "flatten": (lambda layers, x: layers.Flatten()(x), False),
    "reshape": (lambda layers, x: layers.Reshape((72, 3))(x), False),
    "permute": (lambda layers, x: layers.Permute((2, 1, 3))(x), False),
    "concatenate": (lambda layers, x: layers.Concatenate()([x, x]), False),
    "maximum": (lambda layers, x: layers.Maximum()([x, x]), False),
    "dropout": (lambda layers, x: layers.Dropout(0.5)(x), False),
    "relu": (lambda layers, x: layers.Activation("relu")(x), False),
    "rescaling": (lambda layers, x: layers.Rescaling(1 / 255)(x), False),
    "resizing": (lambda layers, x: layers.Resizing(4, 4)(x), False),
    "normalization": (lambda layers, x: layers.Normalization(mean=1.0, variance=2.0)(x), False),
    "dense": (lambda layers, x: layers.Dense(2)(x), False),
    "batch norm": (lambda layers, x: layers.BatchNormalization()(x), False),
    "leaky relu": (lambda layers, x: layers.LeakyReLU()(x), False),
    "flip": (lambda layers, x: layers.RandomFlip()(x), False),
    "slice": (lambda layers, x: x[:, :, 2:], False),
    "quotient": (lambda layers, x: x / 255, False),
    "then a sum": (lambda layers, x: layers.Add()([layers.Rescaling(2.0)(x)] * 2), False),
    "sum": (lambda layers, x: layers.Add()([x, x]), True),
    "difference": (lambda layers, x: layers.Subtract()([x, layers.ZeroPadding2D(0)(x)]), True),
    "product": (lambda layers, x: layers.Multiply()([x, x]), True),
    "mean of two": (lambda layers, x: layers.Average()([x, x]), True),
    "mean": (lambda layers, x: layers.GlobalAveragePooling2D()(x), True),
    "bilinear upsampling": (lambda layers, x: layers.UpSampling2D(interpolation="bilinear")(x), True),
    "layer norm": (lambda layers, x: layers.LayerNormalization()(x), True),
    "sum behind a pool": (lambda layers, x: layers.Add()([layers.MaxPooling2D()(x)] * 2), True),
    "plus a number": (lambda layers, x: x + 200, True),
}


def pixels(lib: Any, start: Path) -> Iterator[tuple[str, Owned]]:
    """Models that take whole numbers."""
    x = np.random.default_rng(3).integers(0, 256, (3, 9, 8, 3)).astype("uint8")
    for name, (layer, _) in ON_PIXELS.items():
        i = lib.layers.Input((9, 8, 3), dtype="uint8", name="pixels")
        flat = lib.layers.Flatten(name="flat")(layer(lib.layers, i))
        model = randomized(lib.Model(i, lib.layers.Dense(4, name="last")(flat)))
        file = Path(f"{start}_{name.replace(' ', '_')}.keras")
        model.save(file)
        yield name, Owned(file, x, predicted(model, x))


KINDS: Mapping[str, Callable[[Any, Path], Iterator[tuple[str, Owned]]]] = {
    "theano": theano,
    "policies": policies,
    "stored": stored,
    "normalization": normalization,
    "pixels": pixels,
}


def trained(folder: Path) -> tuple[Path, Path]:
    """A file with an optimizer's slots, and the same as Theano would have held it: kernels and their slots turned."""
    import tf_keras

    layers, generator = tf_keras.layers, np.random.default_rng(0)
    i = layers.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 3, name="conv")(i))
    model = tf_keras.Model(i, layers.Dense(2, name="dense")(pooled))
    model.compile(tf_keras.optimizers.legacy.SGD(0.01, momentum=0.9), "mse")
    model.fit(generator.normal(size=(8, 8, 8, 3)), generator.normal(size=(8, 2)), verbose=0)
    plain, turned = folder / "tensorflow.h5", folder / "theano.h5"
    for file in (plain, turned):
        model.save(file)
    with h5py.File(turned, "r+") as opened:
        for path in ("model_weights/conv/conv/kernel:0", "optimizer_weights/SGD/conv/kernel/momentum:0"):
            opened[path][...] = opened[path][()][::-1, ::-1]
        for group in (opened, opened["model_weights"]):
            group.attrs["backend"] = b"theano"
    return plain, turned


def loaded(files: list[Path], x: np.ndarray) -> list[tuple[dict[str, str], np.ndarray]]:
    """The dtype policy of each layer of a file that Keras loads, and what the model gives; tf_keras for an ``.h5``."""
    import keras
    import tf_keras

    found = []
    for file in files:
        lib = tf_keras if file.suffix == ".h5" else keras
        model = lib.models.load_model(file, compile=False)
        # A layer's own attribute has these names in Keras 3; a policy object in tf_keras.
        policies = {layer.name: getattr(layer.dtype_policy, "name", None) for layer in model.layers if layer.weights}
        found.append((policies, predicted(model, x)))
    return found
