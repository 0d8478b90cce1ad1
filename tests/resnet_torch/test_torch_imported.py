"""An imported network as a PyTorch module: names, forms of outputs, modes, copies."""

from __future__ import annotations

import copy
import json
import weakref

import numpy as np
import pytest
import torch
from copies import WAYS
from handmade_graphs import conv, dense, network, row
from torch import nn

from resnet_torch import ImportedModel, load_model
from resnet_torch.imported import import_graph, steps
from resnet_torch.loading import _module
from resnet_torch.saving import save_converted
from resnet_torch.wrappers import description_of_module, tensor_to_write, with_description
from weight_transfer.converted import write_converted
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph
from weight_transfer.module_paths import TAKEN_NAMES


@pytest.mark.parametrize("name", ["forward", "type", "predict", "train", "my.conv", "1st", "_graph", "class"])
def test_any_layer_name_becomes_a_module(name):
    model = import_graph(network(conv(name, "image"), outputs=[[name, 0, 0]]))
    x = torch.randn(2, 3, 6, 6)
    assert model(x).shape == model.predict(x).shape == (2, 3, 6, 6)
    assert len(model.state_dict()) == 2


def test_taken_names_are_those_that_a_module_has():
    theirs = {name for name in dir(ImportedModel) if not name.startswith("_")} | {"meta"}
    assert theirs <= TAKEN_NAMES | set(dir(object))


def test_forward_ends_before_the_last_softmax_and_predict_after_it():
    flat = row("Flatten", "flat", ["image"])
    model = import_graph(network(flat, dense("out", "flat", 4, activation="softmax"), outputs=[["out", 0, 0]]))
    x = torch.randn(3, 3, 6, 6)
    assert torch.equal(model(x).softmax(1), model.predict(x))
    assert not torch.allclose(model(x), model.predict(x))


def test_a_softmax_in_the_middle_stays_in_forward():
    rows = [
        row("Flatten", "flat", ["image"]),
        dense("middle", "flat", 4, activation="softmax"),
        dense("out", "middle", 2),
    ]
    model = import_graph(network(*rows, outputs=[["out", 0, 0]]))
    x = torch.randn(3, 3, 6, 6)
    assert torch.equal(model(x), model.predict(x))
    assert isinstance(model.middle_activation, nn.Softmax)


def test_outputs_come_in_the_files_order_and_form():
    rows = [row("Flatten", "flat", ["image"]), dense("b", "flat", 2, activation="sigmoid"), dense("a", "flat", 5)]
    several = import_graph(network(*rows, outputs=[["b", 0, 0], ["a", 0, 0]]))
    x = torch.randn(2, 3, 6, 6)
    first, second = several.predict(x)
    assert first.shape == (2, 2)
    assert second.shape == (2, 5)
    assert torch.equal(first, several(x)[0].sigmoid())


def test_predict_leaves_the_mode_as_it_was():
    model = import_graph(network(conv("c", "image"), row("Dropout", "d", ["c"], rate=0.5), outputs=[["d", 0, 0]]))
    model.train()
    model.c.eval()
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(model.predict(x), model.predict(x))
    assert model.training
    assert model.d.training
    assert not model.c.training


def test_a_copy_is_whole():
    model = import_graph(network(conv("c", "image"), outputs=[["c", 0, 0]]))
    other = copy.deepcopy(model)
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(model.predict(x), other.predict(x))
    assert other.network == model.network
    assert other.c is not model.c


def test_constants_of_a_layer_are_there_after_loading(tmp_path):
    numbers = {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 9.0, 16.0], "axis": [-1]}
    graph = network(row("Normalization", "n", ["image"], **numbers), outputs=[["n", 0, 0]])
    model = _module(tmp_path, Description(graph, MADE_HERE), {})
    x = torch.randn(1, 3, 6, 6)
    expected = (x - torch.tensor([1.0, 2.0, 3.0])[:, None, None]) / torch.tensor([2.0, 3.0, 4.0])[:, None, None]
    torch.testing.assert_close(model.predict(x), expected)


