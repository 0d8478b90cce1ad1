"""Which PyTorch module computes each Keras layer class: the other half of `weight_transfer.layer_types`.

One row per class: what builds its module from the settings, and what reads the settings off the live module again.
"""

from collections.abc import Mapping

from resnet_torch.layers.activations import ACTIVATION_LAYERS
from resnet_torch.layers.augmentations import AUGMENTATION_LAYERS
from resnet_torch.layers.convolutions import CONVOLUTION_LAYERS
from resnet_torch.layers.dense import DENSE_LAYERS
from resnet_torch.layers.dropout_and_noise import REGULARIZING_LAYERS
from resnet_torch.layers.layer_module import Builder, Inputs, LayerModule, Reader, Readers
from resnet_torch.layers.merges import MERGE_LAYERS
from resnet_torch.layers.normalizations import NORMALIZATION_LAYERS
from resnet_torch.layers.operations import OPERATION_LAYERS
from resnet_torch.layers.poolings import POOLING_LAYERS
from resnet_torch.layers.prelu import PRELU_LAYERS
from resnet_torch.layers.preprocessing_layers import PREPROCESSING_LAYERS
from resnet_torch.layers.shapes import SHAPE_LAYERS

LAYER_MODULES: Mapping[str, LayerModule] = {
    **ACTIVATION_LAYERS,
    **AUGMENTATION_LAYERS,
    **CONVOLUTION_LAYERS,
    **DENSE_LAYERS,
    **MERGE_LAYERS,
    **NORMALIZATION_LAYERS,
    **OPERATION_LAYERS,
    **POOLING_LAYERS,
    **PREPROCESSING_LAYERS,
    **PRELU_LAYERS,
    **REGULARIZING_LAYERS,
    **SHAPE_LAYERS,
}

__all__ = ["LAYER_MODULES", "Builder", "Inputs", "LayerModule", "Reader", "Readers"]
