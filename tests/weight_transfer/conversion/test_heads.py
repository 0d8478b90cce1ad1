"""A ResNet under somebody's own head: native modules up to the last stage, the file's graph behind it."""

from __future__ import annotations

import keras_headed
import keras_way_back
import numpy as np
import pytest
import torch

from resnet_torch import ImportedModel, ResNet, load_model
from weight_transfer import Hints, MappingError, TransferError, convert, export, verify


@pytest.fixture(scope="module")
def files(tmp_path_factory, keras_side):
    folder = tmp_path_factory.mktemp("headed")
    return {
        head: keras_side(keras_headed.headed, folder / f"{number}.keras", head)
        for number, head in enumerate(keras_headed.HEADS)
    }


@pytest.mark.parametrize("head", keras_headed.HEADS[:3])
def test_backbone_is_native_and_head_imported(head, files, tmp_path):
    conversion = convert(files[head], tmp_path / "port.safetensors")
    assert conversion.network.own_head is not None
    assert conversion.network.architecture.dialect == "keras-applications"
    model = load_model(conversion.output)
    assert isinstance(model, ResNet)
    assert isinstance(model.head, ImportedModel)
    assert "stages.stage2.1.residual.conv2_block1_1_conv.weight" in model.state_dict()


@pytest.mark.parametrize("head", keras_headed.HEADS)
def test_native_and_graph_give_the_same_outputs(head, files):
    native, graph = load_model(files[head]), load_model(files[head], Hints(import_as="graph"))
    x = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    outputs = [model.double().predict(x) for model in (native, graph)]
    for ours, theirs in zip(*(o if isinstance(o, tuple) else (o,) for o in outputs), strict=True):
        assert (ours - theirs).abs().max() <= 1e-14 * theirs.abs().max()


def test_a_head_that_reads_from_the_middle_is_imported_whole(files):
    assert isinstance(load_model(files["from the middle"]), ImportedModel)
    with pytest.raises(MappingError, match="comes closest to"):
        load_model(files["from the middle"], Hints(import_as="native"))


@pytest.mark.parametrize("head", keras_headed.HEADS)
def test_every_tap_and_every_layer_of_the_head_equals_keras(head, files, runner):
    found = verify(files[head], runner=runner)
    assert found.passed, [row for row in found.rows if not row.passed]
    assert found.worst("float64").errors["float64"] <= 1e-12


def test_a_planted_head_is_seen(files, tmp_path, runner):
    import safetensors.numpy

    output = convert(files["own names"], tmp_path / "port.safetensors").output
    with safetensors.safe_open(output, framework="np") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(output)
    name = next(name for name in tensors if name.startswith("head.") and name.endswith("weight"))
    tensors[name] = np.ascontiguousarray(tensors[name][:, ::-1])
    output.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))
    found = verify(files["own names"], output, runner=runner)
    assert not found.passed
    assert found.first_divergence.name == "my.head/logits"


def test_pretrained_folder_keeps_the_head(files, tmp_path):
    model = load_model(files["flatten, two outputs"])
    model.save_pretrained(tmp_path / "folder")
    again = ResNet.from_pretrained(tmp_path / "folder")
    x = torch.randn(2, 3, 33, 33)
    for first, second in zip(model.predict(x), again.predict(x), strict=True):
        assert torch.equal(first, second)


def test_the_head_freezes_as_a_part(files):
    model = load_model(files["nested, pooled"])
    model.freeze("head")
    assert not any(parameter.requires_grad for parameter in model.head.parameters())


@pytest.mark.slow
def test_a_head_goes_back_to_keras_with_its_backbone(files, tmp_path, keras_side):
    for number, name in enumerate(files):
        output = convert(files[name], tmp_path / f"{number}.safetensors").output
        back = export(output, tmp_path / f"{number}{files[name].suffix}")
        assert keras_side(keras_way_back.differences, "keras", [(files[name], back)]) == [], name


def test_a_name_that_is_no_container_is_refused(files, tmp_path):
    output = convert(files["own names"], tmp_path / "port.safetensors").output
    for name in ("back.txt", "back.safetensors"):
        with pytest.raises(TransferError, match=r"the output's name must say its container: \.keras .*, \.weights\.h5"):
            export(output, tmp_path / name)
