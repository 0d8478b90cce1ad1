"""From what a Keras file holds of how its model was compiled to the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from resnet_torch.losses.cross_entropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from resnet_torch.losses.differences import MeanAbsoluteError, MeanSquaredError
from resnet_torch.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from resnet_torch.losses.loss import Loss
from weight_transfer.errors import TransferError, listing, nearest
from weight_transfer.graph import Graph
from weight_transfer.layer_types import Shape

Outputs: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

# Class, and its other names.
ROWS: tuple[tuple[type[Loss], tuple[str, ...]], ...] = (
    (CategoricalCrossentropy, ("categorical_crossentropy",)),
    (SparseCategoricalCrossentropy, ("sparse_categorical_crossentropy",)),
    (BinaryCrossentropy, ("binary_crossentropy", "bce")),
    (CategoricalFocalCrossentropy, ("categorical_focal_crossentropy",)),
    (BinaryFocalCrossentropy, ("binary_focal_crossentropy",)),
    (MeanSquaredError, ("mean_squared_error", "mse")),
    (MeanAbsoluteError, ("mean_absolute_error", "mae")),
)
KINDS = {name.lower(): kind for kind, names in ROWS for name in (kind.__name__, *names)}
CROSS_ENTROPIES = (CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy)
FOCAL = {CategoricalFocalCrossentropy: "softmax", BinaryFocalCrossentropy: "sigmoid"}
ARGUMENTS = ("label_smoothing", "ignore_class", "alpha", "gamma", "apply_class_balancing")
READ_APART = ("from_logits", "axis", "reduction", "name", "dtype", "fn")


class SumOfLosses(nn.Module):
    """The loss of a model with several outputs: the sum of each output's, weighted.

    Args:
        losses: One per output, in the model's order; None for an output without one.
        weights: Of each.
        names: Of each output, by which a dict of targets is paired with it.
    """

    def __init__(
        self, losses: Sequence[Loss | None], weights: Sequence[float], names: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.names = None if names is None else tuple(names)
        self.losses = nn.ModuleList([nn.Identity() if loss is None else loss for loss in losses])
        self.weights = tuple(weights)

    def forward(self, outputs: Outputs, targets: Outputs, sample_weight: Tensor | None = None) -> Tensor:
        """Computes the loss.

        Args:
            outputs: What the model's ``forward`` gives.
            targets: One per output, in the model's order, or a dict by the outputs' names; an output without a
                loss has any, or none in a dict.
            sample_weight: See `Loss`, the same for each.

        Returns:
            A scalar.

        Raises:
            TransferError: A dict of targets lacks an output, or holds what is none.
        """
        pairs = zip(self.losses, self.weights, _listed(outputs), self._in_order(outputs, targets), strict=True)
        values = [
            loss(output, target, sample_weight) * weight
            for loss, weight, output, target in pairs
            if isinstance(loss, Loss)
        ]
        total: Tensor = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def _in_order(self, outputs: Outputs, targets: Outputs) -> list[Any]:
        """The targets in the outputs' order: a dict's by name, whatever its own order is."""
        names = tuple(outputs) if isinstance(outputs, Mapping) else self.names
        if not isinstance(targets, Mapping) or names is None:
            return list(_listed(targets))
        with_loss = {name for name, loss in zip(names, self.losses, strict=True) if isinstance(loss, Loss)}
        wrong = [f"{name} is missing" for name in sorted(with_loss - targets.keys())]
        wrong += [f"{name} is no output{nearest(name, list(names))}" for name in targets if name not in names]
        if wrong:
            raise TransferError(f"The targets must be those of the outputs, by their names:{listing(wrong)}")
        return [targets.get(name) for name in names]


def loss_from_keras(
    training: Mapping[str, Any], network: Graph, keras_version: str | None = None
) -> Loss | SumOfLosses:
    """Builds the loss that a model was compiled with, for what the port's ``forward`` gives.

    Where that ends before a softmax or sigmoid, a cross-entropy is computed on the logits as TensorFlow
    computes it, whatever its ``from_logits``: the binary one of a softmax too, as if it were a sigmoid.
    Any other loss applies the activation first.

    Args:
        training: ``Checkpoint.training``: ``loss`` and perhaps ``loss_weights``, of any Keras.
        network: What the file holds; ``identify(checkpoint).network``, or a model's own.
        keras_version: What compiled it, ``checkpoint.keras_version``: Keras 2 computes focal losses of activated
            outputs in another way. Without it, what only Keras 2 writes into a loss tells.

    Returns:
        For one output, a `Loss` of (outputs, target); for several, a `SumOfLosses`.

    Raises:
        TransferError: The file holds no loss, or one that is not known here.

    Source: Keras 3.15.1 keras/src/trainers/compile_utils.py, CompileLoss; keras/src/backend/tensorflow/nn.py,
    _get_logits; tf_keras engine/compile_utils.py, LossesContainer.
    """
    configured, weights = training.get("loss"), training.get("loss_weights")
    if configured is None:
        raise TransferError("The model was compiled without a loss. Choose one of resnet_torch.losses.")
    names, shapes = _outputs(network)
    each = _per_output(configured, names, "loss")
    scales = [1.0] * len(names) if weights is None else _per_output(weights, names, "loss_weights")
    made = [
        None if config is None else _loss(config, left_out, (shape, network.channels_last), keras_version)
        for config, left_out, shape in zip(each, network.final_activations, shapes, strict=True)
    ]
    if not any(made):
        raise TransferError("The model was compiled without a loss. Choose one of resnet_torch.losses.")
    only = made[0]
    if len(made) == 1 and only is not None and scales[0] in (None, 1, 1.0):
        return only
    return SumOfLosses(made, [1.0 if scale is None else float(scale) for scale in scales], names)


def _loss(config: Any, left_out: str | None, layout: tuple[Shape, bool], keras_version: str | None) -> Loss:
    name, arguments = _read(config)
    if name.lower() not in KINDS:
        known = sorted(kind.__name__ for kind, _ in ROWS)
        raise TransferError(
            f"No loss {name!r}{nearest(name, known)}. Known: {', '.join(known)}. Write it as a function of "
            "outputs and target; where it takes probabilities, of what the model's predict gives."
        )
    kind = KINDS[name.lower()]
    unknown = [key for key in arguments if key not in (*ARGUMENTS, *READ_APART)]
    if unknown:
        raise TransferError(f"{name}'s config holds what is not known:{listing(unknown)}")
    _check_axis(name, int(arguments.get("axis", -1)), *layout)
    chosen = {key: arguments[key] for key in ARGUMENTS if key in arguments}
    chosen["reduction"] = _reduction(arguments.get("reduction"))
    keras_2 = (
        str(keras_version)[:2] in ("1.", "2.")
        or arguments.get("reduction") == "auto"
        or isinstance(arguments.get("fn"), str)
    )
    return kind(**chosen, **_from_what(kind, left_out, bool(arguments.get("from_logits", False)), keras_2))


def _from_what(kind: type[Loss], left_out: str | None, from_logits: bool, keras_2: bool) -> dict[str, Any]:
    """Whether a loss takes the logits, or what to apply to them first."""
    if keras_2 and left_out is not None and kind is BinaryFocalCrossentropy:
        return {"from_logits": True, "factor_of": (left_out, *(("sigmoid",) if from_logits else ()))}
    if kind in CROSS_ENTROPIES or (keras_2 and kind is CategoricalFocalCrossentropy):
        # TensorFlow's formulas go back to the logits of any activation, whatever from_logits says.
        return {"from_logits": from_logits or left_out is not None}
    if kind not in FOCAL:
        return {"activation": left_out}
    if left_out == FOCAL[kind] and not from_logits:
        return {"from_logits": True}
    if kind is BinaryFocalCrossentropy and left_out == "softmax":
        raise TransferError(
            "Of a softmax, Keras takes BinaryFocalCrossentropy half from the probabilities and half from the logits. "
            "Choose CategoricalFocalCrossentropy."
        )
    return {"from_logits": from_logits, "activation": left_out}


def _read(config: Any) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a serialized loss, class or function."""
    if isinstance(config, str):
        return config, {}
    if not isinstance(config, Mapping):
        raise TransferError(f"A loss must be a name or a serialized loss. Received: {config!r}")
    name, inner = config.get("class_name"), config.get("config")
    if name == "function" and isinstance(inner, str):
        return inner, {}
    if name == "LossFunctionWrapper" and isinstance(inner, Mapping) and "fn" in inner:
        return _read(inner["fn"])[0], dict(inner)
    return str(name).rpartition(">")[2], dict(inner or {})


