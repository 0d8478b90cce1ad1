"""Optimizers in files of every Keras: whose slot is whose, and what is refused instead of guessed."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import checkpoints
import h5py
import numpy as np
import pytest
from optimizer_states import assert_same, numbers, tiny, written

from weight_transfer import (
    CheckpointError,
    Hints,
    MappingError,
    TransferError,
    convert,
    identify,
    read_checkpoint,
)
from weight_transfer.graph import keras_order
from weight_transfer.optimizer.from_keras import read_optimizer_state
from weight_transfer.optimizer.grammar import parse_optimizer
from weight_transfer.optimizer.scalars import _first_scale
from weight_transfer.optimizer.spec import OptimizerSpec
from weight_transfer.optimizer.variables import rows_by_layer
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor
from weight_transfer.weight_mapping import mapping

ENDINGS = ("keras", "h5", "weights.h5")
FROZEN = ("stem.conv", "stem.bn_conv1")
LEARNING = sum(map(len, rows_by_layer(resnet_graph(tiny())).values()))  # weights of the small network


def read(path, said=None, **hints):
    hints = Hints(**hints)
    with read_checkpoint(path) as checkpoint:
        bad: list[str] = []
        state = read_optimizer_state(checkpoint, identify(checkpoint, hints), parse_optimizer(said), hints.like, bad)
        numbers(state)
        assert not bad
        held = tuple(Tensor.of(tensor.name, tensor.read()) for tensor in state.tensors)
        return dataclasses.replace(state, tensors=held)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Adam", {"amsgrad": True, "use_ema": True}),
        ("AdamW", {}),
        ("SGD", {"momentum": 0.5}),
        ("SGD", {}),
        ("RMSprop", {"momentum": 0.5, "centered": True}),
        ("RMSprop", {}),
        ("Adamax", {}),
        ("Adagrad", {}),
    ],
)
def test_every_slot_finds_its_weight(name, arguments, ending, tmp_path):
    path, state = written(tmp_path / f"m.{ending}", name=name, arguments=arguments)
    said = str(OptimizerSpec(name, arguments))
    assert_same(read(path, said if ending == "weights.h5" else None), state)


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_nadams_product(ending, tmp_path):
    path, state = written(tmp_path / f"m.{ending}", name="Nadam", u_product=0.125)
    assert_same(read(path, "Nadam"), state)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_frozen_layers_have_no_slots(ending, tmp_path):
    path, state = written(tmp_path / f"m.{ending}", frozen=FROZEN)
    assert_same(read(path), state)


def test_names_and_order_agree(tmp_path):
    """Of the same file, once with Keras's names and once with none that mean anything, as Keras 2 wrote them."""
    path, state = written(tmp_path / "m.h5", frozen=FROZEN)
    _rename(path, lambda number, name: name if not number else f"training/Adam/Variable_{number}:0")
    assert_same(read(path), state)


@pytest.mark.parametrize("names", [True, False])
def test_a_legacy_optimizer_keeps_slot_after_slot(names, tmp_path):
    """tf_keras's legacy classes: all of m, then all of v; Adam of Keras 2.2 a number for each slot it has not."""
    architecture = tiny()
    path, state = written(tmp_path / "m.h5", architecture)
    slots = state.slots
    order = [
        (row.keras, row.torch, row)
        for layer in keras_order(resnet_graph(architecture))
        for row in mapping(resnet_graph(architecture))
        if row.keras.rpartition("/")[0] == layer.path and "moving" not in row.keras
    ]
    with h5py.File(path, "a") as file:
        group = _emptied(file)
        arrays = {"Adam/iter:0": np.int64(7)}
        for word, slot in (("m", "momentum"), ("v", "velocity")):
            for number, (keras, torch, row) in enumerate(order):
                name = f"Adam/{keras}/{word}:0" if names else f"training/{word}_Variable_{number}:0"
                arrays[name] = row.to_keras(slots[slot][torch].read())
        if not names:
            arrays |= {f"training/vhat_{number}:0": np.zeros(1, "float32") for number in range(len(order))}
        _fill(group, arrays)
        config = {"learning_rate" if names else "lr": 0.25, "decay": 0.0, "beta_1": 0.9, "epsilon": 1e-7}
        config |= {"name": "Adam"} if names else {}
        file.attrs["training_config"] = json.dumps({"optimizer_config": {"class_name": "Adam", "config": config}})
    found = read(path)
    assert_same(found, state)
    assert "amsgrad" not in found.config["config"]
    assert read(path, "learning_rate=0.5").learning_rate == 0.5  # a person's word before the file's lr


