"""What the two sides' trainings share: recipe, data, history, curves; no framework and no terminal."""

from weight_transfer.training.evaluation import Evaluation, confusion_matrix
from weight_transfer.training.history import EpochRow, History, read_history, write_history
from weight_transfer.training.recipe import Recipe
from weight_transfer.training.reporter import Reporter, Step
from weight_transfer.training.run_folder import RunFolder

__all__ = [
    "EpochRow",
    "Evaluation",
    "History",
    "Recipe",
    "Reporter",
    "RunFolder",
    "Step",
    "confusion_matrix",
    "read_history",
    "write_history",
]
