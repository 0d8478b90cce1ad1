"""The layer graph in a config, against the models that Keras wrote it of, and against nonsense."""

from __future__ import annotations

import copy
import json
import time

import keras_graphs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weight_transfer import ArchitectureError, read_checkpoint
from weight_transfer.keras_graph import MAX_LAYERS, MAX_NESTING, KerasGraph, keras_graph
from weight_transfer.model_config import model_graph


@pytest.fixture(scope="module")
def real(keras_side, tmp_path_factory):
    """``real(family, model_name)``, each built once."""
    folder, made = tmp_path_factory.mktemp("graphs"), {}

    def get(*key) -> keras_graphs.Described:
        if key not in made:
            made[key] = keras_side(keras_graphs.described, folder, *key)
        return made[key]

    return get


def named_by_history(graph: KerasGraph) -> dict[str, str]:
    names = {}
    for call in graph.calls:
        names[call.value] = keras_graphs.value_name(call.layer, (names[value] for value in call.inputs))
    return names


@pytest.mark.parametrize("written", ["json", "h5"])
@pytest.mark.parametrize("model_name", keras_graphs.MODELS)
@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_every_layer_reads_what_it_reads_in_keras(family, model_name, written, real):
    model = real(family, model_name)
    graph = keras_graph(json.loads(model.configs[written]))
    names = named_by_history(graph)
    calls = {
        (call.layer, graph.layers[call.layer].class_name, tuple(names[value] for value in call.inputs))
        for call in graph.calls
    }
    assert calls == model.calls
    assert {call.layer for call in graph.calls} == set(graph.layers)
    assert graph.inputs == model.inputs
    assert tuple(names[value] for value in graph.outputs) == model.outputs


def graph_of(real, family, model_name, written="json") -> KerasGraph:
    return keras_graph(json.loads(real(family, model_name).configs[written]))


@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_second_calls_are_numbered_within_nested_models(family, real):
    values = [call.value for call in graph_of(real, family, "nested_twice").calls]
    assert [value for value in values if value.startswith("middle/inner/d")] == [
        "middle/inner/d",
        *(f"middle/inner/d#{number}" for number in range(2, 7)),
    ]


@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_outputs_of_a_dict_are_named_in_the_order_of_the_outputs(family, real):
    graph = graph_of(real, family, "dicts")
    assert graph.output_names == ("first", "second")
    assert [call.inputs for value in graph.outputs for call in graph.calls if call.value == value] == [("b",), ("a",)]
    assert graph_of(real, family, "siamese").output_names is None


def operations(graph: KerasGraph) -> list[tuple[str, dict]]:
    layers = graph.layers
    return [
        (layers[call.layer].config.get("function", layers[call.layer].class_name), dict(call.arguments))
        for call in graph.calls
        if call.arguments
    ]


def test_constants_of_tensorflow_operations_are_arguments(real):
    assert operations(graph_of(real, "tf_keras", "tf")) == [
        ("math.truediv", {"y": 127.5}),
        ("math.subtract", {"y": 1.0}),
    ]
    (_, sliced), (function, bias) = operations(graph_of(real, "tf_keras", "caffe"))
    assert sliced == {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]}
    assert function == "nn.bias_add"
    assert bias["bias"] == pytest.approx([-103.939, -116.779, -123.68])
    found = operations(graph_of(real, "tf_keras", "operations"))
    assert ("math.subtract", {"0": 1.0}) in found
    assert ("math.multiply", {"y": 2.0}) in found
    assert ("concat", {"axis": -1}) in found


def test_constants_of_keras_3_operations_are_arguments_by_position(real):
    assert operations(graph_of(real, "keras", "tf")) == [("TrueDivide", {"1": 127.5}), ("Subtract", {"1": 1.0})]
    found = operations(graph_of(real, "keras", "operations"))
    assert ("Subtract", {"0": 1.0}) in found
    assert ("Multiply", {"1": 2.0}) in found
    slices = [
        {"class_name": "__slice__", "config": {"start": a, "stop": b, "step": None}} for a, b in ((None,) * 2, (1, 3))
    ]
    assert ("GetItem", {"1": slices}) in found


