"""What is harmless is let through and loads; whatever else a config names is refused, before any Keras sees it."""

from __future__ import annotations

from typing import Any

import keras_functions
import keras_references
import pytest
from keras_references import assert_close, edited, layers_of

from resnet_keras.allowlist import is_keras_training
from weight_transfer.errors import VerificationError
from weight_transfer.layer_types import LAYER_TYPES
from weight_transfer.layer_types.activations import ACTIVATIONS, ALIASES
from weight_transfer.layer_types.normalizations import SCALE
from weight_transfer.layer_types.operations import TF_FUNCTIONS

QKERAS = "hls4ml-finn-mlperftiny__CIFAR10__model_best.h5"
NO_KERAS_LOADS = {"Merge"}  # Keras 1's, of which a mode may be code
BY_CONDITION = {SCALE}  # by its arguments, not by its name alone


def test_whatever_a_port_exists_for_may_stand_in_a_reference(keras_side):
    tables = keras_side(keras_references.tables)
    assert LAYER_TYPES.keys() - tables["CLASSES"] - tables["TENSORFLOW_LAYERS"] == NO_KERAS_LOADS | BY_CONDITION
    assert ACTIVATIONS.keys() | ALIASES.keys() <= tables["ACTIVATION_FUNCTIONS"]
    assert TF_FUNCTIONS.keys() <= tables["TENSORFLOW_FUNCTIONS"]


