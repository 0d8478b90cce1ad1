"""Two processes by torchrun learn what one with the whole batch learns."""

from __future__ import annotations

import pytest
import torch
from torchrun import SUPPORT, torchrun

from resnet_torch import resnet50
from resnet_torch.batch_norm import synchronize_batch_norms


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_processes")
    done = torchrun(SUPPORT / "two_processes.py", folder)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def worst(results, kind=""):
    """Largest difference over the kind's peak in that step, and where."""
    errors = []
    for size in {name.split("/")[0] for name in results}:
        chosen = {name: pair for name, pair in results.items() if name.startswith(f"{size}/{kind}")}
        peak = max(expected.abs().max().item() for _, expected in chosen.values())
        errors += [((a - b).abs().max().item() / peak, name) for name, (a, b) in chosen.items()]
    return max(errors)


@pytest.mark.parametrize("case", ["keras3", "tf_keras", "frozen", "any_axis"])
@pytest.mark.parametrize("kind", ["gradient", "buffer"])
def test_gradients_and_statistics_are_those_of_one_process(ranks, case, kind):
    for results in ranks:
        error, where = worst(results[case], kind)
        assert error < 1e-12, where


def test_both_processes_hold_the_same_bits(ranks):
    first, second = ranks
    for case in ("keras3", "tf_keras", "frozen", "any_axis"):
        assert all(torch.equal(first[case][name][0], second[case][name][0]) for name in first[case])


def test_plain_batch_norm_differs(ranks):
    assert worst(ranks[0]["plain"], "gradient")[0] > 1e-3


def test_float32_bears_a_large_mean(ranks):
    actual, expected = ranks[0]["far_from_zero"]["variance"]
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=0)


def test_all_stop_where_one_must_and_the_first_says_why(ranks):
    assert [results["stopped"] for results in ranks] == ["says image 7 is torn", "ends with 2"]


def test_frozen_statistics_stay(ranks):
    names = [name for name in ranks[0]["frozen"] if "stage2" in name and "running_var" in name]
    assert names
    assert all(torch.equal(ranks[0]["frozen"][name][0], torch.ones_like(ranks[0]["frozen"][name][0])) for name in names)


def test_names_in_the_state_dict_stay():
    model = resnet50(input_size=(3, 32, 32))
    before = list(model.state_dict())
    assert synchronize_batch_norms(model) == 53
    assert list(model.state_dict()) == before
