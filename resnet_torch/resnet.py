"""The whole network, and its named depths."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.head import head as make_head
from resnet_torch.imported import ImportedModel, import_graph
from resnet_torch.inference import cast_inputs
from resnet_torch.model import FeatureInfo, Outputs, PortedModel
from resnet_torch.stages import stage as make_stage
from resnet_torch.stem import stem as make_stem
from weight_transfer.architecture import Architecture, Head
from weight_transfer.description import MovingVariance
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph
from weight_transfer.resnet.dialects import IMAGENET_CLASSES, ResNetOptions, design, head_for, published_resnet
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "linear": lambda logits: logits,
}


class ResNet(
    PortedModel, pipeline_tag="image-classification", tags=["resnet"], paper_url="https://arxiv.org/abs/1512.03385"
):
    """A residual network: stem, stages, head.

    The modules carry the Keras layers' names, so that the state dict reads
    ``stages.stage2.a.residual.res2a_branch2a.weight``.

    Args:
        architecture: What to build.
        moving_variance: Which Keras batch norm learns like: ``keras3`` or ``tf_keras``. Matters
            in training alone.
        own_head: A head imported from a file's graph, in place of the architecture's.

    Attributes:
        architecture: What was built.
        own_head: The head's graph, where it is an imported one.
        moving_variance: The rule of every batch norm.

    Raises:
        ArchitectureError: No such network exists.

    Example:
        >>> from weight_transfer.resnet.dialects import design
        >>> model = ResNet(design(18, in_shape=(32, 32, 3)))
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        architecture: Architecture,
        moving_variance: MovingVariance = "keras3",
        own_head: Graph | None = None,
    ) -> None:
        super().__init__()
        if moving_variance not in get_args(MovingVariance):
            raise ArchitectureError(
                f"moving_variance must be one of {get_args(MovingVariance)}. Received: {moving_variance=}"
            )
        resnet_graph(architecture)  # raises where two names are equal or the input is too small, as Keras would
        self.architecture = a = architecture
        self.moving_variance = moving_variance
        self.stem = make_stem(a.in_shape[2], a.stem_filters, a.conventions, a.names)
        self.stages = _stages(a)
        self.own_head = own_head
        self.head = make_head(a.filters[-1][-1], a.head, a.names) if own_head is None else import_graph(own_head)
        for norm in _batch_norms(self):
            norm.moving_variance = moving_variance

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits.

        Args:
            x: Preprocessed images, (N, C, H, W), where Keras has (N, H, W, C).

        Returns:
            (N, classes); without a classifier (N, channels), or without pooling the last feature map.
        """
        logits: Tensor = self.head(self.forward_features(x))
        return logits

    def finished(self, outputs: Tensor) -> Outputs:
        """Returns what `forward` gives with the softmax or sigmoid that it leaves out."""
        if isinstance(self.head, ImportedModel):
            return self.head.finished(outputs)
        head = self.architecture.head
        return outputs if head.classes is None else ACTIVATIONS[head.activation](outputs)

    @property
    def network(self) -> Graph:
        """Its graph, that of the head included where the head is an imported one."""
        return (
            resnet_graph(self.architecture)
            if self.own_head is None
            else with_own_head(self.architecture, self.own_head)
        )

    def features(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # it has one input
        """Returns the feature maps that detectors and segmenters build on.

        Args:
            x: Preprocessed images, (N, C, H, W).

        Returns:
            ``stem`` (N, channels, H / 4, W / 4), ``stage2`` at the same size, then each stage at
            half the size of the one before.
        """
        (x,) = cast_inputs(self, (x,))
        x = self.stem(x)
        maps = {"stem": x}
        for name, stage in self.stages.named_children():
            x = maps[name] = stage(x)
        return maps

    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Returns the names, channels and reductions of what `features` gives."""
        a = self.architecture
        stages = (
            FeatureInfo(name, filters[-1], 4 << position)
            for position, (name, filters) in enumerate(zip(dict(self.stages.named_children()), a.filters, strict=True))
        )
        return (FeatureInfo("stem", a.stem_filters, 4), *stages)

    def forward_features(self, x: Tensor, *more: Tensor) -> Tensor:
        """Returns the feature map of the last stage.

        Args:
            x: Preprocessed images, (N, C, H, W).
            *more: Nothing: a ResNet has one input.
        """
        features: Tensor = self.stages(self.stem(x))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Outputs:
        """Returns the logits of a feature map.

        Args:
            x: What `forward_features` gives.
            pre_logits: Whether to end before the classifier, at the features that it reads.
        """
        if isinstance(self.head, ImportedModel):
            return self.head._run_from({0: x}, pre_logits=pre_logits)
        for name, module in self.head.named_children():
            if pre_logits and name == self.architecture.names.classifier:
                break
            x = module(x)
        return x

    def _parts(self) -> dict[str, list[nn.Module]]:
        parts = {"stem": self.stem, **dict(self.stages.named_children()), "head": self.head}
        return {name: [module] for name, module in parts.items()}

    def _take_network(self, network: Graph, renewed: Collection[str]) -> None:
        if network.own_head is not None and isinstance(self.head, ImportedModel):
            self.own_head = network.own_head
            self.head._take_network(network.own_head, renewed)
        elif network.resnet is not None and self.own_head is None:
            self.architecture = a = network.resnet
            old, weight = self.head, next(self.parameters())
            self.head = make_head(a.filters[-1][-1], a.head, a.names).to(weight.device, weight.dtype)
            self.head.train(self.training)
            for name, module in old.named_children():
                if name not in renewed:
                    setattr(self.head, name, module)
        else:
            raise ArchitectureError(f"a head stays of its kind. Received: {network!r}")


