"""The examples run on a checkpoint that Keras wrote, as their first lines say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoints
import keras_resnets
import numpy as np
import pytest
from PIL import Image

from weight_transfer import convert

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
pytestmark = pytest.mark.keras


def run(folder: Path, *words: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(keras_side, tmp_path_factory) -> Path:
    """A checkpoint of Keras's, a picture and a data set."""
    found = tmp_path_factory.mktemp("examples")
    keras_side(keras_resnets.twin, found / "resnet50.h5", **checkpoints.SMALL)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    Image.fromarray(images[0]).save(found / "picture.jpg")
    np.savez(found / "data.npz", train_images=images, train_labels=np.arange(24) % 3)
    return found


def test_a_file_is_ported_and_proven(folder):
    printed = run(folder, str(EXAMPLES / "port_a_file.py"), "resnet50.h5", "picture.jpg").splitlines()
    assert printed[0].startswith("<Conversion: ResNet-")
    assert printed[1].startswith("<Verification: SAME FUNCTION, resnet50.safetensors against resnet50.h5, ")
    assert [line.split()[0] for line in printed[2:]] == ["class"] * 3


def test_a_port_is_trained_on(folder):
    convert(folder / "resnet50.h5", folder / "port.safetensors")
    printed = run(folder, str(EXAMPLES / "train_on.py"), "port.safetensors", "data.npz").splitlines()
    assert [line.partition(":")[0] for line in printed[:2]] == ["epoch 1", "epoch 2"]
    assert {"tuned.safetensors", "tuned.keras"} <= {path.name for path in folder.iterdir()}
    printed = run(folder, "-m", "weight_transfer", "verify", "tuned.keras", "tuned.safetensors")
    assert "SAME FUNCTION" in printed


def test_parity_in_ci(folder):
    convert(folder / "resnet50.h5", folder / "port.safetensors")
    run(folder, "-m", "weight_transfer", "record", "resnet50.h5", "-o", "reference.safetensors")
    test = [str(EXAMPLES / "test_parity.py"), "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    printed = run(folder, "-m", "pytest", "-q", *test, PORT="port.safetensors", REFERENCE="reference.safetensors")
    assert "1 passed" in printed


def test_the_notebook_runs_and_shows_tables(folder):
    cells = json.loads((EXAMPLES / "port_a_file.ipynb").read_text())["cells"]
    shown = (
        "import ast, sys\n"
        "names = {}\n"
        "for source in " + repr(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]) + ":\n"
        "    *body, last = ast.parse(source).body\n"
        "    exec(compile(ast.Module(body, []), 'cell', 'exec'), names)\n"
        "    if not isinstance(last, ast.Expr):\n"
        "        exec(compile(ast.Module([last], []), 'cell', 'exec'), names)\n"
        "        continue\n"
        "    value = eval(compile(ast.Expression(last.value), 'cell', 'eval'), names)\n"
        "    html = getattr(value, '_repr_html_', None)\n"
        "    print(repr(value) if html is None else html())\n"
    )
    conversion, verification, worst, model, outputs, features = run(folder, "-c", shown).splitlines()
    assert "<td>arrays</td><td>" in conversion
    assert "<strong>SAME FUNCTION: port.safetensors against resnet50.h5." in verification
    assert "<td>Exact runs</td><td>cpu</td>" in verification
    assert len(json.loads(worst.replace("'", '"').replace("(", "[").replace(")", "]"))) == 5
    assert "<th>part</th>" in model
    assert "<td>stem</td>" in model
    assert outputs.startswith("torch.Size([1, ")
    assert "stage2" in features
