from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import checkpoints
import pytest
import torch
from copies import WAYS
from handmade_graphs import conv, network, row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from resnet_torch import BatchNorm2d, ResNet, create_resnet, resnet18, resnet34, resnet50, resnet101, resnet152
from resnet_torch.loading import load_model
from resnet_torch.trainability import frozen_layers_of
from resnet_torch.wrappers import description_of_module, with_description
from weight_transfer.architecture import Architecture, Head, Names
from weight_transfer.description import MADE_HERE, Description, Training
from weight_transfer.errors import ArchitectureError, CheckpointError
from weight_transfer.resnet.dialects import DIALECTS, design
from weight_transfer.resnet.recipe import resnet_graph

TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def expected_shapes(architecture):
    """The state dict, read off the framework-free layer graph."""
    shapes = {}
    graph = resnet_graph(architecture)
    for layer in graph.layers.values():
        for role, weight in layer.weights.items():
            shape = weight.shape
            if role == "kernel":  # (kh, kw, c_in, c_out) or (c_in, c_out)
                shape = (*reversed(shape[-2:]), *shape[:-2])
            shapes[f"{graph.modules[layer.path][0]}.{TENSORS[role]}"] = shape
    return shapes


def actual_shapes(model):
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def tap_shapes(model, x):
    """(H, W, C) of each tap's output, by Keras layer name."""
    shapes = {}

    def note(name):
        def hook(module, inputs, output):
            shapes[name] = (*output.shape[2:], output.shape[1])

        return hook

    handles = [
        model.get_submodule(modules[-1]).register_forward_hook(note(path))
        for path, modules in model.network.layout.items()
        if modules
    ]
    model.predict(x)
    for handle in handles:
        handle.remove()
    return shapes


def assert_agrees_with_graph(model):
    architecture = model.architecture
    assert actual_shapes(model) == expected_shapes(architecture)
    height, width, channels = architecture.in_shape
    graph = model.network
    taps = {path: graph.layers[path].out_shape for path, modules in graph.layout.items() if modules}
    assert tap_shapes(model, torch.randn(1, channels, height, width)) == taps


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


# The tree of modules


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_state_dict_is_that_of_the_graph(depth, dialect):
    with torch.device("meta"):
        model = create_resnet(depth=depth, dialect=dialect)
    assert actual_shapes(model) == expected_shapes(model.architecture)
    assert model.architecture.depth == depth


@pytest.mark.parametrize("in_shape", [(97, 225, 1), (33, 40, 3)])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("depth", [18, 50])
def test_odd_sizes(small, depth, dialect, in_shape):
    assert_agrees_with_graph(small(in_shape, depth=depth, dialect=dialect))


@st.composite
def architectures(draw):
    block = draw(st.sampled_from(["basic", "bottleneck"]))
    counts = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    width = 2 if block == "basic" else 3
    pooling = draw(st.sampled_from(["avg", "max", None]))
    classes = draw(st.one_of(st.none(), st.integers(1, 4))) if pooling else None
    return design(
        dialect=draw(st.sampled_from(list(DIALECTS))),
        in_shape=(draw(st.integers(19, 70)), draw(st.integers(19, 70)), draw(st.integers(1, 4))),
        block=block,
        block_counts=counts,
        filters=tuple(tuple(draw(st.integers(1, 4)) for _ in range(width)) for _ in counts),
        stem_filters=draw(st.integers(1, 4)),
        middle_kernel_size=draw(st.sampled_from([1, 3, 5, (1, 3), (5, 3)])),
        head=Head(
            pooling=pooling,
            classes=classes,
            hidden_units=draw(st.one_of(st.none(), st.integers(1, 4))) if classes else None,
            dropout=draw(st.sampled_from([0.0, 0.5])),
        ),
        stride_in=draw(st.sampled_from(["1x1", "3x3"])),
        stem_padding=draw(st.sampled_from(["zeros", "same"])),
        pool_padding=draw(st.sampled_from(["zeros", "same", "none"])),
        conv_bias=draw(st.booleans()),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures())
def test_any_architecture(architecture):
    assert_agrees_with_graph(ResNet(architecture))


def test_keys_read_like_the_network(small):
    keys = set(small(n_classes=10, head=None).state_dict())
    assert {
        "stem.conv.weight",
        "stem.bn_conv1.running_mean",
        "stages.stage2.a.residual.res2a_branch2a.weight",
        "stages.stage2.a.shortcut.bn2a_branch1.running_var",
        "stages.stage3.b.residual.bn3b_branch2c.bias",
        "head.fc_01.weight",
        "head.fc_final.bias",
    } <= keys


