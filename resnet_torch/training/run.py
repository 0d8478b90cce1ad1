"""A training from its recipe to its last file."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from resnet_torch.regularizers import regularization
from resnet_torch.training.cifar10 import download_cifar10
from resnet_torch.training.decisions import Decisions
from resnet_torch.training.last_checkpoint import AtomicCheckpoints, KeepLast
from resnet_torch.training.module import PACKAGE, TrainedNetwork
from resnet_torch.training.network import compile_network, network_of
from resnet_torch.training.optimizer_state import kept_state
from resnet_torch.training.settings import Settings
from resnet_torch.training.step_logging import StepLogging
from resnet_torch.training.step_reports import StepReports
from resnet_torch.training.summary import check_outputs, output_shapes, summary_of
from resnet_torch.wrappers import description_of_module
from weight_transfer.atomic import write_text
from weight_transfer.errors import TransferError
from weight_transfer.training import History, Recipe, RunFolder
from weight_transfer.training.curves import draw_run
from weight_transfer.training.datasets import training_images
from weight_transfer.training.reporter import Reporter
from weight_transfer.training.run_folder import is_first_process
from weight_transfer.training.starting_point import starting_point, words_on_frozen

MIXED = {"full": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # a float64 network stays one under 32-true
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(recipe: Recipe, settings: Settings, *, resume: bool, reporter: Reporter) -> History:
    """Trains; see `resnet_torch.training.train`."""
    settings.check()
    folder = RunFolder(Path(recipe.output))
    last = folder.last(PACKAGE) if resume and folder.last(PACKAGE).exists() else None
    module = trained_network(recipe, settings, reporter)
    known = description_of_module(module.model)
    if known is not None and known.frozen and is_first_process():
        reporter.note(words_on_frozen(known.frozen))
    if recipe.checkpoint is not None and last is None:
        take_optimizer_state(module, reporter)
    if settings.compile:
        compile_network(module.model, settings)
    decisions = Decisions(recipe, reporter)
    callbacks = [
        *([StepReports(reporter)] if reporter.follows_steps else []),
        *([] if recipe.log_steps is None else [StepLogging(Path(recipe.log_steps))]),
        decisions,
        KeepLast(folder.last(PACKAGE), settings.checkpoint_every_steps),
    ]
    with _silence(), _full_disk(folder), _interruptions(folder, reporter):
        trainer = _trainer(recipe, settings, callbacks)
        trainer.fit(module, ckpt_path=last, weights_only=True)
    if trainer.is_global_zero:
        draw_run(decisions.history, folder, PACKAGE, reporter.note)
    return decisions.history


def trained_network(recipe: Recipe, settings: Settings, reporter: Reporter) -> TrainedNetwork:
    """Opens the data, builds the network, and freezes what the first phase has frozen; says how images are made inputs.

    Raises:
        TransferError: The data or the file to start from cannot be read, or they do not fit.
    """
    images = training_images(recipe, download_cifar10)
    classes = len(images.class_names)
    start = starting_point(recipe, classes)
    size = recipe.size or start.size
    train, validation = images.batches(size, start.description)
    if is_first_process():
        reporter.input(start.description)
    start = start.with_known_input().with_loss(recipe)
    model = network_of(start, recipe, settings)
    penalty = regularization(model, () if start.own_head else ("head",))
    module = TrainedNetwork(model, penalty, recipe, settings, train, validation, start.own_head)
    shapes = output_shapes(model, size)
    check_outputs(shapes, classes, str(start.source))
    if is_first_process():
        write_text(RunFolder(Path(recipe.output)).summary, summary_of(model, shapes))
    return module


def take_optimizer_state(module: TrainedNetwork, reporter: Reporter) -> None:
    """Lets the optimizer go on where that of the recipe's file stopped, where the file has its state.

    Raises:
        TransferError: The state beside a converted file is not that of its weights.
    """
    path, phases, called = Path(str(module.recipe.checkpoint)), module.phases, module.recipe.optimizer_words
    if not module.own_head:
        if is_first_process():
            reporter.note(f"the optimizer begins anew, {called}: the head is new")
        return
    phases.kept, words = kept_state(path, module.model, phases.optimizer(module.model), called)
    phases.enter(0, module.model)  # the optimizer's state names frozen layers too, and the phase may have others
    if is_first_process():
        reporter.note(words)


def _trainer(recipe: Recipe, settings: Settings, callbacks: list[Any]) -> L.Trainer:
    return L.Trainer(
        accelerator="gpu" if settings.device == "cuda" else "cpu",
        devices=settings.processes_here,
        num_nodes=settings.machines,
        strategy=DDPStrategy() if settings.processes > 1 else "auto",
        precision=MIXED[settings.precision],  # type: ignore[arg-type]
        max_epochs=recipe.epochs,
        accumulate_grad_batches=settings.accumulate,
        deterministic=settings.deterministic,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        default_root_dir=recipe.output,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,
    )


@contextmanager
def _silence() -> Iterator[None]:
    """Leaves out what Lightning says of itself; its warnings of real trouble stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)  # advice on workers and frozen modules
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\.")  # its use of newer torch
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _interruptions(folder: RunFolder, reporter: Reporter) -> Iterator[None]:
    """Says how to go on, and ends as a program does that a signal ends; Lightning would call either a success."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        signals = {KeyboardInterrupt: signal.SIGINT, SIGTERMException: signal.SIGTERM}
        found = [number for kind, number in signals.items() if isinstance(ended.__context__ or ended, kind)]
        if not found:
            raise
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, on_interrupt)  # which Lightning has turned off
        if is_first_process():
            reporter.note(f"interrupted; to go on: weight-transfer train --resume {folder.path}")
        raise SystemExit(128 + found[0]) from None


@contextmanager
def _full_disk(folder: RunFolder) -> Iterator[None]:
    """Says in words that the disk is full, whoever noticed it."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise TransferError(
            f"{folder.path}: {error.strerror}. The last checkpoint is as it was: free some space, and go on with "
            f"--resume {folder.path}"
        ) from error