@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_training_is_handed_on_into_nested_models(family, real):
    graph = graph_of(real, family, "training")
    assert {call.layer: dict(call.arguments) for call in graph.calls if call.arguments} == {
        "inner/r": {"training": True},
        "inner/d": {"training": True},
    }


def test_the_wild_configs_parse(shared_data):
    sizes = {}
    for path in sorted((shared_data / "wild").iterdir()):
        if path.suffix in (".h5", ".keras"):
            with read_checkpoint(path) as checkpoint:
                if checkpoint.config is not None:
                    graph = keras_graph(checkpoint.config)
                    sizes[path.name] = (len(graph.layers), len(graph.calls))
                    assert len(model_graph(checkpoint.config).nodes) == len(graph.layers)
    assert len(sizes) == 14
    assert all(num_layers == num_calls for num_layers, num_calls in sizes.values())


# Handmade configs, in the schemas of Kerases that are not installed.


def keras_2(*rows, outputs=(), inputs=(("in", 0, 0),), class_name="Model"):
    layers = [
        {"class_name": kind, "name": name, "config": {"name": name}, "inbound_nodes": inbound}
        for name, kind, inbound in rows
    ]
    return {
        "class_name": class_name,
        "config": {
            "name": "m",
            "layers": layers,
            "input_layers": [list(row) for row in inputs],
            "output_layers": [list(row) for row in outputs],
        },
    }


IN = ("in", "InputLayer", [])


def reads(name, node=0, tensor=0):
    return [[[name, node, tensor]]]


def test_a_functional_model_of_keras_1():
    config = keras_2(
        IN,
        ("conv", "Convolution2D", reads("in")),
        ("merge", "Merge", [[["conv", 0, 0], ["in", 0, 0]]]),
        outputs=[("merge", 0, 0)],
    )
    config["config"]["layers"][2]["config"] |= {"mode": "sum", "concat_axis": -1}
    graph = keras_graph(config)
    assert [(call.value, call.inputs) for call in graph.calls] == [
        ("in", ()),
        ("conv", ("in",)),
        ("merge", ("conv", "in")),
    ]
    assert graph.layers["merge"].config["mode"] == "sum"
    assert (graph.name, graph.inputs, graph.outputs) == ("m", ("in",), ("merge",))


def test_a_sequential_of_keras_1_is_a_list_and_states_its_shape():
    inner = {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "dense_2"}}]}
    first = {"class_name": "Dense", "config": {"name": "dense_1", "batch_input_shape": [None, 4]}}
    graph = keras_graph({"class_name": "Sequential", "config": [first, inner]})
    assert list(graph.layers) == ["dense_1_input", "dense_1", "sequential_2/dense_2"]
    assert graph.layers["dense_1_input"].class_name == "InputLayer"
    assert graph.layers["dense_1_input"].config["batch_input_shape"] == [None, 4]
    assert graph.layers["sequential_2/dense_2"].name == "dense_2"
    assert [call.inputs for call in graph.calls] == [(), ("dense_1_input",), ("dense_1",)]


def test_a_sequential_takes_its_shape_from_a_model_inside_or_from_its_build():
    inner = keras_2(IN, ("d", "Dense", reads("in")), outputs=[("d", 0, 0)])
    inner["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 7]
    graph = keras_graph({"class_name": "Sequential", "config": {"name": "s", "layers": [inner]}})
    assert graph.layers["m_input"].config["batch_input_shape"] == [None, 7]
    dense = {"class_name": "Dense", "config": {"name": "d"}}
    graph = keras_graph({"class_name": "Sequential", "config": {"layers": [dense], "build_input_shape": [None, 3]}})
    assert graph.layers["d_input"].config["batch_input_shape"] == [None, 3]
    assert graph.name == "sequential"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("keras>GroupNormalization", "GroupNormalization"),
        ("keras.src.layers.GroupNormalization", "GroupNormalization"),
        ("Addons>GroupNormalization", "Addons>GroupNormalization"),  # somebody else's, for the table to refuse
    ],
)
def test_a_class_is_named_without_keras_own_package_and_module(written, name):
    graph = keras_graph(keras_2(IN, ("g", written, reads("in")), outputs=[("g", 0, 0)]))
    assert graph.layers["g"].class_name == name


