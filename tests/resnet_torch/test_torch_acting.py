"""What acts in training alone (dropout, noise, penalties, momenta, ``trainable``) is in the port, in its place."""

from __future__ import annotations

import warnings

import keras_acting
import keras_way_back
import numpy as np
import pytest
import torch
from sweeps import each_once, slow_but
from torch import nn

from resnet_torch import ImportedModel, ResNet, load_model, save_converted
from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.losses import CategoricalCrossentropy
from resnet_torch.optimizers import SGD
from resnet_torch.regularizers import regularization
from resnet_torch.saving import save_keras
from resnet_torch.trainability import frozen_layers_of
from resnet_torch.training.network import built
from resnet_torch.training.phases import Phases
from weight_transfer import ArchitectureError, MappingError, TransferError, convert, export
from weight_transfer.conversion.export import NO_STATE_OF_FROZEN
from weight_transfer.converted import read_converted
from weight_transfer.training import Recipe
from weight_transfer.training.starting_point import starting_point
from weight_transfer.weight_mapping import mapping, modules_of_layers

NATIVE = ("plain", "frozen norms", "frozen stage", "frozen head")
OWN_HEAD = (
    "two rates in the head",
    "one dropout in the head",
    "dropout before the pooling",
    *(case for case in keras_acting.CASES if case.startswith("ends in")),
)
OLDER = (
    "spatial dropout between stages",
    "noise on a shortcut",
    "one dropout in the head",
    "momenta",
    "ends in two softmaxes",
    "frozen norms",
    "frozen in a graph",
)
KERAS_CLASSES = {"Dropout2d": "SpatialDropout2D"}


