"""Dense: `torch.nn.Linear`, along the channels also where they do not come last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from resnet_torch.layers.layer_module import Inputs, LayerModule, TorchShapes
from weight_transfer.layer_types import Settings, Shape


class ChannelLinear(nn.Linear):
    """`torch.nn.Linear` along the channels of (N, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns (N, out_features, ...)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def build_dense(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
    """Builds ``Dense``."""
    out_features, in_features = torch_shapes["weight"]
    linear = nn.Linear if settings["axis"] == len(in_shapes[0]) else ChannelLinear
    return linear(in_features, out_features, bias=settings["use_bias"])


def read_dense(linear: Any, inputs: Inputs) -> Settings:
    """Reads ``Dense``."""
    axis = 1 if isinstance(linear, ChannelLinear) else len(inputs.shapes[0])
    return {"units": linear.weight.shape[0], "axis": axis, "use_bias": linear.bias is not None}


DENSE_LAYERS: Mapping[str, LayerModule] = {
    "Dense": LayerModule(build_dense, dict.fromkeys((nn.Linear, ChannelLinear), read_dense))
}
