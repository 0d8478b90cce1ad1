"""Ports by hand, right ones and wrong ones: each check sees what it is there for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_own
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch import BatchNorm2d, load_model
from resnet_torch.comparison.given_reference import recording_of
from resnet_torch.layers.dropout_and_noise import GaussianNoise
from resnet_torch.testing import Parity, ParityError, ParityWarning, assert_parity
from weight_transfer import Hints, VerificationError, convert, read_checkpoint

RANDOM = np.random.default_rng(1)
FILES: Mapping[str, tuple[Callable[..., Path], tuple[Any, ...], np.ndarray]] = {
    "residual": (keras_own.save_residual, (), RANDOM.normal(size=(4, 16, 16, 3))),
    "frozen": (keras_own.save_residual, (True,), RANDOM.normal(size=(4, 16, 16, 3))),
    "kinds": (keras_own.save_kinds, (), RANDOM.normal(size=(3, 9, 8, 4))),
    "dropping": (keras_own.save_always_dropping, (), RANDOM.normal(size=(3, 6))),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, keras_side, runner) -> dict[str, tuple[Path, Path]]:
    """By name, the Keras file and its recording, made as `assert_parity` makes it of a file."""
    found = {}
    for name, (save, arguments, inputs) in FILES.items():
        folder = tmp_path_factory.mktemp(name)
        file = keras_side(save, folder / f"model.{'h5' if name == 'dropping' else 'keras'}", *arguments)
        found[name] = (file, recording_of(file, inputs, True, folder, runner).path)
    return found


@pytest.fixture
def arrays(recorded) -> dict[str, Tensor]:
    return arrays_of(recorded["residual"][0])


def arrays_of(file: Path) -> dict[str, Tensor]:
    """Every array of a file, kernels of convolutions and Dense in PyTorch's layout."""
    with read_checkpoint(file) as opened:
        read = {name: torch.from_numpy(np.array(array.read())) for name, array in opened.arrays.items()}
    turned = {2: (1, 0), 4: (3, 2, 0, 1)}
    return {
        name: tensor.permute(turned[tensor.ndim]).contiguous() if tensor.ndim in turned else tensor
        for name, tensor in read.items()
    }


class Port(nn.Module):
    """A right port of the residual network, with every activation called in ``forward``."""

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__()
        self.noise = GaussianNoise(0.1)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.bn1 = BatchNorm2d(8, momentum=0.1)
        self.a = nn.Conv2d(8, 8, 3, padding=1)
        self.drop2d = nn.Dropout2d(0.25)
        self.bna = BatchNorm2d(8, momentum=0.1)
        self.drop = nn.Dropout(0.5)
        self.cls = nn.Linear(8, 5)
        self.load_state_dict(
            {
                "stem.weight": arrays["stem/kernel"],
                "a.weight": arrays["a/kernel"],
                "a.bias": arrays["a/bias"],
                "cls.weight": arrays["cls/kernel"],
                "cls.bias": arrays["cls/bias"],
                **{
                    f"{norm}.{ours}": arrays[f"{norm}/{role}"]
                    for norm in ("bn1", "bna")
                    for ours, role in (
                        ("weight", "gamma"),
                        ("bias", "beta"),
                        ("running_mean", "moving_mean"),
                        ("running_var", "moving_variance"),
                    )
                },
            }
        )
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.stem(self.padded(self.noise(x)))))
        x = F.relu(x + self.branch(x))
        return self.head(x)

    def padded(self, x: Tensor) -> Tensor:
        """What Keras's same padding is: nothing on the left for an even size."""
        height, width = x.shape[2:]
        return F.pad(x, (width % 2, 1, height % 2, 1))

    def branch(self, x: Tensor) -> Tensor:
        return self.bna(self.drop2d(F.relu(self.a(x))))

    def head(self, x: Tensor) -> Tensor:
        return self.cls(self.drop(x.mean((2, 3))))


# Ports that are right


class WithFunctions(Port):
    """Dropout without a module of its own."""

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__(arrays)
        del self.drop, self.drop2d

    def branch(self, x: Tensor) -> Tensor:
        return self.bna(F.dropout2d(F.relu(self.a(x)), 0.25, self.training))

    def head(self, x: Tensor) -> Tensor:
        return self.cls(F.dropout(x.mean((2, 3)), training=self.training))


