"""Fixtures of the whole suite.

pytest's own process may import torch, never TensorFlow: the two in one process can crash. What
needs Keras is a function of a module under tests/, called through the `keras_side` fixture, which
runs it in a process of its own and returns its result.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras_process
import pytest
from hypothesis import HealthCheck, settings
from shared_data import SHARED
from sides import sides_here

from weight_transfer.isolation import CHILDREN
from weight_transfer.parity.runner import Runner

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each: the workers share them, their children too
    os.environ["OMP_NUM_THREADS"] = "1"

LONG = (
    "test_imported_deep",
    "test_imported_random",
    "test_way_back",
    "test_verify",
    "test_readme",
    "test_readme_training",
    "test_way_back_kinds",
    "test_way_back_dialects",
    "test_in_schema",
    "test_torch_acting",
    "test_torch_optimizers",
    "test_torch_handover",
    "test_torch_model",
    "test_imported_zoo",
    "test_wild",
    "test_verify_training",
    "test_keras_training",
    "test_rebuilding",
    "test_allowed",
    "test_torch_standalone",
    "test_torch_synchronized_step",
    "test_families",
    "test_torch_random_models",
    "test_torch_owner_steps",
    "test_training_processes",
    "test_training_sides",
    "test_planted",
    "test_false_alarms",
    "test_training_resuming",
    "test_torch_resnet",
    "test_style",
)
# The first draw of a process reads the source of all that is imported: seconds, on a machine that is busy.
settings.register_profile("suite", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for Keras is marked so: the fast part is what a person runs while editing.

    The longest files come first, so that no worker ends up alone with one (``--no-loadscope-reorder`` lets them).
    """
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    for item in items:
        if "keras_side" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.keras)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names what was left out in one line: how many tests for which reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        counted = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"left out: {counted}")


@pytest.fixture(autouse=True)
def _environment_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test runs in this process protects the processes it starts; the next test has its own."""
    for name in CHILDREN:
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def keras_side() -> Iterator[Callable[..., Any]]:
    """Calls ``keras_side(function, *args)`` in one long-lived process that imports Keras once."""
    with keras_process.started() as call:
        yield call


@pytest.fixture(scope="session")
def runner(keras_side) -> Runner:
    """Has requests of a verification answered without a new process for each."""
    return sides_here(keras_side)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and images beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data beside the checkout")
    return SHARED