def several_forms():
    """A nested name, a fused activation, a value that two layers read, softmax and keepdims at the end."""
    rows = [
        conv("a/b", "image", activation="relu"),
        row("BatchNormalization", "n", ["a/b"]),
        row("Add", "add", ["n", "a/b"]),
        row("GlobalAveragePooling2D", "pool", ["add"], keepdims=True),
        conv("o", "pool", kernel_size=[1, 1], activation="softmax"),
        dense("p", "pool", 2),
    ]
    return network(*rows, outputs={"one": ["o", 0, 0], "two": ["p", 0, 0]})


def in_another_process(model, images, outputs):
    outputs.put({name: value.numpy() for name, value in model.predict(images).items()})


@pytest.mark.parametrize("way", WAYS)
def test_copies_predict_as_the_model_does(way):
    model = with_description(import_graph(several_forms(), "tf_keras"), Description(several_forms(), MADE_HERE))
    images = torch.randn(3, 3, 6, 6)
    expected = model.predict(images)
    assert expected["one"].shape == (3, 3, 1, 1)
    torch.testing.assert_close(expected["one"].sum(1), torch.ones(3, 1, 1))
    copied = way(model)
    assert type(copied) is ImportedModel
    assert description_of_module(copied) == description_of_module(model)
    assert copied.n.moving_variance == "tf_keras"
    torch.testing.assert_close(copied.predict(images), expected, rtol=0, atol=0)
    torch.testing.assert_close(copied.train()(images), model.train()(images), rtol=0, atol=0)


def test_a_spawned_worker_predicts_as_the_model_does():
    model, images = import_graph(several_forms()), torch.randn(2, 3, 6, 6)
    context = torch.multiprocessing.get_context("spawn")
    outputs = context.Queue()
    worker = context.Process(target=in_another_process, args=(model, images, outputs))
    worker.start()
    found = outputs.get(timeout=120)
    worker.join()
    for name, value in model.predict(images).items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", ["traced", "exported", "compiled"])
def test_pytorch_s_own_tools_take_it(change):
    model, images = import_graph(several_forms()).eval(), torch.randn(2, 3, 6, 6)
    changed = {
        "traced": lambda: torch.fx.symbolic_trace(model),
        "exported": lambda: torch.export.export(
            model, (images,), dynamic_shapes=({0: torch.export.Dim("n")},)
        ).module(),
        "compiled": lambda: torch.compile(model, fullgraph=True, backend="eager"),
    }[change]()
    batch = torch.randn(5, 3, 6, 6)
    torch.testing.assert_close(changed(batch), model(batch))


def test_a_replaced_layer_is_the_one_that_runs():
    model = import_graph(several_forms())
    model.p = nn.Conv2d(3, 7, 1)
    assert model(torch.randn(2, 3, 6, 6))["two"].shape == (2, 7, 1, 1)


def test_hooks_see_every_layer():
    model, seen = import_graph(several_forms()), []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
    model(torch.randn(2, 3, 6, 6))
    assert seen == [*(path for step in steps(model.network) for path in step.modules), ""]
    assert {"a.b", "a.b_activation", "n", "add", "pool", "o", "p"} == {*seen[:-1]}


def test_values_are_let_go_after_their_last_reader():
    rows = [conv(f"c{number}", f"c{number - 1}" if number else "image") for number in range(6)]
    model = import_graph(network(*rows, outputs=[["c5", 0, 0]]))
    alive: list[weakref.ref] = []
    most = 0

    def after(_module, _inputs, output):
        nonlocal most
        alive.append(weakref.ref(output))
        most = max(most, sum(one() is not None for one in alive))

    for module in model.children():
        module.register_forward_hook(after)
    with torch.no_grad():
        model(torch.randn(1, 3, 6, 6))
    assert most == 2


def test_its_code_reads_as_python():
    code = import_graph(several_forms()).code
    assert code.splitlines()[:2] == ["def forward(self, x, *more):", "    _more = more"]
    assert "    add = self.add(n, a_b_activation)" in code
    assert code.splitlines()[-1] == "    return {'one': o, 'two': p}"