def test_calls_follow_what_they_read_whatever_the_order_of_the_file():
    rows = [(f"d{i}", "Dense", reads(f"d{i + 1}" if i < 2000 else "in")) for i in range(2001)]
    graph = keras_graph(keras_2(*rows, IN, outputs=[("d0", 0, 0)]))
    assert [call.value for call in graph.calls] == ["in", *(f"d{i}" for i in reversed(range(2001)))]


def test_a_nested_model_called_once_may_be_counted_from_0_or_1():
    inner = keras_2(IN, ("d", "Dense", reads("in")), outputs=[("d", 0, 0)])["config"]
    for node in (0, 1):
        config = keras_2(IN, ("n", "Model", reads("in")), outputs=[("n", node, 0)])
        config["config"]["layers"][1]["config"] = inner
        assert keras_graph(config).outputs == ("n/d",)


def nested(inner, inbound=None, node=1, tensor=0):
    """A model that calls another one."""
    config = keras_2(IN, ("n", "Model", inbound or reads("in")), outputs=[("n", node, tensor)])
    config["config"]["layers"][1]["config"] = inner["config"]
    return config


DENSE = keras_2(IN, ("d", "Dense", reads("in")), outputs=[("d", 0, 0)])
ONE = ("d", "Dense", reads("in"))
OUT = [("d", 0, 0)]


def without(key):
    config = copy.deepcopy(DENSE)
    del config["config"][key]
    return config


def deep():
    config = DENSE
    for _ in range(MAX_NESTING):
        config = nested(config)
    return config


def keras_3_call(*args, **kwargs):
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}
    nest = tensor
    for _ in range(kwargs.pop("depth", 0)):
        nest = [nest]
    return keras_2(IN, ("d", "Dense", [{"args": [nest, *args], "kwargs": kwargs}]), outputs=OUT)


def sequential(*rows):
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(rows)}}


