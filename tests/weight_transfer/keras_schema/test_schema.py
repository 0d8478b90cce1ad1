"""Which schema a config has, what is refused, and Keras 1's words; no Keras runs, but to say its signatures."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import keras_schemas
import pytest

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import read_graph
from weight_transfer.keras_schema import in_schema, models, schema_of
from weight_transfer.keras_schema.layers import ANY, CLASSES, LAYER_ROWS, OF_ANY_LAYER, WITHOUT_EFFECT
from weight_transfer.layer_types import LAYER_TYPES
from weight_transfer.layer_types.operations import KERAS_3_CLASSES

POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}


def row(class_name: str, **config: Any) -> tuple[str, dict[str, Any]]:
    return class_name, config


def keras_2(*rows: tuple[str, dict[str, Any]], call: dict[str, Any] | None = None, shape=(8, 8, 3)) -> dict[str, Any]:
    """A chain of layers as tf_keras's .h5 file has it; ``call`` are the arguments of each call."""
    layers = [listed("InputLayer", {"name": "image", "batch_input_shape": [None, *shape], "dtype": "float32"}, [])]
    for number, (class_name, config) in enumerate(rows):
        before = layers[-1]["name"]
        named = {"name": f"layer_{number}", "trainable": True, "dtype": "float32", **config}
        layers.append(listed(class_name, named, [[[before, 0, 0, call or {}]]]))
    return functional(layers)


def keras_3(*rows: tuple[str, dict[str, Any]], shape=(8, 8, 3)) -> dict[str, Any]:
    """The same as a .keras file of Keras 3 has it."""
    layers = [listed("InputLayer", {"name": "image", "batch_shape": [None, *shape], "dtype": "float32"}, [])]
    for number, (class_name, config) in enumerate(rows):
        tensor = {"shape": [None, *shape], "dtype": "float32", "keras_history": [layers[-1]["name"], 0, 0]}
        args = [{"class_name": "__keras_tensor__", "config": tensor}]
        named = {"name": f"layer_{number}", "trainable": True, "dtype": POLICY, **config}
        layers.append(listed(class_name, named, [{"args": args, "kwargs": {}}]))
    return {"module": "keras.src.models.functional", **functional(layers), "registered_name": "Functional"}


def listed(class_name: str, config: dict[str, Any], inbound: list[Any]) -> dict[str, Any]:
    return {"class_name": class_name, "config": config, "name": config["name"], "inbound_nodes": inbound}


def functional(layers: list[dict[str, Any]]) -> dict[str, Any]:
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[layers[-1]["name"], 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "m", "trainable": True, "layers": layers, **ends}}


CONV = row("Conv2D", filters=4, kernel_size=[3, 3], strides=[2, 2], padding="same", activation="relu")
NORM = row("BatchNormalization", axis=[3], momentum=0.9, epsilon=0.01)


def layer_of(config: dict[str, Any], name: str = "layer_0") -> dict[str, Any]:
    return next(layer for layer in config["config"]["layers"] if layer["name"] == name)


@pytest.mark.parametrize(
    ("config", "version", "schema"),
    [
        (keras_2(CONV), None, "keras2"),
        (keras_3(CONV), None, "keras3"),
        (keras_3(CONV), "2.15.0", "keras3"),
        ({"class_name": "Sequential", "config": {"name": "s", "layers": []}}, "2.4.0", "keras2"),
        ({"class_name": "Sequential", "config": {"name": "s", "layers": []}}, "3.0.1", "keras3"),
        ({"class_name": "Sequential", "config": {"name": "s", "layers": []}}, None, "keras3"),
    ],
)
def test_the_schema_of_a_config(config, version, schema):
    assert schema_of(config, version) == schema


@pytest.mark.parametrize("make", [keras_2, keras_3])
def test_a_config_of_the_schema_and_the_container_is_returned_as_it_is(make):
    config = make(CONV, NORM)
    config["config"]["unknown"] = {"a": [1, None]}
    config["compile_config"] = {"optimizer": "sgd"}
    schema = schema_of(config, None)
    for container in (".h5",) if schema == "keras2" else (".h5", ".keras"):
        assert in_schema(config, schema, container=container) == config
    assert in_schema(config, schema, container=".h5") is not config


def test_another_container_of_the_same_keras_says_the_module_of_the_model():
    written = in_schema(keras_2(CONV), "keras2", container=".keras")
    assert written["module"] == "keras.src.engine.functional"
    assert written["config"] == keras_2(CONV)["config"]
    assert read_graph(written).checked() == read_graph(keras_2(CONV)).checked()


