"""From Keras to the port and back: real Keras finds the config, every array and every output as they were."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json

import keras_way_back
import numpy as np
import pytest
import torch
from keras_layers import LIBRARIES
from sweeps import each_once, slow_but

from resnet_torch import load_model, save_converted, save_keras
from resnet_torch.losses import CategoricalCrossentropy
from resnet_torch.optimizers import SGD
from weight_transfer import ArchitectureError, Hints, TransferError, convert, export
from weight_transfer.conversion.export import to_keras
from weight_transfer.conversion.keras_model import model_to_write, write_checkpoint
from weight_transfer.converted import read_converted
from weight_transfer.optimizer.state import read_state_beside

ENDINGS = (".keras", ".h5")
SOME, MANY, BATCH = 6, 150, 25


def there_and_back(source, folder, endings=ENDINGS, hints=None, **options):
    """The files that a Keras file becomes by way of a converted one."""
    port = folder / f"{source.name}-{'auto' if hints is None else hints.import_as}.safetensors"
    convert(source, port, hints, with_optimizer=bool(options.get("with_optimizer")))
    return [export(port, port.with_suffix(f".back{ending}"), **options) for ending in endings]


@pytest.fixture(scope="module")
def saved(keras_side, tmp_path_factory):
    folder, known = tmp_path_factory.mktemp("networks"), {}

    def of(library, name):
        if (library, name) not in known:
            known[library, name] = keras_side(keras_way_back.saved, library, name, folder)
        return known[library, name]

    return of


CASES = [(library, name) for library in LIBRARIES for name in keras_way_back.MODELS]


USUAL = (("keras", "own head"), ("tf_keras", "partly frozen"))


@pytest.mark.parametrize(("library", "name"), slow_but(USUAL, CASES))
def test_keras_finds_what_its_owner_saved(library, name, saved, tmp_path, keras_side):
    pairs = []
    for source in saved(library, name):
        for hints in (None, Hints(import_as="graph")):
            pairs += [(source, back) for back in there_and_back(source, tmp_path, hints=hints)]
    assert keras_side(keras_way_back.differences, library, pairs) == []


TRAINED_ON = (("keras", "own head"), ("keras", "mixed"), ("tf_keras", "partly frozen"))


@pytest.mark.parametrize(("library", "name"), slow_but(TRAINED_ON, CASES))
def test_keras_trains_on_as_if_it_had_never_stopped(library, name, saved, tmp_path, keras_side):
    """From the file that Keras 3 can go on from, its .keras; tf_keras goes on from both, but in mixed precision."""
    archive = next(path for path in saved(library, name) if path.suffix == ".keras")
    endings = ENDINGS if library == "tf_keras" and name not in keras_way_back.HALF else (".keras",)
    backs = there_and_back(archive, tmp_path, endings, with_optimizer=True)
    expected, *found = keras_side(keras_way_back.steps, library, name, [archive, *backs])
    assert expected["iterations"] > 4
    for one in found:
        assert one["warnings"] == []
        assert (one["losses"], one["iterations"]) == (expected["losses"], expected["iterations"])
        for actual, wanted in zip(one["weights"], expected["weights"], strict=True):
            np.testing.assert_array_equal(actual, wanted)


def sweep(keras_side, folder, library, seeds):
    """Each network by one of the four ways from container to container, in turn."""
    wrong, refused = [], []
    for first in range(0, len(seeds), BATCH):
        pairs = {}
        for seed, dtype in keras_side(keras_way_back.drawn, library, seeds[first : first + BATCH], folder):
            source = folder / f"{library}-{seed}{ENDINGS[seed % 2]}"
            try:
                backs = there_and_back(source, folder, (ENDINGS[seed // 2 % 2],))
            except ArchitectureError as error:
                refused.append(str(error))
                backs = there_and_back(source, folder, (".keras",))
            pairs.setdefault(dtype, []).extend((source, back) for back in backs)
        for dtype, of_dtype in pairs.items():
            wrong += keras_side(keras_way_back.differences, library, of_dtype, dtype)
    assert not wrong, "\n".join(wrong)
    assert all("Keras 3 reads no index `...` from an .h5 file" in line for line in refused)


@pytest.mark.parametrize("library", LIBRARIES)
def test_some_random_networks_come_back(library, tmp_path, keras_side):
    sweep(keras_side, tmp_path, library, range(SOME))


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_many_random_networks_come_back(library, tmp_path, keras_side):
    sweep(keras_side, tmp_path, library, range(SOME, SOME + MANY))


@pytest.mark.parametrize("name", slow_but(["nested", "own head"], ["nested", "own head", "resnet"]))
def test_what_was_trained_in_pytorch_keras_evaluates_to_the_same_loss(name, saved, tmp_path, keras_side):
    source = next(path for path in saved("keras", name) if path.suffix == ".keras")
    model = load_model(source)
    generator = np.random.default_rng(2)
    torch.manual_seed(3)  # of the dropout, without which a step may change next to nothing
    size = {"nested": 8}.get(name, 33)
    x = generator.normal(size=(6, size, size, 3)).astype("float32")
    y = np.eye(model.predict(torch.from_numpy(x).movedim(-1, 1)).shape[-1], dtype="float32")[[0, 1, 2, 0, 1, 2]]
    images, labels = torch.from_numpy(x).movedim(-1, 1), torch.from_numpy(y)
    optimizer, loss = SGD([p for p in model.parameters() if p.requires_grad], lr=0.05), CategoricalCrossentropy()
    from resnet_torch.regularizers import regularization

    penalty = regularization(model)
    model.train()
    (loss(model(images), labels) + penalty()).backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        expected = (loss(model(images), labels) + penalty()).item()
    save_converted(model, tmp_path / "trained.safetensors")
    files = [export(tmp_path / "trained.safetensors", tmp_path / "trained.keras"), tmp_path / "saved.keras"]
    save_keras(model, files[1])
    for file in files:
        assert keras_side(keras_way_back.evaluated, "keras", file, x, y) == pytest.approx(expected, rel=1e-6)
    before = keras_side(keras_way_back.evaluated, "keras", source, x, y)
    assert abs(before - expected) > 1e-4


CLASSIFIED = ("nested", "resnet", "own head", "sequential")


@pytest.mark.parametrize(
    ("library", "name"), slow_but(each_once(LIBRARIES, CLASSIFIED), itertools.product(LIBRARIES, CLASSIFIED))
)
def test_a_new_classifier_goes_back_and_all_else_as_it_was(library, name, saved, tmp_path, keras_side):
    source = saved(library, name)[0]
    model = load_model(source)
    model.reset_classifier(5, activation="sigmoid")
    back = tmp_path / "renewed.keras"
    save_keras(model, back)
    size = {"nested": 8, "sequential": 9}.get(name, 33)
    x = np.random.default_rng(2).normal(size=(2, size, size, 3)).astype("float32")
    expected = model.predict(torch.from_numpy(x).movedim(-1, 1)).numpy()
    found, changed = keras_side(keras_way_back.renewed, library, source, back, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert len(changed) == 1  # the classifier's config alone


def test_what_learns_comes_back_as_it_was_left(saved, tmp_path, keras_side):
    source = saved("keras", "frozen backbone")[0]
    port = tmp_path / "port.safetensors"
    convert(source, port)
    back = export(port, tmp_path / "free.keras", unfreeze=True)
    lines = keras_side(keras_way_back.differences, "keras", [(source, back)])
    assert any("trainable" in line for line in lines)
    free = load_model(back)
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_keras_refuses_no_file_of_a_network_that_was_converted_to_float64(saved, tmp_path, keras_side):
    source = saved("keras", "nested")[0]
    model = load_model(source).double()
    save_keras(model, tmp_path / "wide.keras")
    lines = keras_side(keras_way_back.differences, "keras", [(source, tmp_path / "wide.keras")])
    assert sum("float64" in line for line in lines) > 5
    assert description_dtype(tmp_path / "wide.keras") == "float64"


def description_dtype(path):
    convert(path, path.with_suffix(".safetensors"))
    return read_converted(path.with_suffix(".safetensors")).description.precision.dtype


# What must not pass


@pytest.mark.parametrize("schema", ["keras3", "keras2"])
def test_a_loss_without_an_optimizer_goes_on_with_the_state_alone(schema, saved, tmp_path):
    """As `python -m resnet_torch train` leaves a network: its loss is known, its optimizer is the state beside it."""
    source = next(path for path in saved("keras", "nested") if path.suffix == ".keras")
    port = tmp_path / "port.safetensors"
    convert(source, port, with_optimizer=True)
    converted = read_converted(port)
    arrays, beside = to_keras(converted.tensors(), converted.network), read_state_beside(converted)
    assert beside is not None
    loss = {"loss": converted.description.compiled["loss"]}
    description = dataclasses.replace(converted.description, compiled=loss)
    compiled = model_to_write(description, arrays, ".keras", beside.state, schema).compiled
    assert compiled is not None
    assert compiled["optimizer"]["class_name"].endswith("Adam")
    assert compiled["loss"]
    assert model_to_write(description, arrays, ".keras", schema=schema).compiled is None


def test_a_config_that_is_not_the_network_s_is_refused(saved, tmp_path):
    port = tmp_path / "port.safetensors"
    convert(saved("keras", "nested")[0], port)
    converted = read_converted(port)
    network = converted.network
    assert network.architecture is None
    arrays = to_keras(converted.tensors(), network)
    config = copy.deepcopy(dict(converted.description.keras_config))
    inner = next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == "inner")
    norm = next(layer for layer in inner["config"]["layers"] if layer["config"]["name"] == "bn1")
    norm["config"]["momentum"] = 0.8
    for told, words in (({"keras_config": config}, "no longer the network"), ({"keras_config": None}, "is not known")):
        description = dataclasses.replace(converted.description, **told)
        with pytest.raises(ArchitectureError, match=words):
            write_checkpoint(tmp_path / "back.keras", description, arrays)
    assert not (tmp_path / "back.keras").exists()


def test_swapped_arrays_and_changed_fields_are_seen(saved, tmp_path, keras_side):
    """That the comparison in Keras, on which these tests rest, sees what it must."""
    source = saved("keras", "nested")[0]
    port = tmp_path / "port.safetensors"
    convert(source, port)
    converted = read_converted(port)
    arrays = to_keras(converted.tensors(), converted.network)
    swapped = arrays | {"inner/bn1/gamma": arrays["inner/bn1/beta"], "inner/bn1/beta": arrays["inner/bn1/gamma"]}
    write_checkpoint(tmp_path / "swapped.keras", converted.description, swapped)
    lines = keras_side(keras_way_back.differences, "keras", [(source, tmp_path / "swapped.keras")])
    assert [line for line in lines if "array" in line]
    assert [line for line in lines if "output" in line]


@pytest.mark.parametrize(
    ("library", "name", "who"), [("keras", "nested", "Keras 3"), ("tf_keras", "mixed", "tf_keras")]
)
def test_no_optimizer_goes_into_an_h5_that_nobody_restores_it_from(library, name, who, saved, tmp_path):
    words = rf"^{who}.* restores no optimizer from an \.h5 file\. Name a \.keras or"
    with pytest.raises(TransferError, match=words):
        there_and_back(saved(library, name)[0], tmp_path, (".h5",), with_optimizer=True)


def test_the_config_travels_whole(saved, tmp_path):
    """A field that nothing here reads goes along, and comes back."""
    source = saved("keras", "nested")[0]
    port = tmp_path / "port.safetensors"
    convert(source, port)
    config = read_converted(port).description.keras_config
    conv = next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == "stem")
    assert conv["config"]["kernel_initializer"]["class_name"] == "GlorotUniform"
    assert conv["build_config"] == {"input_shape": [None, 8, 8, 3]}
    assert json.loads(json.dumps(config)) == config
