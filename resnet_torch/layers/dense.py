"""Dense: `torch.nn.Linear`, along the channels also where they do not come last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from weight_transfer.layer_types import Settings, Shape


class ChannelLinear(nn.Linear):
    """`torch.nn.Linear` along the channels of (N, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns (N, out_features, ...)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def build_dense(
    settings: Settings, torch_shapes: Mapping[str, tuple[int, ...]], in_shapes: Sequence[Shape]
) -> nn.Module:
    """Builds ``Dense``."""
    out_features, in_features = torch_shapes["weight"]
    linear = nn.Linear if settings["axis"] == len(in_shapes[0]) else ChannelLinear
    return linear(in_features, out_features, bias=settings["use_bias"])


DENSE_BUILDERS = {"Dense": build_dense}
