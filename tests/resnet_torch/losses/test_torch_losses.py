"""Every loss against real Keras: values and gradients in float64."""

from __future__ import annotations

import keras_losses
import numpy as np
import pytest
import torch
from torch import nn

from resnet_torch import load_model, losses
from resnet_torch.losses.from_keras import _from_what
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.identify import identify
from weight_transfer.errors import TransferError
from weight_transfer.parity.tolerances import TOLERANCES

FLOAT32 = TOLERANCES["inference"]["float32"].error
REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)
FLOAT64 = 1e-12
RANDOM = np.random.default_rng(3)
N, K = 6, 4
LOGITS = RANDOM.normal(size=(N, K)) * 3
SUMS = np.abs(LOGITS) / 7
SPATIAL = RANDOM.normal(size=(2, 3, 5, K))
NUMBERS = np.array([0, 3, 2, 2, 1, 0])
ONE_HOT = np.eye(K)[NUMBERS]
SOFT = RANDOM.dirichlet(np.ones(K), N)
BINARY = RANDOM.integers(0, 2, (N, K)).astype(float)
WEIGHT = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25])


def case(name, target, logits=LOGITS, activation=None, arguments=(), **more):
    arguments = {"from_logits": activation is None, **dict(arguments)}
    if name.startswith("Mean"):
        del arguments["from_logits"]
    return {"name": name, "arguments": arguments, "logits": logits, "target": target, "activation": activation, **more}


def formulas():
    """Every loss, from logits and from what ends a model, with targets of every kind."""
    spatial_numbers = RANDOM.integers(0, K, SPATIAL.shape[:-1])
    for activation in (None, "softmax"):
        for name in ("CategoricalCrossentropy", "CategoricalFocalCrossentropy"):
            yield case(name, ONE_HOT, activation=activation)
            yield case(name, SOFT, activation=activation, arguments={"label_smoothing": 0.1})
            yield case(name, np.eye(K)[spatial_numbers], SPATIAL, activation)
        yield case(
            "CategoricalFocalCrossentropy", SOFT, activation=activation, arguments={"alpha": [0.1, 0.2, 0.3, 0.4]}
        )
        yield case("CategoricalFocalCrossentropy", SOFT, activation=activation, arguments={"gamma": 3.5, "alpha": 0.5})
        for target in (NUMBERS, NUMBERS[:, None]):
            yield case("SparseCategoricalCrossentropy", target, activation=activation)
        yield case("SparseCategoricalCrossentropy", spatial_numbers, SPATIAL, activation)
    for activation in (None, "sigmoid"):
        for name in ("BinaryCrossentropy", "BinaryFocalCrossentropy"):
            yield case(name, BINARY, activation=activation)
            yield case(name, BINARY[:, 0], LOGITS[:, :1], activation)
            yield case(name, BINARY, activation=activation, arguments={"label_smoothing": 0.2})
        balanced = {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}
        yield case("BinaryFocalCrossentropy", BINARY, activation=activation, arguments=balanced)
    for name in ("MeanSquaredError", "MeanAbsoluteError"):
        yield case(name, SOFT)
        yield case(name, SOFT, activation="softmax")
    # A cross-entropy goes back to the logits of any activation.
    yield case("CategoricalCrossentropy", ONE_HOT, activation="sigmoid")
    yield case("SparseCategoricalCrossentropy", NUMBERS, activation="sigmoid")
    yield case("BinaryCrossentropy", BINARY, activation="softmax", arguments={"label_smoothing": 0.1})
    # Of numbers that are not known to be probabilities it takes them as they come.
    for name, target in (("Categorical", SOFT), ("SparseCategorical", NUMBERS), ("Binary", BINARY)):
        yield case(f"{name}Crossentropy", target, SUMS, arguments={"from_logits": False})