@pytest.mark.parametrize(
    ("build", "num_parameters"), [(resnet50, 25_557_032), (resnet101, 44_549_160), (resnet152, 60_192_808)]
)
def test_trainable_parameters_of_the_published_networks(build, num_parameters):
    # Source: torchvision.models, num_params of the weights' meta data.
    with torch.device("meta"):
        model = build(conv_bias=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


def test_all_parameters_of_keras_applications_resnet50():
    with torch.device("meta"):
        model = resnet50()
    counted = sum(t.numel() for name, t in model.state_dict().items() if not name.endswith("tracked"))
    assert counted == 25_636_712  # moving statistics included; source: the summary Keras prints


@pytest.mark.parametrize(("build", "depth"), [(resnet18, 18), (resnet34, 34)])
def test_the_shallow_depths(build, depth):
    with torch.device("meta"):
        assert build().architecture.depth == depth


def test_computes_what_torchvision_computes():
    # The same network by other hands: stride on the 3x3, no bias, epsilon 1e-5.
    torch.manual_seed(0)
    other = TorchvisionResNet(Bottleneck, [1, 1, 1, 1], num_classes=7).double().eval()
    for name, tensor in other.state_dict().items():
        if name.endswith(("running_var", "bias", "running_mean")):
            tensor.uniform_(0.5, 1.5)
    model = create_resnet(
        (97, 65, 3),
        head=Head(classes=7),
        block_counts=(1, 1, 1, 1),
        stride_in="3x3",
        conv_bias=False,
        epsilon=1e-5,
    ).double()
    # Both list stem, then block by block the residual branch and the shortcut, then the classifier.
    model.load_state_dict(dict(zip(model.state_dict(), other.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 97, 65, dtype=torch.float64)
    actual, expected = model.eval()(x), other(x)
    assert (actual - expected).abs().max() <= 1e-12 * expected.abs().max()


# What a model gives


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear"])
def test_predict_applies_the_activation_in_inference_mode(small, images, activation):
    model = small(head=Head(classes=5, dropout=0.5, activation=activation))
    model.train()
    actual = model.predict(images)
    logits = model.eval()(images).detach()
    expected = {"softmax": logits.softmax(1), "sigmoid": logits.sigmoid(), "linear": logits}[activation]
    assert torch.equal(actual, expected)
    assert not actual.requires_grad


def test_predict_leaves_every_mode_and_statistic_as_it_was(small, images):
    model = small()
    model.stem.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    model.predict(images)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError, match="channels"):
        model.predict(images[:, :1])
    assert {name: module.training for name, module in model.named_modules()} == modes


def test_without_a_classifier_the_last_feature_map_is_the_output(small, images):
    model = small(n_classes=None)
    assert model.predict(images).shape == (2, 64, 2, 2)
    pooled = small(head=Head(classes=None))
    assert pooled.predict(images).shape == (2, 64)


def test_features_are_the_stages_outputs(small, images):
    model = small().eval()
    maps = model.features(images)
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in maps.items()}
    assert shapes == {
        "stem": (3, 16, 16),
        "stage2": (8, 16, 16),
        "stage3": (16, 8, 8),
        "stage4": (32, 4, 4),
        "stage5": (64, 2, 2),
    }
    assert torch.equal(model.head(maps["stage5"]), model(images))


def test_channels_last_computes_the_same(small, images):
    model = small().double().eval()
    expected = model(images.double())
    model.to(memory_format=torch.channels_last)
    maps = model.features(images.double().contiguous(memory_format=torch.channels_last))
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in maps.values())
    torch.testing.assert_close(model.head(maps["stage5"]), expected, rtol=0, atol=1e-12)


# Freezing


def test_frozen_parts_keep_everything_and_the_others_learn(small, images):
    model = small(head=Head(classes=5))
    model.freeze("stem", "stage2")
    model.train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(images).square().sum().backward()
    optimizer.step()
    frozen = ("stem.", "stages.stage2.")
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not {name for name in changed if name.startswith(frozen)}
    statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert {name for name in statistics if not name.startswith(frozen)} <= changed
    assert {"head.fc_final.weight", "stages.stage3.a.residual.res3a_branch2a.weight"} <= changed


def test_unfreeze_undoes_freeze(small):
    model = small()
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    model.freeze()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(norm.training for norm in norms)
    model.unfreeze("head")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if name.startswith("head.")
    }
    model.unfreeze()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(norm.training for norm in norms)


def test_an_unknown_part_is_named_with_the_known_ones(small):
    with pytest.raises(
        ArchitectureError, match=r"any of stem, stage2, stage3, stage4, stage5, head\. Received: stage6"
    ):
        small().freeze("stem", "stage6")


# Moving, tracing, saving