def test_rmsprop_before_keras_2_3_kept_no_count(tmp_path):
    path, state = written(tmp_path / "m.h5", name="RMSprop")
    _rename(path, lambda number, name: None if number == 0 else f"training/RMSprop/Variable_{number}:0")

    def compiled(**config):
        with h5py.File(path, "a") as file:
            file.attrs["training_config"] = json.dumps(
                {"optimizer_config": {"class_name": "RMSprop", "config": {"lr": 0.25, "rho": 0.9, **config}}}
            )

    compiled(decay=0.0)
    found = read(path)
    assert numbers(found).keys() == numbers(state).keys()
    assert found.iterations == 0
    assert "kept no count" in found.assumed[0]
    compiled(decay=0.1)
    with pytest.raises(TransferError, match=r"kept no step count .* and its learning rate depends on it"):
        read(path)


# The learning rate, and who knows it.


def test_the_current_rate_not_the_compiled_one(tmp_path):
    path, _ = written(tmp_path / "m.keras")
    _in_archive(path, lambda file: file["optimizer/vars/1"].write_direct(np.array(0.03125, "float32")))
    assert read(path).learning_rate == 0.03125
    assert read(path, "learning_rate=0.5").learning_rate == 0.5  # but a person's word before it


def test_a_weights_file_knows_the_rate_and_no_class(tmp_path):
    path, state = written(tmp_path / "m.weights.h5")
    with pytest.raises(TransferError, match=r"calls itself 'adam', and does not say of which class.*--optimizer"):
        read(path)
    found = read(path, "Adam")
    assert_same(found, state)
    assert found.assumed == (
        "beta_1, beta_2, epsilon, amsgrad: Keras's defaults (the file does not say; --optimizer does)",
    )


def test_tf_kerass_weights_file_does_not_know_the_rate(tmp_path):
    path, state = written(tmp_path / "m.weights.h5")
    with h5py.File(path, "a") as file:
        variables = file["optimizer/vars"]
        del variables["1"], variables.attrs["name"]
        for number in range(2, len(variables) + 1):
            variables.move(str(number), str(number - 1))
    with pytest.raises(TransferError, match="does not say how fast its optimizer learns now"):
        read(path, "Adam")
    assert_same(read(path, "Adam(learning_rate=0.25)"), state)
    whole, _ = written(tmp_path / "whole.keras")
    with pytest.raises(TransferError, match="does not say how fast"):  # that of another file may be old
        read(path, like=whole)
    found = read(path, "learning_rate=0.25", like=whole)
    assert_same(found, state)
    assert found.assumed == ("the optimizer's arguments are those of whole.keras",)


def test_a_schedule_gives_the_rate(tmp_path):
    rate = {
        "class_name": "ExponentialDecay",
        "config": {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5},
    }
    path, state = written(tmp_path / "m.keras", arguments={"learning_rate": rate}, learning_rate=None)
    found = read(path)
    assert_same(found, state)
    assert found.config["config"]["learning_rate"]["class_name"] == "ExponentialDecay"


def test_a_person_adds_to_what_the_file_says(tmp_path):
    path, state = written(tmp_path / "m.keras", arguments={"beta_1": 0.5})
    found = read(path, "beta_2=0.25, clipnorm=1.0")
    assert_same(found, state)
    assert {**found.config["config"], "learning_rate": None, "name": None} == {
        "beta_1": 0.5, "beta_2": 0.25, "clipnorm": 1.0, "learning_rate": None, "name": None
    }  # fmt: skip
    with pytest.raises(TransferError, match=r"cannot be carried over. Adam's config holds what is not known:\n  momen"):
        read(path, "momentum=0.9")


# What is not certain is refused.


