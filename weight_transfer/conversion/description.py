"""What is known of an identified checkpoint's network, in the one form that files and modules keep."""

from __future__ import annotations

from typing import Any

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.conversion.constraints import constraints_for_keras, constraints_of_backbone
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import Identified
from weight_transfer.conversion.regularizers import regularizers_for_keras, regularizers_of_backbone
from weight_transfer.converted import Description, Origin
from weight_transfer.version import __version__


def describe(checkpoint: Checkpoint, identified: Identified, hints: Hints | None = None) -> Description:
    """Gathers what a checkpoint and a person say of a network, for `convert`, `load_model` and training alike.

    Args:
        checkpoint: What was read.
        identified: What `identify` found in it.
        hints: What the person knows.
    """
    return Description(
        network=identified.network,
        origin=Origin(
            source=checkpoint.path.name,
            sha256=checkpoint.sha256,
            container=checkpoint.container,
            keras_version=checkpoint.keras_version,
            tool_version=__version__,
            backend=checkpoint.backend,
        ),
        image_loading=None if hints is None else hints.image_loading,
        regularizers=regularizers_of_backbone(identified),
        precision=identified.precision,
        remarks=identified.remarks,
        constraints=constraints_of_backbone(identified),
    )


def training_arguments(description: Description) -> dict[str, dict[str, Any]]:
    """Returns, by Keras layer, the arguments that act in training alone, as every Keras from 2.4 on reads them.

    Raises:
        TransferError: A regularizer or a constraint is not known.
    """
    regularizers = regularizers_for_keras(description.regularizers)
    constraints = constraints_for_keras(description.constraints)
    layers = [*regularizers, *(layer for layer in constraints if layer not in regularizers)]
    return {layer: {**regularizers.get(layer, {}), **constraints.get(layer, {})} for layer in layers}
