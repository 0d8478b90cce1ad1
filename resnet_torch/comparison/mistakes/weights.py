"""Mistakes with kernels, biases, windows, and arrays of any layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from resnet_torch.comparison.hypotheses import (
    bias_hypotheses,
    file_hypotheses,
    frozen_parameter,
    kernel_hypotheses,
    pad_hypotheses,
    partner_hypotheses,
    pool_hypotheses,
    statistics_hypotheses,
    transposed_input_hypotheses,
    window_hypotheses,
)
from resnet_torch.comparison.mistakes import plants, sites
from resnet_torch.comparison.mistakes.mistake import Kind, Mistake
from resnet_torch.comparison.subject import CONVOLUTIONS
from resnet_torch.conv_norm import BATCH_NORMS


def _differs_reshaped(module: Any) -> bool:
    """Whether a reshaped kernel is another one, and not merely one whose inputs and outputs are swapped."""
    if module.weight.shape[0] == module.weight.shape[1] and module.weight[0, 0].numel() == 1:
        return False
    return sites.changes("weight", plants.reshaped)(module)


PADDING_CONV = sites.modules(*CONVOLUTIONS, where=sites.pads)
WEIGHTED = sites.modules(*CONVOLUTIONS, nn.Linear)
BIASED = sites.modules(*CONVOLUTIONS, nn.Linear, where=sites.has_bias)

KERNELS: Mapping[str, Mistake] = {
    "kernel transposed": Mistake(
        {
            "kernel transposed": Kind(
                "kernel's height and width swapped",
                sites.modules(*CONVOLUTIONS, where=sites.has_square_window),
                plants.tensor("weight", lambda w: w.transpose(2, 3)),
            )
        },
        hypotheses=(transposed_input_hypotheses, kernel_hypotheses),
    ),
    "kernel flipped": Mistake(
        {
            "kernel flipped": Kind(
                "kernel in Theano's order, turned by 180 degrees",
                sites.modules(*CONVOLUTIONS, where=sites.is_wide),
                plants.tensor("weight", lambda w: w.flip(tuple(range(2, w.ndim)))),
            ),
            "kernel mirrored": Kind(
                "kernel mirrored left to right",
                sites.modules(*CONVOLUTIONS, where=sites.is_wide_on_many_axes),
                plants.tensor("weight", lambda w: w.flip(-1)),
            ),
        },
        hypotheses=(kernel_hypotheses,),
    ),
    "kernel channels": Mistake(
        {
            "kernel channels": Kind(
                "kernel's inputs and outputs swapped",
                sites.modules(*CONVOLUTIONS, nn.Linear, where=sites.is_square),
                plants.tensor("weight", lambda w: w.transpose(0, 1)),
            )
        },
        hypotheses=(kernel_hypotheses,),
    ),
    "kernel reshaped": Mistake(
        {
            "kernel reshaped": Kind(
                "kernel reshaped, not transposed",
                sites.modules(*CONVOLUTIONS, nn.Linear, where=_differs_reshaped),
                plants.tensor("weight", plants.reshaped),
            )
        },
        hypotheses=(kernel_hypotheses,),
    ),
}
WINDOWS: Mapping[str, Mistake] = {
    "padding": Mistake(
        {
            "padding": Kind("padding on one side only", PADDING_CONV, plants.changed(plants.OneSided)),
            "padding lost": Kind(
                "no padding",
                sites.fitting(PADDING_CONV, plants.reach),
                plants.attribute("padding", plants.no_padding),
                left_out="a kernel larger than the map cannot do without",
            ),
            "padding repeated": Kind(
                "edges repeated in place of zeros",
                PADDING_CONV,
                plants.attribute("padding_mode", lambda convolution: "replicate"),
            ),
            "zeros moved": Kind(
                "zeros of a ZeroPadding one place further to the front",
                sites.modules(*plants.ZERO_PADS),
                plants.changed(plants.pad_one_further),
            ),
        },
        hypotheses=(window_hypotheses, pad_hypotheses, pool_hypotheses),
    ),
    "dilation": Mistake(
        {"dilation": Kind("dilation twice as large", PADDING_CONV, plants.changed(plants.dilate))},
        hypotheses=(window_hypotheses,),
    ),
    "stride": Mistake(
        {"stride": Kind("stride on the next convolution", sites.strided, plants.stride_moved)},
        hypotheses=(window_hypotheses,),
    ),
}
ARRAYS: Mapping[str, Mistake] = {
    "bias": Mistake(
        {
            "bias dropped": Kind("bias dropped", BIASED, plants.tensor("bias", torch.zeros_like)),
            "bias twice": Kind("bias added twice", BIASED, plants.tensor("bias", lambda b: 2 * b)),
            "bias negated": Kind("bias subtracted", BIASED, plants.tensor("bias", torch.neg)),
        },
        hypotheses=(bias_hypotheses, file_hypotheses),
    ),
    "partner": Mistake(
        {
            "norm of another layer": Kind(
                "batch norm of another layer of the same shape",
                sites.with_partner(BATCH_NORMS),
                plants.swapped_with_partner(),
            ),
            "mean of another layer": Kind(
                "moving mean of another layer of the same shape",
                sites.with_partner(BATCH_NORMS),
                plants.swapped_with_partner("running_mean"),
            ),
            "kernel of another layer": Kind(
                "kernel of another layer of the same shape",
                sites.with_partner(*CONVOLUTIONS, nn.Linear),
                plants.swapped_with_partner("weight"),
            ),
            "layers swapped": Kind(
                "two layers of the same shape swapped, as Keras's counted names are",
                sites.with_partner(*CONVOLUTIONS, nn.Linear),
                plants.swapped_with_partner(),
            ),
        },
        hypotheses=(partner_hypotheses, file_hypotheses),
    ),
    "weights": Mistake(
        {
            "gamma lost": Kind(
                "gamma left at one",
                sites.modules(BATCH_NORMS, where=sites.changes("weight", torch.ones_like)),
                plants.tensor("weight", torch.ones_like),
            ),
            "beta lost": Kind(
                "beta left at zero",
                sites.modules(BATCH_NORMS, where=sites.changes("bias", torch.zeros_like)),
                plants.tensor("bias", torch.zeros_like),
            ),
            "mean lost": Kind(
                "moving mean left at zero",
                sites.modules(BATCH_NORMS, where=sites.changes("running_mean", torch.zeros_like)),
                plants.tensor("running_mean", torch.zeros_like),
            ),
            "variance lost": Kind(
                "moving variance left at one",
                sites.modules(BATCH_NORMS, where=sites.changes("running_var", torch.ones_like)),
                plants.tensor("running_var", torch.ones_like),
            ),
            "filter lost": Kind(
                "one filter of a kernel zero", WEIGHTED, plants.tensor("weight", plants.without_a_filter)
            ),
            "one weight": Kind("one weight of a kernel off", WEIGHTED, plants.tensor("weight", plants.with_one_off)),
            "half precision": Kind(
                "kernel rounded to float16",
                sites.modules(*CONVOLUTIONS, nn.Linear, where=sites.changes("weight", plants.rounded_to_half)),
                plants.tensor("weight", plants.rounded_to_half),
            ),
            "statistics in half precision": Kind(
                "moving variance rounded to float16",
                sites.modules(BATCH_NORMS, where=sites.changes("running_var", plants.rounded_to_half)),
                plants.tensor("running_var", plants.rounded_to_half),
            ),
            "classes out of order": Kind(
                "outputs of a layer rolled by one", WEIGHTED, plants.tensor("weight", lambda w: w.roll(1, 0))
            ),
        },
        hypotheses=(file_hypotheses,),
    ),
    "frozen": Mistake(
        {
            "frozen kernel": Kind("a kernel that does not learn", WEIGHTED, plants.changed(plants.freeze("weight"))),
            "frozen bias": Kind("a bias that does not learn", BIASED, plants.changed(plants.freeze("bias"))),
            "frozen gamma": Kind(
                "a gamma that does not learn",
                sites.modules(BATCH_NORMS, where=sites.is_affine),
                plants.changed(plants.freeze("weight")),
            ),
        },
        statistics=(statistics_hypotheses,),
        gradients=(frozen_parameter,),
    ),
}