def channels_first(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def acting(model, x):
    """As `keras_acting.acting`, read from the live modules in a forward pass."""
    layers = {path: layer for layer, path in modules_of_layers(model.network).items()}
    sources, given, kept, noises = {}, {}, [], []

    def note(path):
        block = path.rpartition(".")[0]

        def hook(module, inputs, output):
            if all(id(one) in sources for one in inputs):
                fed = frozenset().union(*(sources[id(one)] for one in inputs))
            else:  # the image, or the sum of a native block
                fed = given.get(f"{block}.residual", frozenset()) | given.get(f"{block}.shortcut", frozenset())
            kind = KERAS_CLASSES.get(type(module).__name__, type(module).__name__)
            if kind in keras_acting.NOISE:
                value = next(getattr(module, name) for name in ("p", "rate", "stddev") if hasattr(module, name))
                noises.append((kind, sorted(fed), float(value)))
            if path in layers or not any(module.children()):
                sources[id(output)] = frozenset({layers[path]}) if path in layers else fed
                kept.append(output)  # so that no other tensor gets its id
            given[path] = sources.get(id(output), frozenset())

        return hook

    handles = [module.register_forward_hook(note(path)) for path, module in model.named_modules()]
    model.eval()(x)
    for handle in handles:
        handle.remove()
    modules = {layer: model.get_submodule(path) for path, layer in layers.items()}
    return {
        "noises": sorted(noises),
        "norms": {
            layer: (1 - module.momentum, not module.frozen)
            for layer, module in modules.items()
            if isinstance(module, BatchNorm2d)
        },
        "learns": sorted(
            layer for layer, module in modules.items() if any(one.requires_grad for one in module.parameters())
        ),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory, keras_side):
    folder = tmp_path_factory.mktemp("acting")
    known = {}

    def of(library, case, ending):
        key = (library, case, ending)
        if key not in known:
            path = folder / f"{len(known)}{ending}"
            known[key] = path, keras_side(keras_acting.saved, library, case, path)
        return known[key]

    return of


FILES = [
    *(("keras", case, ".keras") for case in keras_acting.CASES),
    *(("keras", case, ".h5") for case in ("plain", "penalty between stages", "two rates in the head", "momenta")),
    *(("tf_keras", case, ".h5") for case in OLDER),
]
USUAL = (
    ("keras", "plain", ".keras"),
    ("keras", "noise on a shortcut", ".keras"),
    ("keras", "two rates in the head", ".h5"),
    ("keras", "ends in a softmax behind a dropout", ".keras"),
    ("keras", "frozen stage", ".keras"),
    ("keras", "penalty between stages", ".keras"),
    ("tf_keras", "spatial dropout between stages", ".h5"),
    ("tf_keras", "momenta", ".h5"),
    ("tf_keras", "frozen in a graph", ".h5"),
)


@pytest.mark.parametrize(("library", "case", "ending"), slow_but(USUAL, FILES))
def test_the_port_has_what_acts_in_its_place(library, case, ending, saved, tmp_path):
    path, keras = saved(library, case, ending)
    conversion = convert(path, tmp_path / "port.safetensors")
    model = load_model(conversion.output)
    x = channels_first(keras["x"])
    np.testing.assert_allclose(model.predict(x).numpy(), keras["y"], rtol=0, atol=1e-5 * np.abs(keras["y"]).max())
    found = acting(model, x)
    assert found["learns"] == keras["acting"]["learns"]
    assert found["norms"].keys() == keras["acting"]["norms"].keys()
    for name, (momentum, learns) in keras["acting"]["norms"].items():
        assert found["norms"][name] == (pytest.approx(momentum), learns)
    assert found["noises"] == keras["acting"]["noises"]
    penalty = regularization(model)
    model.eval()(x)
    assert penalty().item() == pytest.approx(keras["penalty"], rel=1e-5)
    kind = ResNet if case in (*NATIVE, *OWN_HEAD) else ImportedModel
    assert isinstance(model, kind)
    assert (conversion.network.own_head is not None) == (case in OWN_HEAD)


BACK = [file for file in FILES if "relu6" not in file[1]]  # which its owner has to name when Keras loads the file
SOME = ("two rates in the head", "penalty between stages", "momenta", "frozen in a graph")


@pytest.mark.parametrize(("library", "case", "ending"), slow_but([file for file in USUAL if file[1] in SOME], BACK))
def test_back_in_keras_every_field_is_as_it_was(library, case, ending, saved, tmp_path, keras_side):
    path, _ = saved(library, case, ending)
    port = convert(path, tmp_path / "port.safetensors").output
    backs = [export(port, tmp_path / f"back{suffix}") for suffix in (".keras", ".h5")]
    assert keras_side(keras_way_back.differences, library, [(path, back) for back in backs]) == []


@pytest.mark.parametrize(("library", "ending"), [("keras", ".keras"), ("tf_keras", ".h5")])
@pytest.mark.parametrize("case", ["spatial dropout between stages", "noise on a shortcut", "plain"])
def test_numbers_that_were_changed_in_pytorch_are_keras_s(library, ending, case, saved, tmp_path, keras_side):
    """A norm's epsilon and momentum and the rates of all kinds, in what Keras loads and predicts."""
    path, keras = saved(library, case, ending)
    model = load_model(path)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:
        norm.eps, norm.momentum = 0.05, 0.25
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.p = 0.125
    output = tmp_path / f"back{ending}"
    save_keras(model, output)
    assert acting(load_model(output), channels_first(keras["x"])) == acting(model, channels_first(keras["x"]))
    expected = model.predict(channels_first(keras["x"])).numpy()
    actual = keras_side(keras_acting.predicted, library, output, keras["x"])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(actual - keras["y"]).max() > 1e-3 * np.abs(expected).max()
    if library == "keras":
        configs = keras_side(keras_acting.configs, output)
        numbers = [(one["epsilon"], one["momentum"]) for one in configs if one["class"] == "BatchNormalization"]
        assert numbers == [(0.05, 0.75)] * len(norms)
        assert {one["rate"] for one in configs if "rate" in one} == {0.125}


def test_why_a_file_with_a_resnet_s_names_is_none_is_said(saved, tmp_path):
    path, _ = saved("keras", "momenta", ".keras")
    expected = "its own graph, and not the tutorial's create_resnet: bn2a_branch2a: momentum expected 0.99, the file's"
    remarks = convert(path, tmp_path / "port.safetensors").description.remarks
    assert [remark for remark in remarks if remark.startswith(expected)] == [f"{expected} model has 0.5 (+10 more)"]
    path, _ = saved("keras", "plain", ".keras")
    assert convert(path, tmp_path / "port.safetensors").description.remarks == ()


TRAINED = [(library, case) for library in ("keras", "tf_keras") for case in keras_acting.TRAINED]


@pytest.mark.parametrize(
    ("library", "case"), slow_but(each_once(("keras", "tf_keras"), [*keras_acting.TRAINED]), TRAINED)
)
def test_training_what_is_left_goes_as_in_keras(library, case, keras_side, tmp_path):
    """Frozen parameters get no gradient, frozen norms stay in inference mode; losses and weights are Keras's."""
    path = tmp_path / ("m.keras" if library == "keras" else "m.h5")
    keras = keras_side(keras_acting.trained, library, case, path)
    model = load_model(path).train()
    frozen = frozen_layers_of(model)
    assert frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, labels = channels_first(keras["x"]), torch.from_numpy(keras["labels"])
    optimizer, loss_of = SGD(model.parameters(), lr=0.01, momentum=0.5), CategoricalCrossentropy(from_logits=True)
    for expected in keras["losses"]:
        optimizer.zero_grad()
        loss = loss_of(model(x), labels)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(expected, rel=1e-4)
    state = model.state_dict()
    for row in mapping(model.network):
        layer, _, role = row.keras.rpartition("/")
        expected = keras["weights"][f"{layer.rpartition('/')[2]}/{role}"]
        actual = row.to_keras(state[row.torch].numpy())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * max(np.abs(expected).max(), 1e-3))
        if layer in frozen:
            assert torch.equal(state[row.torch], before[row.torch]), row.keras
    modules = modules_of_layers(model.network)
    for layer in frozen:
        module = model.get_submodule(modules[layer])
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())
        assert not isinstance(module, BatchNorm2d) or not module.training


