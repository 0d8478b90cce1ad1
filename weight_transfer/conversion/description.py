"""What is known of an identified checkpoint's network, in the one form that files and modules keep."""

from __future__ import annotations

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import Identified
from weight_transfer.conversion.regularizers import regularizers_of_backbone
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
    )
