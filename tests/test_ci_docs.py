"""docs/ci.md is true: its examples run, its workflow and its hook do what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import junitparser
import keras_own
import numpy as np
import pytest
import yaml

from weight_transfer import Hints, convert
from weight_transfer.parity.reference import record

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "ci.md").read_text()
WORKFLOW = yaml.safe_load((ROOT / "docs" / "parity-workflow.yml").read_text())
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
PACKAGE = "keras-resnet-to-torch"
BIN = Path(sys.executable).parent
MISTAKES = """
import pytest
from own_port import Port

REFERENCE = "resnet50.reference.safetensors"
MISTAKES = {"epsilon": {"epsilon": 1e-5}, "padding": {"padding": (1, 0, 1, 0)}}


@pytest.mark.parametrize("name", MISTAKES)
def test_inference(name, assert_parity):
    assert_parity(Port("model.keras", **MISTAKES[name]).eval(), REFERENCE, names={"bn_a": "norm"})


def test_flatten_order(assert_parity):
    port = Port("model.keras", channels_flattened_last=False)
    assert_parity(port.eval(), REFERENCE, names={"bn_a": "norm"})


def test_training_mode(assert_parity):
    assert_parity(Port("model.keras"), REFERENCE, names={"bn_a": "norm"})


def test_momentum(assert_parity):
    port = Port("model.keras", momentum=0.1)
    assert_parity(port.eval(), REFERENCE, names={"bn_a": "norm"}, training=True)