def weightings():
    """Every reduction with every kind of weight."""
    for reduction in REDUCTIONS:
        arguments = {"reduction": reduction}
        for weight in (None, WEIGHT, WEIGHT[:, None], np.zeros(N), np.float64(2.0)):
            yield case("CategoricalCrossentropy", SOFT, arguments=arguments, sample_weight=weight)
        numbers = {**arguments, "ignore_class": 2}
        for weight in (None, WEIGHT):
            yield case("SparseCategoricalCrossentropy", NUMBERS, arguments=numbers, sample_weight=weight)
        yield case("SparseCategoricalCrossentropy", np.full(N, 2), arguments=numbers)
        positions = {"logits": SPATIAL, "arguments": arguments, "target": RANDOM.integers(0, K, SPATIAL.shape[:-1])}
        for shape in ((2, 3, 5), (2, 3, 5, 1), (2, 1, 1)):
            yield case("SparseCategoricalCrossentropy", **positions, sample_weight=RANDOM.uniform(size=shape))


def classes():
    """Class weights, with the classes in every form."""
    weights = {0: 2.0, 2: 0.25, 3: 7.0}
    yield case("CategoricalCrossentropy", ONE_HOT, class_weight=weights)
    yield case("SparseCategoricalCrossentropy", NUMBERS, class_weight=weights)
    yield case("SparseCategoricalCrossentropy", NUMBERS[:, None], class_weight=weights)
    yield case("BinaryCrossentropy", BINARY[:, :1], LOGITS[:, :1], class_weight={0: 0.5, 1: 3.0})
    yield case("BinaryCrossentropy", BINARY[:, 0], LOGITS[:, :1], class_weight={1: 3.0})


def channels_first(array):
    return np.moveaxis(array, -1, 1) if np.ndim(array) == 4 and np.shape(array)[-1] == K else array


def ours(one, make=None, keras_2=False):
    """Loss and gradient, in Keras's layout."""
    logits = torch.tensor(channels_first(one["logits"]), requires_grad=True)
    kind = getattr(losses, one["name"])
    arguments = {**one["arguments"], "class_weight": one.get("class_weight")}
    if one["activation"] is not None:
        arguments |= _from_what(kind, one["activation"], False, keras_2)
    loss = (make or kind)(**arguments)
    weight = one.get("sample_weight")
    weight = None if weight is None else torch.tensor(weight)
    found = loss(logits, torch.tensor(channels_first(one["target"])), weight)
    found.sum().backward()
    gradient = logits.grad.numpy()
    return found.detach().numpy(), np.moveaxis(gradient, 1, -1) if gradient.ndim == 4 else gradient


def error(actual, expected):
    worst = 0.0
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert np.isfinite(one).all()
        worst = max(worst, np.abs(one - other).max() / max(np.abs(other).max(), 1e-3))
    return worst


@pytest.mark.parametrize("cases", [formulas, weightings, classes])
def test_values_and_gradients_are_keras(cases, keras_side):
    cases = list(cases())
    for one, expected in zip(cases, keras_side(keras_losses.values, "keras", cases), strict=True):
        assert error(ours(one), expected) <= FLOAT64, one


def test_values_and_gradients_are_tf_keras(keras_side):
    # Inside fit tf_keras brings (N,) targets to (N, 1); called directly it does not.
    known = [one for one in formulas() if one["name"].startswith("Sparse") or one["target"].ndim > 1]
    # Of a list Keras 3 makes float32, tf_keras does not, and it adds 1e-7 inside a logarithm of probabilities.
    known = [one for one in known if not isinstance(one["arguments"].get("alpha"), list) and one["logits"] is not SUMS]
    reductions = ("sum_over_batch_size", "sum")
    known += [one for one in weightings() if one["arguments"]["reduction"] in reductions and "sample_weight" in one]
    for one, expected in zip(known, keras_side(keras_losses.values, "tf_keras", known), strict=True):
        assert error(ours(one, keras_2=True), expected) <= FLOAT64, one


class DividesByWeights(losses.CategoricalCrossentropy):
    """PyTorch's way with weights."""

    def __init__(self, reduction, **arguments):
        super().__init__(reduction="mean_with_sample_weight", **arguments)


class ForgetsToDivide(losses.CategoricalCrossentropy):
    def __init__(self, reduction, **arguments):
        super().__init__(reduction="sum", **arguments)


@pytest.mark.parametrize("mistake", [DividesByWeights, ForgetsToDivide])
def test_another_reduction_is_seen(mistake, keras_side):
    one = case("CategoricalCrossentropy", SOFT, arguments={"reduction": "mean"}, sample_weight=WEIGHT)
    (expected,) = keras_side(keras_losses.values, "keras", [one])
    assert error(ours(one, mistake), expected) > 0.01


