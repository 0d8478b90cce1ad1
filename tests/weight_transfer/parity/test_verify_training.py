"""Twenty steps of Keras and of the port, in float64: equal to the end, and what is planted is seen and named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import checkpoints
import keras_resnets
import keras_training_runs
import numpy as np
import pytest
from sweeps import slow_but

from weight_transfer import VerificationError, convert
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.grammar import training_optimizer
from weight_transfer.parity.sketch import COMPACT
from weight_transfer.parity.training import Training, record_training, verify_training
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.tensor_file import Tensor

pytestmark = pytest.mark.keras

BASIC = {"depth": 18, "in_shape": (33, 33, 3), "n_classes": 5, "stem_filters": 4, "block_counts": (1, 1)}
BASIC |= {"filters": ((4, 4), (6, 6))}
RULES = (
    "SGD",
    "SGD(momentum=0.9, nesterov=True)",
    "RMSprop(momentum=0.9, centered=True)",
    "Adam",
    "AdamW",
    "Adamax",
    "Nadam",
    "Adagrad",
)
WARMUP = "CosineDecay(decay_steps=15, warmup_target=0.02, warmup_steps=4)"
EXTRAS = (
    ("clipnorm=0.3", WARMUP),
    ("global_clipnorm=0.5, weight_decay=0.05", "ExponentialDecay(decay_steps=5, decay_rate=0.5)"),
    ("clipvalue=0.02", "PiecewiseConstantDecay(boundaries=[6, 13], values=[0.002, 0.001, 0.0005])"),
)
RATE = 0.01


def config(rule: str, arguments: str = "", schedule: str | None = None, rate: float = RATE) -> dict[str, Any]:
    name, _, own = rule.removesuffix(")").partition("(")
    inside = ", ".join(filter(None, (own, arguments)))
    return training_optimizer(f"{name}({inside})", rate, schedule).to_config()


# Each rule as it is, and with the extras in turn; test_torch_optimizers.py has each with each, on given gradients.
RUNS = {rule: config(rule) for rule in RULES}
for number, rule in enumerate(RULES):
    RUNS[f"{rule}, {EXTRAS[number % 3][0]}"] = config(rule, *EXTRAS[number % 3])
SLOTS = ("SGD", "RMSprop(momentum=0.9, centered=True)", "Adam", "Adamax", "Adagrad")  # whose slots are looked at
USUAL = (*SLOTS, *(f"{RULES[number + 1]}, {EXTRAS[(number + 1) % 3][0]}" for number in range(3)))


@pytest.fixture(scope="module")
def source(tmp_path_factory, keras_side):
    return keras_side(keras_resnets.twin, tmp_path_factory.mktemp("training") / "basic.h5", **BASIC)


@pytest.fixture(scope="module")
def found(source, runner):
    """``found(run)``: the usual runs are made in one go, and so are the others."""
    made = {}

    def of(run):
        if run not in made:
            runs = [one for one in RUNS if (one in USUAL) == (run in USUAL)]
            verified = verify_training(source, Training([RUNS[one] for one in runs]), runner=runner)
            made.update(zip(runs, verified, strict=True))
        return made[run]

    return of


@pytest.mark.parametrize("run", slow_but(USUAL, RUNS))
def test_a_run_of_basic_blocks_is_keras_to_the_end(run, found):
    one = found(run)
    assert one.passed, one.first_divergence
    # The gate is 1e-9; biases before batch norms are moved by rounding, in Keras, and moving means with them.
    others = [row for row in one.rows if not row.name.endswith(("/bias", "/moving_mean"))]
    assert max(row.errors["float64"] for row in others) < 1e-11
    assert [row.name for row in one.rows if row.check == "step"] == [f"step {number}" for number in range(1, 21)]
    counts = {check: sum(row.check == check for row in one.rows) for check in ("weights", "moving")}
    assert counts == {"weights": 32, "moving": 14}
    assert one.weights_equal == one.weights_total == 46
    assert one.explanation is None
    assert abs(one.losses["torch"][-1] - one.losses["torch"][0]) > 1e-3  # it learns


def test_the_slots_are_compared(found):
    slots = {run: {row.name.split()[1] for row in found(run).rows if row.check == "slots"} for run in SLOTS}
    assert slots["SGD"] == set()
    assert slots["Adam"] == {"momentum", "velocity"}
    assert slots["Adamax"] == {"momentum", "norm"}
    assert slots["Adagrad"] == {"accumulator"}
    assert slots["RMSprop(momentum=0.9, centered=True)"] == {"momentum", "velocity", "average_gradient"}


@pytest.mark.slow
def test_resnet_50_is_keras_to_the_end(tmp_path, keras_side, runner):
    source = keras_side(keras_resnets.twin, tmp_path / "resnet.h5", in_shape=(64, 64, 3))
    optimizers = [
        config("Adam", "clipnorm=1.0", "CosineDecay(decay_steps=15, warmup_target=0.001, warmup_steps=4)", 1e-4),
        config("SGD(momentum=0.9, nesterov=True)", rate=0.001),
    ]  # docs/parity.md has the others
    for one in verify_training(source, Training(optimizers, batch_size=2), detail=COMPACT, runner=runner):
        assert one.passed, one.first_divergence
        assert one.weights_total == 322


def test_training_that_amplifies_rounding_proves_nothing(source, runner):
    training = Training([config("RMSprop(momentum=0.9)", rate=0.1)], num_steps=30)
    (one,) = verify_training(source, training, runner=runner)
    assert one.verdict == "NOT PROVEN"
    assert dataclasses.replace(one, weights_equal=one.weights_equal - 1).verdict == "DIFFERS"
    assert one.explanation.by_rounding
    assert one.explanation.rounding > 1e-9
    assert "Take a lower --learning-rate" in one.explanation.sentence


def test_biases_that_only_rounding_moves_are_measured_against_their_layers(tmp_path, keras_side, runner):
    source = keras_side(keras_training_runs.fresh, tmp_path / "fresh.h5", **BASIC)
    (one,) = verify_training(source, Training([config("Adam")]), runner=runner)
    assert one.passed, one.first_divergence
    rows = {row.name: row for row in one.rows if row.check == "weights"}
    assert rows["conv/bias"].peak >= rows["conv/kernel"].peak
    assert rows["fc_final/bias"].peak != rows["fc_final/kernel"].peak


def test_tf_keras_is_followed(tmp_path, keras_side, runner):
    source = keras_side(keras_training_runs.tf_keras_model, tmp_path / "tf_keras.h5")
    optimizers = [config("Adam", "clipnorm=1.0", WARMUP), config("SGD(momentum=0.9)")]
    for one in verify_training(source, Training(optimizers), runner=runner):
        assert one.loaded_by.startswith("tf_keras ")
        assert one.passed, one.first_divergence
        assert one.optimizer["class_name"].startswith("Custom>")
    statistics = [row.name for row in one.rows if row.check == "moving"]
    assert statistics == ["norm/moving_mean", "norm/moving_variance"]


DECAY = "ExponentialDecay(decay_steps=3, decay_rate=0.5)"
SGD = "resnet_torch.optimizers.SGD"
PLANTED = {
    # Keras's optimizer; the port's; which step differs first; what is named.
    "epsilon": (config("Adam"), "resnet_torch.optimizers.Adam(eps=1e-8)", 2, ["optimizer epsilon"]),
    "powers": (config("Adam"), "port_optimizers.ExactPowers", 2, ["powers"]),
    "epsilon inside": (config("Adam"), "torch.optim.Adam(eps=1e-7)", 2, ["place of epsilon", "powers"]),
    "torch's Adam": (config("Adam"), "torch.optim.Adam", 2, ["optimizer epsilon", "place of epsilon", "powers"]),
    "epsilon outside": (config("RMSprop"), "torch.optim.RMSprop(alpha=0.9, eps=1e-7)", 2, ["place of epsilon"]),
    "Adagrad": (
        config("Adagrad"),
        "torch.optim.Adagrad(initial_accumulator_value=0.1, eps=1e-7)",
        3,
        ["place of epsilon"],
    ),
    "coupled": (
        config("SGD(momentum=0.5)", "weight_decay=0.05"),
        "torch.optim.SGD(momentum=0.5, weight_decay=0.05)",
        3,
        ["weight decay"],
    ),
    "decoupled": (config("SGD(momentum=0.5)", "weight_decay=0.05"), "port_optimizers.decoupled", None, []),
    "rate": (config("Adam"), "resnet_torch.optimizers.Adam(lr=0.02)", 2, ["learning rate"]),
    "late": (config("SGD", "", DECAY, 0.05), "port_optimizers.behind", 3, ["learning rate"]),
    "constant": (config("SGD", "", DECAY, 0.05), f"{SGD}(lr={float(np.float32(0.05))})", 3, ["learning rate"]),
    "momentum": (
        config("SGD(momentum=0.5)", "", DECAY, 0.05),
        "torch.optim.SGD(momentum=0.5)",
        3,
        ["rescaled momentum"],
    ),
    "clipping": (config("SGD", "clipnorm=0.3"), f"{SGD}(global_clipnorm=0.3)", 2, ["clipping"]),
    "unclipped": (config("SGD", "clipvalue=0.02"), "torch.optim.SGD", 2, ["clipping"]),
    "another rule": (config("Nadam"), "torch.optim.NAdam(eps=1e-7)", 2, ["optimizer"]),
    "unknown": (config("SGD"), "port_optimizers.SignedSGD", 2, []),
}


PLANTED_USUALLY = ("epsilon", "torch's Adam", "coupled", "decoupled", "rate", "late", "clipping", "unknown")


@pytest.fixture(scope="module")
def recordings(source, tmp_path_factory, runner):
    """``recordings(name)``: what Keras gives with that optimizer, recorded once, the usual ones in one go."""
    folder, made = tmp_path_factory.mktemp("recordings"), {}

    def of(name):
        wanted = json.dumps(PLANTED[name][0])
        if wanted not in made:
            names = [one for one in PLANTED if (one in PLANTED_USUALLY) == (name in PLANTED_USUALLY)]
            optimizers = {json.dumps(PLANTED[one][0]): PLANTED[one][0] for one in names}
            optimizers = {key: optimizer for key, optimizer in optimizers.items() if key not in made}
            made.update({key: folder / f"{len(made) + i}.safetensors" for i, key in enumerate(optimizers)})
            training = Training(list(optimizers.values()), num_steps=6)
            record_training(source, training, [made[key] for key in optimizers], runner=runner)
        return made[wanted]

    return of


@pytest.mark.parametrize("name", slow_but(PLANTED_USUALLY, PLANTED))
def test_a_mistake_is_seen_at_its_first_step_and_named(name, source, recordings, runner):
    optimizer, port, step, causes = PLANTED[name]
    training = Training([optimizer], num_steps=6, port_optimizer=port)
    (one,) = verify_training(source, training, references=[recordings(name)], runner=runner)
    assert one.passed == (step is None)
    if step is not None:
        assert one.first_divergence.name == one.explanation.name == f"step {step}"
        assert sorted(trial.cause for trial in one.explanation.found) == sorted(causes)
        assert one.explanation.by_rule


def test_the_unbiased_variance_shows_in_the_statistics_alone(source, recordings, runner):
    training = Training([PLANTED["unknown"][0]], num_steps=6, moving_variance="tf_keras")
    (one,) = verify_training(source, training, references=[recordings("unknown")], runner=runner)
    assert {row.check for row in one.rows if not row.passed} == {"moving"}
    assert all(row.name.endswith("moving_variance") for row in one.rows if not row.passed)
    assert [trial.cause for trial in one.explanation.found] == ["moving variance"]
    assert "moving variances that move by the unbiased variance" in one.explanation.sentence


def test_a_network_that_differs_is_not_the_optimizers_fault(source, recordings, tmp_path, runner):
    port = read_converted(convert(source, tmp_path / "right.safetensors").output)
    resnet = port.network.resnet
    conventions = dataclasses.replace(resnet.conventions, epsilon=1e-5)
    tensors = [Tensor.of(name, a) for name, a in port.tensors().items()]
    broken = tmp_path / "broken.safetensors"
    wrong = resnet_graph(dataclasses.replace(resnet, conventions=conventions))
    write_converted(broken, tensors, dataclasses.replace(port.description, network=wrong))
    training = Training([PLANTED["unknown"][0]], num_steps=6)
    (one,) = verify_training(source, training, broken, references=[recordings("unknown")], runner=runner)
    assert not one.passed
    assert one.weights_equal == one.weights_total
    assert one.first_divergence.name == "step 1"
    assert not one.explanation.by_rule
    assert "weight-transfer verify" in one.explanation.sentence


def test_other_weights_are_not_equal_training(source, recordings, tmp_path, runner):
    port = read_converted(convert(source, tmp_path / "right.safetensors").output)
    arrays = {name: array.copy() for name, array in port.tensors().items()}
    arrays["stem.conv.bias"][0] += 1e-3  # which changes no loss: a batch norm takes it off again
    tensors = [Tensor.of(name, a) for name, a in arrays.items()]
    other = tmp_path / "other.safetensors"
    write_converted(other, tensors, port.description)
    training = Training([PLANTED["unknown"][0]], num_steps=6)
    (one,) = verify_training(source, training, other, references=[recordings("unknown")], runner=runner)
    assert all(row.passed for row in one.rows if row.check == "step")
    assert not one.passed
    assert one.weights_differing == ("conv/bias",)


def test_images_of_ones_own(source, tmp_path, runner):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (9, 20, 24, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", train_images=pixels, train_labels=np.arange(9) % 3)
    data = str(tmp_path / "images.npz")
    (one,) = verify_training(source, Training([config("SGD")], num_steps=2, data=data), runner=runner)
    assert one.passed, one.first_divergence
    assert one.batches == f"{data} under noise, 4 x 33 x 33 x 3"


def test_a_loss_that_is_no_number_proves_nothing(source, runner):
    with pytest.raises(VerificationError, match=r"Keras's loss is nan at step \d+: such a run proves nothing. Lower"):
        verify_training(source, Training([config("SGD", "weight_decay=1e30")]), runner=runner)


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("torch.optim.Adamm", "the port's optimizer cannot be made: module 'torch.optim' has no attribute 'Adamm'"),
        ("torch.optim.Adam(epsilon=1e-7)", "unexpected keyword argument 'epsilon'"),
        ("nowhere.make", "No module named 'nowhere'"),
        ("builtins.list", "builtins.list made a list. Expected a torch.optim.Optimizer"),
    ],
)
def test_a_wrong_optimizer_is_found_before_the_long_work(port, message, source, monkeypatch, tmp_path, runner):
    monkeypatch.setattr("weight_transfer.parity.training._record", lambda *_: pytest.fail("long work"))
    with pytest.raises(TransferError, match=message):
        verify_training(source, Training([config("SGD")], port_optimizer=port), runner=runner)


def test_a_weights_only_file_is_trained_as_the_twin(tmp_path, runner):
    source = checkpoints.checkpoint(tmp_path / "w.weights.h5", checkpoints.small())
    (one,) = verify_training(source, Training([config("SGD", rate=1e-4)], num_steps=2), runner=runner)
    assert one.reference == "twin"
    assert one.passed, one.first_divergence
