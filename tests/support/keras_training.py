"""Training on the Keras side: functions to call through ``keras_side``."""

from __future__ import annotations

import contextlib
import io
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TINY = {"block_counts": (1,), "filters": ((4, 4, 8),), "stem_filters": 4}  # the tutorial's, but small


def tiny(
    path: Path, *, top: bool = True, size: int = 32, classes: int = 3, dropout: float = 0.5, seed: int = 0
) -> Path:
    """Saves a small network of the tutorial's names and its head, or without a head."""
    import keras

    from resnet_keras import create_resnet
    from weight_transfer.architecture import Head

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    head = Head(hidden_units=10, classes=3, dropout=0.5) if top else Head(pooling=None, classes=None)
    create_resnet((32, 32, 3), head=head, **TINY).save(path)
    return path


def train(
    recipe: dict[str, Any], *, resume: bool = False, kill_at: tuple[int, int] | None = None, graph: bool = False
) -> Any:
    """Trains; returns the history's rows, or what ended it.

    Args:
        recipe: Of `Recipe`.
        resume: Go on.
        kill_at: Epoch and batch, from 0, at which the run ends as if it were killed.
        graph: Compute by TensorFlow's graphs, which take seconds to build, and not step by step.
    """
    import tensorflow as tf

    from resnet_keras.training import batches
    from resnet_keras.training.fit import train as fit
    from weight_transfer.training import Recipe, RunFolder

    made = Recipe.from_dict(recipe)
    RunFolder(Path(made.output)).write(made, "resnet_keras", {})
    real = batches.Feed.pair

    def pair(self: Any, make: Any) -> Any:
        found = real(self, make)
        if kill_at is not None and self.epoch == kill_at[0] and len(self._sizes) > kill_at[1]:
            raise RuntimeError("killed")
        return found

    batches.Feed.pair = pair
    tf.config.run_functions_eagerly(not graph)
    try:
        return fit(made, resume=resume).rows
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        batches.Feed.pair = real
        tf.config.run_functions_eagerly(False)


def contents(path: Path) -> dict[str, np.ndarray]:
    """Every number of a checkpoint: weights, optimizer, seeds."""
    import zipfile

    import h5py

    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def seen(batches: Any, validation: Any, epochs: int, workers: int) -> list[np.ndarray]:
    """Every input and target that a model is trained on, as `fit` gives them to it."""
    import keras

    from resnet_keras.training.batches import Feed

    keras.backend.clear_session()
    got: list[np.ndarray] = []

    class Recorder(keras.Model):
        def train_step(self, data: Any) -> dict[str, Any]:
            got.extend(np.asarray(part) for part in data)
            return {"loss": 0.0}

        def test_step(self, data: Any) -> dict[str, Any]:
            return {"loss": 0.0}

    feeds = [Feed(one, 3, "float32", workers) for one in (batches, validation)]
    model = Recorder()
    model.compile(optimizer="sgd", run_eagerly=True)
    move = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: feeds[0].begin(epoch))
    model.fit(feeds[0].data, epochs=epochs, validation_data=feeds[1].data, shuffle=False, verbose=0, callbacks=[move])
    return got


def started(recipe: dict[str, Any]) -> list[np.ndarray]:
    """The weights that a training starts from."""
    from resnet_keras.training.network import build
    from weight_transfer.training import Recipe
    from weight_transfer.training.starting_point import starting_point

    made = Recipe.from_dict(recipe)
    return build(starting_point(made, 3), made).get_weights()


def regularized(path: Path) -> Path:
    """Saves the network of `tiny` with an L2 regularizer on its first convolution."""
    import keras

    model = keras.models.load_model(tiny(path))
    config = model.get_config()
    conv = next(layer for layer in config["layers"] if layer["name"] == "conv")
    conv["config"]["kernel_regularizer"] = keras.regularizers.serialize(keras.regularizers.L2(0.01))
    keras.Model.from_config(config).save(path)
    return path


def regularizer_of(recipe: dict[str, Any]) -> tuple[float, float]:
    """What the regularizers of a training's first model add to its loss, and what L2 of 0.01 of ``conv`` is."""
    from resnet_keras.training.network import build
    from weight_transfer.training import Recipe
    from weight_transfer.training.starting_point import starting_point

    made = Recipe.from_dict(recipe)
    model = build(starting_point(made, 3), made)
    kernel = model.get_layer("conv").get_weights()[0].astype("float64")
    return float(sum(model.losses)), float(0.01 * np.sum(kernel**2))