def test_whole_numbers_are_one_hot():
    for name in ("CategoricalCrossentropy", "CategoricalFocalCrossentropy"):
        loss = getattr(losses, name)(label_smoothing=0.1, class_weight={1: 3.0})
        logits = torch.tensor(LOGITS)
        assert torch.allclose(loss(logits, torch.tensor(NUMBERS)), loss(logits, torch.tensor(ONE_HOT)), rtol=1e-14)


def test_half_precision_is_computed_in_float32():
    loss = losses.CategoricalCrossentropy()(torch.tensor(LOGITS).bfloat16(), torch.tensor(NUMBERS))
    assert loss.dtype == torch.float32
    assert loss == losses.CategoricalCrossentropy()(torch.tensor(LOGITS).bfloat16().float(), torch.tensor(NUMBERS))


def test_epoch_loss_is_keras_tracker(keras_side):
    values = RANDOM.uniform(0.1, 3.0, 40).astype(np.float32)
    sizes = [32] * 39 + [7]
    epoch = losses.EpochLoss()
    assert epoch.result() == 0.0
    for value, size in zip(values, sizes, strict=True):
        epoch.update(torch.tensor(value), size)
    assert epoch.result() == keras_side(keras_losses.epoch_loss, values.tolist(), sizes)
    assert epoch.result() != np.float32(values.mean())


COMPILED = {
    "keras": [
        ("categorical_crossentropy", None, ["softmax"]),
        ("sparse_categorical_crossentropy", None, ["softmax"]),
        (("CategoricalCrossentropy", {"label_smoothing": 0.1}), None, ["softmax"]),
        (("CategoricalCrossentropy", {"from_logits": True, "reduction": "sum"}), [0.5], [None]),
        ("bce", None, ["sigmoid"]),
        ("mse", None, ["softmax"]),
        ("binary_crossentropy", None, ["softmax"]),
        (["categorical_crossentropy", "mae"], [0.5, 2.0], ["softmax", None]),
        (("BinaryFocalCrossentropy", {"from_logits": True}), None, ["sigmoid"]),
        (("CategoricalFocalCrossentropy", {"from_logits": True}), None, ["softmax"]),
        ({"out1": "mse", "out0": "categorical_crossentropy"}, {"out0": 3.0, "out1": 1.0}, ["softmax", "sigmoid"]),
    ],
    "tf_keras": [
        ("categorical_crossentropy", None, ["softmax"]),
        (("CategoricalCrossentropy", {"label_smoothing": 0.1}), None, ["softmax"]),
        (("SparseCategoricalCrossentropy", {"from_logits": True}), None, [None]),
        (["categorical_crossentropy", "mse"], [0.5, 2.0], ["softmax", "sigmoid"]),
        ({"out1": "mse", "out0": "categorical_crossentropy"}, None, ["softmax", "sigmoid"]),
    ],
}


@pytest.mark.parametrize("library", COMPILED)
def test_the_loss_of_a_file_is_the_model_s(library, keras_side, tmp_path):
    for saved in keras_side(keras_losses.compiled, library, COMPILED[library], str(tmp_path)):
        with read_checkpoint(saved["path"]) as checkpoint:
            loss = losses.loss_from_keras(checkpoint.training, identify(checkpoint).network)
        model = load_model(saved["path"])
        outputs = model(torch.tensor(saved["x"]).permute(0, 3, 1, 2))
        target = torch.tensor(saved["y"])
        targets = [target] * len(outputs) if isinstance(outputs, tuple) else target
        assert loss(outputs, targets).item() == pytest.approx(saved["value"], rel=FLOAT32), saved["path"]


