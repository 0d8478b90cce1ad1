"""Every method of a ported model on every kind of network; real Keras is the judge, and what one cannot do it says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import keras_kinds
import numpy as np
import pytest
import torch
from copies import WAYS
from safetensors.torch import load_file, save_file

from resnet_torch import ImportedModel, PortedModel, ResNet, load_model, save_converted, save_keras
from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.trainability import frozen_layers_of
from weight_transfer import ArchitectureError, Hints, export
from weight_transfer.feature_maps import feature_maps
from weight_transfer.graph import Graph
from weight_transfer.new_classifier import classifier_of
from weight_transfer.weight_mapping import modules_of_layers

GRAPH = Hints(import_as="graph")
KINDS = (*keras_kinds.KINDS, "native as graph")

# What a kind of network cannot do, in the words that it says.
REFUSED: Mapping[tuple[str, str], str] = {
    ("features", "sequence"): r"^functional\w*: no global pooling or Flatten stands between .*register_forward_hook",
    ("features", "siamese"): r"no global pooling or Flatten stands between the image and all of its outputs",
    ("reset_classifier", "dict outputs"): r"cannot be replaced: it has 3 outputs \(score, label, .*Build the network",
    ("reset_classifier", "boxes"): r"\('flat_boxes'\) classes and places become one axis\. Build the network that you",
    ("reset_classifier", "siamese"): r"cannot be replaced: it ends in 'subtract\S*' \(Subtract\)\. Build the network",
}


@pytest.fixture(scope="module")
def owned(keras_side, tmp_path_factory):
    written = keras_side(keras_kinds.write, tmp_path_factory.mktemp("kinds"))
    return {**written, "native as graph": written["native"]}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def loaded(owned, kind) -> PortedModel:
    return load_model(owned[kind].file, GRAPH if kind == "native as graph" else None)


def tensors(x) -> list[torch.Tensor]:
    """An owner's inputs as PyTorch takes them."""
    return [torch.from_numpy(np.moveaxis(one, -1, 1).copy()) for one in (x if isinstance(x, list) else [x])]


