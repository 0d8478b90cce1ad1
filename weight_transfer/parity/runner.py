"""Running one side of a verification in a process of its own.

TensorFlow and a CUDA build of torch in one process can end in a segmentation fault, and TensorFlow
takes all GPU memory; so each side runs alone and passes arrays through files.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Protocol, cast

from weight_transfer import errors
from weight_transfer.errors import TransferError, VerificationError, of_the_system
from weight_transfer.isolation import CHILDREN, isolated_command
from weight_transfer.parity.messages import (
    STOP,
    Answer,
    Failure,
    Progress,
    decode_reply,
    pack,
    read_frame,
    unpack_answer,
    write_frame,
)
from weight_transfer.parity.protocol import Request, Result
from weight_transfer.progress import OnProgress

WORKER = "weight_transfer.parity.worker"
LAST_LINES = 5
KEPT_LINES = 100  # of standard error, of which the last are shown
PATIENCE_S = 5.0  # for a process to end that was told to; more than it takes for itself
NEEDS: Mapping[str, tuple[str, ...]] = {"resnet_keras": ("keras", "tensorflow"), "resnet_torch": ("torch",)}
INSTEAD = {"resnet_keras": ", or take a recording made elsewhere: weight-transfer verify --reference"}
TEMPORARY_PREFIX = "weight-transfer-"

# Before anything imports Keras: TensorFlow is the backend that keeps float64 batch norm in float64,
# and the reference is the CPU's, since the GPU is the port's.
ENVIRONMENT: Mapping[str, Mapping[str, str]] = {
    "resnet_keras": {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
}
_folders: ContextVar[tuple[Path, ...]] = ContextVar("folders", default=())


class Runner(Protocol):
    """What has a request answered: `run_in_process`, or what a test takes in its place."""

    def __call__(self, request: Request[Result], on_progress: OnProgress = ..., /) -> Result:
        """Returns the result; ``on_progress`` is called with the share that is done."""
        ...


def check_installed(package: str) -> None:
    """Raises VerificationError, with what to install, where a side's framework is missing."""
    missing = [name for name in NEEDS[package] if importlib.util.find_spec(name) is None]
    if missing:
        raise VerificationError(
            f"this needs {' and '.join(missing)}, not installed here. "
            "Install both sides: pip install 'keras-resnet-to-torch[verify]'" + INSTEAD.get(package, "")
        )


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields a folder that is removed on leaving; a process that is at work then removes it if this one is killed.

    Raises:
        TransferError: None can be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX)
    except OSError as error:
        raise of_the_system(error) from error
    with folder as name:
        before = _folders.set((*_folders.get(), Path(name)))
        try:
            yield Path(name)
        finally:
            _folders.reset(before)


def run_in_process(request: Request[Result], on_progress: OnProgress = lambda share: None, /) -> Result:
    """Has a request answered by a new process, which does not import from the current folder and ends with this one.

    Args:
        request: It names the function that answers it.
        on_progress: Called with the share that is done, 0 to 1.

    Raises:
        VerificationError: A framework is missing, the process failed (with its last words), or it sent something else
            than the result.
        TransferError: As the function that answers.
    """
    package = request.answered_by.partition(".")[0]
    check_installed(package)
    call = pack(request, _folders.get())
    with _Process({**os.environ, **CHILDREN, **ENVIRONMENT.get(package, {})}) as process:
        process.send(call)
        reply = process.reply(on_progress)
        process.popen.wait()
    if isinstance(reply, Answer):
        return unpack_answer(reply, request)
    if isinstance(reply, Failure):
        raise _error(reply)
    module = request.answered_by.partition(":")[0]
    raise VerificationError(f"{module} failed: {process.last_words()}")


def _error(failure: Failure) -> TransferError:
    kind = getattr(errors, failure.name, None)
    known = isinstance(kind, type) and issubclass(kind, TransferError)
    return cast(type[TransferError], kind)(failure.message) if known else VerificationError(failure.message)


class _Process:
    """A process that answers one request; leaving the block ends it, whatever it does.

    Args:
        environment: Its own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(isolated_command(WORKER), stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
        self.stdin, self.stdout, self.stderr = (
            cast(IO[bytes], end) for end in (self.popen.stdin, self.popen.stdout, self.popen.stderr)
        )
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                if self.popen.poll() is None:  # told to, it removes what is half written
                    os.write(self.stdin.fileno(), STOP)
            self.popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        except BaseException:  # a second Ctrl-C
            self.popen.kill()
            raise
        self.stdout.close()
        self._reader.join(PATIENCE_S)  # what the process started itself may still hold the pipe

    def _read(self) -> None:
        with self.stderr:
            for line in self.stderr:
                self._lines.append(line.decode(errors="replace").strip())

    def send(self, call: bytes) -> None:
        """Sends the request."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and said why
            write_frame(self.stdin, call)
            self.stdin.flush()

    def reply(self, on_progress: OnProgress) -> Answer | Failure | None:
        """Follows the process to its result; None where it ends without one."""
        while (data := read_frame(self.stdout)) is not None:
            message = decode_reply(data)
            if not isinstance(message, Progress):
                return message
            on_progress(message.share)
        return None

    def last_words(self) -> str:
        """Returns the last lines of its standard error: what went wrong."""
        lines = [line for line in self._lines if line]
        if self.popen.returncode < 0:
            lines.append(f"killed by signal {-self.popen.returncode}")
        return "\n  ".join(lines[-1:] if lines and "Error" in lines[-1] else lines[-LAST_LINES:])