@pytest.fixture(scope="module")
def network(keras_side, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("two_outputs"))
    (saved,) = keras_side(keras_losses.compiled, "keras", [("mse", None, ["softmax", None])], folder)
    with read_checkpoint(saved["path"]) as checkpoint:
        return identify(checkpoint).network


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loss": None}, "compiled without a loss"),
        ({"loss": [None, None]}, "compiled without a loss"),
        ({"loss": "categorical_crossentropi"}, r"No loss 'categorical_crossentropi'.* Known: BinaryCrossentropy, "),
        ({"loss": {"class_name": "mine>Dice", "config": {}}}, "No loss 'Dice'"),
        ({"loss": 3}, r"a name or a serialized loss\. Received: 3"),
        ({"loss": ["mse"]}, r"one entry for each of 2 outputs\. Received: \['mse'\]"),
        ({"loss": {"out0": "mse", "out3": "mse"}}, r"outputs that the model has not:\n  out3 \(nearest: out"),
        (
            {"loss": {"class_name": "MeanSquaredError", "config": {"power": 2}}},
            "holds what is not known:\n  power",
        ),
        ({"loss": "binary_focal_crossentropy"}, "half from the probabilities and half from the logits"),
        ({"loss": {"class_name": "BinaryCrossentropy", "config": {"axis": 0}}}, "taken along axis 0 of 2"),
    ],
)
def test_a_loss_that_is_not_known_is_refused(training, message, network):
    with pytest.raises(TransferError, match=message):
        losses.loss_from_keras(training, network)


def test_a_function_s_config_is_read(network):
    function = {"module": "builtins", "class_name": "function", "config": "mean_absolute_error"}
    wrapped = {"class_name": "LossFunctionWrapper", "config": {"fn": function, "name": "mae", "reduction": "sum"}}
    loss = losses.loss_from_keras({"loss": [wrapped, None], "loss_weights": None}, network)
    outputs = torch.zeros(2, 3), torch.zeros(2, 3)
    assert float(loss(outputs, [torch.ones(2, 3)] * 2)) == pytest.approx(2 * 2 / 3)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="total"), "reduction must be one of sum_over_batch_size"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), "label_smoothing must lie in 0..1"),
        (lambda: losses.MeanSquaredError()(torch.zeros(2, 3), torch.zeros(3, 2)), "Expected the same shape"),
        (
            lambda: losses.SparseCategoricalCrossentropy()(torch.zeros(2, 3), torch.zeros(3)),
            r"Expected class numbers of shape \(2,\)\. Received: torch.float32 of shape \(3,\)",
        ),
        (
            lambda: losses.MeanSquaredError()(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(3)),
            r"sample_weight must have the shape of the losses, \(2,\)",
        ),
        (
            lambda: losses.MeanSquaredError(class_weight={0: 1})(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2)),
            "has a class_weight and was given a sample_weight",
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy(class_weight={0: 1})(
                torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.long)
            ),
            "class_weight needs one class per sample",
        ),
    ],
)
def test_what_does_not_fit_is_refused(use, message):
    with pytest.raises(TransferError, match=message):
        use()


def test_a_loss_says_what_it_is():
    assert isinstance(losses.CategoricalCrossentropy(label_smoothing=0.1), nn.Module)
    assert "label_smoothing=0.1" in str(losses.CategoricalCrossentropy(label_smoothing=0.1))


def test_a_file_s_keras_decides_how_a_focal_loss_is_computed(network):
    outputs, target = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    # Of the output that ends in a softmax; Keras 3's rule is refused there.
    named = losses.loss_from_keras({"loss": {"out0": "binary_focal_crossentropy"}}, network, "2.15.0")
    found = named((outputs, outputs), (target, target))
    p = outputs.softmax(1)
    factor = (1 - (target * p + (1 - target) * (1 - p))) ** 2
    expected = factor * torch.nn.functional.binary_cross_entropy_with_logits(outputs, target, reduction="none")
    torch.testing.assert_close(found, expected.mean())


def test_targets_of_several_outputs_are_paired_by_name():
    loss = losses.SumOfLosses([losses.MeanSquaredError(), None], [1.0, 1.0], ["aa", "zz"])
    outputs = {"aa": torch.ones(2, 3), "zz": torch.ones(2, 1)}
    assert loss(outputs, {"zz": torch.zeros(2, 1), "aa": torch.zeros(2, 3)}).item() == 1
    assert loss(list(outputs.values()), {"aa": torch.zeros(2, 3)}).item() == 1  # an output without a loss
    with pytest.raises(TransferError, match=r"by their names:\n  aa is missing\n  ab is no output"):
        loss(outputs, {"ab": torch.zeros(2, 3)})
