"""Networks of every kind that the suite knows from Keras to the port and back, or refused by name."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import h5py
import keras_functions
import keras_named
import keras_owners
import keras_round_trips
import pytest
import supported
from keras_layers import LIBRARIES
from keras_round_trips import networks
from round_trips import WAYS, judge, trips

from weight_transfer import ArchitectureError, CheckpointError, Hints, MappingError, TransferError, convert, export

USERS = supported.module_at("weight_transfer/test_class_owners.py").REFUSED
# Kinds of which each Keras has every other network, the larger ones; of the rest each has all that it can build.
IN_TURN = ("acting", "listed", "kind", "owner", "zoo", "pixels")
# What a Keras does not build, or does not load when it has written it.
IMPOSSIBLE = {
    "keras": ("odd: a path of another", "odd: slashes in nested models"),  # no slash in a layer's name
    "tf_keras": ("policy: bfloat16 None", "policy: bfloat16 float32"),
}
DOTS = ("graph: caffe", "function: caffe", "function: mirrored channels", "function: one channel")  # an index `...`
LOST_IN_AN_H5 = ("graph: caffe", "graph: tf", "graph: torch", "pixels: slice", "pixels: quotient")  # operations, too
READS_DOTS = {"keras": ".keras", "tf_keras": ".h5"}
NO_ROW = {
    "odd: Lambda": r"'twice' \(Lambda\)",
    "odd: Masking": r"'masking' \(Masking\)",
    "odd: LSTM": r"'lstm' \(LSTM\)",
}
SOME = (
    "acting: noise on a shortcut",
    "graph: dict_inside",
    "owner: transfer",
    "schema: mixed",
    "policy: mixed_bfloat16 float32",
    "function: caffe",
    "function: minus an array",
    "pixels: rescaling",
    "pixels: sum",
    "odd: names that collide",
    "odd: linear bottleneck",
    "odd: Lambda",
)


def names(library):
    """The networks that go by this Keras."""
    numbers = Counter()
    for name in networks(library):
        kind = name.partition(":")[0]
        numbers[kind] += 1
        other = kind in IN_TURN and LIBRARIES[numbers[kind] % 2] != library
        if not other and name not in IMPOSSIBLE[library]:
            yield name


def refusal(library, name, way):
    """The class and the words with which a network is refused in a way; None where it must come back."""
    kind, _, what = name.partition(": ")
    if kind == "no function" and name != "no function: nn.relu6":  # which Keras 3 has as another operation
        said = rf"\({what}\): this class" if library == "keras" else rf"function '{re.escape(what)}'"
        return ArchitectureError, rf"{said} is not supported"
    if kind == "user's" and what in USERS:
        return ArchitectureError, USERS[what][0]
    if kind == "pixels" and keras_owners.ON_PIXELS[what][1]:
        return ArchitectureError, r"reads whole numbers \(uint8\)"
    if name == "graph: operations":
        return CheckpointError, "it holds no weights"
    if name in NO_ROW:
        return ArchitectureError, rf"layer {NO_ROW[name]}: this class is not supported"
    if name == "odd: slashes in nested models" and way[0] == ".h5":  # two models deep its names say not which is whose
        return MappingError, "its arrays are not those of its model"
    if name in DOTS and way[1] != READS_DOTS[library]:
        return ArchitectureError, r"reads no index `...` from an? \.\w+ file"
    return None


def owner(library):
    """The container from which a Keras reads what it wrote itself."""

    def of(name, way):
        if library == "tf_keras":  # of the same container: the two have other names for this function
            return way[1] if name == "acting: ends in log_softmax" else None
        return ".keras" if name.startswith(("function: ", "policy: bfloat16")) or name in LOST_IN_AN_H5 else None

    return of


def rounded(library, name):
    """What is otherwise where the port rounds: tf_keras holds a batch norm's arrays in float32 in a float16 model."""
    return "array [2-5] is another" if library == "tf_keras" and name.startswith("policy: float16") else None


