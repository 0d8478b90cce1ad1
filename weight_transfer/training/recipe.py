"""The recipe of a training: every argument that both frameworks share. The defaults are the tutorial's."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from weight_transfer.architecture import DEPTHS
from weight_transfer.errors import TransferError, listing, nearest
from weight_transfer.images import WAYS, Crop, ImageLoading, crop_of
from weight_transfer.optimizer.grammar import training_optimizer
from weight_transfer.optimizer.spec import OptimizerSpec
from weight_transfer.preprocessing import Preprocessing, preset

Dtype = Literal["float32", "float64"]
Monitor = Literal["loss", "accuracy", "val_loss", "val_accuracy"]

PART = re.compile(r"stem|stage\d+|head")
DEFAULT_SIZE = (128, 128)  # of the tutorial


class Phase(NamedTuple):
    """Epochs with one optimizer, which begins anew with each phase, as do all callbacks but the best checkpoint.

    Attributes:
        first: The first epoch, from 1.
        last: The last one.
        frozen: Parts that do not learn, beside the layers that do not in the file to go on from.
        learning_rate: The first one.
    """

    first: int
    last: int
    frozen: tuple[str, ...]
    learning_rate: float


@dataclass(frozen=True)
class Recipe:
    """A training. Epochs that a person sees or says are counted from 1.

    Attributes:
        data: An archive, file, folder, pattern of shards or URL; or ``cifar10``, which the framework downloads.
        output: The run folder.
        checkpoint: A Keras checkpoint or a converted file to go on from: network, weights, and the optimizer's
            state where the file has one and the optimizer is the same (`compiled.as_compiled` makes it so). None:
            from scratch.
        initial_weights: The same, but for the optimizer: it begins anew.
        new_head: Whether the file's head is replaced by the tutorial's; a file without one always gets it.
        unfreeze: Whether layers learn that do not learn in the file (``trainable=False``).
        freeze: Parts that do not learn, batch norms in inference mode: ``stem``, ``stage2`` and so on, ``head``.
        unfreeze_at: The epoch from which they do. The optimizer and all callbacks but the best checkpoint then
            begin anew, as in Keras, which compiles the model again and calls ``fit`` again.
        unfreeze_learning_rate: The learning rate from there on, or None for the same.
        depth: 18, 34, 50, 101 or 152, from scratch.
        size: (H, W) of the network's input; None for 128 x 128, or that of the file to go on from.
        classes: How many; None for as many as the data has.
        dropout: The head's rate; None for the head's own, 0.5 in the tutorial.
        batch_size: Images a step, over all devices.
        epochs: Epochs in all.
        steps: Steps of an epoch at most, or None.
        images: Use the first so many images of the training and of the test data, or None for all.
        optimizer: As Keras writes it: ``Adam``, ``SGD(momentum=0.9, nesterov=True, clipnorm=1.0)``.
        learning_rate: The first one.
        schedule: As Keras writes it: ``CosineDecay(decay_steps=1000)``; or None. Steps are counted over the run.
        label_smoothing: Share of the target that is spread over all classes.
        augment: Whether training images are flipped, shifted, turned and zoomed.
        preprocessing: Of images before the network; None for that of the file to go on from, or the tutorial's.
        image_loading: How image files become pixels, and are resized; None likewise.
        crop: What is cut out of their centre.
        seed: Of the initial weights, the order, the augmentation and the dropout.
        split_seed: Of the split into training and validation data, where the data has no validation part.
        validation_share: Of the training images, likewise.
        order: An order file to read, or None to draw.
        write_order: An order file to write, or None.
        monitor: What the callbacks look at.
        reduce_lr_factor: See `keras.callbacks.ReduceLROnPlateau`.
        reduce_lr_patience: Likewise; None for no such callback. A schedule excludes it, as in Keras.
        reduce_lr_min_delta: Likewise.
        reduce_lr_cooldown: Likewise.
        reduce_lr_min: Likewise, ``min_lr``.
        early_stopping_patience: See `keras.callbacks.EarlyStopping`; None for no such callback.
        restore_best_weights: Likewise.
        dtype: ``float32`` or ``float64``, of weights and inputs.
        log_steps: A CSV file of every step's loss to write, or None.

    Raises:
        TransferError: A value is impossible; all that are wrong are listed.
    """

    data: str
    output: str
    checkpoint: str | None = None
    initial_weights: str | None = None
    new_head: bool = False
    unfreeze: bool = False
    freeze: tuple[str, ...] = ()
    unfreeze_at: int | None = None
    unfreeze_learning_rate: float | None = None
    depth: int = 50
    size: tuple[int, int] | None = None
    classes: int | None = None
    dropout: float | None = None
    batch_size: int = 32
    epochs: int = 30
    steps: int | None = None
    images: int | None = None
    optimizer: str = "Adam"
    learning_rate: float = 1e-3
    schedule: str | None = None
    label_smoothing: float = 0.0
    augment: bool = False
    preprocessing: Preprocessing | None = None
    image_loading: ImageLoading | None = None
    crop: Crop = None
    seed: int = 2021
    split_seed: int = 2021
    validation_share: float = 0.2
    order: str | None = None
    write_order: str | None = None
    monitor: Monitor = "val_loss"
    reduce_lr_factor: float = 0.2
    reduce_lr_patience: int | None = 3
    reduce_lr_min_delta: float = 1e-4
    reduce_lr_cooldown: int = 0
    reduce_lr_min: float = 0.0
    early_stopping_patience: int | None = 10
    restore_best_weights: bool = False
    dtype: Dtype = "float32"
    log_steps: str | None = None

    def __post_init__(self) -> None:
        for name in ("freeze", "size"):  # JSON has lists
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        object.__setattr__(self, "preprocessing", _preprocessing(self.preprocessing))
        object.__setattr__(self, "crop", crop_of(self.crop))
        problems = [*_out_of_range(self), *_impossible(self)]
        if problems:
            raise TransferError(f"the training cannot be as asked for:{listing(problems)}")
        self.optimizer_spec()

    def optimizer_spec(self, learning_rate: float | None = None) -> OptimizerSpec:
        """Returns the optimizer, schedule included: what both sides build it from.

        Args:
            learning_rate: In place of the recipe's own, as after unfreezing.
        """
        rate = self.learning_rate if learning_rate is None else learning_rate
        return training_optimizer(self.optimizer, rate, self.schedule)

    @property
    def optimizer_words(self) -> str:
        """``Adam, learning rate 0.001``, or the schedule."""
        return (
            f"{self.optimizer}, {f'learning rate {self.learning_rate:g}' if self.schedule is None else self.schedule}"
        )

    @property
    def reduce_lr(self) -> dict[str, Any] | None:
        """Arguments of `ReduceLROnPlateau`, or None where there is to be none."""
        if self.reduce_lr_patience is None or self.schedule is not None:
            return None
        return {
            "monitor": self.monitor,
            "factor": self.reduce_lr_factor,
            "patience": self.reduce_lr_patience,
            "min_delta": self.reduce_lr_min_delta,
            "cooldown": self.reduce_lr_cooldown,
            "min_lr": self.reduce_lr_min,
        }

    @property
    def early_stopping(self) -> dict[str, Any] | None:
        """Arguments of `EarlyStopping`, or None where there is to be none."""
        if self.early_stopping_patience is None:
            return None
        return {
            "monitor": self.monitor,
            "patience": self.early_stopping_patience,
            "restore_best_weights": self.restore_best_weights,
        }

    @property
    def start(self) -> Path | None:
        """The file to start from, if there is one."""
        found = self.checkpoint or self.initial_weights
        return None if found is None else Path(found)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What is trained when, in order."""
        at = self.unfreeze_at
        if at is None or at > self.epochs:
            return (Phase(1, self.epochs, self.freeze, self.learning_rate),)
        later = Phase(at, self.epochs, (), self.unfreeze_learning_rate or self.learning_rate)
        return (later,) if at == 1 else (Phase(1, at - 1, self.freeze, self.learning_rate), later)

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Builds a recipe from what `to_dict` gave.

        Raises:
            TransferError: A field is missing, unknown, or has an impossible value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [f"{name}{nearest(name, known)}" for name in values if name not in known]
        missing = [f"missing: {name}" for name in ("data", "output") if name not in values]
        if unknown or missing:
            raise TransferError(f"not a recipe:{listing([*unknown, *missing])}")
        return cls(**values)

    def to_json(self) -> str:
        """Returns the recipe as text."""
        return json.dumps(self.to_dict(), indent=2)


