"""`write_standalone`: a package without this project computes, trains and reads as the port it was made from."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import checkpoints
import keras_headed
import keras_zoo
import numpy as np
import pytest
import torch
from handmade_graphs import conv, network, row
from standing_alone import stands_alone
from sweeps import slow_but
from torch import nn

import resnet_torch.layers
from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.imported import import_graph
from resnet_torch.inference import inference
from resnet_torch.layers.activations import Formula
from resnet_torch.layers.convolutions import TrimmedConvTranspose2d
from resnet_torch.layers.normalizations import GroupNorm
from resnet_torch.padding import SamePad2d
from resnet_torch.saving import save_converted
from resnet_torch.standalone import package, write_standalone
from resnet_torch.standalone.constructors import constructor, literal, statement
from resnet_torch.standalone.forward import identifier, plain
from resnet_torch.standalone.model_source import attribute
from resnet_torch.standalone.own_source import OwnSource, collect
from resnet_torch.standalone.readme import plain_text
from weight_transfer import CheckpointError, Hints, TransferError, convert
from weight_transfer.architecture import Head
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.graph import Graph
from weight_transfer.preprocessing import Preprocessing, preprocess, preset
from weight_transfer.tensor_file import Tensor


def is_the_port(source: Path, folder: Path, hints: Hints | None = None) -> Path:
    """Converts, and compares the package with the port."""
    return stands_alone(convert(source, folder / "converted.safetensors", hints).output, folder)


def well_formed(port: Path) -> None:
    """As ruff has it; names of folders and of Keras layers are not ours to choose."""
    for words in (["check", "--isolated", "--ignore", "N"], ["format", "--isolated", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--line-length", "120", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


NATIVE = {
    "tutorial": checkpoints.small(),
    "same stem": checkpoints.small("keras-2.2", stem_padding="same", pool_padding="same"),
    "old pool": checkpoints.small("keras-2.1"),
    "sigmoid, hidden, dropout": checkpoints.small(
        head=Head(pooling="max", hidden_units=7, classes=3, dropout=0.25, activation="sigmoid")
    ),
    "numbered blocks": checkpoints.small("keras-applications"),
    "keras-resnet": checkpoints.small("keras-resnet"),
    "mask-rcnn": checkpoints.small("mask-rcnn"),
    "caffe": checkpoints.small("caffe"),
    "no head": checkpoints.small(head=Head(pooling=None, classes=None)),
    "basic blocks, no bias": checkpoints.small(block="basic", filters=((4, 4), (6, 6)), conv_bias=False),
}
WILD = (
    "mlcommons__tiny__pretrainedResnet.h5",
    "MohandHAMADOUCHE__Student_project_ResNet_vs_LSTM__resnet_model.keras",
    "jayanthkmr__Thesis-work__cifar10_ResNet8v1_model.001.h5",
    "Zeta36__connect4-alpha-zero__model_best_weight.h5",
    "MohamedElhadidy0019__stm32ai-modelzoo__miniresnetv2_1stacks_64x50_tl.h5",
)


@pytest.mark.parametrize("name", slow_but(("old pool", "sigmoid, hidden, dropout", "basic blocks, no bias"), NATIVE))
def test_a_resnet(name, tmp_path):
    hints = Hints(dialect="mask-rcnn") if name == "mask-rcnn" else None  # without a head it could be keras-2.2's
    port = is_the_port(checkpoints.checkpoint(tmp_path / "m.h5", NATIVE[name]), tmp_path, hints)
    well_formed(port)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tutorial", "same stem", "no head"])
def test_the_same_files_as_graphs(name, tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", NATIVE[name])
    port = is_the_port(source, tmp_path, Hints(import_as="graph"))
    well_formed(port)


@pytest.mark.slow
@pytest.mark.parametrize("name", WILD)
def test_files_from_the_wild(name, shared_data, tmp_path):
    well_formed(is_the_port(shared_data / "wild" / name, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["outputs in a dict", "separable", "other norms", "decoder", "fused activations"])
def test_networks_of_other_layers(name, keras_side, tmp_path):
    well_formed(is_the_port(keras_side(keras_zoo.save, tmp_path / "m.keras", "keras", name), tmp_path))


@pytest.mark.parametrize("head", ["flatten, two outputs", "own names"])
def test_a_resnet_under_a_head_of_its_own(head, keras_side, tmp_path):
    port = is_the_port(keras_side(keras_headed.headed, tmp_path / "m.keras", head), tmp_path)
    well_formed(port)
    assert 'self.stages.stage2["1"].residual.conv2_block1_1_conv = nn.Conv2d' in (port / "model.py").read_text()


def test_float64(tmp_path):
    architecture = checkpoints.small()
    arrays = checkpoints.arrays_of(architecture, "float64")
    is_the_port(checkpoints.legacy_weights(tmp_path / "w.h5", arrays), tmp_path)


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    source = checkpoints.checkpoint(folder / "m.h5", checkpoints.small())
    write_standalone(convert(source, folder / "m.safetensors").output, folder / "port")
    return folder / "port"


def imported(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("written_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_source_names_no_module_of_this_project(port):
    tree = ast.parse((port / "model.py").read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    outside = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    assert outside == {"torch", "safetensors"}


def test_the_source_reads_as_a_person_writes_it(port):
    text = (port / "model.py").read_text()
    for line in (
        "self.stem.conv = nn.Conv2d(3, 4, kernel_size=(7, 7), stride=(2, 2))",
        'self.stem.bn_conv1 = BatchNorm2d(4, momentum=1 - 0.99, moving_variance="tf_keras")',
        "def forward(self, images: Tensor) -> Tensor:",
        "pool1 = self.stem.pool1(x)",
        "x = bn2a_branch2c + x",
        "res2a_relu = self.stages.stage2.a.relu(x)",
        "return self(images).softmax(dim=1)",
    ):
        assert line in text
    assert "getattr" not in text
    assert "= None" not in text.partition("class Model")[2]


def test_the_readme_states_the_contract(port):
    text = (port / "README.md").read_text()
    for words in (
        "from port import load, preprocess",
        "| `images` | (N, 3, 33, 33) | torch.float32 |",
        "Preprocessing (guessed): caffe: RGB to BGR, minus (103.939, 116.779, 123.68)",
        "RGB to BGR",
        "`x = x.flip(-1)`; `x = x - torch.tensor((103.939, 116.779, 123.68))`",
        "Channels come first, where the Keras model took them last",
        "| `output` | (N, 10) | softmax of `forward`'s logits |",
        "`m.h5` (legacy-h5)",
        "Image loading: not known. Ways that Keras code has, with different pixels: `keras.utils.load_img`",
        "SHA-256",
        "| written by Keras | 2.21.0 |",
        "keras-resnet-to-torch",
    ):
        assert words in text


def test_the_readme_of_several_outputs_and_of_no_known_preprocessing(shared_data, tmp_path):
    source = shared_data / "wild" / "Zeta36__connect4-alpha-zero__model_best_weight.h5"
    write_standalone(convert(source, tmp_path / "m.safetensors").output, tmp_path / "connect-4")
    text = (tmp_path / "connect-4" / "README.md").read_text()
    for words in (
        'port = import_module("connect-4")',
        "Channels come first, as in the Keras model.",
        "Preprocessing: none is known.",
        "| `policy_out` | (N, 7) | softmax of `forward`'s logits |",
        "| `value_out` | (N, 1) | as `forward` |",
        "Both methods return a tuple in this order.",
    ):
        assert words in text
    assert "Image loading" not in text


def test_the_readme_tells_how_images_were_loaded_where_that_was_said(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    converted = convert(source, tmp_path / "m.safetensors", Hints(image_loading="opencv"))
    write_standalone(converted.output, tmp_path / "port")
    assert "Image loading (`opencv`): cv2.imread, cv2.cvtColor to RGB" in (tmp_path / "port" / "README.md").read_text()


def test_the_readme_tells_what_acts_in_keras_training_alone(tmp_path):
    max_norm = {"class_name": "MaxNorm", "config": {"max_value": 2.0, "axis": 0}}
    source = checkpoints.checkpoint(
        tmp_path / "m.keras",
        checkpoints.small(),
        told={
            "frozen": ("conv", "bn_conv1"),
            "regularizers": {"conv": {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}}},
            "constraints": {"fc_final": {"kernel_constraint": max_norm}},
        },
    )
    conversion = convert(source, tmp_path / "m.safetensors")
    description = dataclasses.replace(conversion.description, compiled={"loss": "mse"}, remarks=("said of it",))
    port = read_converted(conversion.output)
    tensors = [Tensor.of(name, a) for name, a in port.tensors().items()]
    write_converted(conversion.output, tensors, description)
    write_standalone(conversion.output, tmp_path / "port")
    text = (tmp_path / "port" / "README.md").read_text()
    for words in (
        "## Training",
        "These layers do not learn, as in the Keras model (`trainable=False`): `stem.conv`, `stem.bn_conv1`.",
        "- Regularizers, whose penalties no loss has here: kernel_regularizer of `stem.conv`.",
        "- Constraints, which no step keeps here: kernel_constraint of `head.fc_final`.",
        "- Compiled with: loss _mse_.",
        "- said of it",
    ):
        assert words in text, text.partition("## Training")[2]
    well_formed(tmp_path / "port")
    model = imported(tmp_path / "port").load().train()
    assert not model.stem.bn_conv1.training
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, _ in model.named_parameters()} - learning == {
        "stem.conv.weight", "stem.conv.bias", "stem.bn_conv1.weight", "stem.bn_conv1.bias",
    }  # fmt: skip
    plain = convert(checkpoints.checkpoint(tmp_path / "p.keras", checkpoints.small()), tmp_path / "p.safetensors")
    write_standalone(plain.output, tmp_path / "plain")
    assert "## Training" not in (tmp_path / "plain" / "README.md").read_text()


OWN = Preprocessing("BGR", 255.0, (0.5, 0.4, 0.3), (0.25,))


@pytest.mark.parametrize("mode", [preset("caffe"), preset("tf"), preset("torch"), OWN], ids=lambda how: how.name)
def test_preprocessing_gives_the_same_numbers(mode, tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    hints = Hints(preprocessing=mode)
    write_standalone(convert(source, tmp_path / "m.safetensors", hints).output, tmp_path / "port")
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    expected = np.moveaxis(preprocess(images, mode), -1, 1)
    module = imported(tmp_path / "port")
    for given in (images, torch.from_numpy(images)):
        actual = module.preprocess(given)
        assert actual.is_contiguous()
        np.testing.assert_array_equal(actual.numpy(), expected)


def test_a_folder_in_use_is_refused(port, tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(TransferError, match="is not empty"):
        write_standalone(port / "weights.safetensors", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_packages_own_weights_make_the_same_package(port, tmp_path):
    write_standalone(port / "weights.safetensors", tmp_path / "port")
    for file in port.iterdir():
        if file.is_file():
            assert (tmp_path / "port" / file.name).read_bytes() == file.read_bytes()


def test_a_keras_file_is_refused(tmp_path):
    source = checkpoints.checkpoint(tmp_path / "m.h5", checkpoints.small())
    with pytest.raises(CheckpointError, match="not a converted file"):
        write_standalone(source, tmp_path / "port")
    assert not (tmp_path / "port").exists()


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("pool1 = self.stem.pool1(x)", "pool1 = self.stem.pool1(-x)", "the outputs of forward on random inputs"),
        (
            "momentum=1 - 0.99",
            "momentum=0.02",
            r"layer stages\.stage2\.a\.residual\.bn2a_branch2a: .*momentum=0.02.* instead of .*momentum=0.01",
        ),
        ("self.stem.conv = ", "self.stem.conv_2 = self.stem.conv = ", "tensor stem.conv_2.weight in one of them"),
    ],
)
def test_a_package_that_is_not_the_port_is_not_written(right, wrong, message, port, tmp_path, monkeypatch):
    write = package.model_source

    def mistaken(*arguments: Any) -> str:
        source = write(*arguments).replace(right, wrong)
        return source.replace("load_file(path)", "load_file(path), strict=False")

    monkeypatch.setattr(package, "model_source", mistaken)
    with pytest.raises(TransferError, match=message):
        write_standalone(port / "weights.safetensors", tmp_path / "port")
    assert list(tmp_path.iterdir()) == []


def own_classes() -> list[type[nn.Module]]:
    found = {BatchNorm2d}
    for info in pkgutil.iter_modules(resnet_torch.layers.__path__):
        module = importlib.import_module(f"resnet_torch.layers.{info.name}")
        found |= {
            one
            for _, one in inspect.getmembers(module, inspect.isclass)
            if issubclass(one, nn.Module) and one.__module__ == module.__name__ and not one.__name__.startswith("_")
        }
    return sorted(found, key=lambda one: one.__name__)


def test_all_modules_fit_into_one_file():
    found = collect([*own_classes(), SamePad2d, inference])
    compile("\n\n".join(found.definitions.values()), "all", "exec")
    assert {one.module.partition(".")[0] for one in found.imports} - sys.stdlib_module_names == {"torch"}


def test_two_definitions_of_one_name_are_refused():
    found = OwnSource()
    found.add("resnet_torch.layers.augmentations", "_row")
    with pytest.raises(TransferError, match="two definitions are both named '_row'"):
        found.add("resnet_torch.layers.dropout_and_noise", "_row")


def test_a_source_that_is_not_there_is_told():
    with pytest.raises(TransferError, match="the source of no_such_module is not there"):
        OwnSource().add("no_such_module", "Layer")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            nn.Conv2d(3, 8, (3, 5), (2, 1), bias=False),
            "nn.Conv2d(3, 8, kernel_size=(3, 5), stride=(2, 1), bias=False)",
        ),
        (nn.ConvTranspose1d(2, 4, 3, dilation=2), "nn.ConvTranspose1d(2, 4, kernel_size=(3,), dilation=(2,))"),
        (nn.AvgPool2d(2), "nn.AvgPool2d(kernel_size=2, stride=2)"),
        (nn.Linear(3, 4), "nn.Linear(3, 4)"),
        (nn.ReLU(), "nn.ReLU()"),
        (nn.LeakyReLU(0.3), "nn.LeakyReLU(negative_slope=0.3)"),
        (nn.GELU("tanh"), 'nn.GELU(approximate="tanh")'),
        (nn.Softplus(threshold=40), "nn.Softplus(threshold=40)"),
        (nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest"), "nn.Upsample(scale_factor=(2.0, 2.0))"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            "nn.Sequential(nn.AdaptiveAvgPool2d(output_size=1), nn.Flatten())",
        ),
        (GroupNorm(2, 8), "GroupNorm(num_groups=2, num_features=8)"),
        (
            TrimmedConvTranspose2d(8, 4, 3, stride=2, trim=(1, 0)),
            "TrimmedConvTranspose2d(8, 4, kernel_size=(3, 3), stride=(2, 2), trim=(1, 0))",
        ),
        (BatchNorm2d(4, 1e-5, 0.1), "BatchNorm2d(4, eps=1e-05, momentum=0.1)"),
    ],
)
def test_constructors(module, text):
    function, arguments = constructor(module)
    assert f"{function}({', '.join(arguments)})" == text
    assert repr(eval(text, {"nn": nn, **{one.__name__: one for one in own_classes()}})) == repr(module)


def test_what_cannot_be_written_is_told():
    class Forgetful(nn.Module):
        def __init__(self, what: int) -> None:
            super().__init__()

    with pytest.raises(TransferError, match="Forgetful does not keep its argument 'what'"):
        constructor(Forgetful(1))
    with pytest.raises(TransferError, match=r"Formula has an argument that Python does not take\. Received: 'x\)'"):
        constructor(Formula("selu", **{"x)": 1}))
    with pytest.raises(TransferError, match="a Tensor cannot be written as Python source"):
        literal(torch.zeros(1))


@pytest.mark.parametrize(
    "value", [1 - 0.99, 1 - 0.999, 0.1 + 0.2, float("inf"), "a'b", 'a"b', "a\\", (1,), [1, (2.5, None)], {"a": True}]
)
def test_literals_are_the_value(value):
    assert eval(literal(value)) == value


def test_names_that_python_does_not_take():
    assert [identifier(name) for name in ("conv-1", "1x1", "in", "_x", "größe")] == [
        "conv_1", "layer_1x1", "in_", "x", "gr__e"
    ]  # fmt: skip
    assert [plain(name) for name in ("b_1", "in", "1", "b-c", "__b", "é")] == [True, *[False] * 5]
    assert attribute("stages.stage2.1.in.conv") == 'self.stages.stage2["1"]["in"].conv'
    assert attribute("1x1") == 'self.get_submodule("1x1")'


def test_text_of_a_file_cannot_leave_its_docstring():
    assert plain_text('a"""\nimport os\\`|b') == "a____import os___b"
    assert plain_text("") == "_"


def test_long_calls_are_broken_as_formatters_do():
    arguments = [f"argument_{i}=1000000" for i in range(5)]
    assert statement("x = ", "f", arguments[:2]) == ["        x = f(argument_0=1000000, argument_1=1000000)"]
    assert len(statement("x = ", "f" * 20, arguments)) == 3
    assert statement("x = ", "f", arguments * 2)[1] == "            argument_0=1000000,"


def test_a_second_use_of_a_definition_adds_nothing():
    found = OwnSource()
    found.add("resnet_torch.padding", "SamePad2d")
    before = list(found.definitions)
    found.add("resnet_torch.padding", "same_pad")
    assert list(found.definitions) == before == ["same_padding", "pad_axes", "same_pad", "SamePad2d"]


def test_what_a_converted_file_says_is_never_source(tmp_path, monkeypatch):
    """Its settings, names and title are any text: what stands in model.py is escaped, or the file is refused."""
    monkeypatch.chdir(tmp_path)
    harm = "x\"') or open('MARKER', 'w') or dict(a"
    rows = [conv("odd", "image"), row("Activation", "gelu", ["odd"], activation="gelu")]
    graph = network(*rows, outputs={"odd": ["gelu", 0, 0]})
    written = json.dumps(graph.to_dict()).replace('"odd"', json.dumps(harm)).replace('"small"', json.dumps(harm))
    model = import_graph(Graph.from_dict(json.loads(written)))
    save_converted(model, tmp_path / "odd.safetensors")
    stands_alone(tmp_path / "odd.safetensors", tmp_path)
    damaged = json.loads(written.replace('"approximate"', json.dumps(harm)))
    save_converted(import_graph(Graph.from_dict(damaged)), tmp_path / "damaged.safetensors")
    with pytest.raises(TransferError, match="Formula has an argument that Python does not take"):
        write_standalone(tmp_path / "damaged.safetensors", tmp_path / "damaged")
    assert not (tmp_path / "MARKER").exists()
