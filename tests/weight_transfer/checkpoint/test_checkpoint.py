"""Every container that real Keras writes, against Keras's own values."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from handmade_h5 import some, write_keras3, write_legacy
from keras_checkpoints import FAMILIES, MODELS, save_everywhere

from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.checkpoint.layer_names import by_counter
from weight_transfer.errors import CheckpointError

CONTAINERS = ("legacy-h5", "legacy-h5-weights", "keras3-weights-h5", "keras-zip", "keras3-sharded")

# (family, model, container) that are never written, or hold too little to name all arrays; the latter have tests of
# their own below.
NOT_WRITTEN = {("tf_keras", model, "keras3-sharded") for model in MODELS}
WITHOUT_NAMES = {("tf_keras", model, "keras3-weights-h5") for model in MODELS}
WITHOUT_INNER_NAMES = {(family, "nested_twice", "legacy-h5-weights") for family in FAMILIES}
WITHOUT_ROLES = {("keras", "partial", container) for container in ("keras3-weights-h5", "keras3-sharded")}
COMPLETE = sorted(
    set(itertools.product(FAMILIES, MODELS, CONTAINERS))
    - NOT_WRITTEN
    - WITHOUT_NAMES
    - WITHOUT_INNER_NAMES
    - WITHOUT_ROLES
)


@pytest.fixture(scope="session")
def saved(tmp_path_factory, keras_side):
    """``saved(family, model_name)``: files that real Keras wrote, made when first asked for."""
    folder = tmp_path_factory.mktemp("keras_checkpoints")
    return functools.cache(lambda *of: keras_side(save_everywhere, folder, *of))


def assert_same(checkpoint, expected):
    assert set(checkpoint.arrays) == set(expected)
    for name, values in expected.items():
        array = checkpoint.arrays[name]
        read = checkpoint[name]
        assert (array.name, array.shape, array.dtype) == (name, values.shape, values.dtype)
        assert (read.shape, read.dtype) == (values.shape, values.dtype)
        assert read.tobytes() == values.tobytes()


@pytest.mark.parametrize(("family", "model", "container"), COMPLETE)
def test_every_container_gives_keras_own_weights(saved, family, model, container):
    files = saved(family, model)
    with read_checkpoint(files.files[container]) as checkpoint:
        assert checkpoint.container == container
        assert not checkpoint.names_are_counters
        assert_same(checkpoint, files.weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_legacy_weights_file_keeps_only_the_outer_of_two_nested_names(saved, family):
    files = saved(family, "nested_twice")
    with read_checkpoint(files.files["legacy-h5-weights"]) as checkpoint:
        short = {name.replace("encoder/resnet50/", "encoder/"): values for name, values in files.weights.items()}
        assert_same(checkpoint, short)


COUNTERS = {
    "conv2d": "conv1",
    "conv2d_1": "res2a_branch2a",
    "conv2d_2": "res2a_branch1",
    "batch_normalization": "bn_conv1",
    "batch_normalization_1": "bn2a_branch2a",
    "batch_normalization_2": "bn2a_branch1",
}


def test_layers_are_counted_where_a_file_holds_no_names(saved):
    files = saved("tf_keras", "flat")
    expected = {}
    for counter, layer in {**COUNTERS, "dense": "fc_01", "dense_1": "fc_final"}.items():
        roles = {
            name.partition("/")[2]: values for name, values in files.weights.items() if name.startswith(f"{layer}/")
        }
        expected |= {f"{counter}/{role}": values for role, values in roles.items()}
    with read_checkpoint(files.files["keras3-weights-h5"]) as checkpoint:
        assert checkpoint.names_are_counters
        assert_same(checkpoint, expected)


def test_layers_of_nested_models_are_counted_in_their_model(saved):
    files = saved("tf_keras", "nested")
    with read_checkpoint(files.files["keras3-weights-h5"]) as checkpoint:
        assert checkpoint.names_are_counters
        for counter, layer in COUNTERS.items():
            role = "kernel" if "conv" in counter else "moving_variance"
            expected = files.weights[f"resnet50/{layer}/{role}"]
            np.testing.assert_array_equal(checkpoint[f"functional/{counter}/{role}"], expected)


@pytest.mark.parametrize("container", ["keras3-weights-h5", "keras3-sharded"])
def test_a_norm_of_three_arrays_without_a_config_keeps_them_numbered(saved, container):
    files = saved("keras", "partial")
    with read_checkpoint(files.files[container]) as checkpoint:
        for norm in ("batch_normalization_1", "batch_normalization_2"):
            roles = [name.partition("/")[2] for name in files.weights if name.startswith(f"{norm}/")]
            for number, role in enumerate(roles):
                np.testing.assert_array_equal(checkpoint[f"{norm}/vars_{number}"], files.weights[f"{norm}/{role}"])
        mean = files.weights["batch_normalization_3/moving_mean"]
        np.testing.assert_array_equal(checkpoint["batch_normalization_3/moving_mean"], mean)


def test_a_zip_lists_layers_in_the_order_of_the_config(saved):
    for family in FAMILIES:
        files = saved(family, "flat")
        with read_checkpoint(files.files["keras-zip"]) as checkpoint:
            assert list(checkpoint.arrays) == list(files.weights)


def test_a_weights_file_lists_layers_in_the_order_of_their_counters(saved):
    with read_checkpoint(saved("keras", "flat").files["keras3-weights-h5"]) as checkpoint:
        kernels = [name for name in checkpoint.arrays if name.endswith("kernel")]
    assert kernels == [f"{n}/kernel" for n in ("conv1", "res2a_branch2a", "res2a_branch1", "fc_01", "fc_final")]


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_without_arrays_are_mentioned_too(saved, family):
    files = saved(family, "flat").files
    with read_checkpoint(files["legacy-h5"]) as checkpoint:
        rows = checkpoint.config["config"]["layers"]
        names = tuple(row["config"]["name"] for row in rows)
        assert checkpoint.layer_names == names
    with read_checkpoint(files["legacy-h5-weights"]) as checkpoint:
        assert checkpoint.layer_names == names
    for container in sorted(files.keys() - {"legacy-h5", "legacy-h5-weights"}):
        with read_checkpoint(files[container]) as checkpoint:
            assert sorted(checkpoint.layer_names) == sorted(by_counter({"config": {"layers": rows}})), container


def test_a_legacy_file_lists_its_layers_in_order(tmp_path):
    layers = {"input_1": {}, "conv1": {"conv1/kernel:0": some(2, 2)}, "\x1b[2J": {}, "activation_1": {}}
    with read_checkpoint(write_legacy(tmp_path / "a.h5", layers)) as checkpoint:
        assert checkpoint.layer_names == ("input_1", "conv1", "'\\x1b[2J'", "activation_1")


def test_layers_of_shards_and_of_nested_models_are_mentioned_once(tmp_path):
    activations = {f"layers/{name}": (None, []) for name in ("re_lu", "re_lu_1")}
    nested = {"layers/functional/layers/dense": ("fc", [some(2)])}
    write_keras3(tmp_path / "a.h5", {**activations, "layers/conv2d": ("stem", [some(2)])})
    write_keras3(tmp_path / "b.h5", {**activations, **nested})
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"weight_map": {"layers/conv2d": "a.h5", "layers/functional/layers/dense": "b.h5"}}))
    with read_checkpoint(index) as checkpoint:
        assert sorted(checkpoint.layer_names) == ["conv2d", "functional", "re_lu", "re_lu_1"]


@pytest.mark.parametrize("family", FAMILIES)
def test_optimizer_metrics_and_seeds_are_skipped_and_listed(saved, family):
    files = saved(family, "flat").files
    with read_checkpoint(files["legacy-h5"]) as checkpoint:
        assert checkpoint.skipped == ("optimizer_weights",)
    with read_checkpoint(files["keras-zip"]) as checkpoint:
        assert "optimizer" in checkpoint.skipped


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("container", ["legacy-h5", "keras-zip"])
def test_the_file_says_who_wrote_it(saved, family, container):
    with read_checkpoint(saved(family, "nested").files[container]) as checkpoint:
        assert checkpoint.keras_version.split(".")[0] == {"keras": "3", "tf_keras": "2"}[family]
        assert checkpoint.config["class_name"] == "Functional"
        assert checkpoint.config["config"]["name"] == "outer"
        assert checkpoint.backend == ("tensorflow" if container == "legacy-h5" else None)


def test_size_and_hash_are_those_of_the_file(saved):
    path = saved("keras", "flat").files["keras-zip"]
    with read_checkpoint(path) as checkpoint:
        assert checkpoint.path == path
        assert checkpoint.size_bytes == path.stat().st_size
        assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_size_and_hash_of_shards_are_those_of_index_and_shards(saved):
    path = saved("keras", "flat").files["keras3-sharded"]
    weight_map = json.loads(path.read_text())["weight_map"]
    names = {name for files in weight_map.values() for name in ([files] if isinstance(files, str) else files)}
    assert len(names) > 1
    content = b"".join(file.read_bytes() for file in [path, *(path.parent / name for name in sorted(names))])
    with read_checkpoint(str(path)) as checkpoint:
        assert checkpoint.size_bytes == len(content)
        assert checkpoint.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_read_is_the_callers_own(saved, container):
    with read_checkpoint(saved("keras", "flat").files[container]) as checkpoint:
        first = checkpoint["conv1/kernel"]
        first[...] = 0
        assert checkpoint["conv1/kernel"].all()
        assert first.flags.aligned
    assert not first.any()  # and outlives the file


def test_a_wrong_name_is_refused_with_the_nearest_one(saved):
    with (
        read_checkpoint(saved("keras", "flat").files["legacy-h5"]) as checkpoint,
        pytest.raises(CheckpointError, match=r"no array is named 'conv1/kernels' \(nearest: conv1/kernel\)"),
    ):
        checkpoint["conv1/kernels"]


WILD_CONTAINERS = {
    "h5-full-model": "legacy-h5",
    "h5-weights-only": "legacy-h5-weights",
    "keras-zip": "keras-zip",
}


def test_every_wild_file_reads(shared_data):
    rows = json.loads((shared_data / "wild" / "catalogue.json").read_text())
    assert len(rows) == 19
    for row in rows:
        with read_checkpoint(shared_data / "wild" / row["file"]) as checkpoint:
            assert checkpoint.sha256 == row["sha256"]
            assert checkpoint.size_bytes == row["bytes"]
            assert checkpoint.keras_version == row["keras_version"]
            assert checkpoint.container == WILD_CONTAINERS[row["container"].split(maxsplit=1)[0]]
            assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint.arrays)


def test_importing_loads_no_framework():
    code = (
        "import sys, weight_transfer.checkpoint; "
        "print([name for name in ('torch', 'tensorflow', 'keras', 'tf_keras') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
