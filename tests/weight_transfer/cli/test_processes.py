"""The program as the system treats it: signals, full disks, a standard output that takes little.

The program is started for real, and so is the process that it starts; what that one does is a stand-in, which loads no
framework.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import checkpoints
import image_files
import pytest

TIMEOUT_S = 60
# In place of resnet_torch.prediction: prints what looks like messages, half writes a file, and goes on as a test wants.
STAND_IN = """
import os, sys, time
from pathlib import Path
from weight_transfer.atomic import atomic_write
from weight_transfer.parity.protocol import PredictionResult
from weight_transfer.picture_classifier import Guess, Prediction

def predict(request, on_progress):
    folder = Path(os.environ["NOTES"])
    print('{"result": {"predictions": []}}', flush=True)
    os.write(1, b'{"progress": 2}\\n')
    on_progress(0.5)
    guesses = (Guess(7, 0.75),)
    with atomic_write(folder / "late") as temporary:
        temporary.write_text("half")
        (folder / "pid").write_text(str(os.getpid()))
        INSTEAD
    return PredictionResult((Prediction(request.images[0], (33, 33), 1.0, guesses),), None)
"""
# Where the tests run in the background, they ignore Ctrl-C, and so would what they start.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from weight_transfer.cli import main
main()
"""
WORKING = "time.sleep(60)"
STUBBORN = """
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass
"""
FAILING = {
    "raise RuntimeError('the reason')": "error: resnet_torch.prediction failed: RuntimeError: the reason\n",
    "pass\n    Path('/dev/full').write_text('x')": "error: No space left on device. Free some space, or name another "
    "place: by the output, or by TMPDIR for temporary files.\n",
    "os.kill(os.getpid(), 9)": "error: resnet_torch.prediction failed: {\"result\": {\"predictions\": []}}\n"
    "  {\"progress\": 2}\n  killed by signal 9\n",
    "guesses = 3": "error: what another process sent is no PredictionResult: Expected `array`, got `int` - at "
    "`$.predictions[0].top`. Start again; if it stays so, install keras-resnet-to-torch again.\n",
}  # fmt: skip
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")


class Program:
    """``weight-transfer predict`` with a stand-in for its second process, and folders that are empty before."""

    def __init__(self, folder: Path, instead: str) -> None:
        self.temporary, self.notes = folder / "tmp", folder / "notes"
        package = folder / "path" / "resnet_torch"
        for made in (self.temporary, self.notes, package):
            made.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "prediction.py").write_text(STAND_IN.replace("INSTEAD", instead))
        model = checkpoints.checkpoint(folder / "model.h5", checkpoints.small())
        image_files.photograph("chelsea", 90, 120).save(folder / "chelsea.png")
        path = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {"TMPDIR": str(self.temporary), "NOTES": str(self.notes), "PYTHONPATH": os.pathsep.join(path)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, "predict", str(model), str(folder / "chelsea.png")],
            env={**os.environ, **variables, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self) -> tuple[int, str, str]:
        """Waits for the end; returns the exit code, standard output and standard error."""
        stdout, stderr = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, stdout, stderr

    def ended_by(self, number: int) -> tuple[int, str, str]:
        """Sends a signal once the second process is at work; it has ended, too, when this returns."""
        pid = int(within(lambda: (self.notes / "pid").exists() and (self.notes / "pid").read_text()))
        assert list(self.temporary.iterdir())
        self.process.send_signal(number)
        found = self.ended()
        within(lambda: not is_running(pid))
        return found

    def left(self) -> list[str]:
        """What lies in both folders."""
        return sorted(path.name for folder in (self.temporary, self.notes) for path in folder.iterdir())


def within(found: Callable[[], object]) -> str:
    """Waits for something to be true, and returns it."""
    end = time.monotonic() + TIMEOUT_S
    while not (answer := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return str(answer)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" not in status.read_text()


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "weight_transfer", *map(str, arguments)]
    return subprocess.run(words, text=True, timeout=TIMEOUT_S, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "ended by SIGTERM\n"), (signal.SIGKILL, -9, "")],
    ids=lambda value: getattr(value, "name", None),
)
def test_both_processes_end_and_leave_nothing(number, code, words, tmp_path):
    program = Program(tmp_path, WORKING)
    assert program.ended_by(number) == (code, "", words)
    assert program.left() == ["pid"]  # neither the late file nor half of it


def test_a_process_that_will_not_end_is_ended(tmp_path):
    program = Program(tmp_path, STUBBORN)
    assert program.ended_by(signal.SIGKILL) == (-signal.SIGKILL, "", "")
    assert "late" not in program.left()
    assert not list(program.temporary.iterdir())


def test_a_line_that_looks_like_a_message_is_none(tmp_path):
    program = Program(tmp_path, "pass")
    code, stdout, stderr = program.ended()
    assert (code, stderr) == (0, "")
    assert stdout.splitlines()[-1].split() == ["7", "0.7500"]
    assert program.left() == ["late", "pid"]


@pytest.mark.parametrize("instead", FAILING)
def test_a_process_that_fails_is_one_message(instead, tmp_path):
    program = Program(tmp_path, instead)
    assert program.ended() == (2, "", FAILING[instead])
    assert not list(program.temporary.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = run("--version", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left on device.")
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_standard_output_is_none_to_fail_at():
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m weight_transfer --version >&-", shell=True, stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_has_seen_enough_is_no_difference():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = run("verify", "--help", stdout=pipe)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_name_that_standard_output_cannot_say_is_no_end(encoding, tmp_path):
    model = checkpoints.checkpoint(tmp_path / "모델.h5", checkpoints.small())
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    done = run("convert", model, "-o", tmp_path / "모델.safetensors", stdout=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\ubaa8\ub378.safetensors" in done.stdout
