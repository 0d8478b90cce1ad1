"""Mistakes with the input, activations, pools, flattens and merges: with what has no arrays."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from resnet_torch.comparison.hypotheses import (
    activation_hypotheses,
    added_activation_hypotheses,
    clipped_hypotheses,
    flatten_hypotheses,
    input_hypotheses,
    last_activation_hypotheses,
    merge_hypotheses,
    pool_hypotheses,
    pool_window_hypotheses,
    sum_hypotheses,
)
from resnet_torch.comparison.mistakes import plants, sites
from resnet_torch.comparison.mistakes.mistake import Kind, Mistake
from resnet_torch.comparison.mistakes.sites import AVERAGE_POOLS, GLOBAL_AVERAGES, MAX_POOLS
from resnet_torch.comparison.subject import CONVOLUTIONS
from resnet_torch.layers.merges import Merge
from resnet_torch.layers.poolings import GlobalPool, SamePool

POOLS = (*MAX_POOLS, *AVERAGE_POOLS, SamePool)
RELU = sites.reading_negatives(sites.modules(nn.ReLU))
BEHIND_POSITIVES = "a ReLU behind what is never negative changes nothing"

INPUTS: Mapping[str, Mistake] = {
    "input channels": Mistake(
        {"input channels": Kind("BGR for RGB", sites.first_convolution, plants.tensor("weight", lambda w: w.flip(1)))},
        hypotheses=(input_hypotheses,),
    ),
    "preprocessing": Mistake(
        {"preprocessing": Kind("another preprocessing of images", sites.whole, plants.preprocessed_otherwise)},
        hypotheses=(input_hypotheses,),
    ),
    "input scale": Mistake(
        {
            "input scale": Kind(
                "input in 0..255 for 0..1, or the other way round",
                sites.first_convolution,
                plants.tensor("weight", lambda w: w / 255),
            )
        },
        hypotheses=(input_hypotheses,),
    ),
}
POOLING: Mapping[str, Mistake] = {
    "pooling": Mistake(
        {
            "pooling": Kind(
                "maximum for average, or average for maximum",
                sites.modules(*POOLS, *GLOBAL_AVERAGES, GlobalPool, where=sites.pools_many),
                plants.changed(plants.pool_otherwise),
            ),
            "pool of zeros": Kind(
                "zeros of a pool's padding taken for numbers",
                sites.padding_pools,
                plants.changed(plants.ZeroPadded),
                left_out="a maximum behind what is never negative is the same with zeros; "
                "of a fixed size that the windows fit, nothing is padded",
            ),
            "pool window": Kind(
                "window of a pool one larger",
                sites.fitting(sites.modules(*POOLS, where=sites.pools_many), plants.widened),
                plants.changed(plants.widen_pool),
                left_out="a pool of the whole map has no larger window",
            ),
        },
        hypotheses=(pool_hypotheses, pool_window_hypotheses),
    ),
}
PASSING: Mapping[str, Mistake] = {
    "flatten order": Mistake(
        {
            "flatten order": Kind(
                "channels flattened first", sites.flattened_maps, plants.changed(lambda flatten: nn.Flatten())
            ),
            "dense order": Kind(
                "kernel of a Dense in the order of channels flattened first",
                sites.dense_behind_flatten,
                plants.flattened_otherwise,
            ),
        },
        hypotheses=(flatten_hypotheses,),
    ),
    "last activation": Mistake(
        {
            "softmax twice": Kind("softmax or sigmoid applied twice", sites.endings, plants.finished_twice),
            "softmax lost": Kind("no softmax or sigmoid at the end", sites.endings, plants.finished_by(None)),
            "softmax other": Kind(
                "sigmoid for softmax, or softmax for sigmoid", sites.endings, plants.finished_by("the other")
            ),
        },
        hypotheses=(last_activation_hypotheses,),
    ),
    "activation": Mistake(
        {
            "activation missing": Kind(
                "activation missing", RELU, plants.changed(lambda relu: nn.Identity()), left_out=BEHIND_POSITIVES
            ),
            "activation other": Kind(
                "leaky ReLU for ReLU", RELU, plants.changed(lambda relu: nn.LeakyReLU(0.01)), left_out=BEHIND_POSITIVES
            ),
            "activation clipped": Kind(
                "ReLU6 for ReLU", sites.modules(nn.ReLU), plants.changed(lambda relu: nn.ReLU6())
            ),
            "activation smooth": Kind(
                "ELU for ReLU", RELU, plants.changed(lambda relu: nn.ELU()), left_out=BEHIND_POSITIVES
            ),
            "activation of one channel": Kind(
                "activation missing on one channel",
                RELU,
                plants.changed(plants.AllButOne),
                left_out=BEHIND_POSITIVES,
            ),
            "activation added": Kind(
                "ReLU behind a convolution that has none",
                sites.last_of_layer(*CONVOLUTIONS),
                plants.changed(lambda convolution: nn.Sequential(convolution, nn.ReLU())),
            ),
            "slope": Kind(
                "another slope of a leaky ReLU",
                sites.reading_negatives(sites.sloped),
                plants.changed(plants.with_other_slope),
                left_out="its slope acts on nothing behind what is never negative",
            ),
            "threshold": Kind(
                "threshold of a ReLU lost",
                sites.clipped("threshold"),
                plants.changed(plants.without("threshold", 0.0)),
            ),
            "largest value": Kind(
                "largest value of a ReLU lost",
                sites.clipped("max_value"),
                plants.changed(plants.without("max_value", None)),
            ),
        },
        hypotheses=(added_activation_hypotheses, activation_hypotheses, clipped_hypotheses),
    ),
    "merge": Mistake(
        {
            "merge": Kind(
                "average for a sum",
                sites.modules(Merge, where=lambda merge: merge.operation == "add"),
                plants.attribute("operation", lambda merge: "average"),
            ),
            "merge order": Kind(
                "inputs of a merging layer in the other order",
                sites.ordered_merges,
                plants.changed(plants.Reversed),
                left_out="a sum, a product, a mean and an extremum have no order",
            ),
        },
        hypotheses=(merge_hypotheses,),
    ),
    "shortcut": Mistake(
        {"shortcut": Kind("shortcut of a block lost", sites.blocks, plants.changed(plants.lose_shortcut))},
        hypotheses=(sum_hypotheses,),
    ),
}
