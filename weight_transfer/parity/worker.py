"""The process that `weight_transfer.parity.runner` starts: answers one request, and ends with whoever started it.

Run as ``python -m weight_transfer.parity.worker``. The request comes on standard input, which then stays open: when it
ends, so has the other process. Messages go to what was standard output; what a framework prints there goes to standard
error.
"""

from __future__ import annotations

import _thread
import importlib
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from weight_transfer.errors import TransferError, VerificationError, of_the_system
from weight_transfer.parity.messages import (
    STOP,
    Failure,
    Progress,
    encode,
    pack_answer,
    read_frame,
    unpack,
    write_frame,
)
from weight_transfer.parity.protocol import Request
from weight_transfer.progress import OnProgress

GRACE_S = 3.0  # for removing what is half written; then this process ends in the middle of whatever it does
ENDED = 128 + signal.SIGTERM


class Lifeline(threading.Thread):
    """Ends this process when the other one has ended, and removes what that one, killed, could not.

    Args:
        incoming: The pipe that ends with the other process.
        folders: What to remove.
    """

    def __init__(self, incoming: FileIO, folders: tuple[Path, ...]) -> None:
        super().__init__(daemon=True)
        self.incoming, self.folders = incoming, folders
        self.cut, self.unwound, self.answered = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        """Waits for the end."""
        told = self.incoming.read(1)
        if self.answered.is_set():
            return
        self.cut.set()
        _interrupt_main_thread()  # it removes what is half written
        self.unwound.wait(GRACE_S)
        if told != STOP:
            for folder in self.folders:
                shutil.rmtree(folder, ignore_errors=True)
        os._exit(ENDED)


def _interrupt_main_thread() -> None:
    """Raises KeyboardInterrupt there, in the middle of a wait too where the system can."""
    if hasattr(signal, "pthread_kill") and (main_thread := threading.main_thread().ident):
        signal.pthread_kill(main_thread, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)


def main() -> None:
    """Answers the request on standard input."""
    incoming, outgoing = _private_pipes()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = read_frame(incoming)
    if data is None:
        return
    try:
        request, folders = unpack(data)
    except VerificationError as error:
        write_frame(outgoing, _failure(error))
        return
    lifeline = Lifeline(incoming, folders)
    lifeline.start()
    try:
        write_frame(outgoing, _reply(request, lambda share: write_frame(outgoing, encode(Progress(share)))))
        lifeline.answered.set()
    except (KeyboardInterrupt, BrokenPipeError) as error:
        lifeline.unwound.set()
        if lifeline.cut.is_set() or isinstance(error, BrokenPipeError):
            lifeline.join()
        os._exit(ENDED)


def answer_of(request: Request[Any]) -> Callable[[Any, OnProgress], Any]:
    """Imports the function that answers a request."""
    module, _, name = request.answered_by.partition(":")
    found: Callable[[Any, OnProgress], Any] = getattr(importlib.import_module(module), name)
    return found


def _reply(request: Request[Any], on_progress: OnProgress) -> bytes:
    try:
        return pack_answer(answer_of(request)(request, on_progress))
    except TransferError as error:
        return _failure(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        traceback.print_exc()
        return _failure(of_the_system(error))


def _failure(error: TransferError) -> bytes:
    return encode(Failure(type(error).__name__, str(error)))


def _private_pipes() -> tuple[FileIO, FileIO]:
    """Keeps standard input and output for messages: no library, nor its C code, reads or prints there."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return FileIO(incoming, "r"), FileIO(outgoing, "w")


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # everything is answered and closed; a framework takes 0.4 s to take itself apart