NESTED = [
    (library, kind, which)
    for library in ("keras", "tf_keras")
    for kind in ("Functional", "Sequential", "chain")
    for which in keras_acting.NESTED
]


# Each of the models once, within each kind of model, of either Keras.
NESTED_USUALLY = each_once(("keras", "tf_keras"), ("Functional", "Sequential", "chain"), [*keras_acting.NESTED])


@pytest.mark.parametrize(("library", "kind", "which"), slow_but(NESTED_USUALLY, NESTED))
def test_models_within_models_learn_what_the_loaded_model_learns(library, kind, which, keras_side, tmp_path):
    for ending in (".keras", ".h5"):
        path = tmp_path / f"m{ending}"
        expected = keras_side(keras_acting.nested, library, kind, which, path)
        model = load_model(path)
        parameters = dict(model.named_parameters())
        found = [
            "/".join(row.keras.split("/")[-2:])
            for row in mapping(model.network)
            if row.torch in parameters and parameters[row.torch].requires_grad
        ]
        assert sorted(found) == expected


def test_a_norm_that_moves_in_a_frozen_model_is_refused(keras_side, tmp_path):
    path = keras_side(keras_acting.norm_in_a_frozen_model, tmp_path / "m.keras")
    with pytest.raises(ArchitectureError, match=r"batch norm 'n' is trainable in a model that is not.*--unfreeze"):
        load_model(path)
    assert frozen_layers_of(load_model(path, unfreeze=True)) == ()


