"""The file's graph and the recipe's, both read by the table of layer types: every setting counts, no name does."""

from __future__ import annotations

import copy
import dataclasses

import checkpoints
import pytest
from handmade_configs import DENSE, TWICE, nested, reads

from weight_transfer import ArchitectureError
from weight_transfer.architecture import Head
from weight_transfer.conversion.observed_architecture import observed_conventions
from weight_transfer.conversion.structure import OUTPUT, check_called_once, differences, same_values
from weight_transfer.graph import read_graph
from weight_transfer.resnet.keras_config import keras_config

SMALL = checkpoints.small("tutorial")


def graph_of(config):
    return read_graph(config).checked()


def edited(edit, architecture=SMALL):
    """The recipe's graph after ``edit(layers by name, all layers)``."""
    config = copy.deepcopy(keras_config(architecture))
    layers = config["config"]["layers"]
    edit({layer["name"]: layer for layer in layers}, config["config"])
    return graph_of(config)


def behind(config, name, class_name, settings, new):
    """Puts a layer behind another one: whoever read that reads the new one."""
    layers = config["layers"]
    place = next(number for number, layer in enumerate(layers) if layer["name"] == name)
    shape = next(
        tensor["config"]["shape"]
        for layer in [*layers, {"inbound_nodes": [{"args": [end_of(config, name)]}]}]
        for tensor in tensors_of(layer)
        if tensor["config"]["keras_history"][0] == name
    )
    for layer in layers:
        for tensor in tensors_of(layer):
            if tensor["config"]["keras_history"][0] == name:
                tensor["config"]["keras_history"][0] = new
    layers.insert(
        place + 1,
        {
            "module": "keras.layers",
            "class_name": class_name,
            "config": {"name": new, "trainable": True, "dtype": "float32", **settings},
            "registered_name": None,
            "name": new,
            "inbound_nodes": [{"args": [tensor_of(name, shape)], "kwargs": {}}],
        },
    )
    if config["output_layers"][0] == name:
        config["output_layers"][0] = new


def tensor_of(name, shape):
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": shape, "dtype": "float32", "keras_history": [name, 0, 0]},
    }


def end_of(config, name):
    return tensor_of(name, [None, SMALL.head.classes])


def tensors_of(layer):
    found = []
    for node in layer["inbound_nodes"]:
        for argument in node["args"]:
            found += argument if isinstance(argument, list) else [argument]
    return found


OTHERS = {"valid": "same", "same": "valid", "channels_last": "channels_first"}


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return OTHERS.get(value, value + "x")
    if isinstance(value, list):
        return [changed(value[0]), *value[1:]]
    if isinstance(value, dict):
        return {key: changed(inner) for key, inner in value.items()}
    return {"name": "tanh"}


@pytest.mark.parametrize("dialect", ["tutorial", "keras-applications", "keras-resnet", "mask-rcnn", "caffe"])
def test_a_recipe_is_its_own_graph(dialect):
    architecture = checkpoints.small(dialect)
    graph = graph_of(keras_config(architecture))
    assert differences(graph, architecture) == []
    assert observed_conventions(graph, architecture) == architecture


def test_every_setting_of_every_layer_counts():
    """Whatever the table reads: no list of fields decides what is compared."""
    graph = graph_of(keras_config(SMALL))
    tried = 0
    for path, layer in graph.layers.items():
        for key, value in layer.settings.items():
            other = dataclasses.replace(layer, settings={**layer.settings, key: changed(value)})
            try:
                found = differences(dataclasses.replace(graph, layers={**graph.layers, path: other}), SMALL)
            except (KeyError, ValueError, TypeError, IndexError):
                continue  # the shapes no longer fit
            tried += 1
            one_pixel = key == "padding" and max(layer.settings.get("kernel_size", [0])) == 1  # nothing to pad
            pixels = key == "data_format" and layer.class_name == "ZeroPadding2D"  # in front of a convolution
            assert found or one_pixel or pixels, f"{path}: {key}"
    assert tried > 150


INSERTED = {
    "dropout": ("Dropout", {"rate": 0.5}, "input expected activation, the file's model has Dropout"),
    "spatial dropout": ("SpatialDropout2D", {"rate": 0.5}, "the file's model has SpatialDropout2D"),
    "alpha dropout": ("AlphaDropout", {"rate": 0.1}, "the file's model has AlphaDropout"),
    "noise": ("GaussianNoise", {"stddev": 0.5}, "the file's model has GaussianNoise"),
    "gaussian dropout": ("GaussianDropout", {"rate": 0.5}, "the file's model has GaussianDropout"),
    "penalty": ("ActivityRegularization", {"l1": 0.1, "l2": 0.0}, "the file's model has ActivityRegularization"),
    "another activation": ("Activation", {"activation": "tanh"}, "tanh"),
}


