"""A folder's own ``torch.py`` is not run by a command that is started in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest

from weight_transfer import isolation
from weight_transfer.isolation import isolated_command, leave_out_current_folder

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(Path(sys.executable).parent / "weight-transfer")
# Python's own start with -m imports more of its library by itself: types, warnings, pkgutil and what they need.
NAMES = ("h5py", "numpy", "torch", "safetensors", "rich_click", "keras", "tensorflow", "PIL", "html", "json", "typing")
SPAWNING = """
import multiprocessing, os, sys
from weight_transfer.isolation import protect_children
if __name__ == "__main__":
    protect_children()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(os.getpid) != os.getpid())
"""


@pytest.fixture
def hostile(tmp_path) -> Path:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in (*NAMES, "pickle", "socket"):
        marker = tmp_path / f"MARKER_{name}"
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w'); raise ImportError('the folder is imported')")
    return folder


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", **variables}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)


def markers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.glob("MARKER*"))


@pytest.mark.parametrize(
    "command",
    [
        [SCRIPT, "inspect", "model.h5"],
        [SCRIPT, "convert", "model.h5", "--to-folder", "alone"],  # starts a second process
        [sys.executable, "-m", "weight_transfer", "inspect", "model.h5"],
        pytest.param(
            [sys.executable, "-m", "weight_transfer", "convert", "model.h5", "--to-folder", "alone"],
            marks=pytest.mark.slow,
        ),
        [sys.executable, "-m", "resnet_torch", "train", "--help"],
        [sys.executable, "-um", "resnet_keras", "train", "--help"],
    ],
    ids=lambda command: " ".join(Path(word).name for word in command),
)
def test_no_command_imports_from_the_folder(command, hostile):
    checkpoints.checkpoint(hostile / "model.h5", checkpoints.small())
    done = run(hostile, *command)
    assert done.returncode == 0, done.stderr
    assert markers(hostile) == []


def test_the_folder_is_hostile(hostile):
    assert "the folder is imported" in run(hostile, sys.executable, "-c", "import h5py").stderr
    assert markers(hostile) == ["MARKER_h5py"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
def test_no_worker_imports_from_the_folder(hostile, tmp_path):
    (tmp_path / "spawning.py").write_text(SPAWNING)
    done = run(hostile, sys.executable, str(tmp_path / "spawning.py"))
    assert done.stdout == "True\n", done.stderr
    assert markers(hostile) == []


SHOW = "import json, sys; print(json.dumps([sys.path, sys.argv[1:], __name__]))"


def test_a_second_process_imports_from_where_the_first_does(hostile, tmp_path, monkeypatch):
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "shown.py").write_text(SHOW)
    own = str(tmp_path / "own packages")
    monkeypatch.chdir(hostile)
    monkeypatch.setattr(sys, "path", ["", str(hostile), str(tmp_path / "extra"), "relative", *sys.path])
    for variables in ({"PYTHONPATH": own}, {"PYTHONPATH": own, "PYTHONSAFEPATH": "1"}):
        done = run(hostile, *isolated_command("shown", "a b", "c"), **variables)
        paths, arguments, name = json.loads(done.stdout)
        assert (arguments, name) == (["a b", "c"], "__main__")
        assert {own, str(tmp_path / "extra"), str(ROOT)} <= {*paths}
        assert not {"", "relative", str(hostile), str(ROOT / "weight_transfer" / "isolated")} & {*paths}


def test_only_our_own_start_by_m_changes_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = {
        ("-m", "resnet_torch", "train"): True,
        ("-um", "weight_transfer"): True,
        ("-m", "resnet_keras.training"): True,
        ("-m", "pytest", "weight_transfer"): False,
        ("tool.py", "weight_transfer"): False,
    }
    for words, ours in started.items():
        monkeypatch.setattr(sys, "orig_argv", ["python", *words])
        monkeypatch.setattr(sys, "argv", ["-m" if words[0] != "tool.py" else "tool.py"])
        monkeypatch.setattr(sys, "path", [str(tmp_path), "/usr/lib"])
        monkeypatch.setenv("PYTHONPATH", "/a")
        leave_out_current_folder()
        assert sys.path == (["/usr/lib", isolation.PACKAGE_ROOT] if ours else [str(tmp_path), "/usr/lib"]), words
        # A checkout that is not installed: the processes that this one starts find it too.
        assert os.environ["PYTHONPATH"] == (f"/a:{isolation.PACKAGE_ROOT}" if ours else "/a")