# By field: the least value, and whether the value itself is allowed; None fields are left alone.
_LEAST: Mapping[str, tuple[float, bool]] = {
    "unfreeze_at": (1, True),
    "unfreeze_learning_rate": (0, False),
    "classes": (2, True),
    "batch_size": (1, True),
    "epochs": (1, True),
    "steps": (1, True),
    "images": (2, True),
    "learning_rate": (0, False),
    "label_smoothing": (0, True),
    "seed": (0, True),
    "split_seed": (0, True),
    "validation_share": (0, False),
    "dropout": (0, True),
    "reduce_lr_factor": (0, False),
    "reduce_lr_patience": (0, True),
    "reduce_lr_min_delta": (0, True),
    "reduce_lr_cooldown": (0, True),
    "reduce_lr_min": (0, True),
    "early_stopping_patience": (0, True),
}
_BELOW_ONE = ("label_smoothing", "validation_share", "dropout", "reduce_lr_factor")
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "depth": tuple(DEPTHS),
    "image_loading": (None, *WAYS),
    "monitor": get_args(Monitor),
    "dtype": get_args(Dtype),
}
_WHOLE = ("unfreeze_at", "classes", "batch_size", "epochs", "steps", "images", "seed", "split_seed")


def _preprocessing(value: Any) -> Preprocessing | None:
    """JSON has a dict; recipes of version 0.1 have a preset's name."""
    if isinstance(value, str):
        return preset(value)
    return Preprocessing.from_dict(value) if isinstance(value, dict) else value


