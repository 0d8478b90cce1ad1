"""The whole network, and its named depths."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from resnet_torch.batch_norm import BatchNorm2d
from resnet_torch.head import head as make_head
from resnet_torch.imported import ImportedModel, import_graph
from resnet_torch.inference import cast_inputs
from resnet_torch.model import Outputs, PortedModel
from resnet_torch.stages import stage as make_stage
from resnet_torch.stem import stem as make_stem
from weight_transfer.architecture import Architecture, Head
from weight_transfer.description import MovingVariance
from weight_transfer.errors import ArchitectureError
from weight_transfer.graph import Graph
from weight_transfer.resnet.dialects import design as draw
from weight_transfer.resnet.dialects import head_for
from weight_transfer.resnet.layout import with_own_head
from weight_transfer.resnet.recipe import resnet_graph

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
        logits: Tensor = self.head(self.stages(self.stem(x)))
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
    **design: Any,
) -> ResNet:
    """Builds a ResNet; without further arguments the tutorial's ResNet-50.

    Args:
        in_shape: (H, W, C) of an image as in Keras, though the model takes (N, C, H, W); H and W may be None.
        n_classes: Classes of the classifier; None ends with the feature map.
        depth: 18, 34, 50, 101 or 152.
        dialect: Names and conventions, a key of `weight_transfer.DIALECTS`.
        head: What follows the last stage, in place of the dialect's head for ``n_classes``.
        moving_variance: Which Keras batch norm learns like: ``keras3`` or ``tf_keras``.
        **design: Further arguments of `weight_transfer.design`: ``block``, ``block_counts``,
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
    return ResNet(draw(depth, dialect=dialect, in_shape=in_shape, head=head, **design), moving_variance)


def resnet18(**arguments: Any) -> ResNet:
    """`create_resnet` with 18 layers in basic blocks."""
    return create_resnet(depth=18, **arguments)


def resnet34(**arguments: Any) -> ResNet:
    """`create_resnet` with 34 layers in basic blocks."""
    return create_resnet(depth=34, **arguments)


def resnet50(**arguments: Any) -> ResNet:
    """`create_resnet` with 50 layers in bottlenecks."""
    return create_resnet(depth=50, **arguments)


def resnet101(**arguments: Any) -> ResNet:
    """`create_resnet` with 101 layers in bottlenecks."""
    return create_resnet(depth=101, **arguments)


def resnet152(**arguments: Any) -> ResNet:
    """`create_resnet` with 152 layers in bottlenecks."""
    return create_resnet(depth=152, **arguments)