@pytest.mark.parametrize(("axis", "dropped"), [([1, 3], True), ([], True), ([3], False), (3, False)])
@pytest.mark.parametrize("container", [".keras", ".h5"])
def test_an_axis_that_keras_3_s_reader_of_h5_drops_stands_beside_a_module(container, axis, dropped):
    written = in_schema(keras_3(row("Normalization", axis=axis)), "keras3", container=container)
    assert ("module" in layer_of(written)) is dropped
    assert layer_of(written)["config"]["axis"] == axis


DOTS = {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]}
FROM_TF_KERAS = keras_2(row("SlicingOpLambda", function="__operators__.getitem"), call=DOTS)
FROM_KERAS_3 = keras_3(row("GetItem"))
layer_of(FROM_KERAS_3)["config"] = {"name": "layer_0"}
layer_of(FROM_KERAS_3)["inbound_nodes"][0]["args"].append(
    [{"class_name": "__ellipsis__", "config": {}}, {"class_name": "__slice__", "config": {"step": -1}}]
)


@pytest.mark.parametrize(
    ("config", "schema", "reads", "not_from"),
    [(FROM_TF_KERAS, "keras2", ".h5", ".keras"), (FROM_KERAS_3, "keras3", ".keras", ".h5")],
)
def test_an_index_of_dots_is_refused_where_its_keras_reads_none(config, schema, reads, not_from):
    """Nor does it load what it writes there itself: tf_keras writes none, Keras 3 one that it cannot read."""
    assert in_schema(config, schema, container=reads)
    who = {"keras2": "tf_keras", "keras3": "Keras 3"}[schema]
    with pytest.raises(ArchitectureError, match=rf"^layer 'layer_0' .*{who} reads no index .* Name an? {reads} file"):
        in_schema(config, schema, container=not_from)


def test_there_and_back_again_is_the_same_graph():
    config = keras_2(CONV, NORM, row("LeakyReLU", alpha=0.1))
    there = in_schema(config, "keras3", container=".keras")
    assert layer_of(there, "layer_2")["config"]["negative_slope"] == 0.1
    back = in_schema(there, "keras2", container=".h5")
    assert layer_of(back, "layer_2")["config"]["alpha"] == 0.1
    assert read_graph(back).checked() == read_graph(config).checked()


def test_defaults_that_a_config_leaves_out_are_written():
    norm = layer_of(in_schema(keras_2(row("BatchNormalization")), "keras3", container=".keras"))["config"]
    assert {key: norm[key] for key in ("axis", "momentum", "epsilon", "center", "scale")} == {
        "axis": -1, "momentum": 0.99, "epsilon": 1e-3, "center": True, "scale": True,
    }  # fmt: skip


REFUSED = [
    (keras_2(row("Activation", activation="hard_sigmoid")), "keras3", r"'layer_0' \(Activation\): activation is .*0.2"),
    (keras_3(row("Activation", activation="hard_sigmoid")), "keras2", "activation is"),
    (keras_3(row("Activation", activation="celu")), "keras2", r"\(Activation\): activation='celu' .* Keras 2"),
    (keras_3(row("Dense", units=2, activation="hard_tanh")), "keras2", "activation='hard_tanh'"),
    (keras_2(row("RandomFlip", mode="horizontal_and_vertical")), "keras3", "together is False"),
    (keras_2(row("RandomContrast", factor=0.5)), "keras3", "each is False"),
    (keras_3(row("RandomCrop", height=4, width=4)), "keras2", "at_inference is False"),
    (keras_2(row("SpatialDropout2D", rate=0.5, activity_regularizer={"class_name": "L2", "config": {"l2": 0.1}})),
     "keras3", "activity_regularizer="),
    (keras_3(row("ZeroPadding1D", padding=[1, 1], data_format="channels_first"), shape=(8, 3)), "keras2",
     "data_format='channels_first'"),
    (keras_3(row("Dense", units=2, dtype={"class_name": "QuantizedDTypePolicy", "config": {"name": "int8"}})),
     "keras2", "int8"),
    (keras_2(NORM, call={"training": False}), "keras3", r"'layer_0' \(BatchNormalization\): training=False in a call"),
    (keras_2(NORM, call={"training": True}), "keras3", "training=True in a call"),
    (keras_2(row("Dropout", rate=0.5), call={"training": True}), "keras3", "training=True in a call"),
    (keras_2(row("RandomRotation", factor=0.5), call={"training": False}), "keras3", "training=False in a call"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "schema", "message"), REFUSED)
