"""The network that a training starts from: drawn from the recipe, or read from a file, without a framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from weight_transfer.architecture import Head
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.convert import to_torch
from weight_transfer.conversion.description import describe, with_input
from weight_transfer.conversion.identify import identify
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.description import MADE_HERE, Description
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph
from weight_transfer.resnet.dialects import TUTORIAL, design, head_for
from weight_transfer.resnet.recipe import resnet_graph
from weight_transfer.training.recipe import DEFAULT_SIZE, Recipe

NO_HEAD = Head(pooling=None, classes=None)
HEAD = "head."  # how the state-dict keys of a head begin
LOGITS_OR_CLASSES = ("softmax", "linear", "log_softmax")  # the last is as good as logits: its own log_softmax
NOTHING_LEARNS = (
    "every layer is frozen, and nothing learns. Freeze less by --freeze, or let what the file has frozen learn by "
    "--unfreeze."
)


def words_on_frozen(frozen: Sequence[str]) -> str:
    """Returns what a training says of layers that its file has frozen."""
    layers = "1 layer stays" if len(frozen) == 1 else f"{len(frozen)} layers stay"
    return f"{layers} frozen, as in the file (trainable=False); --unfreeze lets them learn"


@dataclass(frozen=True)
class StartingPoint:
    """A network to build, and the weights to give it.

    Attributes:
        description: What to build, and what the file says of it.
        state: The file's tensors by state-dict key, in PyTorch's layout; what is not in it starts anew.
        source: The file, or None from scratch.
        own_head: Whether the file's head was kept.
    """

    description: Description
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    source: Path | None = None
    own_head: bool = True

    @property
    def network(self) -> Graph:
        """What to build."""
        return self.description.network

    def with_network(self, network: Graph) -> StartingPoint:
        """Returns the same starting point with another network."""
        return dataclasses.replace(self, description=dataclasses.replace(self.description, network=network))

    def with_loss(self, recipe: Recipe) -> StartingPoint:
        """Returns the same starting point, its loss the recipe's: what is trained from here says how it was."""
        loss = {"class_name": "CategoricalCrossentropy", "config": {"label_smoothing": recipe.label_smoothing}}
        others = ("optimizer", "optimizer_config", "loss_weights")
        kept = {key: value for key, value in self.description.compiled.items() if key not in others}
        description = dataclasses.replace(self.description, compiled={**kept, "loss": loss})
        return dataclasses.replace(self, description=description)

    def with_known_input(self) -> StartingPoint:
        """Returns the same, where what is done to images is no guess any more, since the network learns with it."""
        known = self.description
        how = known.preprocessing
        described = dataclasses.replace(
            known,
            said_preprocessing=how.with_certainty("known") if how.certainty == "guessed" else how,
            image_loading=known.loading,
        )
        return dataclasses.replace(self, description=described)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of its input."""
        shape = next(iter(self.network.inputs.values()))
        height, width = shape[0] or DEFAULT_SIZE[0], shape[1] or DEFAULT_SIZE[1]
        return height, width


def starting_point(recipe: Recipe, classes: int) -> StartingPoint:
    """Finds what a training starts from; what is done to images may yet be a guess, which a training says.

    Args:
        recipe: Says what.
        classes: How many the data has.

    Raises:
        TransferError: The file is no checkpoint, or its network does not fit the recipe.
    """
    if recipe.start is None:
        size = recipe.size or DEFAULT_SIZE
        head = _head(recipe, classes)
        found = StartingPoint(
            Description(resnet_graph(design(recipe.depth, in_shape=(*size, 3), head=head)), MADE_HERE)
        )
    else:
        found = _fitted(read_network(recipe.start, unfreeze=recipe.unfreeze), recipe, classes)
    return _fed(found, recipe)


def to_evaluate(recipe: Recipe, checkpoint: Path) -> StartingPoint:
    """Reads a file whose network is evaluated.

    Args:
        recipe: The size of the images, and what a person says of them.
        checkpoint: The file.

    Raises:
        TransferError: It is no checkpoint, takes no images of this size, or the recipe contradicts what it brings.
    """
    return _fed(resized(read_network(checkpoint), recipe.size), recipe)


def _fed(found: StartingPoint, recipe: Recipe) -> StartingPoint:
    place = "the network" if found.source is None else str(found.source)
    known = with_input(found.description, place, recipe.preprocessing, recipe.image_loading, recipe.crop)
    return dataclasses.replace(found, description=known)


def read_network(path: Path, *, unfreeze: bool = False) -> StartingPoint:
    """Reads a converted file or a Keras checkpoint of any kind as it is.

    Args:
        path: The file.
        unfreeze: Let all layers learn, whatever the file says.

    Raises:
        TransferError: It is neither, or its network cannot be told.
    """
    if is_converted(path):
        converted = read_converted(path)
        description = converted.description
        if unfreeze:
            description = dataclasses.replace(description, frozen=())
        return StartingPoint(description, converted.tensors(), path)
    with read_checkpoint(path) as checkpoint:
        try:
            identified = identify(checkpoint)
        except ArchitectureError as error:
            raise ArchitectureError(
                f"{error}\nWhere an option decides, convert the file with it first, by weight-transfer convert, "
                "and start from what that wrote."
            ) from error
        description = describe(checkpoint, identified, unfreeze=unfreeze)
        return StartingPoint(description, to_torch(identified, path), path)


def _fitted(found: StartingPoint, recipe: Recipe, classes: int) -> StartingPoint:
    backbone, resnet = found.network.architecture, found.network.resnet
    new_head = recipe.new_head or (resnet is not None and resnet.head.classes is None)
    if new_head:
        if backbone is None:
            raise ArchitectureError(
                f"{found.source}: an imported graph, whose head cannot be told from the rest. Expected a ResNet of a "
                f"known dialect. Leave --new-head out; for {classes} classes, first load_model it, "
                f"reset_classifier({classes}) and save_converted."
            )
        names = dataclasses.replace(
            backbone.names,
            global_pool=TUTORIAL.names.global_pool,
            hidden=TUTORIAL.names.hidden,
            classifier=TUTORIAL.names.classifier,
        )
        network = resnet_graph(dataclasses.replace(backbone, head=_head(recipe, classes), names=names))
        state = {key: tensor for key, tensor in found.state.items() if not key.startswith(HEAD)}
        kept = resnet_graph(dataclasses.replace(backbone, head=NO_HEAD)).layers
        regularizers, constraints = (
            {name: held for name, held in of_layers.items() if name in kept}
            for of_layers in (found.description.regularizers, found.description.constraints)
        )
        description = dataclasses.replace(
            found.description,
            network=network,
            regularizers=regularizers,
            constraints=constraints,
            frozen=tuple(name for name in found.description.frozen if name in kept),
        )
        found = dataclasses.replace(found, description=description, state=state, own_head=False)
    elif resnet is not None:
        if resnet.head.classes != classes:
            raise ArchitectureError(
                f"{found.source}: a classifier of {resnet.head.classes} classes. Expected {classes}, as the data has. "
                "Replace it by --new-head."
            )
        if recipe.dropout is not None:
            head = dataclasses.replace(resnet.head, dropout=recipe.dropout)
            found = found.with_network(resnet_graph(dataclasses.replace(resnet, head=head)))
    elif recipe.dropout is not None:
        raise ArchitectureError(f"{found.source}: its head is its own, whose dropout --dropout cannot set.")
    check_activation(found.network, str(found.source))
    return resized(found, recipe.size)


def check_activation(network: Graph, place: str) -> None:
    """Refuses a network whose output is no softmax over the classes, and no logits either.

    Args:
        network: Which.
        place: Where it is from.

    Raises:
        ArchitectureError: It ends in something else.
    """
    found = ", ".join(network.last_activations)
    if found not in LOGITS_OR_CLASSES:
        raise ArchitectureError(
            f"{place}: ends in {found}. Expected a softmax over the classes, or logits. Replace the head by --new-head."
        )


def resized(start: StartingPoint, size: tuple[int, int] | None) -> StartingPoint:
    """Returns a starting point whose network takes images of another size, (H, W); None for its own.

    Raises:
        ArchitectureError: It is no ResNet of which that is known to work.
    """
    if size is None or size == start.size:
        return start
    resnet = start.network.resnet
    if resnet is None:
        raise ArchitectureError(
            f"{start.source}: takes images of {start.size[0]} x {start.size[1]}. Leave --size out, or give --new-head."
        )
    return start.with_network(resnet_graph(dataclasses.replace(resnet, in_shape=(*size, resnet.in_shape[2]))))


def _head(recipe: Recipe, classes: int) -> Head:
    head = head_for(TUTORIAL, classes)
    return head if recipe.dropout is None else dataclasses.replace(head, dropout=recipe.dropout)