def test_names(assert_parity):
    assert_parity(Port("model.keras").eval(), REFERENCE, names={"bn_a": "norn"})
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory, keras_side, runner) -> Path:
    """Somebody's repository, with the files that the page names: those of a small network."""
    folder = tmp_path_factory.mktemp("project")
    keras_side(keras_own.save, folder / "model.keras")
    keras_side(keras_own.save, folder / "resnet50.h5")
    convert(folder / "resnet50.h5", folder / "resnet50.safetensors", Hints(import_as="graph"))
    record(folder / "resnet50.h5", folder / "resnet50.reference.safetensors", Hints(import_as="graph"), runner=runner)
    np.save(folder / "images.npy", np.random.default_rng(0).normal(size=(2, *keras_own.IN_SHAPE)))
    shutil.copy(ROOT / "tests" / "support" / "own_port.py", folder)
    for block in blocks("python"):
        (folder / block.splitlines()[0].removeprefix("# ")).write_text(block)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest as somebody does: its root is not ours, nor are its settings."""
    options = ("-p", "no:cacheprovider", "-p", "no:xdist")
    return run(folder, sys.executable, "-m", "pytest", *options, *arguments)


def test_the_examples_pass(project):
    assert len(blocks("python")) == 3
    done = pytest_in(project, "-v", "-W", "error", "test_port.py", "test_own_port.py", "test_parts.py")
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert f"rootdir: {project}" in done.stdout


def test_the_fixture_is_known_by_its_first_line(project):
    done = pytest_in(project, "--fixtures", "test_port.py")
    assert "assert_parity" in done.stdout
    assert "a PyTorch module against a Keras model, layer by layer" in done.stdout


def test_a_run_that_does_not_ask_for_it_imports_next_to_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_it():\n"
        "    assert not {'torch', 'keras', 'tensorflow', 'resnet_torch', 'resnet_keras', 'h5py'} & set(sys.modules)\n"
        "    ours = {name for name in sys.modules if name.startswith('weight_transfer.')}\n"
        "    assert ours == {f'weight_transfer.{name}' for name in ('isolation', 'lazy_names', 'pytest_plugin')}\n"
    )
    done = pytest_in(tmp_path)
    assert "1 passed" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def failures(project) -> dict[str, str]:
    """The message of each test with a mistake in its port."""
    (project / "test_mistakes.py").write_text(MISTAKES)
    done = pytest_in(project, "--junitxml", "mistakes.xml", "test_mistakes.py")
    assert "6 failed" in done.stdout, done.stdout + done.stderr
    cases = [case for suite in junitparser.JUnitXml.fromfile(str(project / "mistakes.xml")) for case in suite]
    return {case.name: case.result[0].message for case in cases}


@pytest.mark.parametrize(
    ("test", "layer", "cause"),
    [
        ("test_inference[epsilon]", "bn_a (BatchNorm2d)", "epsilon 0.001 in place of 1e-05"),
        ("test_inference[padding]", "conv_a (Conv2d)", "padding (0, 1) x (0, 1)"),
        ("test_flatten_order", "fc (Linear)", "its 1152 inputs in the order of 12 x 12 x 8"),
        ("test_training_mode", "bn_a (BatchNorm2d)", "it was in training mode"),
        ("test_momentum", "bn_a/moving_mean (BatchNorm2d)", "momentum 0.01 in place of 0.1"),
    ],
)
def test_a_failure_names_layer_and_cause(test, layer, cause, failures):
    message = failures[test]
    assert message.startswith("resnet_torch.testing.ParityError: Port differs from resnet50.h5 (keras 3")
    assert f"{layer} is the first that differs" in message
    assert cause in message


def test_a_wrong_name_map_is_no_difference(failures):
    assert failures["test_names"].startswith("weight_transfer.errors.VerificationError: the name map points at")


def test_the_failure_that_the_page_shows(project):
    """But for its numbers."""
    wrong = blocks("python")[1].replace("load_port()", 'Port("model.keras", epsilon=1e-5)')
    (project / "test_epsilon.py").write_text(wrong.replace("load_port", "Port").replace(", training=True", ""))
    printed = numbers_out(pytest_in(project, "test_epsilon.py").stdout)
    for line in blocks("text")[0].splitlines():
        assert numbers_out(line) in printed


def numbers_out(text: str) -> str:
    return re.sub(r"\d(?:\.\d)?e-\d+ of the peak|\(\d\.\de-\d+\)|agrees to \de-\d+", "#", text)


def commands(step: dict[str, Any]) -> list[list[str]]:
    return [shlex.split(line) for line in step.get("run", "").splitlines()]


STEPS = WORKFLOW["jobs"]["verify"]["steps"]


def test_the_workflow_runs_on_every_push_and_installs_no_keras():
    assert WORKFLOW[True] == ["push", "pull_request"]  # "on" is a boolean of YAML 1.1
    assert WORKFLOW["permissions"] == {"contents": "read"}
    installs = [command for step in STEPS for command in commands(step) if command[:2] == ["pip", "install"]]
    (ours,) = [word for command in installs for word in command if word.startswith(PACKAGE)]
    assert f'pip install "{ours}"' in PAGE
    extras = re.fullmatch(r"[\w-]+\[([\w,]+)\]", ours)
    assert extras is not None
    for extra in extras[1].split(","):
        needed = [line for line in metadata.requires(PACKAGE) or () if re.search(f"extra == .{extra}.", line)]
        assert needed
        assert not [line for line in needed if re.match(r"keras|tensorflow|tf[-_]keras", line)]


def test_the_workflow_verifies_and_keeps_what_was_written(project):
    (verify,) = [command for step in STEPS for command in commands(step) if command[0] == "weight-transfer"]
    before = set(os.listdir(project))
    done = run(project, *verify)
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = [step["with"]["path"].split() for step in STEPS if "upload-artifact" in step.get("uses", "")]
    assert set(os.listdir(project)) - before == set(kept)
    assert all(step.get("if") == "always()" for step in STEPS if "upload-artifact" in step.get("uses", ""))


def test_every_action_has_a_version():
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in STEPS if "uses" in step)


def test_the_commands_of_the_page_run(project):
    lines = [line for block in blocks("sh") for line in block.strip().splitlines()]
    assert [line.split()[1] for line in lines] == ["record", "verify", "check"]
    record_line, verify_line, check_line = (shlex.split(line, comments=True) for line in lines)
    assert record_line[2:] == ["resnet50.h5", "-o", "resnet50.reference.safetensors"]  # run by the fixture
    assert run(project, *verify_line, "--certificate", "certificate.json").returncode == 0
    assert run(project, *check_line).returncode == 0


def test_the_hook_does_what_pre_commit_runs(project):
    (mine,) = yaml.safe_load(blocks("yaml")[0])["repos"]
    (used,) = mine["hooks"]
    assert used["id"] == HOOK["id"]
    assert mine["rev"] == f"v{metadata.version(PACKAGE)}"
    assert HOOK["language"] == "python"
    assert HOOK["pass_filenames"] is False
    entry = shlex.split(HOOK["entry"])
    assert entry[0] in {script.name for script in metadata.entry_points(group="console_scripts")}
    certify = ("verify", "resnet50.h5", "resnet50.safetensors", "--reference", "resnet50.reference.safetensors")
    run(project, entry[0], *certify, "--certificate", "certificate.json", "--inference-only")
    assert run(project, *entry, *used["args"]).returncode == 0
    for name in ("resnet50.safetensors", "certificate.json"):
        assert re.search(HOOK["files"], name)
    other = project / "other"
    other.mkdir(exist_ok=True)
    shutil.copy(project / "certificate.json", other)
    content = bytearray((project / "resnet50.safetensors").read_bytes())
    content[-1] ^= 1
    (other / "resnet50.safetensors").write_bytes(content)
    assert run(other, *entry, *used["args"]).returncode == 1