def row(name, class_name="Dense", **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


TWICE = keras_2(IN, ("d", "Dense", [*reads("in"), *reads("d")]), outputs=[("d", 1, 0)])
TWO_INPUTS = keras_2(IN, ("b", "InputLayer", []), ONE, inputs=[("in", 0, 0), ("b", 0, 0)], outputs=OUT)

BAD = [
    (keras_2(IN, ("dense", "Dense", reads("conv")), outputs=OUT), r"'dense' reads layer 'conv', which the model lacks"),
    (keras_2(IN, ("d", "Dense", reads("inn")), outputs=OUT), r"\(nearest: in\)"),
    (keras_2(IN, ONE, outputs=[("e", 0, 0)]), r"an output of the model reads layer 'e'"),
    (keras_2(IN, ("d", "Dense", reads("d")), outputs=OUT), r"layer 'd' reads its own output: the graph has a cycle"),
    (keras_2(IN, ("d", "Dense", reads("e")), ("e", "ReLU", reads("d")), outputs=OUT), "the graph has a cycle"),
    (keras_2(IN, ("d", "Dense", reads("in", 0, 1)), outputs=OUT), r"output 1 of layer 'in', which \(InputLayer\) is"),
    (nested(DENSE, tensor=1), r"reads output 1 of layer 'n', which has 1; layers with several outputs"),
    (keras_2(IN, ONE, outputs=[("d", 1, 0)]), r"reads call 1 of layer 'd', which the model calls 1 times"),
    (keras_2(IN, ("d", "Dense", []), outputs=OUT), r"reads call 0 of layer 'd', which the model calls 0 times"),
    (keras_2(IN, ("d", "Dense", [[]]), outputs=OUT), r"layer 'd' \(Dense\) is called without any input"),
    (keras_2(IN, ONE, ONE, outputs=OUT), r"two layers of the model are both named 'd'"),
    (sequential(row("a", batch_input_shape=[None, 4]), row("a_input")), r"both named 'a_input'"),
    (deep(), r"nested too deeply: more than 32 models"),
    (keras_2(IN, ONE, outputs=[]), r"the model has no outputs"),
    (keras_2(ONE, outputs=OUT, inputs=[]), r"the model has no inputs"),
    (nested(keras_2(IN, ONE, outputs=OUT, inputs=[])), r"model 'n' has no inputs"),
    (sequential(row("a")), r"the model has no inputs: it is a Sequential whose layers state no input shape"),
    (sequential(), r"the model has no layers"),
    (sequential(row("a", batch_input_shape=[4]), row("b", "InputLayer")), r"'b' \(InputLayer\) stands inside"),
    (keras_2(IN, ONE, outputs=OUT, inputs=[("d", 0, 0)]), r"has 'd' \(Dense\) as an input\. Expected an InputLayer"),
    (keras_2(IN, ONE, outputs=OUT, inputs=[("in", 0, 0)] * 2), r"the model lists an input twice"),
    (keras_2(IN, ("b", "InputLayer", []), ONE, outputs=OUT), r"'b' \(InputLayer\) is none of the inputs of the model"),
    (keras_2(("in", "InputLayer", reads("d")), ONE, outputs=OUT), r"'in' \(InputLayer\) is called on other layers"),
    (nested(TWO_INPUTS), r"model 'n' takes 2 inputs and is called on 1"),
    (nested(DENSE, [[["in", 0, 0, {"flag": 3}]]]), r"model 'n' is called with \['flag'\]"),
    (keras_2(class_name="MyModel"), r"the model is of class 'MyModel', which may compute anything"),
    (without("layers"), r"malformed: the model: its layers are missing, expected a list"),
    (without("input_layers"), r"malformed: the model: it lacks 'input_layers'"),
    (without("output_layers"), r"malformed: the model: it lacks 'output_layers'"),
    ([], r"malformed: the model config: \[\], expected a dict"),
    ({}, r"malformed: the class of the model: missing, expected a printable text"),
    ({"class_name": "Model"}, r"the config of the model: missing, expected a dict"),
    ({"class_name": "keras>", "config": {}}, r"the class of the model: '', expected a printable text"),
    (keras_2(IN, ("\x1b[31m", "Dense", reads("in")), outputs=OUT), r"name of layer 1: '\\x1b\[31m', expected a print"),
    (keras_2(IN, ("d", "Dense", 3), outputs=OUT), r"layer 'd': inbound_nodes is 3, expected a list"),
    (keras_2(IN, ("d", "Dense", [[["in", 0]]]), outputs=OUT), r"inbound_nodes holds \[\['in', 0\]\], expected"),
    (keras_2(IN, ("d", "Dense", [[["in", -1, 0]]]), outputs=OUT), r"it refers to \['in', -1, 0\], expected \[name"),
    (keras_2(IN, ("d", "Dense", [[["in", True, 0]]]), outputs=OUT), r"it refers to \['in', True, 0\]"),
    (keras_2(IN, ("d", "Dense", [[["in", 0, 0, 5]]]), outputs=OUT), r"the arguments of layer 'd': 5, expected a dict"),
    (keras_2(IN, ("d", "Dense", [{"args": 3}]), outputs=OUT), r"layer 'd': args is 3, expected a list"),
    (keras_2(IN, ("d", "Dense", [{"args": [], "kwargs": 3}]), outputs=OUT), r"the kwargs of layer 'd': 3, expected"),
    (keras_3_call(depth=120), r"layer 'd': its arguments are nested too deeply"),
    (keras_3_call([["x", 1], {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}]),
     r"layer 'd' is called on tensors and constants in one list or dict, its argument '1'"),
    (keras_3_call(3.0, {"class_name": "__keras_tensor__"}), r"a tensor of layer 'd': missing, expected a dict"),
    (keras_2(IN, ("d", "Dense", [[["in", 0, 0], ["_CONSTANT_VALUE", -1, 2.0, {}]]]), outputs=OUT),
     r"layer 'd' is called on tensors and constants in one list or dict, its first argument"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_what_is_no_graph_is_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        keras_graph(config)


@pytest.mark.parametrize(("key", "value"), [("output_layers", 3), ("input_layers", {"a": {"b": None}})])
def test_ends_that_are_no_lists_are_refused(key, value):
    config = copy.deepcopy(DENSE)
    config["config"][key] = value
    with pytest.raises(ArchitectureError, match=rf"{key} of the model: .*, expected lists of \[name, node, tensor\]"):
        keras_graph(config)


def test_a_slash_in_a_name_cannot_hide_a_second_layer():
    config = nested(DENSE)
    config["config"]["layers"].append(
        {"class_name": "Dense", "name": "n/d", "config": {"name": "n/d"}, "inbound_nodes": reads("in")}
    )
    with pytest.raises(ArchitectureError, match="both named 'n/d', nested models included"):
        keras_graph(config)
    config = keras_2(IN, ("d", "Dense", [*reads("in"), *reads("d")]), ("d#2", "ReLU", reads("in")), outputs=OUT)
    with pytest.raises(ArchitectureError, match="both named 'd#2', nested models included"):
        keras_graph(config)


def test_too_many_layers_are_refused():
    rows = [(f"d{i}", "Dense", reads("in")) for i in range(MAX_LAYERS)]
    with pytest.raises(ArchitectureError, match="more than 10000 layers"):
        keras_graph(keras_2(IN, *rows, outputs=[("d0", 0, 0)]))


def test_models_that_call_models_that_call_models_are_refused_in_time():
    """Thirty rows that would make 2 ** 30 calls."""
    config = DENSE
    for _ in range(MAX_NESTING - 2):
        config = nested(config, [*reads("in"), *reads("n", 1)], node=2)
    started = time.monotonic()
    with pytest.raises(ArchitectureError, match="more than 200000 calls, nested models dissolved"):
        keras_graph(config)
    assert time.monotonic() - started < 20


def test_a_resnets_view_refuses_layers_called_twice_and_names_used_twice():
    with pytest.raises(ArchitectureError, match=r"layer 'd' is called 2 times; a ResNet calls each layer once"):
        model_graph(TWICE)
    config = nested(DENSE)
    config["config"]["layers"].append(
        {"class_name": "Dense", "name": "d", "config": {}, "inbound_nodes": reads("n", 1)}
    )
    with pytest.raises(ArchitectureError, match="two layers of the file's model are both named 'd'"):
        model_graph(config)


JUNK = st.sampled_from(
    [None, True, -1, 0, 1, 7, 2.5, "", "in", "Sequential", "Functional", "InputLayer", "__keras_tensor__",
     "_CONSTANT_VALUE", [], {}, [[]], [None], ["in", 0, 0], [["in", 1, 0, {}]], {"args": [], "kwargs": {}}]
)  # fmt: skip


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def at(config, path):
    for key in path:
        config = config[key]
    return config


@st.composite
def mutated(draw, configs):
    """A real config with a few places replaced by junk or by other places of it, or deleted."""
    config = copy.deepcopy(configs[draw(st.integers(0, len(configs) - 1))])
    for _ in range(draw(st.integers(1, 3))):
        found = [path for path in places(config) if path]
        if not found:
            break
        path, other = (found[draw(st.integers(0, len(found) - 1))] for _ in range(2))
        parent = at(config, path[:-1])
        new = {"junk": draw(JUNK), "other": copy.deepcopy(at(config, other))}
        kind = draw(st.sampled_from([*new, "delete"]))
        if kind == "delete":
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(new[kind])
    return config


@pytest.fixture(scope="module")
def configs(real):
    texts = [real(family, name).configs for family in keras_graphs.FAMILIES for name in keras_graphs.MODELS]
    return [pruned(json.loads(text)) for written in texts for text in written.values()]


def pruned(value):
    """Without what no graph is read from, so that mutations hit what is read."""
    if isinstance(value, dict):
        unread = ("initializer", "regularizer", "constraint", "dtype", "compile_config", "build_config", "module")
        return {key: pruned(item) for key, item in value.items() if not key.endswith(unread)}
    return [pruned(item) for item in value] if isinstance(value, list) else value


def test_any_mutation_of_a_real_config_is_a_graph_or_refused(configs):
    read, refusals = [], []

    @settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.deferred(lambda: mutated(configs)))
    def check(config):
        for reader in (keras_graph, model_graph):
            try:
                read.append(reader(config))
            except ArchitectureError as error:
                refusals.append(str(error))

    check()
    assert min(len(read), len(refusals)) > 100
    assert all(text.isprintable() for text in refusals)
    for graph in read:
        if isinstance(graph, KerasGraph):
            check_sound(graph)


def check_sound(graph: KerasGraph) -> None:
    known = set()
    for call in graph.calls:
        assert call.value not in known
        assert known.issuperset(call.inputs)
        assert (graph.layers[call.layer].class_name == "InputLayer") == (not call.inputs)
        known.add(call.value)
    assert known.issuperset(graph.outputs)
    assert graph.outputs
    assert known.issuperset(graph.inputs)