def test_two_orders_that_fit_are_refused(tmp_path):
    """Both branches of the only addition end in a convolution of one shape: 1 x 1, 4 channels to 8."""
    alike = checkpoints.small(block_counts=(1,), filters=((4, 4, 8),), stem_filters=4)
    path, state = written(tmp_path / "m.weights.h5", alike)
    with pytest.raises(MappingError, match=r"fit two orders of the network's layers.*--config model.json"):
        read(path, "Adam")
    whole, _ = written(tmp_path / "whole.keras", alike)
    assert_same(read(path, "Adam", like=whole), state)
    shown = checkpoints.small(block_counts=(1,), filters=((4, 4, 8),), stem_filters=5)
    path, state = written(tmp_path / "shown.weights.h5", shown)
    assert_same(read(path, "Adam"), state)


def test_the_other_order_where_shapes_show_it(tmp_path):
    architecture = tiny()
    names = dataclasses.replace(architecture.names, shortcut_first=not architecture.names.shortcut_first)
    flipped = dataclasses.replace(architecture, names=names)
    path, state = written(tmp_path / "m.weights.h5", flipped)
    assert_same(read(path, "Adam"), state)


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
def test_an_optimizer_of_other_weights(ending, tmp_path):
    other = tiny(filters=((4, 4), (6, 8)))
    path, _ = written(tmp_path / f"m.{ending}")
    donor, _ = written(tmp_path / f"other.{ending}", other)
    _transplant(donor, path)
    with pytest.raises(MappingError, match=r"has shape .*, expected momentum of .*saved together"):
        read(path, "Adam")


def test_truncated_slots(tmp_path):
    path, _ = written(tmp_path / "m.keras")
    _in_archive(path, lambda file: file["optimizer/vars"].pop(str(2 * LEARNING + 1)))
    expected = f"{2 * LEARNING - 1} are there, expected {2 * LEARNING}: {LEARNING} weights learn"
    with pytest.raises(MappingError, match=expected) as error:
        read(path)
    assert "--optimizer" in str(error.value)
    _in_archive(path, lambda file: file["optimizer/vars"].pop("20"))
    with pytest.raises(CheckpointError, match=r"variable 20 is missing"):
        read(path)


def test_layers_frozen_or_freed_after_compiling(tmp_path):
    path, _ = written(tmp_path / "m.keras", frozen=FROZEN)
    whole, everything = written(tmp_path / "all.keras")
    _transplant(whole, path)  # built when nothing was frozen: slots of all weights
    found = read(path)
    assert numbers(found).keys() == numbers(everything).keys()
    assert set(found.frozen) == set(FROZEN)
    _transplant(tmp_path / "m.keras", whole)
    half, _ = written(tmp_path / "half.keras", frozen=FROZEN)
    _transplant(half, whole)  # freed since: nothing says which
    expected = f"{2 * LEARNING - 8} are there, expected {2 * LEARNING}: {LEARNING} weights learn. If layers were"
    with pytest.raises(MappingError, match=expected):
        read(whole)


@pytest.mark.parametrize(
    ("plant", "error", "message"),
    [
        (lambda file: file.pop("optimizer"), TransferError, "holds no optimizer state"),
        (lambda file: _scalar(file, 0, -1), CheckpointError, "step counter is -1"),
        (lambda file: _scalar(file, 0, np.float32(3)), CheckpointError, "first variable is no step counter"),
        (lambda file: _scalar(file, 1, np.float32("nan")), CheckpointError, "learning rate is nan"),
        (lambda file: _scalar(file, 2, np.int32(1)), MappingError, r"has shape \(\)"),
        (lambda file: file["optimizer/vars"].move("3", "03"), CheckpointError, r"vars/03': not a number"),
        (lambda file: _only(file, 2), MappingError, "counted 7 steps and has no slots"),
    ],
)
def test_damaged_state(plant, error, message, tmp_path):
    path, _ = written(tmp_path / "m.keras")
    _in_archive(path, plant)
    with pytest.raises(error, match=message):
        read(path)
    with read_checkpoint(path) as checkpoint:  # the weights are as good as ever
        assert all(checkpoint[name].size for name in checkpoint.arrays)


