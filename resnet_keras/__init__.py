"""The Keras twin: the same blocks, stages, heads and names as `resnet_torch`."""

from weight_transfer import isolation  # noqa: F401  # first, and it acts: the folder may hold a typing.py

# isort: split
from typing import TYPE_CHECKING

from weight_transfer.lazy_names import lazy_names

if TYPE_CHECKING:
    from resnet_keras.blocks import basic_conv_block, basic_identity_block, conv_block, identity_block
    from resnet_keras.resnet import (
        create_resnet,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "blocks": ("basic_conv_block", "basic_identity_block", "conv_block", "identity_block"),
            "resnet": ("create_resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        },
    )

__all__ = [
    "basic_conv_block",
    "basic_identity_block",
    "conv_block",
    "create_resnet",
    "identity_block",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]
