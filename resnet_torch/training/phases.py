"""What learns when, and with which optimizer: a training has one phase, or two where parts unfreeze."""

from __future__ import annotations

from resnet_torch.batch_norm import set_trainable
from resnet_torch.model import PortedModel
from resnet_torch.optimizers.from_keras import build_optimizer
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from resnet_torch.resnet import ResNet
from resnet_torch.trainability import freeze_layers
from resnet_torch.training.optimizer_state import KeptState
from resnet_torch.wrappers import description_of_module
from weight_transfer.errors import ArchitectureError
from weight_transfer.training import Recipe
from weight_transfer.training.recipe import Phase
from weight_transfer.training.starting_point import NOTHING_LEARNS


class Phases:
    """The phases of a recipe, and which one is on.

    Args:
        recipe: Of the training.

    Attributes:
        number: Which phase is on, from 0.
        kept: What the optimizer of the first phase begins with, where the recipe's file has it.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.number = 0
        self.kept: KeptState | None = None

    @property
    def current(self) -> Phase:
        """The phase that is on."""
        return self.recipe.phases[self.number]

    def number_of(self, epoch: int) -> int:
        """Returns the phase of an epoch, counted from 0; the last one's behind the last epoch."""
        lasts = [phase.last for phase in self.recipe.phases]
        return next((number for number, last in enumerate(lasts) if epoch < last), len(lasts) - 1)

    def enter(self, epoch: int, model: PortedModel) -> None:
        """Freezes what the phase of an epoch, counted from 0, has frozen, and what its file had, and nothing else.

        Raises:
            ArchitectureError: The network has no such parts, or nothing is left that learns.
        """
        self.number = self.number_of(epoch)
        frozen = self.current.frozen
        if frozen and not isinstance(model, ResNet):
            raise ArchitectureError(
                "--freeze needs a ResNet of stem, stages and head. This network has no such parts. Freeze its layers "
                "by model.freeze(...), save_converted it, and train that: what is frozen in a file stays so."
            )
        known = description_of_module(model)
        set_trainable(model, True, model.training)
        freeze_layers(model, () if known is None else known.frozen)
        if frozen and isinstance(model, ResNet):
            model.freeze(*frozen)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ArchitectureError(NOTHING_LEARNS)

    def optimizer(self, model: PortedModel) -> KerasOptimizer:
        """Makes the optimizer with which the phase begins, as Keras does when it compiles."""
        spec = self.recipe.optimizer_spec(self.current.learning_rate)
        optimizer = build_optimizer(spec, model.named_parameters())
        if self.kept is not None and self.number == 0:
            self.kept.give(optimizer, model)
        return optimizer
