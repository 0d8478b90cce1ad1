"""The PyTorch twin: the same blocks, stages, heads and names as `resnet_keras`."""

from weight_transfer import isolation  # noqa: F401  # first, and it acts: the folder may hold a typing.py

# isort: split
from typing import TYPE_CHECKING

from weight_transfer.lazy_names import lazy_names

if TYPE_CHECKING:
    from resnet_torch.batch_norm import BatchNorm2d, synchronize_batch_norms
    from resnet_torch.blocks import ResidualBlock, basic_conv_block, basic_identity_block, conv_block, identity_block
    from resnet_torch.folding import fold_preprocessing
    from resnet_torch.head import head
    from resnet_torch.imported import ImportedModel, import_graph
    from resnet_torch.loading import load_model
    from resnet_torch.model import PortedModel
    from resnet_torch.padding import SamePad2d
    from resnet_torch.resnet import (
        ResNet,
        create_resnet,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
    )
    from resnet_torch.saving import save_converted, save_keras
    from resnet_torch.stages import stage
    from resnet_torch.stem import stem
else:
    lazy_names(
        __name__,
        {
            "batch_norm": ("BatchNorm2d", "synchronize_batch_norms"),
            "blocks": ("ResidualBlock", "basic_conv_block", "basic_identity_block", "conv_block", "identity_block"),
            "folding": ("fold_preprocessing",),
            "head": ("head",),
            "imported": ("ImportedModel", "import_graph"),
            "loading": ("load_model",),
            "model": ("PortedModel",),
            "padding": ("SamePad2d",),
            "resnet": ("ResNet", "create_resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            "saving": ("save_converted", "save_keras"),
            "stages": ("stage",),
            "stem": ("stem",),
        },
    )

__all__ = [
    "BatchNorm2d",
    "ImportedModel",
    "PortedModel",
    "ResNet",
    "ResidualBlock",
    "SamePad2d",
    "basic_conv_block",
    "basic_identity_block",
    "conv_block",
    "create_resnet",
    "fold_preprocessing",
    "head",
    "identity_block",
    "import_graph",
    "load_model",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "save_converted",
    "save_keras",
    "stage",
    "stem",
    "synchronize_batch_norms",
]