ACTING = ("class", "trainable", "momentum", "epsilon", "rate", "activation", "strides", "padding", "axis", "center",
          "scale", "use_bias", "kernel_size", "filters", "units", "pool_size", "keepdims", "kernel_regularizer",
          "activity_regularizer", "bias_regularizer", "kernel_constraint", "dilation_rate", "groups")  # fmt: skip


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_every_acting_field_comes_back(ending, keras_side, tmp_path):
    path = keras_side(keras_acting.regularized, tmp_path / "m.keras", ("res2a", "bn2a", "bn_conv1", "fc_01"))
    output = convert(path, tmp_path / "port.safetensors").output
    assert read_converted(output).description.frozen
    first, again = (keras_side(keras_acting.configs, one) for one in (path, export(output, tmp_path / f"back{ending}")))
    assert len(first) == len(again) > 40
    by_name = {config["name"]: config for config in again}
    for config in first:
        other = by_name.get(config["name"])
        if config["class"] in ("Conv2D", "BatchNormalization", "Dense"):
            for key in ACTING:
                if key == "padding" and config.get("kernel_size") == (1, 1):
                    continue  # nothing to pad either way
                assert _plain(config.get(key)) == _plain(other.get(key)), (config["name"], key)
    rates = [[one["rate"] for one in configs if one["class"] == "Dropout"] for configs in (first, again)]
    assert rates == [[0.5, 0.5], [0.5, 0.5]]
    save_keras(load_model(output), tmp_path / "live.keras")
    live = keras_side(keras_acting.configs, tmp_path / "live.keras")
    assert {one["name"] for one in live if one.get("trainable") is False} == set(
        read_converted(output).description.frozen
    )


def _plain(value):
    """A config's value as JSON would have it, without what only names where a class lives."""
    if isinstance(value, dict):
        factors = value.get("config", {})
        return {key: float(factors[key]) for key in ("l1", "l2") if factors.get(key)}
    return list(value) if isinstance(value, tuple) else value


def test_frozen_layers_travel_and_a_flag_frees_them(saved, tmp_path):
    path, keras = saved("keras", "frozen stage", ".keras")
    frozen = convert(path, tmp_path / "port.safetensors").description.frozen
    assert len(frozen) == 14
    assert set(frozen).isdisjoint(keras["acting"]["learns"])
    model = load_model(tmp_path / "port.safetensors")
    model.unfreeze("stage2")
    model.freeze("stem")
    save_converted(model, tmp_path / "saved.safetensors")
    assert frozen_layers_of(load_model(tmp_path / "saved.safetensors")) == ("conv", "bn_conv1")
    assert frozen_layers_of(load_model(tmp_path / "saved.safetensors", unfreeze=True)) == ()
    assert convert(path, tmp_path / "free.safetensors", unfreeze=True).description.frozen == ()
    assert frozen_layers_of(load_model(tmp_path / "free.safetensors")) == ()


