"""Fields that were changed in a live module: numbers that a file can say are written, all else is refused by name."""

from __future__ import annotations

import json

import checkpoints
import numpy as np
import pytest
import torch
from handmade_graphs import conv, dense, row
from torch import nn

from resnet_torch import PortedModel, load_model, save_converted, save_keras
from resnet_torch.changed_fields import changed_fields, settings_of_modules
from resnet_torch.constraints import constrain
from weight_transfer import ArchitectureError, Hints, MappingError, read_checkpoint
from weight_transfer.architecture import Head
from weight_transfer.converted import read_converted
from weight_transfer.graph import read_graph
from weight_transfer.resnet.dialects import DIALECTS
from weight_transfer.weight_mapping import mapping

EPSILON = {"epsilon": 1e-3, "center": True, "scale": True}
CONFIG = {
    "class_name": "Functional",
    "config": {
        "name": "small",
        "layers": [
            row("InputLayer", "image", [], batch_input_shape=[None, 6, 6, 3]),
            row("GaussianNoise", "noise", ["image"], stddev=0.5),
            conv("conv", "noise", filters=4),
            row("BatchNormalization", "norm", ["conv"], axis=3, momentum=0.99, **EPSILON),
            row("LayerNormalization", "layer_norm", ["norm"], axis=[3], **EPSILON),
            row("SpatialDropout2D", "spatial", ["layer_norm"], rate=0.25),
            row("GlobalAveragePooling2D", "pool", ["spatial"]),
            row("Dropout", "dropout", ["pool"], p=0.5),  # as Keras 1 calls it
            dense("out", "dropout", 2, activation="softmax"),
        ],
        "input_layers": [["image", 0, 0]],
        "output_layers": [["out", 0, 0]],
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A graph of many kinds of layers, and a ResNet with a hidden layer and dropout, as Keras files."""
    folder = tmp_path_factory.mktemp("files")
    network = read_graph(CONFIG).checked()
    arrays = {one.keras: np.full(one.shape, 0.3, "float32") for one in mapping(network)}
    checkpoints.write_checkpoint(folder / "graph.keras", network, arrays, told={"keras_config": CONFIG})
    head = Head(hidden_units=5, classes=3, dropout=0.5)
    resnet = checkpoints.checkpoint(folder / "resnet.keras", checkpoints.small(head=head))
    return {"graph": folder / "graph.keras", "resnet": resnet}


def layers_of(path):
    """Config of every layer of a Keras file, by name."""
    with read_checkpoint(path) as checkpoint:
        config = json.loads(json.dumps(checkpoint.config))
    return {layer["config"]["name"]: layer["config"] for layer in config["config"]["layers"]}


def saved(model, tmp_path):
    """What each of the three ways to save a model gives, loaded again, and the configs of the Keras file."""
    save_converted(model, tmp_path / "m.safetensors")
    model.save_pretrained(tmp_path / "folder")
    save_keras(model, tmp_path / "m.keras")
    again = [load_model(tmp_path / name) for name in ("m.safetensors", "m.keras")]
    return [*again, PortedModel.from_pretrained(tmp_path / "folder")], layers_of(tmp_path / "m.keras")


def test_numbers_of_a_graph_are_written(files, tmp_path):
    model = load_model(files["graph"])
    model.noise.stddev, model.spatial.p, model.dropout.p = 0.75, 0.125, 0.3
    model.norm.momentum, model.norm.eps, model.layer_norm.eps = 0.25, 1e-5, 1e-6
    models, configs = saved(model, tmp_path)
    for again in models:
        assert changed_fields(again) == ()
        numbers = again.noise.stddev, again.spatial.p, again.dropout.p, again.norm.momentum, again.norm.eps
        assert numbers == (0.75, 0.125, 0.3, 0.25, 1e-5)
        assert again.layer_norm.eps == 1e-6
    assert (configs["noise"]["stddev"], configs["spatial"]["rate"]) == (0.75, 0.125)
    assert configs["dropout"].get("rate", configs["dropout"].get("p")) == 0.3
    assert (configs["norm"]["momentum"], configs["norm"]["epsilon"]) == (0.75, 1e-5)
    assert configs["layer_norm"]["epsilon"] == 1e-6
    assert [one.field for one in changed_fields(model)] == ["stddev", "momentum", "epsilon", "epsilon", "rate", "rate"]


def test_numbers_that_all_layers_of_a_resnet_have_are_written(files, tmp_path):
    model = load_model(files["resnet"])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-5, 0.1
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    models, configs = saved(model, tmp_path)
    x = torch.rand(2, 3, 33, 33)
    expected = model.eval()(x)
    for again in models:
        assert changed_fields(again) == ()
        conventions = again.architecture.conventions
        assert (conventions.epsilon, conventions.momentum, again.architecture.head.dropout) == (1e-5, 0.9, 0.2)
        torch.testing.assert_close(again.eval()(x), expected, rtol=0, atol=0)
    assert {one["rate"] for one in configs.values() if "rate" in one} == {0.2}
    assert {one["epsilon"] for one in configs.values() if "epsilon" in one} == {1e-5}


def test_a_dropout_that_does_nothing_any_more_goes(files, tmp_path):
    model = load_model(files["resnet"])
    model.head.dropout_01.p = model.head.dropout_02.p = 0.0
    models, _ = saved(model, tmp_path)
    assert [again.architecture.head.dropout for again in models] == [0.0] * 3


@pytest.mark.parametrize(
    ("part", "layer", "name", "field", "value", "before"),
    [("stem", "bn_conv1", "eps", "epsilon", 1e-5, 0.001), ("head", "dropout_01", "p", "rate", 0.3, 0.5)],
)
def test_a_resnet_has_one_number_for_all_a_graph_each_its_own(part, layer, name, field, value, before, files, tmp_path):
    model = load_model(files["resnet"])
    setattr(model.get_submodule(f"{part}.{layer}"), name, value)
    said = rf"one {field} for all its layers \({before}\).*\n  {layer}: {value}\n.*import_as='graph'"
    with pytest.raises(ArchitectureError, match=said):
        save_converted(model, tmp_path / "m.safetensors")
    graph = load_model(files["resnet"], Hints(import_as="graph"))
    setattr(graph.get_submodule(layer), name, value)
    models, _ = saved(graph, tmp_path)
    assert [settings_of_modules(again)[layer][field] for again in models] == [value] * 3


def test_a_head_of_one_s_own_has_its_own_numbers(files, tmp_path):
    model = load_model(files["resnet"], Hints(import_as="graph"))
    model.dropout_01.p = 0.3
    save_keras(model, tmp_path / "own.keras")
    own = load_model(tmp_path / "own.keras")
    assert own.network.own_head is not None
    own.head.dropout_02.p = np.float32(0.75)
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-4
    models, configs = saved(own, tmp_path)
    for again in models:
        assert again.network.own_head is not None
        assert (again.head.dropout_01.p, again.head.dropout_02.p, again.stem.bn_conv1.eps) == (0.3, 0.75, 1e-4)
    assert (configs["dropout_01"]["rate"], configs["dropout_02"]["rate"]) == (0.3, 0.75)


REFUSED = [
    ("conv", "stride", (2, 2), r"conv: strides: the description says \[1, 1\], the module has \[2, 2\]"),
    ("norm", "momentum", None, "norm: momentum: the description says 0.99, the module has None"),
    ("norm", "eps", 0.0, "norm: epsilon: the description says 0.001, the module has 0.0"),
    ("dropout", "p", 1.5, "dropout: rate: the description says 0.5, the module has 1.5"),
    ("pool", "kind", "Max", "pool: kind: the description says Average, the module has Max"),
    ("", "dropout", nn.Identity(), "dropout: module: the description says Dropout, the module has Identity"),
    ("", "out_activation", nn.Sigmoid(), r"out: activation: the description says \{'name': 'softmax', 'axis': 1\}"),
    ("", "norm", nn.SyncBatchNorm(4), "norm: module: the description says .*BatchNorm, the module has SyncBatchNorm"),
]


@pytest.mark.parametrize("save", [save_converted, save_keras])
@pytest.mark.parametrize(("path", "name", "value", "said"), REFUSED)
def test_what_no_file_could_say_is_refused(save, path, name, value, said, files, tmp_path):
    model = load_model(files["graph"])
    model.dropout.p = 0.3  # which alone could be written
    setattr(model.get_submodule(path), name, value)
    output = tmp_path / ("m.keras" if save is save_keras else "m.safetensors")
    with pytest.raises(MappingError, match=rf"description of small says[^\n]*\n(.*\n)*  {said}(.*\n)*Set these back"):
        save(model, output)
    assert not output.exists()


def test_what_is_beside_a_number_that_is_written_is_refused_too(files, tmp_path):
    model = load_model(files["graph"])
    model.norm.eps, model.norm.track_running_stats = 1e-5, False
    with pytest.raises(MappingError, match=r"norm: track_running_stats: the description says True, the module has Fa"):
        save_converted(model, tmp_path / "m.safetensors")


def test_another_constraint_is_refused(files, tmp_path):
    model = load_model(files["graph"])
    constrain(model, {"conv.weight": torch.relu})
    with pytest.raises(MappingError, match="conv: kernel_constraint: the description says None, the module has <built"):
        save_converted(model, tmp_path / "m.safetensors")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_saving_draws_no_random_numbers(dialect, tmp_path):
    model = load_model(checkpoints.checkpoint(tmp_path / "m.keras", checkpoints.small(dialect)))
    before = torch.get_rng_state()
    save_converted(model, tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert read_converted(tmp_path / "m.safetensors").network == model.network
