"""From where a training starts to the module that it trains."""

from __future__ import annotations

import torch

from resnet_torch.batch_norm import synchronize_batch_norms
from resnet_torch.constraints import constrain_as_described
from resnet_torch.loading import build_network
from resnet_torch.model import PortedModel
from resnet_torch.training.settings import Settings
from weight_transfer.errors import CheckpointError, listing
from weight_transfer.training import Recipe
from weight_transfer.training.starting_point import HEAD, StartingPoint

DTYPES = {"float32": torch.float32, "float64": torch.float64}
UNCOUNTED = "num_batches_tracked"  # not in Keras


def network_of(start: StartingPoint, recipe: Recipe, settings: Settings) -> PortedModel:
    """Builds the network and gives it its weights: the file's, or those drawn from the recipe's seed.

    Args:
        start: What to build, and the file's weights.
        recipe: Its seed and dtype.
        settings: Memory format, synchronization.

    Returns:
        The module, on the CPU, in training mode.

    Raises:
        TransferError: The weights do not fit the network, or it does not end in a softmax or logits.
    """
    torch.manual_seed(recipe.seed)
    model = built(start, DTYPES[recipe.dtype])
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    synchronize_batch_norms(model, settings.sync_batch_norm)
    return model.train()


def built(start: StartingPoint, dtype: torch.dtype) -> PortedModel:
    """Builds the network with the weights that the starting point has, knowing where it comes from.

    Args:
        start: What to build.
        dtype: Of the network.

    Raises:
        CheckpointError: The weights do not fit the network.
    """
    model = build_network(start.description).to(dtype)  # before its weights, which would be rounded to float32
    constrain_as_described(model, start.description)
    if start.source is None:
        return model
    state = {name: torch.from_numpy(array).clone() for name, array in start.state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    drawn = [name for name in missing if name.endswith(UNCOUNTED) or (name.startswith(HEAD) and not start.own_head)]
    problems = [f"missing: {name}" for name in missing if name not in drawn]
    problems += [f"unexpected: {name}" for name in unexpected]
    if problems:
        raise CheckpointError(f"{start.source}: its tensors are not those of its network:{listing(problems)}")
    return model


def compile_network(model: PortedModel, settings: Settings) -> None:
    """Lets `torch.compile` compile the network when it first runs."""
    if settings.sync_batch_norm and settings.processes > 1:
        # Each synchronized batch norm breaks the graph, and each of the pieces counts against this limit.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 1024)
    model.compile()
