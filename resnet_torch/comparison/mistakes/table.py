"""The table of mistakes: what, where, how, and what an explanation should say."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from resnet_torch.comparison.mistakes import plants, sites
from resnet_torch.comparison.mistakes.plants import Plant
from resnet_torch.comparison.mistakes.sites import AVERAGE_POOLS, GLOBAL_AVERAGES, MAX_POOLS, Site, Sites
from resnet_torch.comparison.subject import CONVOLUTIONS, Subject, subject_of
from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.layers.poolings import GlobalPool, SamePool


@dataclass(frozen=True)
class Mistake:
    """One kind.

    Attributes:
        title: In words.
        cause: Key of `CAUSES`: what an explanation should say.
        sites: Where in a port it can be planted, in the order of execution.
        plant: Plants it in a copy of the port; returns the subject to compare.
    """

    title: str
    cause: str
    sites: Sites
    plant: Plant


def planted(subject: Subject, mistake: Mistake, site: Site) -> Subject:
    """Returns a copy of a port with a mistake in it."""
    model: Any = copy.deepcopy(subject.model)
    return mistake.plant(subject_of(model), site)


def chosen_sites(subject: Subject, mistake: Mistake) -> list[Site]:
    """An early, a middle and a late site; fewer where there are fewer."""
    found = list(mistake.sites(subject))
    return list(dict.fromkeys(found[index] for index in (0, len(found) // 2, len(found) - 1))) if found else []


def _differs_reshaped(module: Any) -> bool:
    """Whether a reshaped kernel is another one, and not merely one whose inputs and outputs are swapped."""
    if module.weight.shape[0] == module.weight.shape[1] and module.weight[0, 0].numel() == 1:
        return False
    return sites.changes("weight", plants.reshaped)(module)


NORM = sites.modules(BATCH_NORMS)
AFFINE_NORM = sites.modules(BATCH_NORMS, where=sites.is_affine)
PADDING_CONV = sites.modules(*CONVOLUTIONS, where=sites.pads)
WEIGHTED = sites.modules(*CONVOLUTIONS, nn.Linear)
RELU = sites.modules(nn.ReLU)

MISTAKES: Mapping[str, Mistake] = {
    "epsilon slip": Mistake(
        "epsilon off by a thousandth: 1e-5 for 1.001e-5",
        "epsilon",
        NORM,
        plants.attribute("eps", lambda norm: norm.eps / 1.001),
    ),
    "epsilon": Mistake(
        "epsilon 1e-3 for 1.001e-5, or the other way round",
        "epsilon",
        NORM,
        plants.attribute("eps", plants.other_epsilon),
    ),
    "gamma and beta": Mistake(
        "gamma and beta swapped", "gamma and beta", AFFINE_NORM, plants.swapped("weight", "bias")
    ),
    "mean and variance": Mistake(
        "moving mean and variance swapped", "mean and variance", NORM, plants.swapped("running_mean", "running_var")
    ),
    "deviation squared": Mistake(
        "variance taken for a standard deviation, and squared",
        "deviation",
        sites.modules(BATCH_NORMS, where=sites.changes("running_var", torch.square)),
        plants.tensor("running_var", torch.square),
    ),
    "deviation rooted": Mistake(
        "square root of a variance",
        "deviation",
        sites.modules(BATCH_NORMS, where=sites.changes("running_var", torch.sqrt)),
        plants.tensor("running_var", torch.sqrt),
    ),
    "norm of another layer": Mistake(
        "batch norm of another layer of the same shape",
        "partner",
        sites.with_partner(BATCH_NORMS),
        plants.swapped_with_partner(),
    ),
    "mean of another layer": Mistake(
        "moving mean of another layer of the same shape",
        "partner",
        sites.with_partner(BATCH_NORMS),
        plants.swapped_with_partner("running_mean"),
    ),
    "gamma lost": Mistake(
        "gamma left at one",
        "weights",
        sites.modules(BATCH_NORMS, where=sites.changes("weight", torch.ones_like)),
        plants.tensor("weight", torch.ones_like),
    ),
    "training mode": Mistake(
        "batch norm in training mode at inference", "training mode", NORM, plants.changed(plants.AlwaysTraining)
    ),
    "kernel transposed": Mistake(
        "kernel's height and width swapped",
        "kernel transposed",
        sites.modules(*CONVOLUTIONS, where=sites.has_square_window),
        plants.tensor("weight", lambda w: w.transpose(2, 3)),
    ),
    "kernel flipped": Mistake(
        "kernel in Theano's order, turned by 180 degrees",
        "kernel flipped",
        sites.modules(*CONVOLUTIONS, where=sites.is_wide),
        plants.tensor("weight", lambda w: w.flip(tuple(range(2, w.ndim)))),
    ),
    "kernel channels": Mistake(
        "kernel's inputs and outputs swapped",
        "kernel channels",
        sites.modules(*CONVOLUTIONS, nn.Linear, where=sites.is_square),
        plants.tensor("weight", lambda w: w.transpose(0, 1)),
    ),
    "kernel reshaped": Mistake(
        "kernel reshaped, not transposed",
        "kernel reshaped",
        sites.modules(*CONVOLUTIONS, nn.Linear, where=_differs_reshaped),
        plants.tensor("weight", plants.reshaped),
    ),
    "bias dropped": Mistake(
        "bias dropped",
        "bias",
        sites.modules(*CONVOLUTIONS, nn.Linear, where=sites.has_bias),
        plants.tensor("bias", torch.zeros_like),
    ),
    "kernel of another layer": Mistake(
        "kernel of another layer of the same shape",
        "partner",
        sites.with_partner(*CONVOLUTIONS, nn.Linear),
        plants.swapped_with_partner("weight"),
    ),
    "filter lost": Mistake(
        "one filter of a kernel zero", "weights", WEIGHTED, plants.tensor("weight", plants.without_a_filter)
    ),
    "half precision": Mistake(
        "kernel rounded to float16",
        "weights",
        sites.modules(*CONVOLUTIONS, nn.Linear, where=sites.changes("weight", plants.rounded_to_half)),
        plants.tensor("weight", plants.rounded_to_half),
    ),
    "classes out of order": Mistake(
        "outputs of a layer rolled by one", "weights", WEIGHTED, plants.tensor("weight", lambda w: w.roll(1, 0))
    ),
    "stride": Mistake("stride on the next convolution", "stride", sites.strided, plants.stride_moved),
    "padding": Mistake("padding on one side only", "padding", PADDING_CONV, plants.changed(plants.OneSided)),
    "dilation": Mistake("dilation twice as large", "dilation", PADDING_CONV, plants.changed(plants.dilate)),
    "input channels": Mistake(
        "BGR for RGB", "input channels", sites.first_convolution, plants.tensor("weight", lambda w: w.flip(1))
    ),
    "input scale": Mistake(
        "input in 0..255 for 0..1, or the other way round",
        "input scale",
        sites.first_convolution,
        plants.tensor("weight", lambda w: w / 255),
    ),
    "preprocessing": Mistake(
        "another preprocessing of images", "preprocessing", sites.whole, plants.preprocessed_otherwise
    ),
    "activation missing": Mistake("activation missing", "activation", RELU, plants.changed(lambda relu: nn.Identity())),
    "activation other": Mistake(
        "leaky ReLU for ReLU", "activation", RELU, plants.changed(lambda relu: nn.LeakyReLU(0.01))
    ),
    "activation added": Mistake(
        "ReLU behind a convolution that has none",
        "activation",
        sites.last_of_layer(*CONVOLUTIONS),
        plants.changed(lambda convolution: nn.Sequential(convolution, nn.ReLU())),
    ),
    "softmax twice": Mistake(
        "softmax or sigmoid applied twice", "last activation", sites.endings, plants.finished_twice
    ),
    "flatten order": Mistake(
        "channels flattened first",
        "flatten order",
        sites.flattened_maps,
        plants.changed(lambda flatten: nn.Flatten()),
    ),
    "pooling": Mistake(
        "maximum for average, or average for maximum",
        "pooling",
        sites.modules(*MAX_POOLS, *AVERAGE_POOLS, *GLOBAL_AVERAGES, GlobalPool, SamePool, where=sites.pools_many),
        plants.changed(plants.pool_otherwise),
    ),
    "shortcut": Mistake("shortcut of a block lost", "shortcut", sites.blocks, plants.changed(plants.lose_shortcut)),
    "momentum": Mistake(
        "momentum 0.99 for 0.01", "momentum", NORM, plants.attribute("momentum", lambda norm: 1 - norm.momentum)
    ),
    "moving variance": Mistake(
        "unbiased moving variance for the biased one",
        "moving variance",
        sites.modules(BATCH_NORMS, where=sites.is_fused),
        plants.attribute("moving_variance", lambda norm: "tf_keras"),
    ),
    "frozen norm": Mistake(
        "batch norm frozen while the rest trains",
        "training mode",
        NORM,
        plants.attribute("frozen", lambda norm: True),
    ),
    "frozen kernel": Mistake("a kernel that does not learn", "frozen", WEIGHTED, plants.changed(plants.freeze_weight)),
}