@pytest.mark.parametrize("case", INSERTED)
def test_what_acts_between_blocks_is_no_recipe(case):
    class_name, settings, words = INSERTED[case]
    last = SMALL.names.out.format(stage=2, block=SMALL.names.block(2, SMALL.block_counts[0] - 1))
    graph = edited(lambda by_name, config: behind(config, last, class_name, settings, "new"))
    found = [str(one) for one in differences(graph, SMALL)]
    assert found
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("class_name", "settings"),
    [("Dropout", {"rate": 0.0}), ("GaussianNoise", {"stddev": 0.0}), ("Activation", {"activation": "linear"})],
)
def test_what_never_acts_changes_nothing(class_name, settings):
    last = SMALL.names.out.format(stage=2, block="a")
    graph = edited(lambda by_name, config: behind(config, last, class_name, settings, "new"))
    assert differences(graph, SMALL) == []


def test_one_norm_with_another_momentum():
    def edit(by_name, config):
        by_name["bn2a_branch2a"]["config"]["momentum"] = 0.5

    assert [str(one) for one in differences(edited(edit), SMALL)] == [
        "bn2a_branch2a: momentum expected 0.99, the file's model has 0.5"
    ]


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        ({"activation": "relu"}, "relu of fc_final"),
        ({"activation": "tanh"}, "tanh of fc_final"),
        ({"activation": "log_softmax"}, "log_softmax of fc_final"),
    ],
)
def test_last_activations_that_predict_has_not(activation, words):
    graph = edited(lambda by_name, config: by_name["fc_final"]["config"].update(activation))
    observed = observed_conventions(graph, SMALL)
    found = differences(graph, observed)
    assert [one.name for one in found] == [OUTPUT]
    assert words in str(found[0])


@pytest.mark.parametrize("between", [None, ("Dropout", {"rate": 0.5})])
def test_two_last_activations(between):
    def edit(by_name, config):
        last = "fc_final"
        if between is not None:
            behind(config, last, *between, "between")
            last = "between"
        behind(config, last, "Softmax", {"axis": -1}, "second")

    graph = edited(edit)
    assert [one.name for one in differences(graph, observed_conventions(graph, SMALL))] == [OUTPUT]


def test_a_softmax_over_the_batch():
    def edit(by_name, config):
        by_name["fc_final"]["config"]["activation"] = "linear"
        behind(config, "fc_final", "Softmax", {"axis": 0}, "softmax")

    graph = edited(edit)
    assert [one.name for one in differences(graph, observed_conventions(graph, SMALL))] == [OUTPUT]


def test_an_activation_by_its_class_and_arguments_and_not_its_name():
    relu6 = {
        "module": "keras.layers",
        "class_name": "ReLU",
        "config": {"name": "relu", "max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0},
        "registered_name": None,
    }

    def edit(by_name, config):
        layer = by_name[SMALL.names.stem_relu]
        layer["class_name"], layer["config"] = "Activation", {"name": layer["name"], "activation": relu6}

    found = differences(edited(edit), SMALL)
    assert found
    assert "expected relu, the file's model has relu6" in str(found[0])


def test_outputs_by_name_are_no_recipe():
    graph = dataclasses.replace(graph_of(keras_config(SMALL)), output_names=("class",))
    assert [str(one) for one in differences(graph, SMALL)] == [
        "output: names expected None, the file's model has ('class',)"
    ]


# What Keras's own history writes in two ways.


def test_an_activation_in_any_layer_that_applies_it():
    def edit(by_name, config):
        layer = by_name[SMALL.names.stem_relu]
        layer["class_name"] = "Activation"
        layer["config"] = {"name": layer["name"], "activation": "relu"}
        by_name["fc_01"]["config"]["activation"] = "linear"
        behind(config, "fc_01", "ReLU", {}, "hidden_relu")
        by_name["fc_final"]["config"]["activation"] = "linear"
        behind(config, "fc_final", "Activation", {"activation": "softmax"}, "probabilities")

    graph = edited(edit)
    assert differences(graph, SMALL) == []
    assert same_values(graph, SMALL)["fc_01"] == "hidden_relu"
    assert same_values(graph, SMALL)["fc_final"] == "probabilities"


def test_a_penalty_of_what_an_activation_reads_is_none_of_what_it_gives():
    penalty = {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.1}, "registered_name": None}

    def edit(by_name, config):
        by_name["fc_01"]["config"].update(activation="linear", activity_regularizer=penalty)
        behind(config, "fc_01", "ReLU", {}, "hidden_relu")

    assert "activation before the activity regularizer" in str(differences(edited(edit), SMALL)[0])
    in_place = edited(lambda by_name, config: by_name["fc_01"]["config"].update(activity_regularizer=penalty))
    assert differences(in_place, SMALL) == []


