"""The table of Keras layers that can be imported: one row per class.

What a row says is framework-free: how a config of any Keras is read into plain settings, the shape
of the output, the arrays and their PyTorch names. `resnet_torch.layers` says, class by class, which
module computes it.
"""

from collections.abc import Mapping

from weight_transfer.layer_types.activations import ACTIVATION_TYPES
from weight_transfer.layer_types.augmentations import AUGMENTATION_TYPES
from weight_transfer.layer_types.convolutions import CONVOLUTION_TYPES
from weight_transfer.layer_types.dense import DENSE_TYPES
from weight_transfer.layer_types.dropout_and_noise import REGULARIZING_TYPES
from weight_transfer.layer_types.layer_type import DataFormat, LayerType, Options, Settings, Shape, Weight
from weight_transfer.layer_types.merges import MERGE_TYPES
from weight_transfer.layer_types.normalizations import NORMALIZATION_TYPES
from weight_transfer.layer_types.operations import OPERATION_TYPES
from weight_transfer.layer_types.poolings import POOLING_TYPES
from weight_transfer.layer_types.prelu import PRELU_TYPES
from weight_transfer.layer_types.preprocessing_layers import PREPROCESSING_TYPES
from weight_transfer.layer_types.shapes import SHAPE_TYPES

LAYER_TYPES: Mapping[str, LayerType] = {
    **ACTIVATION_TYPES,
    **AUGMENTATION_TYPES,
    **CONVOLUTION_TYPES,
    **DENSE_TYPES,
    **MERGE_TYPES,
    **NORMALIZATION_TYPES,
    **OPERATION_TYPES,  # behind the merges, with which Keras 3's operations share class names
    **POOLING_TYPES,
    **PREPROCESSING_TYPES,
    **PRELU_TYPES,
    **REGULARIZING_TYPES,
    **SHAPE_TYPES,
}

# What a file may call an array instead of its role, once no role of the layer bears that name.
ROLE_ALIASES: Mapping[str, str] = {
    "depthwise_kernel": "kernel",  # DepthwiseConv2D before Keras 3
    "W": "kernel",  # this and what follows: Keras 1
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # which it is, in spite of its name
    "alphas": "alpha",
}

__all__ = ["LAYER_TYPES", "ROLE_ALIASES", "DataFormat", "LayerType", "Options", "Settings", "Shape", "Weight"]