def test_deepcopy_and_pickle(small, images):
    model = small().eval()
    model.freeze("stem")
    expected = model(images)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images), expected)
        assert other.architecture == model.architecture
        assert not other.train().stem.bn_conv1.training


@pytest.mark.parametrize("dialect", ["tutorial", pytest.param("keras-resnet", marks=pytest.mark.slow)])
def test_compile_and_trace(small, images, dialect):
    model = small(dialect=dialect, block_counts=(1, 1)).eval()
    expected = model(images)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(images), expected)


@pytest.mark.skipif(
    Version(torch.__version__) < Version("2.14"), reason="PyTorch 2.11 and before export no stem of free sizes"
)
@pytest.mark.parametrize("dialect", ["keras-resnet", pytest.param("tutorial", marks=pytest.mark.slow)])
def test_export_with_free_sizes(small, images, dialect):
    model = small(dialect=dialect, block_counts=(1, 1)).eval()
    expected = model(images)
    batch, height, width = torch.export.Dim("batch"), torch.export.Dim("height", min=64), torch.export.Dim("w", min=64)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: batch, 2: height, 3: width},)).module()
    torch.testing.assert_close(exported(images), expected)
    odd = torch.randn(3, 3, 97, 75)
    torch.testing.assert_close(exported(odd), model(odd))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch 2.9's compiler
def test_compiled_training_is_eager_training(small, images):
    models = [small(head=Head(classes=5), block_counts=(1, 1)) for _ in range(2)]
    for model, run in zip(
        models, (models[0], torch.compile(models[1], fullgraph=True, backend="aot_eager")), strict=True
    ):
        run(images).square().sum().backward()
        assert model.stem.conv.weight.grad.any()
    for actual, expected in zip(models[1].state_dict().values(), models[0].state_dict().values(), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_save_and_load_in_the_hugging_face_form(small, images, tmp_path, dtype):
    model = small(dialect="keras-resnet", moving_variance="tf_keras").to(dtype)
    model.save_pretrained(tmp_path)
    loaded = ResNet.from_pretrained(tmp_path)
    assert loaded.architecture == model.architecture
    assert {norm.moving_variance for norm in loaded.modules() if isinstance(norm, BatchNorm2d)} == {"tf_keras"}
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert loaded.state_dict()[name].dtype == tensor.dtype
    assert torch.equal(loaded.predict(images.to(dtype)), model.predict(images.to(dtype)))
    config = json.loads((tmp_path / "config.json").read_text())
    assert Architecture.from_dict(config["architecture"]) == model.architecture
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == config


def test_the_hugging_face_form_keeps_what_does_not_learn_and_what_weights_keep_to(small, tmp_path):
    made_here = small()
    made_here.freeze("stem")
    made_here.save_pretrained(tmp_path / "made")
    assert frozen_layers_of(ResNet.from_pretrained(tmp_path / "made")) == frozen_layers_of(made_here) != ()
    max_norm = {"class_name": "MaxNorm", "config": {"max_value": 2.0, "axis": 0}}
    told = {"frozen": ("bn_conv1",), "constraints": {"conv": {"kernel_constraint": max_norm}}}
    model = load_model(checkpoints.checkpoint(tmp_path / "m.keras", checkpoints.small(), told=told))
    model.save_pretrained(tmp_path / "loaded")
    again = ResNet.from_pretrained(tmp_path / "loaded")
    assert frozen_layers_of(again) == ("bn_conv1",)
    assert again.stem.bn_conv1.frozen
    assert again.stem.conv.weight.constraint.constraint == model.stem.conv.weight.constraint.constraint
    model.stem.conv.requires_grad_(False)
    model.stem.bn_conv1.frozen = False
    with pytest.warns(UserWarning, match="bn_conv1: frozen=False, and its parameters have requires_grad=False"):
        model.save_pretrained(tmp_path / "later")
    assert frozen_layers_of(ResNet.from_pretrained(tmp_path / "later")) == ("conv",)


def test_loading_is_strict_but_for_the_count(small, tmp_path):
    small().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}  # not in the file that is overwritten
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    save_file(tensors, file)
    ResNet.from_pretrained(tmp_path)
    del tensors["head.fc_01.bias"]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"Missing key.*head\.fc_01\.bias"):
        ResNet.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"architecture": {}}', "not the description of an architecture"),
        ("{}", r"holds no converted network\. Expected .*, or of save_pretrained with its config\.json"),
        ("[]", "holds no converted network"),
        ('{"moving_variance": ', "not valid JSON|Expecting value"),
        (None, "holds no converted network"),
    ],
)
def test_a_folder_without_an_architecture_is_refused(config, message, small, tmp_path):
    small().save_pretrained(tmp_path)
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "plain.safetensors")  # without its metadata
    (tmp_path / "plain.safetensors").replace(tmp_path / "model.safetensors")
    (tmp_path / "config.json").unlink()
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message):
        ResNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("own_head", [False, True])
