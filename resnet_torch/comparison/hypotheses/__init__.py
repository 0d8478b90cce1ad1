"""What recognises the mistakes of ports: each yields what one layer alone would give without a mistake.

`resnet_torch.comparison.mistakes` says of which mistake each is.
"""

from resnet_torch.comparison.hypotheses.divergence import Change, Divergence, Hypothesis
from resnet_torch.comparison.hypotheses.normalization import (
    epsilon_hypotheses,
    mixed_up_hypotheses,
    mode_hypotheses,
    statistics_hypotheses,
)
from resnet_torch.comparison.hypotheses.operations import (
    activation_hypotheses,
    added_activation_hypotheses,
    clipped_hypotheses,
    input_hypotheses,
    last_activation_hypotheses,
    merge_hypotheses,
    pad_hypotheses,
    pool_hypotheses,
    pool_window_hypotheses,
    sum_hypotheses,
)
from resnet_torch.comparison.hypotheses.weights import (
    bias_hypotheses,
    file_hypotheses,
    flatten_hypotheses,
    frozen_parameter,
    kernel_hypotheses,
    partner_hypotheses,
    transposed_input_hypotheses,
    window_hypotheses,
)

__all__ = [
    "Change",
    "Divergence",
    "Hypothesis",
    "activation_hypotheses",
    "added_activation_hypotheses",
    "bias_hypotheses",
    "clipped_hypotheses",
    "epsilon_hypotheses",
    "file_hypotheses",
    "flatten_hypotheses",
    "frozen_parameter",
    "input_hypotheses",
    "kernel_hypotheses",
    "last_activation_hypotheses",
    "merge_hypotheses",
    "mixed_up_hypotheses",
    "mode_hypotheses",
    "pad_hypotheses",
    "partner_hypotheses",
    "pool_hypotheses",
    "pool_window_hypotheses",
    "statistics_hypotheses",
    "sum_hypotheses",
    "transposed_input_hypotheses",
    "window_hypotheses",
]
