"""What the two sides' trainings share: recipe, commands, data, history, curves; no framework."""

from weight_transfer.training.command import SideOptions, training_commands
from weight_transfer.training.evaluation import Evaluation, confusion_matrix
from weight_transfer.training.history import EpochRow, History, read_history, write_history
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.run_folder import RunFolder

__all__ = [
    "EpochRow",
    "Evaluation",
    "History",
    "Recipe",
    "RunFolder",
    "SideOptions",
    "confusion_matrix",
    "read_history",
    "training_commands",
    "write_history",
]
