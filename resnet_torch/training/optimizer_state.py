"""The state of the optimizer that trained a file in Keras, for the optimizer of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from resnet_torch.model import PortedModel
from resnet_torch.optimizers import load_optimizer
from resnet_torch.optimizers.keras_optimizer import KerasOptimizer
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.errors import TransferError
from weight_transfer.optimizer.state import read_state_beside

OF_THE_FILE = ("iterations", "u_product")  # of a parameter group; the rest is the recipe's


@dataclass(frozen=True)
class KeptState:
    """What an optimizer has learned, by the parameters' names.

    Attributes:
        slots: Of each parameter.
        counters: Of all of them.
    """

    slots: Mapping[str, Mapping[str, Tensor]]
    counters: Mapping[str, Any]

    def give(self, optimizer: KerasOptimizer, model: PortedModel) -> None:
        """Lets an optimizer go on with it; learning rate and arguments stay its own."""
        for name, parameter in model.named_parameters():
            if name in self.slots:
                slots = self.slots[name]
                optimizer.state[parameter] = {slot: value.to(parameter) for slot, value in slots.items()}
        for group in optimizer.param_groups:
            group.update(self.counters)


def kept_state(path: Path, model: PortedModel, recipes: KerasOptimizer, called: str) -> tuple[KeptState | None, str]:
    """Reads what the optimizer of a file has learned.

    Args:
        path: A Keras checkpoint, or a converted file with the optimizer beside it.
        model: With the file's weights.
        recipes: The optimizer that is to go on, as it begins.
        called: The same in words.

    Returns:
        The state, or None where the file has none of such an optimizer; and which of the two, in words.

    Raises:
        TransferError: A state lies beside a converted file, and is not that of its weights.
    """
    anew = f"the optimizer begins anew, {called}"
    if is_converted(path) and read_state_beside(read_converted(path)) is None:
        return None, f"{anew}: no state of one lies beside {path.name}"
    try:
        found = load_optimizer(path, model)
    except TransferError as error:
        if is_converted(path):
            raise
        return None, f"{anew}: {error}"
    theirs, own = ({type(one): set(one.slots(one.param_groups[0]))} for one in (found, recipes))
    if theirs != own:
        return None, f"{anew}: {path.name} has the state of {type(found).__name__} with other arguments or another"
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    slots = {named[id(parameter)]: dict(state) for parameter, state in found.state.items()}
    group = found.param_groups[0]
    words = "the optimizer goes on" + _changes(found, recipes)
    return KeptState(slots, {key: group[key] for key in OF_THE_FILE if key in group}), words


def _changes(found: KerasOptimizer, recipes: KerasOptimizer) -> str:
    """What the recipe says otherwise than the file; rates that follow from a schedule are compared by its name."""

    def words(value: Any) -> Any:
        return type(value).__name__ if callable(value) else value

    theirs, own = (one.defaults for one in (found, recipes))
    differing = [
        f"{key}={words(value)} for {words(theirs[key])}"
        for key, value in own.items()
        if key in theirs and words(value) != words(theirs[key])
    ]
    return f", with other arguments than the file's: {', '.join(differing)}" if differing else ""
