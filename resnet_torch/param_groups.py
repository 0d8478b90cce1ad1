"""Parameter groups for an optimizer: smaller steps near the image, and no decay of biases and norms."""

from __future__ import annotations

from typing import Any

from torch import nn

from resnet_torch.model import PortedModel
from weight_transfer.feature_maps import feature_maps


def parameter_groups(
    model: PortedModel, lr: float, *, weight_decay: float = 0.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Returns the parameters that learn, in groups that any optimizer of PyTorch takes, as `resnet_torch.optimizers`.

    The network's parts are those between the last feature maps of each size: of a `ResNet` the stem, each stage and the
    head. The last part learns with ``lr``, the one before it with ``lr * layer_decay``, and so on.

    Args:
        model: What `load_model` gives, or a network made here.
        lr: The learning rate of the last part.
        weight_decay: Of kernels; biases and the vectors of norms are not decayed.
        layer_decay: What the learning rate is multiplied by from one part to the one before it; 1 for one rate.

    Returns:
        Groups of ``params``, ``lr`` and ``weight_decay``, from the image on; of each part first the decayed.

    Raises:
        ArchitectureError: It is not clear which value of the network is its last feature map, and ``layer_decay`` is
            not 1.

    Example:
        >>> from resnet_torch import resnet18
        >>> groups = parameter_groups(resnet18(10), 0.1, weight_decay=1e-4, layer_decay=0.5)
        >>> [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups[-2:]]
        [(1, 0.1, 0.0001), (1, 0.1, 0.0)]
    """
    groups: list[dict[str, Any]] = []
    parts = [list(model.parameters())] if layer_decay == 1.0 else _parts(model)
    for before_last, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
        learning = [parameter for parameter in part if parameter.requires_grad]
        kernels = [parameter for parameter in learning if parameter.ndim > 1]
        vectors = [parameter for parameter in learning if parameter.ndim <= 1]
        groups += [
            {"params": params, "lr": lr * layer_decay**before_last, "weight_decay": decay}
            for params, decay in ((kernels, weight_decay), (vectors, 0.0))
            if params
        ]
    return groups


def _parts(model: PortedModel) -> list[list[nn.Parameter]]:
    """The parameters in front of each feature map, then those behind the last; each once, where it is read first."""
    graph = model.network
    maps = feature_maps(graph)
    parts: list[list[nn.Parameter]] = [[]]
    placed: set[str] = set()
    for call in graph.calls:
        if call.layer not in placed:
            parts[-1] += [p for path in graph.modules[call.layer] for p in model.get_submodule(path).parameters()]
        placed.add(call.layer)
        if call.value in maps:
            parts.append([])
    return parts