def test_another_number_of_inputs_is_refused():
    model = import_graph(several_forms())
    with pytest.raises(TypeError, match=r"^expected 1 inputs: image\. Received: 2$"):
        model(torch.zeros(1, 3, 6, 6), torch.zeros(1, 3, 6, 6))


HARMFUL = 'c") if open("MARKER", "w") else getattr(self, "c'


@pytest.mark.parametrize(
    "name", [HARMFUL, "a\"b'c\\d{e}%s;f", "c\n    open('MARKER', 'w')", "in", "class", "self", "None"]
)
def test_a_name_never_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [conv("odd", "image", activation="relu"), conv("c", "odd")]
    written = json.dumps(network(*rows, outputs={"odd": ["c", 0, 0], "other": ["odd", 0, 0]}).to_dict())
    model = import_graph(Graph.from_dict(json.loads(written.replace('"odd"', json.dumps(name)))))
    images = torch.randn(1, 3, 6, 6)
    assert model.predict(images).keys() == {name, "other"}
    torch.fx.symbolic_trace(model)(images)
    torch.export.export(model, (images,)).module()(images)
    assert name not in model.code.replace(f"{name!r}:", "") or name.isidentifier()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("one", "two"), [("fc", "fc_activation"), ("a.b", "a_b"), ("train", "train_"), ("b/c/p", "b/c")]
)
def test_names_that_meet_are_two_layers(one, two, tmp_path):
    rows = [conv(one, "image", activation="relu"), conv(two, one, activation="tanh")]
    graph = network(*rows, outputs=[[two, 0, 0]])
    model = with_description(import_graph(graph), Description(graph, MADE_HERE)).double()
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    first, second = (model.get_submodule(graph.modules[path][0]) for path in (one, two))
    torch.testing.assert_close(model(images), second(first(images).relu()).tanh())
    save_converted(model, tmp_path / "port.safetensors")
    torch.testing.assert_close(load_model(tmp_path / "port.safetensors")(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "then"),
    [
        ("my-conv", "my-conv"),
        ("b/c", "b.c"),
        ("a.b", "a_b"),
        ("é", "é"),
        ("features", "features"),
        ("freeze", "freeze"),
    ],
)
def test_files_of_0_1_0_with_odd_names_are_read(name, then, tmp_path):
    graph = network(conv("b/c/p", "image"), conv(name, "b/c/p"), outputs=[[name, 0, 0]])
    model = import_graph(graph)
    state = {key.replace(graph.modules[name][0] + ".", then + "."): value for key, value in model.state_dict().items()}
    tensors = [tensor_to_write(key, value) for key, value in state.items()]
    write_converted(tmp_path / "old.safetensors", tensors, Description(graph, MADE_HERE))
    images = torch.randn(1, 3, 6, 6)
    torch.testing.assert_close(load_model(tmp_path / "old.safetensors")(images), model.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"groups": 1', '"groups": 2', r"layer 'c' \(Conv2D\) cannot be built: its settings are damaged"),
        ('"strides": [1, 1]', '"strides": "1"', "not the description of an imported network"),
        ('"filters": 3', '"filter": 3', "not the description of an imported network"),
        ('"path": "d"', '"path": "c"', "not the description of an imported network"),
        ('["d", "d", ["c"]]', '["c", "d", ["c"]]', "not the description of an imported network"),
        ('"name": "tanh"', '"name": "eval"', r"layer 'd' \(Conv2D\) cannot be built: its settings are damaged"),
    ],
)
def test_a_damaged_description_is_refused(old, new, message):
    rows = [conv("c", "image"), conv("d", "c", activation="tanh")]
    text = json.dumps(network(*rows, outputs=[["d", 0, 0]]).to_dict())
    assert old in text
    with pytest.raises(ArchitectureError, match=message):
        import_graph(Graph.from_dict(json.loads(text.replace(old, new))))