def test_operands_of_an_addition_in_either_order():
    def edit(by_name, config):
        for layer in config["layers"]:
            if layer["class_name"] == "Add":
                layer["inbound_nodes"][0]["args"][0].reverse()

    assert differences(edited(edit), SMALL) == []


def test_an_average_pooling_over_all_places_then_flatten():
    """Keras up to 2.2: AveragePooling2D((7, 7)), Flatten."""
    stage = SMALL.stages[-1]
    last = SMALL.names.out.format(stage=stage, block=SMALL.names.block(stage, SMALL.block_counts[-1] - 1))
    size = list(graph_of(keras_config(SMALL)).shapes[last][:2])
    assert min(size) > 2

    def pooled(pool_size, strides):
        def edit(by_name, config):
            layer = by_name[SMALL.names.global_pool]
            layer["class_name"] = "AveragePooling2D"
            layer["config"] = {"name": layer["name"], "pool_size": pool_size, "strides": strides, "padding": "valid"}
            behind(config, layer["name"], "Flatten", {}, "flatten")

        return differences(edited(edit), SMALL)

    assert pooled(size, size) == []
    assert pooled(size, [1, 1]) == []
    assert pooled([n - 1 for n in size], size) != []  # one window too, and not of all places


def test_zeros_in_front_or_padding_same():
    """A k x k convolution with stride 1 pads the same either way; one with stride 2 does not."""

    def edit(by_name, config):
        conv = by_name["res2a_branch2b"]
        conv["config"]["padding"] = "valid"
        before = tensors_of(conv)[0]["config"]["keras_history"][0]
        behind(config, before, "ZeroPadding2D", {"padding": [[1, 1], [1, 1]]}, "zeros")

    assert differences(edited(edit), SMALL) == []

    def strided(by_name, config):
        by_name[SMALL.names.stem_conv]["config"]["padding"] = "same"
        tensors_of(by_name[SMALL.names.stem_conv])[0]["config"]["keras_history"][0] = "input_layer"
        config["layers"].remove(by_name[SMALL.names.stem_pad])

    assert any(one.name == SMALL.names.stem_conv for one in differences(edited(strided), SMALL))


def test_a_head_whose_dropouts_differ():
    def edit(by_name, config):
        by_name["dropout_01"]["config"]["rate"] = 0.9
        by_name["dropout_02"]["config"]["rate"] = 0.25

    graph = edited(edit)
    observed = observed_conventions(graph, SMALL)
    assert observed.head.dropout == 0.25
    assert [one.name for one in differences(graph, observed)] == ["fc_01"]
    backbone = dataclasses.replace(observed, head=Head(pooling=None, classes=None))
    assert differences(graph, backbone, outputs=False) == []


def test_what_no_resnet_has():
    graph = graph_of(keras_config(SMALL))
    twice = dataclasses.replace(graph, calls=(*graph.calls, dataclasses.replace(graph.calls[-1], value="again")))
    with pytest.raises(ArchitectureError, match="layer 'fc_final' is called 2 times; a ResNet calls each once"):
        check_called_once(twice)
    layer = graph.layers["fc_final"]
    nested = {**graph.layers, "inner/fc_final": dataclasses.replace(layer, path="inner/fc_final")}
    with pytest.raises(ArchitectureError, match="two layers of the file's model are both named 'fc_final'"):
        check_called_once(dataclasses.replace(graph, layers=nested))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_stage_of_more_blocks_than_python_nests(swapped):
    """Each sum is made of the one before it: compared as they are, these would be nests of 1,200 levels."""
    deep = checkpoints.small(block="basic", block_counts=(600,), filters=((2, 2),), stem_filters=2)

    def edit(by_name, config):
        for layer in by_name.values():
            if layer["class_name"] == "Add" and swapped:
                layer["inbound_nodes"][0]["args"][0].reverse()

    assert differences(edited(edit, deep), deep) == []


def sized(config):
    """A handmade config whose inputs and Dense layers have a size, so that its shapes are known."""
    for layer in config["config"]["layers"]:
        if "layers" in layer["config"]:
            sized(layer)
        elif layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = [None, 4]
        else:
            layer["config"]["units"] = 4
    return config


def test_what_no_resnet_has_in_a_files_config():
    with pytest.raises(ArchitectureError, match="layer 'd' is called 2 times; a ResNet calls each once"):
        check_called_once(graph_of(sized(copy.deepcopy(TWICE))))
    config = nested(copy.deepcopy(DENSE))
    config["config"]["layers"].append(
        {"class_name": "Dense", "name": "d", "config": {}, "inbound_nodes": reads("n", 1)}
    )
    config["config"]["output_layers"] = [["d", 0, 0]]  # a layer that no output needs is none of the network's
    with pytest.raises(ArchitectureError, match="two layers of the file's model are both named 'd'"):
        check_called_once(graph_of(sized(config)))