def losses() -> tuple[float, float]:
    """The recipe's loss of the same network, once with its softmax and once without."""
    import keras

    from resnet_keras.training.compilation import loss_of
    from weight_transfer.training import Recipe

    recipe, x, y = Recipe(data="d", output="o"), np.linspace(-1, 1, 12).reshape(4, 3), np.eye(3)[[0, 1, 2, 0]]
    found = []
    for activation in ("softmax", None):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation, kernel_initializer="identity")])
        found.append(float(loss_of(model, recipe)(y, model(x))))
    return found[0], found[1]


def optimizer_steps(recipe: dict[str, Any]) -> tuple[int, float] | None:
    """Steps and learning rate of the optimizer that a training goes on with; None where it begins anew."""
    from resnet_keras.training.callbacks import learning_rate_of
    from resnet_keras.training.compilation import compile_model, take_optimizer_state
    from resnet_keras.training.network import build
    from weight_transfer.training import Recipe
    from weight_transfer.training.starting_point import starting_point

    made = Recipe.from_dict(recipe)
    model = build(starting_point(made, 3), made)
    compile_model(model, made, made.learning_rate)
    took = take_optimizer_state(model, Path(made.checkpoint))
    return (int(model.optimizer.iterations), learning_rate_of(model)) if took else None


def evaluate(recipe: dict[str, Any], checkpoint: Path, part: str) -> dict[str, Any]:
    """An evaluation as JSON."""
    from resnet_keras.training.evaluation import evaluate as measure
    from weight_transfer.training import Recipe

    return measure(Recipe.from_dict(recipe), checkpoint, part=part).to_dict()


def save_on_a_full_disk(path: Path, most_bytes: int) -> str:
    """Saves a checkpoint where no file may grow beyond a size; returns what was said."""
    import keras

    from resnet_keras.training.checkpoints import save_checkpoint

    model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(200)])
    save_checkpoint(model, path, {"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        save_checkpoint(model, path, {"epoch": 2})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return ""


def command(arguments: Sequence[Any]) -> tuple[int, str, str]:
    """Runs ``python -m resnet_keras`` in this process: exit code, standard output, standard error."""
    from resnet_keras.__main__ import app
    from weight_transfer.cli.running import run

    before, sys.argv = sys.argv, ["resnet_keras", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            run(app, "python -m resnet_keras")
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue(), err.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue(), err.getvalue()


def compiled(path: Path, optimizer: str, arguments: dict[str, Any], loss: str, loss_arguments: dict[str, Any]) -> Path:
    """Compiles a small network with other arguments than Keras's, trains it for two steps and saves it.

    Args:
        path: The file.
        optimizer: Class; a ``learning_rate`` among its arguments may be a schedule's (class, arguments).
        arguments: Its own.
        loss: Class.
        loss_arguments: Its own.
    """
    import keras
    import keras_optimizers

    from resnet_keras import create_resnet
    from weight_transfer.architecture import Head

    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    model = create_resnet((32, 32, 3), head=Head(hidden_units=10, classes=3, dropout=0.0), **TINY)
    arguments = keras_optimizers._with_schedule(arguments, keras.optimizers.schedules)
    model.compile(getattr(keras.optimizers, optimizer)(**arguments), getattr(keras.losses, loss)(**loss_arguments))
    random = np.random.default_rng(3)
    for _ in range(2):
        model.train_on_batch(random.normal(size=(6, 32, 32, 3)) * 50, _targets(model, random.integers(0, 3, 6)))
    model.save(path)
    return path


def _targets(model: Any, classes: np.ndarray) -> np.ndarray:
    return classes if "sparse" in str(model.loss).lower() else np.eye(3, dtype="float32")[classes]


def owners_steps(path: Path, batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[float], dict[str, np.ndarray]]:
    """Loads a file as its owner does and goes on: the losses, and the weights by layer and role."""
    import keras

    keras.backend.clear_session()
    model = keras.models.load_model(path)
    losses = []
    for x, classes in batches:
        model.reset_metrics()
        losses.append(float(np.ravel(model.train_on_batch(x, _targets(model, classes)))[0]))
    return losses, {f"{layer.name}/{w.name}": np.asarray(w) for layer in model.layers for w in layer.weights}
