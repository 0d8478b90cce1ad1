"""Real networks of many kinds, imported as graphs: every layer against Keras at 1e-12 in float64."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import keras_zoo
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sweeps import slow_but
from torch import nn
from zoo import DEEP, GRAPH, assert_equal, check, parameters

from resnet_torch import load_model
from resnet_torch.comparison import subject_of
from resnet_torch.imported import ImportedModel
from resnet_torch.inference import inference
from weight_transfer import convert, verify
from weight_transfer.parity.tolerances import TOLERANCES
from weight_transfer.weight_mapping import mapping

FLOAT32 = TOLERANCES["inference"]["float32"].error


USUAL = (
    ("sequential", "keras"),
    ("squeeze excite", "tf_keras"),
    ("outputs in a dict", "keras"),
    ("3-D", "keras"),
    ("other norms", "tf_keras"),
)
SHALLOW = [name for name in keras_zoo.NETWORKS if name not in DEEP]


@pytest.mark.parametrize(("name", "family", "suffix"), parameters(SHALLOW, USUAL))
def test_every_layer_computes_what_keras_computes(name, family, suffix, tmp_path, keras_side, runner):
    check(name, family, suffix, tmp_path, keras_side, runner=runner)


@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_both_containers_of_one_model_give_the_same_tensors(family, tmp_path, keras_side):
    sources = keras_side(keras_zoo.save_both, tmp_path, family, "squeeze excite")
    ports = [tmp_path / f"{source.name}.safetensors" for source in sources]
    for source, port in zip(sources, ports, strict=True):
        convert(source, port, GRAPH)
    first, second = map(load_file, ports)
    assert list(first) == list(second)
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_channels_first_computes_what_its_channels_last_twin_does(family, tmp_path, keras_side, runner):
    first, last = keras_side(keras_zoo.save_both_data_formats, tmp_path, family)
    assert_equal(verify(last, hints=GRAPH, devices=("cpu",), runner=runner))
    ports = [load_model(path, GRAPH).double() for path in (first, last)]
    assert [port.network.data_format for port in ports] == ["channels_first", "channels_last"]
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 60, (2, 3, 17, 15)))
    theirs, ours = (layer_outputs(port, images) for port in ports)
    assert len(theirs) == len(ours) == len(ports[0].network.calls)
    for name, actual, expected in zip(ours, ours.values(), theirs.values(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14 * float(expected.abs().max()), msg=name)


def layer_outputs(port: ImportedModel, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    with inference(port):
        subject_of(port).run(inputs, found.__setitem__)
    return found


def test_native_and_graph_import_of_one_resnet_compute_the_same(tmp_path, keras_side):
    source = keras_side(keras_zoo.save, tmp_path / "model.keras", "keras", "ResNet50")
    native, graph = load_model(source).double(), load_model(source, GRAPH).double()
    assert not isinstance(native, ImportedModel)
    assert isinstance(graph, ImportedModel)
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 60, (2, 3, 64, 64)))
    with torch.no_grad():
        pairs = ((graph(images), native(images)), (graph.predict(images), native.predict(images)))
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14 * float(expected.abs().max()))


# Networks whose modules are looked at as PyTorch modules, and the inputs' shapes.
MODULES = {
    "squeeze excite": [(3, 15, 17)],
    "decoder": [(3, 16, 24)],
    "outputs in a list": [(3, 16, 17)],
    "outputs in a dict": [(3, 16, 17)],
    "1-D, flatten head": [(3, 50)],
    "shared backbone, two inputs": [(3, 33, 33), (3, 33, 33)],
    "preprocessing inside, caffe": [(3, 64, 64)],
}


def _modules() -> list:
    return slow_but(("squeeze excite", "outputs in a dict", "decoder", "1-D, flatten head"), MODULES)


def _images(name: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, *shape, generator=generator) for shape in MODULES[name]]


@pytest.fixture(scope="module")
def loaded(keras_side, tmp_path_factory) -> Callable[[str], ImportedModel]:
    """A network of the zoo, each written once."""
    folder = tmp_path_factory.mktemp("modules")

    @functools.cache
    def source(name: str) -> Path:
        return keras_side(keras_zoo.save, folder / f"{len(list(folder.iterdir()))}.keras", "keras", name)

    def load(name: str) -> ImportedModel:
        model = load_model(source(name), GRAPH)
        assert isinstance(model, ImportedModel)
        return model

    return load


def _flat(outputs: torch.Tensor | Sequence[torch.Tensor] | dict[str, torch.Tensor]) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


@pytest.mark.parametrize("name", _modules())
def test_imported_model_is_an_ordinary_module(name, loaded):
    model, images = loaded(name), _images(name)
    expected = _flat(model(*images))
    twin = copy.deepcopy(model)
    for parameter in model.parameters():  # a copy that shared its tensors with the original would change with it
        parameter.data.add_(1.0)
    _assert_same(_flat(twin(*images)), expected)
    assert _same_form(twin.predict(*images), twin(*images))
    _assert_same(_flat(torch.compile(twin, fullgraph=True, backend="eager")(*images)), expected)
    _assert_same(_flat(torch.export.export(twin, tuple(images)).module()(*images)), expected)


def _assert_same(actual: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=FLOAT32 * float(other.detach().abs().max()))


def _same_form(actual: object, expected: object) -> bool:
    if isinstance(expected, dict):
        return isinstance(actual, dict) and list(actual) == list(expected)
    return type(actual) is type(expected)


@pytest.mark.parametrize("name", _modules())
def test_state_dict_keys_end_in_the_keras_name(name, loaded):
    model = loaded(name)
    rows = mapping(model.network)
    keys = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}  # which Keras has not
    assert {row.torch for row in rows} == keys
    for row in rows:
        layer = row.keras.split("/")[-2]
        module, _, tensor = row.torch.rpartition(f"{layer}.")
        assert not module or module.endswith("."), row
        assert tensor.count(".") == ("separable" in layer), row


@pytest.mark.parametrize("name", _modules())
def test_imported_model_trains(name, loaded):
    model, images = loaded(name).train(), _images(name)
    generator = torch.Generator().manual_seed(1)
    targets = [torch.randn(value.shape, generator=generator) for value in _flat(model(*images))]
    frozen, *learning = model.parameters()
    frozen.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(learning, lr=1e-4)
    losses = []
    torch.manual_seed(0)  # dropout
    for _ in range(2):
        rng = torch.get_rng_state()
        loss = sum(nn.functional.mse_loss(value, t) for value, t in zip(_flat(model(*images)), targets, strict=True))
        torch.set_rng_state(rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(parameter.grad is not None for parameter in learning)
    frozen_key = next(key for key, value in model.named_parameters() if value is frozen)
    still = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert frozen_key in still
    moving = {key for key in before if key.endswith(("running_mean", "running_var"))}
    assert not still & moving or "preprocessing" in name  # there Keras calls the backbone with training=False
