"""Which PyTorch module computes each Keras layer class: the other half of `weight_transfer.layer_types`.

A builder takes the settings of its row, the arrays' shapes in PyTorch's layout by their PyTorch
names, and the input shapes in Keras's layout; it returns a module with parameters of those names
and shapes. Modules take and give tensors whose channels come first.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from resnet_torch.layers.activations import ACTIVATION_BUILDERS
from resnet_torch.layers.augmentations import AUGMENTATION_BUILDERS
from resnet_torch.layers.convolutions import CONVOLUTION_BUILDERS
from resnet_torch.layers.dense import DENSE_BUILDERS
from resnet_torch.layers.merges import MERGE_BUILDERS
from resnet_torch.layers.normalizations import NORMALIZATION_BUILDERS
from resnet_torch.layers.operations import OPERATION_BUILDERS
from resnet_torch.layers.poolings import POOLING_BUILDERS
from resnet_torch.layers.prelu import PRELU_BUILDERS
from resnet_torch.layers.preprocessing_layers import PREPROCESSING_BUILDERS
from resnet_torch.layers.regularizing import REGULARIZING_BUILDERS
from resnet_torch.layers.shapes import SHAPE_BUILDERS
from weight_transfer.layer_types import Settings, Shape

Builder = Callable[[Settings, Mapping[str, tuple[int, ...]], Sequence[Shape]], nn.Module]

BUILDERS: Mapping[str, Builder] = {
    **ACTIVATION_BUILDERS,
    **AUGMENTATION_BUILDERS,
    **CONVOLUTION_BUILDERS,
    **DENSE_BUILDERS,
    **MERGE_BUILDERS,
    **NORMALIZATION_BUILDERS,
    **OPERATION_BUILDERS,
    **POOLING_BUILDERS,
    **PREPROCESSING_BUILDERS,
    **PRELU_BUILDERS,
    **REGULARIZING_BUILDERS,
    **SHAPE_BUILDERS,
}

__all__ = ["BUILDERS", "Builder"]