def values(outputs) -> list[np.ndarray]:
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [np.asarray(one) for one in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def assert_close(actual, expected, tolerance=1e-5):
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert actual.keys() == expected.keys()
        actual = {name: actual[name] for name in expected}
    for one, other in zip(values(actual), values(expected), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def assert_same(actual, expected):
    for one, other in zip(values(actual), values(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def refused(method, kind) -> bool:
    return (method, kind) in REFUSED


def check_refusal(method, kind, call):
    with pytest.raises(ArchitectureError, match=REFUSED[method, kind]) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_kinds_are_what_they_are_called(owned):
    kinds = {kind: type(loaded(owned, kind)) for kind in KINDS}
    assert kinds == {kind: ResNet if kind in ("native", "own head") else ImportedModel for kind in KINDS}
    assert loaded(owned, "own head").own_head is not None
    assert frozen_layers_of(loaded(owned, "nested, frozen")) != ()


def test_predict_gives_what_keras_gives(owned, kind):
    model, (_, x, y) = loaded(owned, kind), owned[kind]
    given = x if isinstance(x, list) else [x]
    assert_close(model.predict(*map(torch.from_numpy, given), keras_layout=True), y)
    outputs = y if isinstance(y, dict) else {"only": y}
    channels_first = {name: np.moveaxis(value, -1, 1) for name, value in outputs.items()}
    assert_close(model.predict(*tensors(x)), channels_first if isinstance(y, dict) else channels_first["only"])


def test_features_are_what_keras_layers_give(owned, kind, keras_side):
    model, (file, x, _) = loaded(owned, kind), owned[kind]
    if refused("features", kind):
        check_refusal("features", kind, lambda: model.features(*tensors(x)))
        return
    maps = model.features(*tensors(x))
    names = {"stem": "pool1_pool", "stage2": "conv2_block2_out", "stage3": "conv3_block1_out"}
    layers = [names.get(name, name) for name in maps]
    expected = keras_side(keras_kinds.layer_outputs, file, layers, x)
    assert_close([one.detach() for one in maps.values()], [np.moveaxis(one, -1, 1) for one in expected])
    sizes = [tuple(one.shape[2:]) for one in maps.values()]
    assert sizes == sorted(sizes, reverse=True)
    if not isinstance(model, ResNet):
        assert len(set(sizes)) == len(sizes)


LAST_MAPS = {
    "sequential": ["re_lu_1", "re_lu_5"],
    "branches": ["re_lu", "freeze"],
    "dict outputs": ["re_lu", "activation"],
    "nested, frozen": ["backbone/re_lu", "backbone/activation"],
    "boxes": ["re_lu"],
    "two inputs": ["activation"],
    "native as graph": ["conv1_relu", "conv2_block2_out", "conv3_block1_out"],
}


@pytest.mark.parametrize("kind", LAST_MAPS)
def test_features_are_the_last_map_of_each_size(owned, kind):
    assert list(loaded(owned, kind).features(*tensors(owned[kind].x))) == LAST_MAPS[kind]


@torch.no_grad()
def test_the_head_of_the_last_map_is_the_model(owned, kind):
    model, x = loaded(owned, kind), tensors(owned[kind].x)
    if refused("features", kind):
        check_refusal("features", kind, lambda: model.forward_features(*x))
        return
    last = model.forward_features(*x)
    assert torch.equal(last, list(model.features(*x).values())[-1])
    if kind == "two inputs":
        with pytest.raises(ArchitectureError, match=r"reads .* beside the last feature map\. Call the whole model"):
            model.forward_head(last)
        return
    assert_same(model.forward_head(last), model(*x))


@pytest.mark.parametrize("kind", ["native", "native as graph", "own head", "branches"])
@torch.no_grad()
def test_the_classifier_of_what_stands_before_it_gives_the_logits(owned, kind):
    model, x = loaded(owned, kind), tensors(owned[kind].x)
    before = model.forward_head(model.forward_features(*x), pre_logits=True)
    assert_same(model.get_classifier()(before), model(*x))


def test_feature_info_tells_what_the_maps_are(owned, kind):
    model, x = loaded(owned, kind), tensors(owned[kind].x)
    if refused("features", kind):
        return
    maps, info = model.features(*x), model.feature_info()
    assert [one.name for one in info] == list(maps)
    assert [one.channels for one in info] == [y.shape[1] for y in maps.values()]
    size = x[0].shape[2]
    assert all(abs(size / one.reduction - maps[one.name].shape[2]) < 1 for one in info if one.reduction)
    backbone = model.features_only(out_indices=(-1, 0))
    for actual, expected in zip(backbone(*x), (list(maps.values())[-1], next(iter(maps.values()))), strict=True):
        assert torch.equal(actual, expected)


def test_a_map_that_is_not_there(owned):
    with pytest.raises(ArchitectureError, match=r"must lie in 0 to 2: stem, stage2, stage3\. Received: \(3,\)"):
        loaded(owned, "native").features_only(out_indices=(3,))


def test_freeze_keeps_everything_and_unfreeze_undoes_it(owned, kind):
    model, inputs = loaded(owned, kind), tensors(owned[kind].x)
    model.unfreeze()
    layers = modules_of_layers(model.network)
    first, *_, last = layers
    model.freeze()
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(*inputs)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.unfreeze(last)
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == {name for name in before if name.startswith(f"{layers[last]}.")}
    assert frozen_layers_of(model) == tuple(name for name in layers if name != last)
    model.unfreeze()
    model.freeze(first)
    assert frozen_layers_of(model) == (first,)
    assert all(norm.training for norm in model.modules() if isinstance(norm, BatchNorm2d) and not norm.frozen)
    with pytest.raises(
        ArchitectureError, match=r"^no such part\. Expected a Keras layer, or any of .* Received: stagex"
    ):
        model.freeze(first, "stagex")


def test_a_nested_model_freezes_as_a_part(owned):
    model = loaded(owned, "nested, frozen")
    model.unfreeze("backbone")
    assert frozen_layers_of(model) == ()
    model.freeze("backbone")
    assert set(frozen_layers_of(model)) == {name for name in modules_of_layers(model.network) if name != "cat"}


def test_reset_classifier_keeps_the_rest(owned, kind, keras_side, tmp_path):
    model, (file, x, _) = loaded(owned, kind), owned[kind]
    if refused("reset_classifier", kind):
        before = model.network
        check_refusal("reset_classifier", kind, lambda: model.reset_classifier(7))
        assert model.network == before
        return
    held, frozen = model.state_dict(), frozen_layers_of(model)
    model.train().reset_classifier(7)
    classifier = classifier_of(model.network)
    place = modules_of_layers(model.network)[classifier]
    module = model.get_submodule(place)
    with torch.no_grad():
        module.bias.normal_()
    for name, tensor in model.state_dict().items():
        assert name.startswith(f"{place}.") or tensor is held[name] or torch.equal(tensor, held[name])
    kernel = np.moveaxis(module.weight.detach().numpy(), (0, 1), (-1, -2))
    expected = keras_side(keras_kinds.with_classes, file, classifier, kernel, module.bias.detach().numpy(), x)
    given = x if isinstance(x, list) else [x]
    assert expected.shape[-1] == 7
    assert_close(model.predict(*map(torch.from_numpy, given), keras_layout=True), expected)
    assert frozen_layers_of(model) == frozen
    save_converted(model, tmp_path / "port.safetensors")
    save_keras(model, tmp_path / "back.keras")
    export(tmp_path / "port.safetensors", tmp_path / "exported.keras")
    for back in ("back.keras", "exported.keras"):
        assert_same(keras_side(keras_kinds.predicted, tmp_path / back, x), expected)
    model.save_pretrained(tmp_path / "folder")
    for again in (load_model(tmp_path / "port.safetensors"), load_model(tmp_path / "folder")):
        assert_same(again.predict(*tensors(x)), model.predict(*tensors(x)))
        assert again.network == model.network == again.description.network
    model(*tensors(x)).square().sum().backward()
    assert module.weight.grad.abs().max() > 0


def test_save_pretrained_and_every_way_to_load_it(owned, kind, tmp_path):
    model, x = loaded(owned, kind), tensors(owned[kind].x)
    model.save_pretrained(tmp_path / "folder")
    expected = model.predict(*x)
    saved = [
        type(model).from_pretrained(tmp_path / "folder"),
        PortedModel.from_pretrained(str(tmp_path / "folder")),
        load_model(tmp_path / "folder"),
        load_model(tmp_path / "folder" / "model.safetensors"),
    ]
    # As another tool writes the tensors: without what they say of themselves.
    save_file(load_file(tmp_path / "folder" / "model.safetensors"), tmp_path / "plain.safetensors")
    (tmp_path / "plain.safetensors").replace(tmp_path / "folder" / "model.safetensors")
    saved.append(load_model(tmp_path / "folder"))
    for again in saved:
        assert type(again) is type(model)
        assert not again.training
        assert_same(again.predict(*x), expected)
        assert again.network == model.network
        assert again.description == saved[0].description
        assert frozen_layers_of(again) == frozen_layers_of(model)
    other = ImportedModel if isinstance(model, ResNet) else ResNet
    with pytest.raises(ArchitectureError, match=rf"an? {type(model).__name__}\. Expected an? {other.__name__}\. Take "):
        other.from_pretrained(tmp_path / "folder")


def test_save_converted_loads_again(owned, kind, tmp_path):
    model, x = loaded(owned, kind), tensors(owned[kind].x)
    save_converted(model, tmp_path / "port.safetensors")
    again = load_model(tmp_path / "port.safetensors")
    assert_same(again.predict(*x), model.predict(*x))
    assert again.description.network == model.network
    assert again.description.origin == model.description.origin


def test_the_way_back_is_what_keras_wrote(owned, kind, keras_side, tmp_path):
    model, (_, x, y) = loaded(owned, kind), owned[kind]
    model.save_pretrained(tmp_path / "folder")
    save_keras(model, tmp_path / "live.keras")
    export(tmp_path / "folder", tmp_path / "folder.keras")
    for back in ("live.keras", "folder.keras"):
        assert_same(keras_side(keras_kinds.predicted, tmp_path / back, x), y)


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_whole(owned, kind, way):
    model, x = loaded(owned, kind), tensors(owned[kind].x)
    copied = way(model)
    assert type(copied) is type(model)
    assert_same(copied.predict(*x), model.predict(*x))
    assert copied.description == model.description
    assert frozen_layers_of(copied) == frozen_layers_of(model)
    if not refused("reset_classifier", kind):
        copied.reset_classifier(2)
        assert copied.network != model.network


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_are_cast_however_it_was_loaded(owned, kind, dtype, tmp_path):
    x = tensors(owned[kind].x)
    loaded(owned, kind).to(dtype).save_pretrained(tmp_path / "folder")
    for model in (PortedModel.from_pretrained(tmp_path / "folder"), load_model(tmp_path / "folder")):
        assert next(model.parameters()).dtype == dtype
        assert all(one.dtype == dtype for one in map(torch.as_tensor, torch.utils._pytree.tree_leaves(model(*x))))
        assert torch.utils._pytree.tree_leaves(model.predict(*x))[0].dtype == dtype
        if not refused("features", kind):
            assert all(one.dtype == dtype for one in model.features(*x).values())


def without_activation(monkeypatch):
    monkeypatch.setattr(ImportedModel, "finished", lambda self, outputs: outputs)


def without_moving_axes(monkeypatch):
    monkeypatch.setattr(Graph, "channels_last", property(lambda network: False))


def the_first_map_alone(monkeypatch):
    monkeypatch.setattr("resnet_torch.imported.feature_maps", lambda graph: feature_maps(graph)[:1])


def a_map_inside_a_block(monkeypatch):
    monkeypatch.setattr(
        "resnet_torch.imported.feature_maps", lambda graph: (*feature_maps(graph)[:-1], "conv3_block1_1_conv")
    )


def no_renewed_layer(monkeypatch):
    take = ImportedModel._take_network
    monkeypatch.setattr(ImportedModel, "_take_network", lambda self, network, renewed: take(self, self.network, ()))


def all_layers_renewed(monkeypatch):
    take = ImportedModel._take_network
    everything = lambda self, network, renewed: take(self, network, [*modules_of_layers(network)][:1] + renewed)  # noqa: E731
    monkeypatch.setattr(ImportedModel, "_take_network", everything)


def frozen_forgotten(monkeypatch):
    monkeypatch.setattr("resnet_torch.loading.freeze_layers", lambda model, frozen: None)


def inputs_as_they_are(monkeypatch):
    monkeypatch.setattr("resnet_torch.imported.cast_inputs", lambda model, inputs: inputs)


@pytest.mark.parametrize(
    ("plant", "check", "kind"),
    [
        (without_activation, test_predict_gives_what_keras_gives, "sequence"),
        (without_moving_axes, test_predict_gives_what_keras_gives, "sequence"),
        (the_first_map_alone, test_features_are_the_last_map_of_each_size, "branches"),
        (a_map_inside_a_block, test_features_are_the_last_map_of_each_size, "native as graph"),
        (no_renewed_layer, test_reset_classifier_keeps_the_rest, "branches"),
        (all_layers_renewed, test_reset_classifier_keeps_the_rest, "sequential"),
        (frozen_forgotten, test_save_pretrained_and_every_way_to_load_it, "nested, frozen"),
        (inputs_as_they_are, test_inputs_are_cast_however_it_was_loaded, "branches"),
    ],
)
def test_a_planted_mistake_is_seen(plant, check, kind, owned, keras_side, tmp_path, monkeypatch):
    given = {"owned": owned, "kind": kind, "keras_side": keras_side, "tmp_path": tmp_path, "dtype": torch.float64}
    model = loaded(owned, kind)  # before: what the mistake breaks is seen in the methods
    plant(monkeypatch)
    if plant is frozen_forgotten:
        monkeypatch.setitem(globals(), "loaded", lambda owned, kind: model)
    taken = {name: given[name] for name in inspect.signature(check).parameters}
    with pytest.raises((AssertionError, RuntimeError, KeyError)):
        check(**taken)
