"""What Lightning trains: a network, its loss, its optimizer, and where in the training it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from resnet_torch.losses import CategoricalCrossentropy
from resnet_torch.model import PortedModel
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.regularizers import Regularization
from resnet_torch.synchronized_step import several_processes
from resnet_torch.training.finiteness import FiniteLosses, problem_of_weights
from resnet_torch.training.loading import Part, PartLoader, Place, Share
from resnet_torch.training.network import DTYPES
from resnet_torch.training.noise import reseed
from resnet_torch.training.phases import Phases
from resnet_torch.training.running_mean import Tally
from resnet_torch.training.settings import Settings
from resnet_torch.training.together import stop_together
from weight_transfer.data import Batches, StreamBatches
from weight_transfer.training import Recipe, RunFolder

PACKAGE = "resnet_torch"


class TrainedNetwork(L.LightningModule):
    """A network in training.

    A step's gradient is that of the mean loss over the whole batch, however the batch is cut: Lightning takes the
    mean over processes and pieces, so a piece's loss is its images' sum, times processes and pieces, over the images
    of the whole batch. Each piece adds the whole regularization, whose mean is it once.

    Args:
        model: The network.
        penalty: Its regularization.
        recipe: Of the training.
        settings: How to do it.
        train: Batches to learn from.
        validation: Batches to validate on.
        own_head: Whether the network has the head of the file that it started from.

    Attributes:
        phases: What is trained when.
        step_loss: Of the step that is on: this process's share of the mean over the whole batch.
    """

    def __init__(
        self,
        model: PortedModel,
        penalty: Regularization,
        recipe: Recipe,
        settings: Settings,
        train: Batches | StreamBatches,
        validation: Batches | StreamBatches,
        own_head: bool = True,
    ) -> None:
        super().__init__()
        self.own_head = own_head
        self.model, self.penalty = model, penalty
        self.recipe, self.settings = recipe, settings
        self.phases = Phases(recipe)
        self.phases.enter(0, model)
        self.batches = {"train": train, "validation": validation}
        self.loss = CategoricalCrossentropy(label_smoothing=recipe.label_smoothing, reduction="sum")
        self.seen, self.validated = Tally(), Tally()
        self.finite = FiniteLosses()
        self.step_loss = torch.zeros(())
        self.start: Place = 0, 0
        self.saved_place: Place = 0, 0

    # Where the training is

    @property
    def epoch(self) -> int:
        """The epoch that is on, from 0."""
        return self.trainer.current_epoch

    def position(self) -> Place:
        """The epoch that is to begin or to go on, and with which of its batches."""
        current = self.trainer.fit_loop.epoch_progress.current
        epoch: int = current.processed  # type: ignore[attr-defined]  # Lightning declares the tracker's base class
        piece = self.start[1] if epoch == self.start[0] else 0
        return epoch, piece // self.settings.accumulate

    def logs(self) -> dict[str, float]:
        """Returns the epoch's numbers by Keras's names, the same in every process."""
        train, validation = self.seen.result(), self.validated.result()
        return dict(zip(("loss", "accuracy", "val_loss", "val_accuracy"), (*train, *validation), strict=True))

    def save(self, path: Path, place: Place) -> None:
        """Writes a checkpoint, unless the network has gone to NaN; every process must call it.

        Args:
            path: The file.
            place: Where a training goes on from it.

        Raises:
            TransferError: The network is not finite, or the file cannot be written.
        """
        self.stop_if_not_finite(keep=0)
        problem = problem_of_weights(self.model, f"epoch {self.epoch + 1}, step {self.global_step} of the training")
        stop_together(problem and self._advised(problem), self.device)
        self.saved_place = place
        self.trainer.save_checkpoint(path)

    def stop_if_not_finite(self, keep: int = 1, problem: str = "") -> None:
        """Stops all processes where a loss is not finite, or one has another problem; every process must call it.

        Args:
            keep: How many of the latest losses are not looked at yet.
            problem: Of this process, or an empty text.

        Raises:
            TransferError: What is wrong.
        """
        found = self.finite.problem(keep)
        stop_together(problem or (found and self._advised(found)), self.device)

    def _advised(self, problem: str) -> str:
        return RunFolder(Path(self.recipe.output)).advised(problem, PACKAGE)

    # What Lightning asks for

    def configure_optimizers(self) -> KerasOptimizer:
        """Makes the optimizer of the phase that is on."""
        return self.phases.optimizer(self.model)

    def train_dataloader(self) -> PartLoader:
        """Loads this process's parts of the batches."""
        return PartLoader(self.batches["train"], self._share(), self.settings, self.position, self.settings.accumulate)

    def val_dataloader(self) -> PartLoader:
        """Loads this process's parts of the batches that are validated on."""
        return PartLoader(self.batches["validation"], self._share(), self.settings)

    def on_train_start(self) -> None:
        """Sets training mode, which Lightning leaves to others; frozen batch norms stay as they are."""
        self.model.train()
        self.seen.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Counts anew; not called where an epoch goes on in its middle."""
        self.seen.clear(self.device)

    def on_train_batch_start(self, batch: Part, batch_idx: int) -> None:
        """Stops where something is wrong in any process, and seeds what is drawn in this step."""
        self.stop_if_not_finite(problem=batch.problem)
        reseed(self.recipe.seed, self.epoch, batch_idx, self.global_rank)
        if batch_idx % self.settings.accumulate == 0:
            self.step_loss = torch.zeros((), dtype=torch.float64, device=self.device)

    def training_step(self, batch: Part, batch_idx: int) -> Tensor:
        """Returns the loss to differentiate."""
        losses, penalty = self._add(batch, self.seen)
        cut = self.trainer.world_size * self.settings.accumulate
        loss = losses * (cut / batch.total) + penalty
        self.finite.add(f"step {batch_idx // self.settings.accumulate + 1} of epoch {self.epoch + 1}", loss)
        self.step_loss += loss.detach() / cut
        return loss

    def loss_of_step(self) -> float:
        """Returns the step's loss over the whole batch; every process must call it."""
        if several_processes():
            dist.all_reduce(self.step_loss)
        return self.step_loss.item()

    def on_validation_epoch_start(self) -> None:
        """Forgets the last validation."""
        self.validated.clear(self.device)

    def validation_step(self, batch: Part, batch_idx: int) -> None:
        """Counts loss and accuracy."""
        stop_together(batch.problem, self.device)
        if len(batch.y):
            self._add(batch, self.validated)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds where the training goes on, and what has been counted of its epoch."""
        checkpoint["place"] = self.saved_place
        checkpoint["seen"] = self.seen.of_all()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on in the right phase, before the optimizer is made."""
        self.start = checkpoint["place"]
        self.seen.go_on(checkpoint["seen"], self.global_rank, self.trainer.world_size)
        self.phases.enter(checkpoint["epoch"], self.model)

    # How it is done

    def begin_phase(self) -> None:
        """Freezes anew, with an optimizer that begins anew."""
        self.phases.enter(self.epoch, self.model)
        self.model.train()
        self.trainer.optimizers = [self.phases.optimizer(self.model)]
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):  # reduces the gradients of what learned when it was set up, no others
            strategy.model = self
            strategy.configure_ddp()

    def _share(self) -> Share:
        return Share(self.global_rank, self.trainer.world_size)

    def _add(self, batch: Part, tally: Tally) -> tuple[Tensor, Tensor]:
        """Computes the sum of some images' losses, and the regularization, and counts them."""
        logits = self.model(batch.x.to(DTYPES[self.recipe.dtype]))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses, penalty = self.loss(logits, batch.y), self.penalty()
        count = len(batch.y)
        tally.add(losses + penalty * count, (logits.argmax(1) == batch.y).sum(), count)
        return losses, penalty


def trained_network(module: L.LightningModule) -> TrainedNetwork:
    """Returns the module that Lightning gives a callback, which these callbacks know only as a `TrainedNetwork`.

    Raises:
        TypeError: It is another.
    """
    if not isinstance(module, TrainedNetwork):
        raise TypeError(f"this callback works on a TrainedNetwork alone. Received: {type(module).__name__}.")
    return module