KERAS_TRAINING = {
    "optimizer": {
        "module": "keras.optimizers",
        "class_name": "Adam",
        "config": {
            "learning_rate": {"module": "keras.optimizers.schedules", "class_name": "CosineDecay", "config": {}}
        },
    },
    "loss": {
        "module": "keras.losses",
        "class_name": "CategoricalCrossentropy",
        "config": {"dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}},
    },
    "metrics": ["accuracy", {"module": "builtins", "class_name": "function", "config": "top_k"}],
}


def test_training_of_kerass_own_may_be_built():
    assert is_keras_training(KERAS_TRAINING)
    assert is_keras_training(None)


@pytest.mark.parametrize("module", ["os", "keras.utils", "keras", "keras.optimizers.x", "my.losses", ["keras.losses"]])
@pytest.mark.parametrize("place", ["optimizer", "loss", "metrics"])
def test_training_that_names_anything_else_is_not_built(place, module):
    foreign = {"module": module, "class_name": "get_file", "config": {}}
    value = [KERAS_TRAINING["metrics"], [foreign]] if place == "metrics" else {"a": foreign}
    assert not is_keras_training({**KERAS_TRAINING, place: value})


# The names of the tables, as real Keras writes them into files.


@pytest.mark.parametrize(
    ("family", "model", "entries"),
    [
        ("keras", "minus a tensor", {"__tensor__"}),
        ("keras", "minus an array", {"__numpy__"}),
        ("keras", "mirrored channels", {"GetItem", "__ellipsis__", "__slice__"}),
        ("keras", "quotient", {"TrueDivide"}),
        ("keras", "caffe", {"Stack", "GetItem", "__tensor__"}),
        ("keras", "negative", {"Negative"}),
        *(("keras", name, {name}) for name in ("Cast", "Divide", "Stack")),
        *(("keras", name, {name}) for name in keras_functions.MORE["keras"]),
        ("tf_keras", "sum", {"TFOpLambda", "__operators__.add"}),
        ("tf_keras", "difference", {"math.subtract"}),
        ("tf_keras", "product", {"math.multiply"}),
        ("tf_keras", "negative", {"math.negative"}),
        ("tf_keras", "mirrored channels", {"SlicingOpLambda", "__operators__.getitem"}),
        ("tf_keras", "caffe", {"nn.bias_add"}),
        *(("tf_keras", name, {name}) for name in ("cast", "concat", "math.truediv", "math.maximum", "math.minimum")),
        *(("tf_keras", name, {name}) for name in ("nn.bias_add", "nn.relu", "stack")),
        *(("tf_keras", name, {name}) for name in keras_functions.MORE["tf_keras"]),
    ],
)
def test_entry_is_let_through_and_the_model_with_it_loads(keras_side, tmp_path, family, model, entries):
    saved = keras_side(keras_functions.written, tmp_path, family, model)
    (file,) = saved.files.values()
    assert entries <= keras_functions.names_in(file)
    loaded = keras_side(keras_references.load, file, saved.inputs)
    assert loaded.loaded_by.startswith(f"{family} ")
    assert_close(loaded.outputs, saved.outputs)


@pytest.mark.slow
def test_every_operation_of_the_table_was_written_by_keras_3(keras_side, tmp_path):
    found = set()
    for name in keras_functions.ALL["keras"]:
        (file,) = keras_side(keras_functions.written, tmp_path, "keras", name).files.values()
        found |= keras_functions.names_in(file)
    assert keras_side(keras_references.tables)["OPERATIONS"] - found == set()


@pytest.mark.parametrize("class_name", ["BatchNormalizationV1", "BatchNormalizationV2"])
def test_batch_normalization_of_tensorflow_1_loads(keras_side, written, tmp_path, class_name):
    def plant(config: dict[str, Any]) -> None:
        for layer in layers_of(config, "BatchNormalization"):
            layer["class_name"] = class_name

    saved = written("tf_keras", "flat")
    file = edited(saved.files["legacy-h5"], tmp_path / "model.h5", plant)
    loaded = keras_side(keras_references.load, file, saved.inputs)
    assert loaded.loaded_by.startswith("tf_keras ")
    assert_close(loaded.outputs, saved.outputs)


@pytest.mark.parametrize("name", ["sparsemax", "sparse_sigmoid", "glu", "threshold"])
def test_activation_in_any_schema_is_let_through(keras_side, name):
    function = {"class_name": "function", "module": "builtins", "config": name, "registered_name": name}
    for activation in (name, function, {"class_name": name, "config": {}}):
        layer = {"class_name": "Activation", "config": {"name": "a", "activation": activation}}
        keras_side(keras_references.check_classes, {"class_name": "Sequential", "config": {"layers": [layer]}})


def test_qkeras_is_refused_by_name(keras_side, shared_data):
    with pytest.raises(VerificationError, match=r"layer 'q_conv2d_batchnorm': class 'QConv2DBatchnorm'"):
        keras_side(keras_references.load, shared_data / "wild" / QKERAS, None)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("family", keras_references.BOTH)
def test_lambda_never_runs(keras_side, tmp_path, family, suffix, nested):
    file, proof = tmp_path / f"model{suffix}", tmp_path / "proof"
    assert keras_side(keras_references.written_with_lambda, file, family, proof, nested), "the trap must work"
    with pytest.raises(VerificationError, match=r"layer 'trap': class 'Lambda'"):
        keras_side(keras_references.load, file, None)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_custom_layer_is_refused_by_name(keras_side, tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    keras_side(keras_references.written_with_custom_layer, file)
    with pytest.raises(VerificationError, match=r"layer 'doubling': class '(mine>)?Twice'"):
        keras_side(keras_references.load, file, None)


FUNCTION = {"class_name": "function", "module": "builtins", "config": "relu", "registered_name": "relu"}
MINE = {"class_name": "Mine", "config": {}}


def conv(**arguments: Any) -> dict[str, Any]:
    return {"config": {"name": "conv1", "filters": 4, "kernel_size": 3, **arguments}}


def activation(**changed: Any) -> dict[str, Any]:
    return {"config": {"name": "activation", "activation": FUNCTION | changed}}


@pytest.mark.parametrize(
    ("class_name", "planted"),
    [
        ("Conv2D", {"module": "os"}),
        ("Conv2D", {"module": "kerasfoo.layers"}),
        ("Conv2D", {"module": ["keras"]}),
        ("Conv2D", {"class_name": "TFOpLambda", "config": {"name": "conv1", "function": "io.write_file"}}),
        ("Conv2D", {"class_name": "TFOpLambda", "config": {"name": "conv1", "function": ["math.add"]}}),
        ("Conv2D", {"class_name": "TFOpLambda", "config": {"name": "conv1", "function": None}}),
        ("Conv2D", {"class_name": ["Conv2D"]}),
        ("Conv2D", {"class_name": "TFSMLayer"}),
        ("Conv2D", {"class_name": "Merge"}),
        ("Conv2D", conv(kernel_initializer=MINE)),
        ("Conv2D", conv(kernel_regularizer=MINE)),
        ("Conv2D", conv(kernel_constraint=MINE)),
        ("Conv2D", conv(activation=MINE)),
        ("Conv2D", conv(dtype=MINE)),
        ("Conv2D", conv(kernel_initializer=[[{"deep": MINE}]])),
        ("Activation", activation(module="os")),
        ("Activation", activation(config="eval")),
        ("Activation", activation(registered_name="eval")),
        ("Activation", {"config": {"name": "activation", "activation": {"class_name": "__lambda__", "config": {}}}}),
    ],
)
def test_foreign_object_is_refused_before_any_keras_sees_it(keras_side, written, tmp_path, class_name, planted):
    file = edited(
        written("keras", "flat").files["keras-zip"],
        tmp_path / "model.keras",
        lambda config: next(layers_of(config, class_name)).update(planted),
    )
    with pytest.raises(VerificationError, match=r"not Keras's own or could run code.*\n  layer '(conv1|activation)'"):
        keras_side(keras_references.load, file, None)


def test_all_that_is_refused_is_named_at_once(keras_side, written, tmp_path):
    def plant(config: dict[str, Any]) -> None:
        inner = next(layers_of(config, "Functional"))
        next(layers_of(inner, "Conv2D"))["class_name"] = "Mine"
        next(layers_of(config, "Dense")).update(class_name="Theirs", module="their.layers")

    file = edited(written("keras", "nested").files["keras-zip"], tmp_path / "model.keras", plant)
    with pytest.raises(VerificationError, match=r"Received:\n  layer 'conv1'.*\n  layer 'fc_01'") as caught:
        keras_side(keras_references.load, file, None)
    assert "class 'Theirs' of 'their.layers'" in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_models_own_class_is_looked_up_too(keras_side):
    config = {"class_name": "MyModel", "config": {"name": "mine"}}
    with pytest.raises(VerificationError, match=r"'model.keras': not loaded.*\n  layer 'mine': class 'MyModel'"):
        keras_side(keras_references.check_classes, config)


def test_what_compiled_a_model_is_not_looked_at(keras_side):
    """It is never built."""
    config = {"class_name": "Functional", "config": {}, "compile_config": {"optimizer": MINE}}
    keras_side(keras_references.check_classes, config)
    with pytest.raises(VerificationError, match="class 'Mine'"):
        keras_side(keras_references.check_classes, config | {"build_config": MINE})