def test_what_the_schema_cannot_say_is_refused_by_name(config, schema, message):
    version = "2.15.0" if schema == "keras3" else "3.15.1"
    with pytest.raises(ArchitectureError, match=message):
        in_schema(config, schema, container=".keras", keras_version=version)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (row("BatchNormalization", trainable=False), False),
        (row("BatchNormalization", trainable=False), True),
        (row("Dropout", rate=0.0), True),
        (row("GaussianNoise", stddev=0.0), False),
        (row("ReLU"), True),
    ],
)
def test_a_mode_that_changes_nothing_is_left_out(layer, said):
    written = layer_of(in_schema(keras_2(layer, call={"training": said}), "keras3", container=".keras"))
    assert written["inbound_nodes"][0]["kwargs"] == {}
    assert written["config"]["trainable"] is layer[1].get("trainable", True)


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_a_flip_along_one_axis_is_the_same_in_both(mode):
    there = in_schema(keras_2(row("RandomFlip", mode=mode)), "keras3", container=".keras", keras_version="2.15.0")
    assert layer_of(there)["config"]["mode"] == mode
    assert layer_of(in_schema(there, "keras2", container=".h5"))["config"]["mode"] == mode


def test_a_norm_without_parameters_that_is_called_in_inference_is_a_frozen_one():
    norm = row("BatchNormalization", scale=False, center=False)
    written = layer_of(in_schema(keras_2(norm, call={"training": False}), "keras3", container=".keras"))
    assert written["config"]["trainable"] is False


def test_keras_3_overrides_the_mode_of_a_call_so_that_keras_2_is_told_none():
    config = keras_3(NORM)
    layer_of(config)["inbound_nodes"][0]["kwargs"] = {"training": False, "mask": None}
    written = layer_of(in_schema(config, "keras2", container=".h5"))
    assert written["inbound_nodes"] == [[["image", 0, 0, {}]]]


def test_a_whole_model_that_does_not_learn():
    """Keras 3 reads the flag of a functional model, tf_keras forgets it."""
    config = keras_3(CONV)
    config["config"]["trainable"] = False
    assert layer_of(in_schema(config, "keras2", container=".h5"))["config"]["trainable"] is False
    config = keras_3(NORM)
    config["config"]["trainable"] = False
    with pytest.raises(ArchitectureError, match=r"trainable=True in a model that does not learn"):
        in_schema(config, "keras2", container=".h5")
    config = keras_2(CONV)
    config["config"]["trainable"] = False
    assert in_schema(config, "keras3", container=".keras")["config"]["trainable"] is True


