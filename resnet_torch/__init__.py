"""The PyTorch twin: the same blocks, stages, heads and names as `resnet_keras`."""

from weight_transfer import isolation  # noqa: F401  # first, and it acts: the folder may hold a typing.py

# isort: split
from typing import TYPE_CHECKING

from weight_transfer.lazy_names import lazy_names

if TYPE_CHECKING:
    from resnet_torch.batch_norm import BatchNorm2d, synchronize_batch_norms
    from resnet_torch.blocks import ResidualBlock, basic_conv_block, basic_identity_block, conv_block, identity_block
    from resnet_torch.folded_preprocessing import fold_preprocessing
    from resnet_torch.imported import ImportedModel
    from resnet_torch.loading import load_model
    from resnet_torch.model import FeatureExtractor, PortedModel
    from resnet_torch.optimizers import load_optimizer
    from resnet_torch.padding import SamePad2d
    from resnet_torch.param_groups import parameter_groups
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
    from resnet_torch.testing import assert_parity
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "batch_norm": ("BatchNorm2d", "synchronize_batch_norms"),
            "blocks": ("ResidualBlock", "basic_conv_block", "basic_identity_block", "conv_block", "identity_block"),
            "folded_preprocessing": ("fold_preprocessing",),
            "imported": ("ImportedModel",),
            "loading": ("load_model",),
            "model": ("FeatureExtractor", "PortedModel"),
            "optimizers": ("load_optimizer",),
            "padding": ("SamePad2d",),
            "param_groups": ("parameter_groups",),
            "resnet": ("ResNet", "create_resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            "saving": ("save_converted", "save_keras"),
            "testing": ("assert_parity",),
        },
    )

__all__ = [
    "BatchNorm2d",
    "FeatureExtractor",
    "ImportedModel",
    "PortedModel",
    "ResNet",
    "ResidualBlock",
    "SamePad2d",
    "assert_parity",
    "basic_conv_block",
    "basic_identity_block",
    "conv_block",
    "create_resnet",
    "fold_preprocessing",
    "identity_block",
    "load_model",
    "load_optimizer",
    "parameter_groups",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "save_converted",
    "save_keras",
    "synchronize_batch_norms",
]
