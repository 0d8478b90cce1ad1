"""Nothing is imported from the folder that a command is started in: it may hold somebody else's ``torch.py``.

``python -m`` and ``python -c`` put that folder first on the path, before all that is installed. Importing this module,
which each of our packages does first, takes it off again; the processes that are started never get it.
"""

import itertools
import os
import sys

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHILDREN = {"PYTHONSAFEPATH": "1"}
PACKAGES = ("weight_transfer", "resnet_torch", "resnet_keras")


def leave_out_current_folder() -> None:
    """Takes the current folder off the path where Python put it there, to run one of our packages by ``-m``.

    Python itself has imported by then what ``-m`` needs, from that folder too; only the command ``weight-transfer``,
    and ``python -P -m`` from 3.11 on, never do.
    """
    if sys.argv[:1] != ["-m"] or getattr(sys.flags, "safe_path", False) or not _runs_us(sys.orig_argv):
        return
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.curdir):
        del sys.path[0]
    if PACKAGE_ROOT not in sys.path:  # a checkout that is not installed
        sys.path.append(PACKAGE_ROOT)
        known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, known), PACKAGE_ROOT])


def protect_children() -> None:
    """Keeps the current folder off the path of each Python that this process starts, by whatever library.

    Those are workers of a loader, processes of one training, a compiler's. Python 3.10 does not know the variable:
    there, a worker that is not forked imports Python's own modules as `multiprocessing` has always done.
    """
    os.environ.update(CHILDREN)


def isolated_command(module: str, *arguments: str) -> list[str]:
    """Returns what runs a module as ``python -m`` does, importing from where this process does and not from the folder.

    Example:
        >>> subprocess.run(isolated_command("resnet_torch.prediction", "request.json"))
    """
    import json

    folder = os.path.realpath(os.curdir)
    paths = [path for path in sys.path if os.path.isabs(path) and os.path.realpath(path) != folder]
    script = os.path.join(PACKAGE_ROOT, "weight_transfer", "isolated", "run_module.py")
    return [sys.executable, script, json.dumps([*paths, PACKAGE_ROOT]), module, *arguments]


def _runs_us(command: list[str]) -> bool:
    """Whether ``-m`` of a command line names one of our packages."""
    return any(
        option.startswith("-") and option.endswith("m") and module.partition(".")[0] in PACKAGES
        for option, module in itertools.pairwise(command)
    )


leave_out_current_folder()