KERAS_1 = keras_2(
    row("Convolution2D", nb_filter=4, nb_row=3, nb_col=2, subsample=[2, 1], border_mode="same", dim_ordering="tf",
        bias=False, init="glorot_uniform", activation="relu", W_constraint={"name": "MaxNorm", "m": 2, "axis": 0},
        W_regularizer={"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}, input_dim=None),
    row("BatchNormalization", mode=0, axis=-1, momentum=0.9, epsilon=1e-5, gamma_regularizer=None),
    row("MaxPooling2D", pool_size=[2, 2], strides=[2, 1], border_mode="valid", dim_ordering="tf"),
    row("PReLU", init="zero", shared_axes=[1, 2]),
    row("Dropout", p=0.25),
    row("GaussianNoise", sigma=0.5),
    row("Flatten"),
    row("Dense", output_dim=5, bias=True, init="uniform", b_regularizer=None, activation="linear"),
    row("ThresholdedReLU", theta=0.5),
)  # fmt: skip


@pytest.mark.parametrize("container", [".keras", ".h5"])
@pytest.mark.parametrize("schema", ["keras2", "keras3"])
def test_keras_1_in_todays_words(schema, container):
    written = in_schema(KERAS_1, schema, container=container, keras_version="1.2.2")
    conv = layer_of(written)["config"]
    assert {key: conv[key] for key in ("filters", "kernel_size", "strides", "padding", "use_bias", "data_format")} == {
        "filters": 4, "kernel_size": [3, 2], "strides": [2, 1], "padding": "same", "use_bias": False,
        "data_format": "channels_last",
    }  # fmt: skip
    assert conv["kernel_regularizer"]["config"] == {"l1": 0.0, "l2": 0.01}
    assert conv["kernel_constraint"]["config"] == {"max_value": 2, "axis": 0}
    assert layer_of(written, "layer_4")["config"]["rate"] == 0.25
    assert not {"nb_filter", "init", "input_dim", "W_regularizer", "mode", "p", "sigma"} & {
        key for layer in written["config"]["layers"] for key in layer["config"]
    }


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_either_keras_loads_what_keras_1_wrote(keras_side, library):
    schema = keras_schemas.SCHEMAS[library]
    for container in keras_schemas.CONTAINERS:
        written = in_schema(KERAS_1, schema, container=container, keras_version="1.2.2")
        learns = keras_side(keras_schemas.learning, library, container, written)
        assert len(learns) == 6  # kernel, gamma, beta, alpha, kernel, bias


def test_a_merge_of_keras_1_is_a_layer_of_its_own():
    merge = {"class_name": "Merge", "name": "sum", "config": {"name": "sum", "mode": "sum", "concat_axis": -1},
             "inbound_nodes": [[["layer_0", 0, 0], ["layer_0", 0, 0]]]}  # fmt: skip
    config = keras_2(row("Activation", activation="tanh"))
    config["config"]["layers"].append(merge)
    config["config"]["output_layers"] = [["sum", 0, 0]]
    assert layer_of(in_schema(config, "keras3", container=".keras"), "sum")["class_name"] == "Add"


@pytest.mark.parametrize(
    ("layer", "argument"),
    [(CONV, "strides"), (CONV, "activation"), (NORM, "momentum"), (NORM, "epsilon"), (row("ELU", alpha=0.5), "alpha")],
)
def test_a_field_that_is_dropped_is_seen(monkeypatch, layer, argument):
    """The mistake that this module could make: its own comparison of what both configs mean finds it."""
    honest = models.layer_config

    def forgetful(*given: Any) -> tuple[str, dict[str, Any]]:
        class_name, config = honest(*given)
        config.pop(argument, None)
        return class_name, config

    in_schema(keras_2(layer), "keras3", container=".keras")
    monkeypatch.setattr(models, "layer_config", forgetful)
    with pytest.raises(ArchitectureError, match=argument):
        in_schema(keras_2(layer), "keras3", container=".keras")


@pytest.mark.parametrize("argument", ["momentum", "scale"])
def test_an_argument_that_no_row_has_is_refused(monkeypatch, argument):
    known = LAYER_ROWS["BatchNormalization"]
    monkeypatch.setitem(
        LAYER_ROWS,
        "BatchNormalization",
        dataclasses.replace(known, arguments=known.arguments - {argument}, defaults={}),
    )
    with pytest.raises(ArchitectureError, match=rf"\(BatchNormalization\): {argument}="):
        in_schema(keras_2(row("BatchNormalization", **{argument: 0.5})), "keras3", container=".keras")


def test_every_class_that_can_be_imported_has_a_row():
    elsewhere = {*KERAS_3_CLASSES, "TFOpLambda", "SlicingOpLambda", "GetItem", "Merge", "Scale"}
    assert {CLASSES.get(name, name) for name in set(LAYER_TYPES) - elsewhere} == set(LAYER_ROWS)


def test_the_rows_have_the_arguments_of_both_kerases(keras_side):
    """Each argument of a row is taken by both, each other by one alone; no argument of either is left out."""
    keras, tf_keras = (keras_side(keras_schemas.signatures, library) for library in ("keras", "tf_keras"))
    assert set(LAYER_ROWS) - set(keras) == {"ThresholdedReLU"}
    assert set(LAYER_ROWS) <= set(tf_keras)
    for name in keras:
        row_ = LAYER_ROWS[name]
        others = {*OF_ANY_LAYER, *WITHOUT_EFFECT, *row_.neutral, "input_shape", "trainable"}
        passed_on = {*others, *row_.keras_2, "keepdims", "data_format", "seed"}  # through **kwargs, to a base class
        own = {row_.keras_2_names.get(key, key) for key in row_.arguments}
        assert set(keras[name]) <= {*row_.arguments, *row_.keras_3, *others, "lora_rank", "quantization_config"}, name
        assert row_.arguments - set(keras[name]) <= others, name
        assert set(tf_keras[name]) <= {*own, *row_.keras_2, *others}, name
        assert own - set(tf_keras[name]) <= passed_on, name
        for key, default in row_.defaults.items():
            known = keras[name].get(key)
            assert known is None or known == default or list(_listed(known)) == default, (name, key)
            assert ANY not in row_.defaults.values()


def test_defaults_are_the_same_in_both_kerases(keras_side):
    """What a config leaves out means the same in either, or stands in the row's defaults."""
    keras, tf_keras = (keras_side(keras_schemas.signatures, library) for library in ("keras", "tf_keras"))
    for name, arguments in keras.items():
        row_ = LAYER_ROWS[name]
        for key, default in arguments.items():
            old = row_.keras_2_names.get(key, key)
            if old in tf_keras[name] and key not in row_.defaults and key != "data_format":
                assert _plain(default) == _plain(tf_keras[name][old]), (name, key)


def _listed(value: Any) -> Any:
    return value if isinstance(value, tuple) else [value]


def _plain(value: Any) -> Any:
    """Texts without case, since Keras 2 writes ``zeros``; one number for as many."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, (tuple, list)) and len(set(map(str, value))) == 1:
        return _plain(value[0])
    return value


def test_the_config_given_stays_as_it_is():
    config = keras_2(CONV, NORM)
    given = copy.deepcopy(config)
    in_schema(config, "keras3", container=".keras")
    assert config == given
