"""The layer graph in a config, against the models that Keras wrote it of, and against nonsense."""

from __future__ import annotations

import copy
import json

import keras_graphs
import pytest
from handmade_configs import IN, ONE, OUT, deep, keras_2, reads, without
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weight_transfer import ArchitectureError, read_checkpoint
from weight_transfer.graph import Graph, read_graph
from weight_transfer.graph.config_reader import MAX_LAYERS


def named_by_history(graph: Graph) -> dict[str, str]:
    names = {value: keras_graphs.value_name(value, ()) for value in graph.inputs}
    for call in graph.calls:
        names[call.value] = keras_graphs.value_name(call.layer, (names[value] for value in call.inputs))
    return names


@pytest.mark.parametrize("written", ["json", "h5"])
@pytest.mark.parametrize("model_name", keras_graphs.MODELS)
@pytest.mark.parametrize("family", keras_graphs.FAMILIES)
def test_every_layer_reads_what_it_reads_in_keras(family, model_name, written, real):
    model = real(family, model_name)
    graph = read_graph(json.loads(model.configs[written]))
    names = named_by_history(graph)
    calls = {
        (call.layer, graph.listed[call.layer].class_name, tuple(names[value] for value in call.inputs))
        for call in graph.calls
    }
    assert calls | {(value, "InputLayer", ()) for value in graph.inputs} == model.calls
    assert {*graph.inputs, *(call.layer for call in graph.calls)} == set(graph.listed)
    assert tuple(graph.inputs) == model.inputs
    assert tuple(names[value] for value in graph.outputs) == model.outputs


def test_the_wild_configs_parse(shared_data):
    sizes = {}
    for path in sorted((shared_data / "wild").iterdir()):
        if path.suffix in (".h5", ".keras"):
            with read_checkpoint(path) as checkpoint:
                if checkpoint.config is not None:
                    graph = read_graph(checkpoint.config)
                    sizes[path.name] = (len(graph.listed), len(graph.inputs) + len(graph.calls))
                    assert len({layer.name for layer in graph.listed.values()}) == len(graph.listed)
    assert len(sizes) == 14
    assert all(num_layers == num_calls for num_layers, num_calls in sizes.values())


def test_a_functional_model_of_keras_1():
    config = keras_2(
        IN,
        ("conv", "Convolution2D", reads("in")),
        ("merge", "Merge", [[["conv", 0, 0], ["in", 0, 0]]]),
        outputs=[("merge", 0, 0)],
    )
    config["config"]["layers"][2]["config"] |= {"mode": "sum", "concat_axis": -1}
    graph = read_graph(config)
    assert [(call.value, call.inputs) for call in graph.calls] == [
        ("conv", ("in",)),
        ("merge", ("conv", "in")),
    ]
    assert graph.listed["merge"].config["mode"] == "sum"
    assert (graph.name, tuple(graph.inputs), graph.outputs) == ("m", ("in",), ("merge",))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("keras>GroupNormalization", "GroupNormalization"),
        ("keras.src.layers.GroupNormalization", "GroupNormalization"),
        ("Addons>GroupNormalization", "Addons>GroupNormalization"),  # somebody else's, for the table to refuse
    ],
)
def test_a_class_is_named_without_keras_own_package_and_module(written, name):
    graph = read_graph(keras_2(IN, ("g", written, reads("in")), outputs=[("g", 0, 0)]))
    assert graph.listed["g"].class_name == name


def test_too_many_layers_are_refused():
    rows = [(f"d{i}", "Dense", reads("in")) for i in range(MAX_LAYERS)]
    with pytest.raises(ArchitectureError, match="more than 10000 layers"):
        read_graph(keras_2(IN, *rows, outputs=[("d0", 0, 0)]))


BAD = [
    (keras_2(IN, ONE, ONE, outputs=OUT), r"two layers of the model are both named 'd'"),
    (deep(), r"nested too deeply: more than 32 models"),
    (keras_2(("in", "InputLayer", reads("d")), ONE, outputs=OUT), r"'in' \(InputLayer\) is called on other layers"),
    (keras_2(class_name="MyModel"), r"the model is of class 'MyModel', which may compute anything"),
    (without("layers"), r"malformed: the model: its layers are missing, expected a list"),
    (without("input_layers"), r"malformed: the model: it lacks 'input_layers'"),
    (without("output_layers"), r"malformed: the model: it lacks 'output_layers'"),
    ([], r"malformed: the model config: \[\], expected a dict"),
    ({}, r"malformed: the class of the model: missing, expected a printable text"),
    ({"class_name": "Model"}, r"the config of the model: missing, expected a dict"),
    ({"class_name": "keras>", "config": {}}, r"the class of the model: '', expected a printable text"),
    (keras_2(IN, ("\x1b[31m", "Dense", reads("in")), outputs=OUT), r"name of layer 1: '\\x1b\[31m', expected a print"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "text"), BAD)
def test_what_is_no_model_is_refused_in_words(config, text):
    with pytest.raises(ArchitectureError, match=text):
        read_graph(config)


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
        try:
            read.append(read_graph(config))
        except ArchitectureError as error:
            refusals.append(str(error))

    check()
    assert min(len(read), len(refusals)) > 100
    assert all(text.isprintable() for text in refusals)
    for graph in read:
        check_sound(graph)


def check_sound(graph: Graph) -> None:
    known = set(graph.inputs)
    for call in graph.calls:
        assert call.value not in known
        assert known.issuperset(call.inputs)
        assert call.inputs
        assert graph.listed[call.layer].class_name != "InputLayer"
        known.add(call.value)
    assert known.issuperset(graph.outputs)
    assert graph.outputs
    assert known.issuperset(graph.inputs)