@pytest.mark.parametrize("save", [save_converted, save_keras])
def test_layers_frozen_as_no_keras_layer_is_are_saved_as_keras_can_say_it(save, saved, tmp_path):
    path, _ = saved("keras", "plain", ".keras")
    model, output = load_model(path), tmp_path / ("m.safetensors" if save is save_converted else "m.keras")
    model.stem.conv.weight.requires_grad_(False)
    model.stem.bn_conv1.requires_grad_(False)
    model.stages.stage2.requires_grad_(False)
    with pytest.warns(UserWarning, match=r"saved, but what is frozen in PyTorch alone learns in Keras") as warned:
        save(model, output)
    (said,) = (str(one.message) for one in warned)
    assert "conv: only some of its parameters learn" in said
    assert "bn_conv1: frozen=False, and its parameters have requires_grad=False" in said
    assert "freeze parts by model.freeze(...)" in said
    again = load_model(output)
    frozen = frozen_layers_of(again)
    assert len(frozen) > 3  # the convolutions of the stage, whole; its batch norms' statistics move
    assert all(isinstance(again.get_submodule(modules_of_layers(again.network)[one]), nn.Conv2d) for one in frozen)
    assert torch.equal(again.stem.conv.weight, model.stem.conv.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(again, output)


def test_frozen_layers_that_the_network_has_not(saved):
    from resnet_torch.trainability import freeze_layers

    path, _ = saved("keras", "plain", ".keras")
    with pytest.raises(MappingError, match=r"layers that do not learn, and that the network has not:\n  conv9"):
        freeze_layers(load_model(path), ("conv9",))


def test_no_optimizer_of_frozen_layers_that_learn(saved, tmp_path, monkeypatch):
    path, _ = saved("keras", "frozen stage", ".keras")
    with pytest.raises(TransferError, match=NO_STATE_OF_FROZEN):
        convert(path, tmp_path / "port.safetensors", with_optimizer=True, unfreeze=True)
    output = convert(path, tmp_path / "port.safetensors").output
    monkeypatch.setattr("weight_transfer.conversion.export._state_of", lambda *_: "a state")
    with pytest.raises(TransferError, match=NO_STATE_OF_FROZEN):
        export(output, tmp_path / "back.keras", with_optimizer=True, unfreeze=True)


@pytest.mark.parametrize("unfreeze", [False, True])
def test_trainings_leave_frozen_what_the_file_has_frozen(unfreeze, saved, keras_side, tmp_path):
    """The recipe's own parts come on top, and go when they unfreeze; both sides train the same layers."""
    path, keras = saved("keras", "frozen stage", ".keras")
    recipe = {"data": "d", "output": "o", "unfreeze": unfreeze}
    made = Recipe(**recipe, checkpoint=str(path), freeze=("stem", "head"), unfreeze_at=3, epochs=4)
    model = built(starting_point(made, keras_acting.CLASSES), torch.float32)
    modules, learning = modules_of_layers(model.network), []
    for epoch, parts in ((0, made.freeze), (2, ())):
        Phases(made).enter(epoch, model)
        frozen = frozen_layers_of(model)
        learning.append(sorted(set(modules) - set(frozen)))
        assert learning[-1] == keras_side(keras_acting.trainable_as_trained, path, recipe, parts)
    assert learning[1] == (sorted(modules) if unfreeze else keras["acting"]["learns"])
    assert not {"conv", "bn_conv1", "fc_01", "fc_final"} & set(learning[0])


def test_nothing_that_learns_is_refused_on_both_sides(saved, keras_side):
    path, _ = saved("keras", "frozen stage", ".keras")
    made = Recipe("d", "o", checkpoint=str(path), freeze=("stem", "stage3", "head"))
    model = built(starting_point(made, keras_acting.CLASSES), torch.float32)
    with pytest.raises(ArchitectureError, match="every layer is frozen, and nothing learns"):
        Phases(made).enter(0, model)
    with pytest.raises(ArchitectureError, match="every layer is frozen, and nothing learns"):
        keras_side(keras_acting.trainable_as_trained, path, {"data": "d", "output": "o"}, made.freeze)


def test_unfreezing_needs_a_file():
    with pytest.raises(TransferError, match="unfreeze needs a checkpoint whose frozen layers it lets learn"):
        Recipe("d", "o", unfreeze=True)


@pytest.mark.parametrize("end", ["relu", "tanh", "a softmax over the batch"])
def test_outputs_that_are_neither_classes_nor_logits_are_not_trained_on(end, saved):
    path, _ = saved("keras", f"ends in {end}", ".keras")
    words = "softmax over axis 0" if end.endswith("batch") else end
    with pytest.raises(ArchitectureError, match=f"ends in {words}. Expected a softmax over the classes, or logits"):
        starting_point(Recipe("d", "o", checkpoint=str(path)), keras_acting.CLASSES)


@pytest.mark.parametrize("end", ["log_softmax", "two softmaxes"])
def test_outputs_that_are_classes_or_logits_all_the_same(end, saved):
    path, _ = saved("keras", f"ends in {end}", ".keras")
    assert starting_point(Recipe("d", "o", checkpoint=str(path)), keras_acting.CLASSES).own_head