def test_compiled_and_never_trained(tmp_path):
    path, _ = written(tmp_path / "m.keras")

    def fresh(file):
        _only(file, 2)
        _scalar(file, 0, 0)

    _in_archive(path, fresh)
    found = read(path)
    assert (found.iterations, found.tensors, found.learning_rate) == (0, (), 0.25)


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda slot: slot.__setitem__(..., np.nan), "numbers are not finite"),
        (lambda slot: slot.__setitem__(..., -1), "numbers are negative, which no step makes them"),
    ],
)
def test_values_that_no_step_gives(plant, message, tmp_path):
    path, _ = written(tmp_path / "m.keras")
    _in_archive(path, lambda file: plant(file["optimizer/vars/3"]))
    with pytest.raises(MappingError, match=message):
        convert(path, tmp_path / "port.safetensors", with_optimizer=True)
    assert [file.name for file in tmp_path.iterdir()] == ["m.keras"]  # neither of the two
    convert(path, tmp_path / "port.safetensors")  # the weights alone


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"class_name": "Lion", "config": {}},
            "its optimizer cannot be carried over. No optimizer 'Lion'. Known: Adagrad",
        ),
        ({"class_name": "Adam", "config": {"gradient_accumulation_steps": 4}}, "gradient_accumulation_steps=4"),
        ({"class_name": "LossScaleOptimizerV3", "config": {}}, "its optimizer is a 'LossScaleOptimizerV3', whose loss"),
        ({"class_name": ["Adam"]}, "does not say of which class"),
    ],
)
def test_optimizers_that_are_not_known(config, message, tmp_path):
    path, _ = written(tmp_path / "m.keras")
    _compiled(path, {"optimizer": config})
    with pytest.raises(TransferError, match=message):
        read(path)


def _scalar(file, number, value):
    del file[f"optimizer/vars/{number}"]
    file[f"optimizer/vars/{number}"] = value


def _only(file, count):
    for name in list(file["optimizer/vars"]):
        if int(name) >= count:
            del file[f"optimizer/vars/{name}"]


def _in_archive(path, change):
    """Changes the weights within a .keras file."""
    _rewrite(
        path, lambda members: members.__setitem__("model.weights.h5", _changed(members["model.weights.h5"], change))
    )


def _changed(content, change):
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "a") as file:
        change(file)
    return buffer.getvalue()


def _compiled(path, config):
    def change(members):
        whole = json.loads(members["config.json"])
        members["config.json"] = json.dumps({**whole, "compile_config": config}).encode()

    _rewrite(path, change)


def _rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _transplant(donor, path):
    """Puts one file's optimizer into another."""
    if donor.suffix == ".keras":
        with zipfile.ZipFile(donor) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    else:
        source = donor

    def change(file):
        del file["optimizer"]
        with h5py.File(source) as other:
            other.copy("optimizer", file)

    if path.suffix == ".keras":
        _in_archive(path, change)
    else:
        with h5py.File(path, "a") as file:
            change(file)


def _rename(path, renamed):
    """Gives a legacy file's optimizer variables other names; None leaves one out."""
    with h5py.File(path, "a") as file:
        old = file["optimizer_weights"]
        names = [name.decode() for name in old.attrs["weight_names"]]
        arrays = {renamed(number, name): old[name][()] for number, name in enumerate(names)}
        arrays.pop(None, None)
        _fill(_emptied(file), arrays)


def _emptied(file):
    del file["optimizer_weights"]
    return file.create_group("optimizer_weights")


def _fill(group, arrays):
    group.attrs["weight_names"] = [name.encode() for name in arrays]
    for name, array in arrays.items():
        group[name] = array


@pytest.mark.parametrize("scale", [0, -1.0, "32768", None])
def test_a_loss_scale_that_is_none(scale, tmp_path):
    path, _ = written(tmp_path / "m.keras")
    inner = {"class_name": "Adam", "config": {"learning_rate": 0.01, "jit_compile": False}}
    wrapped = {"inner_optimizer": inner, "initial_scale": scale, "dynamic_growth_steps": 2000}
    _compiled(path, {"optimizer": {"class_name": "LossScaleOptimizerV3", "config": wrapped}})
    with pytest.raises(CheckpointError, match=r"its loss scale is .*Expected a number above 0"):
        read(path)


def test_a_fixed_loss_scale_is_not_carried_over():
    found = _first_scale("m.h5", {"initial_scale": 128, "dynamic": False, "dynamic_growth_steps": None})
    assert found == (None, ("no loss scale: the file's is 128 throughout, for half precision alone",))