def _stages(a: Architecture) -> nn.Sequential:
    """Returns all stages, named ``stage2`` and so on."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels = a.stem_filters
    for position, stage in enumerate(a.stages):
        strides = (1, 1) if position == 0 else (2, 2)  # the stem's pool has halved already
        stages[f"stage{stage}"] = make_stage(
            in_channels,
            a.middle_kernel_size,
            a.filters[position],
            stage,
            a.block_counts[position],
            strides,
            a.block,
            a.conventions,
            a.names,
        )
        in_channels = a.filters[position][-1]
    return nn.Sequential(stages)


def _batch_norms(module: nn.Module) -> Iterator[BatchNorm2d]:
    return (m for m in module.modules() if isinstance(m, BatchNorm2d))


def create_resnet(
    in_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    n_classes: int | None = 10,
    *,
    depth: int = 50,
    dialect: str = "tutorial",
    head: Head | None = None,
    moving_variance: MovingVariance = "keras3",
    **options: Unpack[ResNetOptions],
) -> ResNet:
    """Builds a ResNet; without further arguments the tutorial's ResNet-50.

    Args:
        in_shape: (H, W, C) of an image as in Keras, though the model takes (N, C, H, W); H and W may be None.
        n_classes: Classes of the classifier; None ends with the feature map.
        depth: 18, 34, 50, 101 or 152.
        dialect: Names and conventions, a key of `weight_transfer.DIALECTS`.
        head: What follows the last stage, in place of the dialect's head for ``n_classes``.
        moving_variance: Which Keras batch norm learns like: ``keras3`` or ``tf_keras``.
        **options: Further arguments of `weight_transfer.design`: ``block``, ``block_counts``,
            ``filters``, ``stem_filters``, ``middle_kernel_size``, and any of the conventions.

    Returns:
        A model, (N, C, H, W) to (N, n_classes) logits.

    Raises:
        ArchitectureError: No such network exists.

    Example:
        >>> create_resnet((97, 225, 1), n_classes=5, depth=18).architecture.depth
        18
    """
    head = head or head_for(dialect, n_classes)
    return ResNet(design(depth, dialect=dialect, in_shape=in_shape, head=head, **options), moving_variance)


def resnet18(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    moving_variance: MovingVariance = "keras3",
    **options: Unpack[ResNetOptions],
) -> ResNet:
    """Builds ResNet-18 by keras.applications' names and conventions; the arguments are those of `resnet50`."""
    return ResNet(published_resnet(18, num_classes, in_chans, input_size, dialect, **options), moving_variance)


def resnet34(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    moving_variance: MovingVariance = "keras3",
    **options: Unpack[ResNetOptions],
) -> ResNet:
    """Builds ResNet-34 by keras.applications' names and conventions; the arguments are those of `resnet50`."""
    return ResNet(published_resnet(34, num_classes, in_chans, input_size, dialect, **options), moving_variance)


def resnet50(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    moving_variance: MovingVariance = "keras3",
    **options: Unpack[ResNetOptions],
) -> ResNet:
    """Builds ResNet-50 anew, as keras.applications publishes it: its layer names, one Linear of 1000 classes.

    Args:
        num_classes: Outputs of the classifier; 0 ends with the pooled features, None with the last feature map.
        in_chans: Channels of an image.
        input_size: (C, H, W) of an image, of which H and W may be None; by default ``in_chans`` x 224 x 224.
        dialect: Names and conventions, a key of `weight_transfer.DIALECTS`.
        moving_variance: Which Keras batch norm learns like: ``keras3`` or ``tf_keras``.
        **options: As for `create_resnet`.

    Returns:
        A model, (N, C, H, W) to (N, num_classes) logits.

    Raises:
        ArchitectureError: No such network exists.

    Example:
        >>> resnet50(10, input_size=(1, 64, 64)).head.predictions
        Linear(in_features=2048, out_features=10, bias=True)
    """
    return ResNet(published_resnet(50, num_classes, in_chans, input_size, dialect, **options), moving_variance)


def resnet101(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    moving_variance: MovingVariance = "keras3",
    **options: Unpack[ResNetOptions],
) -> ResNet:
    """Builds ResNet-101; the arguments are those of `resnet50`."""
    return ResNet(published_resnet(101, num_classes, in_chans, input_size, dialect, **options), moving_variance)


def resnet152(
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    *,
    dialect: str = "keras-applications",
    moving_variance: MovingVariance = "keras3",
    **options: Unpack[ResNetOptions],
) -> ResNet:
    """Builds ResNet-152; the arguments are those of `resnet50`."""
    return ResNet(published_resnet(152, num_classes, in_chans, input_size, dialect, **options), moving_variance)