def check(keras_side, library, chosen, folder):
    """Each network comes back as it was, in one way, or is refused in the words that are expected of it."""
    first = {name: (".keras",) if name.startswith("user's") else keras_round_trips.ENDINGS for name in chosen}
    saved = {}
    for endings in {*first.values()}:
        own = [name for name in chosen if first[name] == endings]
        here = folder / str(len(endings))
        here.mkdir()
        saved |= keras_side(keras_round_trips.saved, library, own, here, endings)
    done = trips(saved, lambda number: WAYS[number % 4 : number % 4 + 1], folder, owner=owner(library))
    assert {trip.name for trip in done} == {*chosen}
    for trip in done:
        expected = refusal(library, trip.name, trip.way)
        if expected is None:
            assert trip.refusal is None, trip.name
        else:
            assert type(trip.refusal) is expected[0], trip.name
            assert re.search(expected[1], str(trip.refusal)), trip.name
    for trip, found in judge(keras_side, library, done):
        if pattern := rounded(library, trip.name):
            assert len(found.lines) == 4, trip.name
            assert all(re.search(f": {pattern}$", line) for line in found.lines), trip.name
        else:
            assert found.lines == [], trip.name
        assert found.held_against == (owner(library)(trip.name, trip.way) or trip.way[0]), trip.name
        assert found.num_arrays > 0
        assert found.num_outputs > 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_some_of_each_kind_come_back(library, tmp_path, keras_side):
    check(keras_side, library, SOME[LIBRARIES.index(library) :: 2], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_network_comes_back(library, tmp_path, keras_side):
    check(keras_side, library, list(names(library)), tmp_path)


def test_each_network_is_among_the_cases():
    gone = {*names("keras")} | {*names("tf_keras")}
    assert networks("keras").keys() & networks("tf_keras").keys() <= gone
    assert {*SOME[::2]} <= networks("keras").keys()
    assert {*SOME[1::2]} <= networks("tf_keras").keys()
    assert {f"function: {name}" for names in keras_functions.PORTED.values() for name in names} <= gone
    assert len(gone) > 180


# Files that are not as their Keras wrote them


@pytest.mark.parametrize("library", [pytest.param("keras", marks=pytest.mark.slow), "tf_keras"])
def test_weights_alone_come_back_as_the_model_that_is_described_beside_them(library, tmp_path, keras_side):
    saved = keras_side(keras_round_trips.saved_weights, library, tmp_path)
    pairs = []
    for name, (weights, config, own) in saved.items():
        hints = Hints(config=config, pair_by="order" if name == "another order" else None)
        port = weights.with_suffix(".safetensors")
        convert(weights, port, hints)
        pairs += [((own,), export(port, port.with_suffix(f".back{ending}"))) for ending in keras_round_trips.ENDINGS]
    for found in keras_side(keras_round_trips.judged, library, pairs):
        assert found.lines == []
        assert found.num_outputs == 1


def test_files_of_kerases_that_went_come_back_as_their_owner_had_them(tmp_path, keras_side):
    """Kernels that Theano turned, and those stored in other widths, as the port has them: turned back, widened."""
    layers = [
        ("Conv1D", [(9, 4)], {"filters": 3, "kernel_size": 3}, None),
        ("Conv2D", [(9, 7, 4)], {"filters": 3, "kernel_size": [3, 2]}, None),
        ("Conv3D", [(5, 6, 7, 4)], {"filters": 3, "kernel_size": [2, 3, 3]}, None),
        ("DepthwiseConv2D", [(9, 7, 4)], {"kernel_size": 3}, None),
        ("SeparableConv2D", [(9, 7, 4)], {"filters": 3, "kernel_size": 3}, None),
        ("Conv2DTranspose", [(9, 7, 4)], {"filters": 3, "kernel_size": [4, 2], "strides": 2}, None),
    ]
    (paths,) = keras_side(keras_round_trips.saved_layers, "tf_keras", [layers], tmp_path)
    own = next(path for path in paths if path.suffix == ".h5")
    kernels(own, lambda kernel: kernel.astype("float16").astype("float32"))
    files = {name: shutil.copyfile(own, tmp_path / f"{name}.h5") for name in ("theano", "half", "double")}
    keras_owners.turn_kernels(files["theano"])
    kernels(files["half"], lambda kernel: kernel.astype("float16"))
    kernels(files["double"], lambda kernel: kernel.astype("float64"))
    pairs = []
    for name, file in files.items():
        assert file.read_bytes() != own.read_bytes()
        convert(file, tmp_path / f"{name}.safetensors")
        for ending in keras_round_trips.ENDINGS:
            pairs.append(((own,), export(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.back{ending}")))
    for found in keras_side(keras_round_trips.judged, "tf_keras", pairs):
        assert found.lines == []
        assert found.num_outputs == len(layers) + 1


def kernels(path, change):
    """Changes every kernel of a legacy file."""
    with h5py.File(path, "r+") as file:
        found = []
        file["model_weights"].visititems(lambda name, item: found.append(name) if "kernel" in name[-20:] else None)
        for name in [name for name in found if isinstance(file["model_weights"][name], h5py.Dataset)]:
            kernel = file["model_weights"][name][()]
            del file["model_weights"][name]
            file["model_weights"][name] = change(kernel)


NAMES = [("a\"b'c\\d{e}%s;f", "two"), ("import os", "f(x); y"), ("__class__", "self.one"), ("ü name", "日本")]


def test_names_that_no_programmer_would_give_come_back(tmp_path, keras_side):
    """In a .keras: TensorFlow itself refuses to build them under a name of a variable's scope in tf_keras."""
    pairs = []
    for number, (source, _, _) in enumerate(keras_side(keras_named.renamed, tmp_path, NAMES)):
        port = tmp_path / f"{number}.safetensors"
        convert(source, port)
        pairs.append(((source,), export(port, tmp_path / f"{number}.back.keras")))
    for found in keras_side(keras_round_trips.judged, "keras", pairs):
        assert found.lines == []
        assert found.num_outputs == 1


def test_a_layer_of_tensorflow_2_0_s_operations_is_refused_by_name(tmp_path, keras_side):
    saved = keras_side(keras_round_trips.saved, "tf_keras", ["function: quotient"], tmp_path, (".h5",))
    (path,) = saved["function: quotient"]
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        changed = [layer for layer in config["config"]["layers"] if layer["class_name"] == "TFOpLambda"]
        for layer in changed:
            layer["class_name"] = "TensorFlowOpLayer"
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(TransferError) as refused:
        convert(path, tmp_path / "port.safetensors")
    assert type(refused.value) is ArchitectureError
    for layer in changed:
        assert f"layer '{layer['name']}' (TensorFlowOpLayer): this class is not supported" in str(refused.value)
    assert len(changed) == 3
    assert not (tmp_path / "port.safetensors").exists()