class InAnotherOrder(Port):
    """Single numbers are dropped in an order of one's own."""

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__(arrays)
        self.dropping = self.drop
        del self.drop

    def head(self, x: Tensor) -> Tensor:
        return self.cls(self.dropping(x.mean((2, 3)).flip(1)).flip(1))


class Renamed(Port):
    """Names of its own, and a convolution with its activation in one module."""

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__(arrays)
        self.first, self.second = self.bn1, nn.Sequential(self.a, nn.ReLU())
        del self.bn1, self.a

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(self.stem(self.padded(self.noise(x)))))
        return self.head(F.relu(x + self.bna(self.drop2d(self.second(x)))))


RIGHT: dict[str, tuple[type[Port], dict[str, str]]] = {
    "modules": (Port, {}),
    "functions": (WithFunctions, {}),
    "another order": (InAnotherOrder, {}),
    "renamed": (Renamed, {"bn1": "first", "a": "second"}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_port_passes_without_a_warning(name, arrays, recorded):
    make, names = RIGHT[name]
    model = make(arrays)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = assert_parity(model, recorded["residual"][1], names=names, training=True)
    assert found.left_out == ()
    assert {row.name for row in found.rows if row.check == "gradient"} == {
        *("stem/kernel", "a/kernel", "a/bias", "cls/kernel", "cls/bias"),
        *("bn1/gamma", "bn1/beta", "bna/gamma", "bna/beta"),
    }
    assert {"r1", "add", "ra", "gap"} <= set(found.unnamed)
    assert not any("forward" in vars(part) for part in model.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_layer_with_an_activation_of_its_own_is_compared_before_it_or_behind_it(arrays, recorded):
    rows = assert_parity(Port(arrays), recorded["residual"][1]).rows
    assert "a" in [row.name for row in rows]


@pytest.mark.parametrize("name", FILES)
def test_a_loaded_port_passes(name, recorded, tmp_path):
    """Of the dead layer alone is said that it proves nothing."""
    file, recording = recorded[name]
    convert(file, tmp_path / "port.safetensors", Hints(import_as="graph"))
    model = load_model(tmp_path / "port.safetensors")
    if name == "kinds":
        parity_with_a_warning("proves nothing: dead", model, recording, training=True)
    else:
        assert assert_parity(model, recording, training=True).left_out == ()


# Ports that are wrong


def changed(change: Callable[[Any], Any]) -> Callable[[dict[str, Tensor]], nn.Module]:
    """A right port, changed."""

    def make(arrays: dict[str, Tensor]) -> nn.Module:
        model = Port(arrays)
        made = change(model)
        return (made if isinstance(made, nn.Module) else model).eval()

    return make


class HalvedInTraining(Port):
    def head(self, x: Tensor) -> Tensor:
        return super().head(x) * (0.5 if self.training else 1)


class WrongForOne(Port):
    def head(self, x: Tensor) -> Tensor:
        y = super().head(x)
        return y if len(x) > 1 else y.flip(-1)


class Squeezed(Port):
    def head(self, x: Tensor) -> Tensor:
        return super().head(x).squeeze()


class PaddedForEvenSizes(Port):
    def padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1, 0, 1))


class OfOneSize(Port):
    def head(self, x: Tensor) -> Tensor:
        return self.cls(self.drop(x.reshape(len(x), 8, 64).mean(2)))


class WithoutDropout(Port):
    def head(self, x: Tensor) -> Tensor:
        return self.cls(x.mean((2, 3)))


class DroppedEarlier(Port):
    def head(self, x: Tensor) -> Tensor:
        return self.cls(self.drop(x).mean((2, 3)))


class WrongFunction(Port):
    def head(self, x: Tensor) -> Tensor:
        return self.cls(F.dropout(x.mean((2, 3)), 0.4, self.training))


class DropsPaths(Port):
    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        return y * (torch.rand(len(x), 1, 1, 1) > 0) if self.training else y  # always one


class KeepsStatistics(Port):
    def train(self, mode: bool = True) -> KeepsStatistics:
        super().train(mode)
        self.bna.eval()
        return self


class Twice(Port):
    def branch(self, x: Tensor) -> Tensor:
        super().branch(x)
        return super().branch(x)


class Counts(Port):
    def __init__(self, arrays: dict[str, Tensor]) -> None:
        super().__init__(arrays)
        self.register_buffer("average", torch.zeros(8))

    def head(self, x: Tensor) -> Tensor:
        if self.training:
            self.average.mul_(0.9).add_(x.detach().mean((0, 2, 3)), alpha=0.1)
        return super().head(x)


class Views(Port):
    def head(self, x: Tensor) -> Tensor:
        return self.cls(self.drop(x.view(len(x), -1).reshape(len(x), 8, -1).mean(2)))


class ReadsMemory(Port):
    def head(self, x: Tensor) -> Tensor:
        return super().head(x if x.is_contiguous() else x.flip(1))


class WithoutActivation(Port):
    def branch(self, x: Tensor) -> Tensor:
        return self.bna(self.drop2d(self.a(x)))


class Detached(Port):
    def branch(self, x: Tensor) -> Tensor:
        return super().branch(x.detach())


class WrongInFloat32(Port):
    def head(self, x: Tensor) -> Tensor:
        return super().head(x) * (1.01 if x.dtype == torch.float32 else 1)


class OwnDropout(Port):
    def head(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return self.cls(x * torch.empty_like(x).bernoulli_(0.5) * 2 if self.training else x)


WRONG: dict[str, tuple[Callable[[dict[str, Tensor]], nn.Module], str]] = {
    "a bias that Keras has not": (
        changed(lambda model: model.stem.register_parameter("bias", nn.Parameter(torch.zeros(8)))),
        "parameters that learn, and that Keras has not: stem.bias",
    ),
    "a layer that Keras has not": (
        changed(lambda model: setattr(model, "spare", nn.Linear(2, 2))),
        "parameters that learn, and that Keras has not: spare.weight, spare.bias",
    ),
    "a frozen array": (
        changed(lambda model: model.a.bias.requires_grad_(False)),
        "what learns in Keras, and not here: a/bias (a.bias)",
    ),
    "renamed": (
        lambda arrays: Renamed(arrays),
        "arrays of Keras that no tensor of the module stands for: bn1/gamma, bn1/beta, bn1/moving_mean, "
        "bn1/moving_variance, a/kernel, a/bias",
    ),
    "a momentum": (changed(lambda model: setattr(model.bna, "momentum", 0.3)), "momentum 0.1 in place of 0.3"),
    "a rule of the variance": (
        changed(lambda model: setattr(model.bn1, "moving_variance", "tf_keras")),
        "batch norms with another moving_variance than the file's Keras, 'keras3': bn1 ('tf_keras')",
    ),
    "frozen statistics": (KeepsStatistics, "batch norms whose statistics move on one side alone: bna"),
    "a batch norm run twice": (Twice, "bna/moving_mean (BatchNorm2d) is the first that differs, by "),
    "a buffer that moves": (Counts, "a step of training changes what is no array of Keras's: average"),
    "another rate": (
        changed(lambda model: setattr(model.drop, "p", 0.1)),
        "drop is Dropout (rate 0.5) in Keras, and drop (Dropout) (rate 0.1) here",
    ),
    "another rate of a function": (
        WrongFunction,
        "drop is Dropout (rate 0.5) in Keras, and a call of dropout (rate 0.4) here",
    ),
    "another deviation": (
        changed(lambda model: setattr(model.noise, "stddev", 0.2)),
        "noise is GaussianNoise (stddev 0.1) in Keras, and noise (GaussianNoise) (stddev 0.2) here",
    ),
    "another kind of dropout": (
        changed(lambda model: setattr(model, "drop2d", nn.Dropout(0.25))),
        "drop2d is SpatialDropout2D (rate 0.25) in Keras, and drop2d (Dropout) (rate 0.25) here",
    ),
    "no dropout": (WithoutDropout, "drop, Dropout (rate 0.5) in Keras, is missing here"),
    "an identity in place of a dropout": (
        changed(lambda model: setattr(model, "drop", nn.Identity())),
        "drop, Dropout (rate 0.5) in Keras, is missing here",
    ),
    "a rate of zero": (changed(lambda model: setattr(model.drop, "p", 0.0)), "drop, Dropout (rate 0.5) in Keras, is"),
    "a dropout elsewhere": (
        DroppedEarlier,
        "drop, Dropout (rate 0.5) in Keras, acts on another tensor here: drop (Dropout) (rate 0.5)",
    ),
    "a dropout too many": (
        changed(lambda model: setattr(model, "bna", nn.Sequential(model.bna, nn.Dropout(0.2)))),
        "bna.1 (Dropout) (rate 0.2) draws random numbers, and no layer of Keras's does there",
    ),
    "random depth": (DropsPaths, "in training the module draws random numbers, and not by a layer that is known"),
    "a dropout of one's own": (OwnDropout, "drop, Dropout (rate 0.5) in Keras, is missing here"),
    "a gradient that stops": (Detached, "stem/kernel (Conv2d) is the first that differs"),
    "wrong in float32": (WrongInFloat32, "output differs in float32 alone, by"),
    "halved in training": (HalvedInTraining, "look at what depends on self.training"),
    "wrong for one": (WrongForOne, "output differs for the first example alone, and agrees for inputs"),
    "squeezed": (Squeezed, "the first example alone: IndexError: Dimension out of range"),
    "padded for even sizes": (PaddedForEvenSizes, "stem differs for examples cut to 15x15x3, examples cut to 9x5x3"),
    "of one size": (OfOneSize, "examples cut to 9x5x3: RuntimeError: shape '[2, 8, 64]' is invalid"),
    "views": (Views, "with tensors that lie channels_last in memory: RuntimeError: view size is not compatible"),
    "reads memory": (ReadsMemory, "with tensors that lie channels_last in memory drop differs by"),
    "no activation": (WithoutActivation, "a agrees where its activation is applied to it, as in Keras: is that called"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_port_fails_and_the_mistake_is_named(name, arrays, recorded):
    make, text = WRONG[name]
    with pytest.raises(ParityError) as caught:
        assert_parity(make(arrays), recorded["residual"][1], training=True)
    assert text in str(caught.value)


def test_the_worst_rows_come_first(arrays, recorded):
    model = Port(arrays)
    model.cls.bias.data += 1e-3
    with pytest.raises(ParityError) as caught:
        assert_parity(model, recorded["residual"][1], training=True)
    errors = [float(line.split()[2]) / float(line.split()[3]) for line in _table(caught.value)]
    assert len(errors) > 3
    assert errors == sorted(errors, reverse=True)


def _table(error: ParityError) -> list[str]:
    _, behind = str(error).split(f"{'check':<11} layer", 1)
    return [line for line in behind.splitlines()[1:] if line.split()[0] in {row.check for row in error.rows}]


# What is frozen


def test_what_the_file_has_frozen_is_frozen_in_the_port(recorded):
    file, recording = recorded["frozen"]
    model = Port(arrays_of(file))
    with pytest.raises(ParityError) as caught:
        assert_parity(model, recording, training=True)
    assert "what learns here, and is frozen in Keras: stem/kernel (stem.weight), bn1/gamma" in str(caught.value)
    assert "batch norms whose statistics move on one side alone: bn1" in str(caught.value)
    for part in (model.stem, model.bn1):
        part.requires_grad_(False)
    model.bn1.frozen = True
    found = assert_parity(model.eval(), recording, training=True)
    assert {"stem/kernel", "bn1/gamma"} <= {row.name for row in found.rows if row.check == "gradient"}


# What is left out


def parity_with_a_warning(text: str, *arguments: Any, **named: Any) -> Parity:
    with pytest.warns(ParityWarning) as caught:
        found = assert_parity(*arguments, **named)
    assert text in str(caught[0].message)
    assert any(text in one for one in found.left_out)
    assert caught[0].filename == __file__
    return found


def test_layers_with_arrays_that_no_module_is_named_after_are_said(arrays, recorded):
    text = "2 layers with arrays, because no module has the name: bn1, a. Give names="
    found = parity_with_a_warning(text, Renamed(arrays), recorded["residual"][1])
    assert repr(found) == f"<Parity: {len(found.rows)} tensors agree, 1 things left out>"


def test_a_layer_is_left_out_on_purpose(arrays, recorded):
    model = Port(arrays)
    model.drop.p, model.bna.momentum = 0.1, 0.3
    reference = recorded["residual"][1]
    found = parity_with_a_warning("drop: on purpose", model, reference, training=True, without=["drop", "bna"])
    assert not {row.name.partition("/")[0] for row in found.rows} & {"bna"}
    model.bna.register_parameter("own", nn.Parameter(torch.zeros(1)))
    parity_with_a_warning("bna: on purpose", model, reference, training=True, without=["drop", "bna"])
    with pytest.raises(ParityError, match=r"drop is Dropout \(rate 0.5\) in Keras"):
        assert_parity(model, reference, training=True, without=["bna"])
    with pytest.raises(VerificationError, match=r"without= names no layer of Keras's: bnb \(nearest: bn"):
        assert_parity(model, reference, without=["bnb"])


def test_the_output_alone(arrays, recorded):
    reference = recorded["residual"][1]
    model = HalvedInTraining(arrays)
    found = parity_with_a_warning("every layer and every array: outputs_only=True", model, reference, outputs_only=True)
    assert [row.name for row in found.rows] == ["output"]
    with pytest.raises(ParityError, match=r"look at what depends on self\.training"):
        assert_parity(model, reference, outputs_only=True, training=True)


class OwnNoise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x) if self.training else x


def test_a_random_layer_of_ones_own_class_is_held_still_and_its_size_is_said_to_be_unknown(arrays, recorded):
    model = Port(arrays)
    model.noise = OwnNoise()
    text = "how much noise (OwnNoise) draws, of a class that is not known"
    parity_with_a_warning(text, model.eval(), recorded["residual"][1], training=True)


# Arrays of other kinds of layers


class Kinds(nn.Module):
    """A port of `keras_own.save_kinds`, by PyTorch's own modules."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.prelu = nn.PReLU(4)
        self.separable = nn.ModuleDict(
            {"depthwise": nn.Conv2d(4, 4, 3, groups=4, bias=False), "pointwise": nn.Conv2d(4, 6, 1)}
        )
        self.group = nn.GroupNorm(3, 6, eps=1e-3)
        self.dead = nn.Threshold(1e6, 0.0)
        self.twice = nn.Linear(6, 6)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(6 * 5 * 4, 3)
        with read_checkpoint(file) as opened:
            read = {name: torch.from_numpy(np.array(array.read())) for name, array in opened.arrays.items()}
        self.load_state_dict(
            {
                "depthwise.weight": read["depthwise/vars_0"].permute(2, 3, 0, 1),
                "depthwise.bias": read["depthwise/vars_1"],
                "prelu.weight": read["prelu/vars_0"].flatten(),
                "separable.depthwise.weight": read["separable/vars_0"].permute(2, 3, 0, 1),
                "separable.pointwise.weight": read["separable/vars_1"].permute(3, 2, 0, 1),
                "separable.pointwise.bias": read["separable/vars_2"],
                "group.weight": read["group/vars_0"],
                "group.bias": read["group/vars_1"],
                **{f"{name}.weight": read[f"{name}/kernel"].T for name in ("twice", "last")},
                **{f"{name}.bias": read[f"{name}/bias"] for name in ("twice", "last")},
            }
        )
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.depthwise(x))
        x = self.group(self.separable["pointwise"](self.separable["depthwise"](x)))
        x = (x + self.dead(x)).permute(0, 2, 3, 1)
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return self.last(self.drop(x.flatten(1)))


def test_arrays_of_many_kinds_have_rows_and_what_is_dead_is_said_to_prove_nothing(recorded):
    file, recording = recorded["kinds"]
    text = "what is all zero or no number for these inputs, and proves nothing: dead"
    found = parity_with_a_warning(text, Kinds(file), recording, training=True)
    assert "twice" in [row.name for row in found.rows]
    gradients = {row.name for row in found.rows if row.check == "gradient"}
    assert {"depthwise/kernel", "prelu/alpha", "separable/depthwise_kernel", "group/gamma", "twice/kernel"} <= gradients


# A dropout that acts in inference


class AlwaysDropping(nn.Module):
    def __init__(self, arrays: dict[str, Tensor], rate: float, always: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        for name in ("first", "last"):
            layer = getattr(self, name)
            layer.weight.data, layer.bias.data = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        self.rate, self.always = rate, always
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(self.first(x), self.rate, self.always or self.training))


def test_a_dropout_that_acts_in_inference_is_compared_there(recorded):
    file, recording = recorded["dropping"]
    read = arrays_of(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_parity(AlwaysDropping(read, 0.4), recording, training=True)
    with pytest.raises(
        ParityError, match=r"in inference: drop is Dropout \(rate 0.4\) in Keras, and a call of dropout"
    ):
        assert_parity(AlwaysDropping(read, 0.3), recording)
    with pytest.raises(ParityError, match=r"in inference: drop, Dropout \(rate 0.4\) in Keras, is missing here"):
        assert_parity(AlwaysDropping(read, 0.4, always=False), recording)
