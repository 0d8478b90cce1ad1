"""The one place where errors and signals become words and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from weight_transfer.errors import TransferError, of_the_system
from weight_transfer.isolation import protect_children

if TYPE_CHECKING:
    from weight_transfer.parity.report import Verdict

PROVEN = 0
DIFFERS = 1
BAD_INPUT = 2
NOT_PROVEN = 3
BY_VERDICT: Mapping[Verdict, int] = {
    "SAME FUNCTION": PROVEN,
    "EQUAL": PROVEN,
    "DIFFERS": DIFFERS,
    "NOT PROVEN": NOT_PROVEN,
}
EXIT_CODES = "Exit codes: 0 done or proven, 1 differs, 2 bad input, 3 not proven."
BY_SIGNAL = 128  # and its number, as a shell says it
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
SIGPIPE = 13


def run(app: click.Group, name: str, obj: Any = None) -> None:
    """Runs a command line; a `TransferError`, or what the system refuses, is one message on stderr and exit code 2.

    Args:
        app: The commands.
        name: What a person typed to start it.
        obj: Of the commands' context.
    """
    protect_children()
    _prepare_output()
    stdout = sys.stdout
    try:
        try:
            app(prog_name=name, obj=obj)
        finally:
            sys.stdout.flush()  # here: what fails when Python ends has no words
    except TransferError as error:
        _fail(str(error))
    except SystemExit as ended:
        # Rich and click exit with 1, which says: differs; click puts another stream in the place of a closed one.
        if isinstance(ended.__context__, BrokenPipeError) or sys.stdout is not stdout:
            sys.exit(BY_SIGNAL + SIGPIPE)
        raise
    except BrokenPipeError:
        _drop_output()
        sys.exit(BY_SIGNAL + SIGPIPE)
    except OSError as error:
        _drop_output()
        _fail(str(of_the_system(error)))


class Ended(BaseException):
    """A signal is to end this process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets a signal end the block as an error does, so that nothing half written stays; then the process exits.

    Ctrl-C raises no KeyboardInterrupt meanwhile, of which click would make exit code 1.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with _signals_handled(dict.fromkeys(ENDING, end)):
        try:
            yield
        except Ended as ended:
            with contextlib.suppress(OSError):
                name = signal.Signals(ended.number).name
                print("interrupted" if ended.number == signal.SIGINT else f"ended by {name}", file=sys.stderr)
            sys.exit(BY_SIGNAL + ended.number)


@contextlib.contextmanager
def python_signals() -> Iterator[None]:
    """Leaves signals to Python's own handlers meanwhile, for a library that sets its own beside them."""
    with _signals_handled({**dict.fromkeys(ENDING, signal.SIG_DFL), signal.SIGINT: signal.default_int_handler}):
        yield


@contextlib.contextmanager
def _signals_handled(handlers: Mapping[int, Any]) -> Iterator[None]:
    """Sets handlers by signal, and puts back those before; what is ignored, by nohup or in the background, stays so."""
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(message: str) -> None:
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def _prepare_output() -> None:
    """Lets a closed standard output take all, and any other a character that its encoding lacks, as its number."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper) and stdout.errors in ("strict", "surrogateescape"):
        kept = stdout.errors == "surrogateescape" and stdout.encoding.lower() == "utf-8"  # the bytes of a file's name
        stdout.reconfigure(errors="surrogateescape" if kept else "backslashreplace")


def _drop_output() -> None:
    """Discards what standard output does not take: Python would try again at its end, and fail in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