def _out_of_range(recipe: Recipe) -> list[str]:
    problems = []
    for name, (least, itself) in _LEAST.items():
        value = getattr(recipe, name)
        if value is None:
            continue
        if not (value > least or (itself and value == least)) or not math.isfinite(value):
            problems.append(f"{name} must be {'at least' if itself else 'above'} {least}. Received: {value}")
        elif name in _BELOW_ONE and value >= 1:
            problems.append(f"{name} must be below 1. Received: {value}")
        elif name in _WHOLE and value != int(value):
            problems.append(f"{name} must be a whole number. Received: {value}")
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            problems.append(f"{name} must be one of {choices}. Received: {getattr(recipe, name)!r}")
    return problems


def _impossible(recipe: Recipe) -> list[str]:
    problems = []
    parts = [part for part in recipe.freeze if not PART.fullmatch(part)]
    if parts:
        problems.append(f"freeze takes stem, stage2 and so on, head. Received: {', '.join(parts)}")
    if recipe.size is not None and (len(recipe.size) != 2 or min(recipe.size) < 1):
        problems.append(f"size must be (H, W) of whole numbers from 1. Received: {recipe.size}")
    if recipe.checkpoint and recipe.initial_weights:
        problems.append("checkpoint and initial_weights both name what to start from. Give one")
    if recipe.new_head and recipe.start is None:
        problems.append("new_head needs a checkpoint whose head it replaces")
    if recipe.unfreeze and recipe.start is None:
        problems.append("unfreeze needs a checkpoint whose frozen layers it lets learn")
    if recipe.unfreeze_at is not None and not recipe.freeze:
        problems.append("unfreeze_at needs something frozen: say what by freeze")
    if recipe.order and recipe.write_order:
        problems.append("order reads an order file, write_order writes one. Give one")
    return problems