def _reduction(value: Any) -> Any:
    """Keras 2's ``auto`` is what Keras 3 calls by its name."""
    return "sum_over_batch_size" if value in (None, "auto") else value


def _per_output(value: Any, names: Sequence[str], what: str) -> list[Any]:
    """One entry for each output, of one for all, a list or a dict by name."""
    if isinstance(value, Mapping) and "class_name" not in value:
        if len(names) == len(value) == 1:
            return list(value.values())
        unknown = [f"{name}{nearest(name, list(names))}" for name in value if name not in names]
        if unknown:
            raise TransferError(f"{what} names outputs that the model has not:{listing(unknown)}")
        return [value.get(name) for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise TransferError(f"{what} must hold one entry for each of {len(names)} outputs. Received: {value}")
        return list(value)
    return [value] * len(names)


def _outputs(network: Graph) -> tuple[list[str], list[Shape]]:
    """What Keras calls the outputs, and their shapes without the batch axis."""
    graph = network.imported
    if graph is None:
        return ["output"], [(None,)]
    names = graph.output_names or [value.partition("#")[0].rpartition("/")[2] for value in graph.outputs]
    return list(names), [graph.shapes[value] for value in graph.outputs]


def _check_axis(name: str, axis: int, shape: Shape, channels_last: bool) -> None:
    """Refuses a loss along another axis than the channels, which are axis 1 here."""
    num_axes = len(shape) + 1
    if axis % num_axes != (num_axes - 1 if channels_last else 1):
        raise TransferError(
            f"{name} is taken along axis {axis} of {num_axes}, which is not the classes'. Write it as a function."
        )


def _listed(values: Outputs) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return list(values.values() if isinstance(values, Mapping) else values)