def test_a_folder_of_version_0_1_0_is_read(own_head, small, images, tmp_path):
    """It had plain tensors, and a config of ``__init__``'s arguments."""
    model = small(dialect="keras-resnet", moving_variance="tf_keras")
    config = {"architecture": model.architecture.to_dict(), "moving_variance": "tf_keras"}
    if own_head:
        backbone = dataclasses.replace(checkpoints.small(), head=Head(pooling=None, classes=None))
        model = ResNet(dataclasses.replace(backbone, filters=((4, 4, 8), (6, 6, 6))), "tf_keras", OWN_HEAD)
        config |= {"architecture": model.architecture.to_dict(), "own_head": OWN_HEAD.to_dict()}
        told = {**MADE_HERE.__dict__, "keras_version": "2.11.0", "preprocessing": None, "image_loading": "opencv"}
        config["description"] = {**told, "crop": None, "frozen": ["bn_conv1"]}
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = ResNet.from_pretrained(tmp_path)
    x = images if not own_head else torch.randn(2, 3, 33, 33)
    assert torch.equal(again.predict(x), model.predict(x))
    assert again.network == model.network
    assert again.moving_variance == again.description.moving_variance == "tf_keras"
    assert frozen_layers_of(again) == (("bn_conv1",) if own_head else ())
    assert again.description.image_loading == ("opencv" if own_head else None)
    assert again.description.training == (None if own_head else Training("tf_keras"))


def test_from_pretrained_asks_the_hub_for_what_is_no_folder(small, images, tmp_path, monkeypatch):
    model = small()
    model.save_pretrained(tmp_path)
    asked = []

    def download(repository, file, **options):
        asked.append((repository, file, options["revision"], options["local_files_only"]))
        return str(tmp_path / file)

    monkeypatch.setattr("resnet_torch.model.hf_hub_download", download)
    again = ResNet.from_pretrained("somebody/resnet", revision="v1", local_files_only=True, map_location="cpu")
    assert asked == [("somebody/resnet", file, "v1", True) for file in ("config.json", "model.safetensors")]
    assert torch.equal(again.predict(images), model.eval().predict(images))


# Refusals


def test_unknown_moving_variance():
    with pytest.raises(ArchitectureError, match=r"moving_variance must be one of .*'tf_keras'.*Received: .*'keras9'"):
        create_resnet(moving_variance="keras9")


def test_two_layers_of_one_name():
    with pytest.raises(ArchitectureError, match="two layers are both named 'conv1'"):
        ResNet(Architecture(names=Names(stem_norm="conv1")))


def test_an_input_that_is_too_small():
    with pytest.raises(ArchitectureError, match="the input is too small"):
        create_resnet((1, 1, 3), pool_padding="none", stem_padding="same")


def test_an_unknown_argument():
    with pytest.raises(ArchitectureError, match=r"unknown argument\. Received: epsilom"):
        create_resnet(epsilom=1e-3)


def test_parts_are_modules_a_reader_expects(small):
    model = small()
    assert [name for name, _ in model.named_children()] == ["stem", "stages", "head"]
    assert isinstance(model.stages.stage3.b.shortcut, nn.Identity)


OWN_HEAD = network(
    row("GlobalAveragePooling2D", "pool", ["image"], keepdims=True),
    conv("own", "pool", kernel_size=[1, 1], activation="softmax"),
    outputs=[["own", 0, 0]],
    shape=(2, 2, 6),
)


@pytest.mark.parametrize("own_head", [None, OWN_HEAD])
@pytest.mark.parametrize("way", WAYS)
def test_copies_predict_as_the_model_does(way, own_head):
    head = checkpoints.small().head if own_head is None else Head(pooling=None, classes=None)
    architecture = checkpoints.small(block="basic", filters=((4, 4), (6, 6)), head=head)
    model = ResNet(architecture, "tf_keras", own_head)
    model = with_description(model, Description(model.network, MADE_HERE))
    images = torch.randn(2, 3, 33, 33)
    expected = model.predict(images)
    assert expected.shape == ((2, 10) if own_head is None else (2, 3, 1, 1))
    torch.testing.assert_close(expected.sum(1), torch.ones_like(expected[:, 0]))
    copied = way(model)
    torch.testing.assert_close(copied.predict(images), expected, rtol=0, atol=0)
    assert description_of_module(copied) == description_of_module(model)
    assert copied.network == model.network
