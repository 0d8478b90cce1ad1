"""Known mistakes of ports, each as a hypothesis that can be tried on one layer alone."""

from collections.abc import Callable, Iterator

from resnet_torch.comparison.hypotheses.divergence import Divergence, Hypothesis
from resnet_torch.comparison.hypotheses.normalizing import normalization_hypotheses, statistics_hypotheses
from resnet_torch.comparison.hypotheses.passing import (
    activation_hypotheses,
    added_activation_hypotheses,
    input_hypotheses,
    last_activation_hypotheses,
    pad_hypotheses,
    pool_hypotheses,
    sum_hypotheses,
)
from resnet_torch.comparison.hypotheses.weighting import (
    bias_hypotheses,
    file_hypotheses,
    flatten_hypotheses,
    kernel_hypotheses,
    partner_hypotheses,
    window_hypotheses,
)

# In the order in which they are tried: what says most first.
HYPOTHESES: tuple[Callable[[Divergence], Iterator[Hypothesis]], ...] = (
    input_hypotheses,
    normalization_hypotheses,
    kernel_hypotheses,
    added_activation_hypotheses,
    window_hypotheses,
    pad_hypotheses,
    pool_hypotheses,
    flatten_hypotheses,
    last_activation_hypotheses,
    activation_hypotheses,
    sum_hypotheses,
    bias_hypotheses,
    partner_hypotheses,
    file_hypotheses,
)

__all__ = ["HYPOTHESES", "Divergence", "Hypothesis", "statistics_hypotheses"]
