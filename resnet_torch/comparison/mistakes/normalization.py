"""Mistakes with batch norms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from resnet_torch.comparison.hypotheses import (
    epsilon_hypotheses,
    mixed_up_hypotheses,
    mode_hypotheses,
    statistics_hypotheses,
)
from resnet_torch.comparison.mistakes import descriptions, plants, sites
from resnet_torch.comparison.mistakes.mistake import Kind, Mistake
from resnet_torch.conv_norm import BATCH_NORMS

NORM = sites.modules(BATCH_NORMS)
MOVING_NORM = sites.moving(NORM)
STILL = "the statistics of a batch norm whose calls say training=False never move"
AFFINE_NORM = sites.modules(BATCH_NORMS, where=sites.is_affine)

NORMALIZING: Mapping[str, Mistake] = {
    "training mode": Mistake(
        {
            "training mode": Kind(
                "batch norm in training mode at inference", NORM, plants.changed(plants.AlwaysTraining)
            ),
            "frozen norm": Kind(
                "batch norm frozen while the rest trains",
                MOVING_NORM,
                plants.attribute("frozen", lambda norm: True),
                left_out=STILL,
            ),
        },
        hypotheses=(mode_hypotheses,),
    ),
    "epsilon": Mistake(
        {
            "epsilon slip": Kind(
                "epsilon off by a thousandth: 1e-5 for 1.001e-5",
                NORM,
                plants.attribute("eps", lambda norm: norm.eps / 1.001),
            ),
            "epsilon": Kind(
                "epsilon 1e-3 for 1.001e-5, or the other way round", NORM, plants.attribute("eps", plants.other_epsilon)
            ),
            "epsilon lost": Kind("no epsilon", NORM, plants.attribute("eps", lambda norm: 0.0)),
            "epsilon rounded": Kind(
                "epsilon rounded to float16",
                NORM,
                plants.attribute("eps", lambda norm: float(np.float16(norm.eps))),
            ),
        },
        hypotheses=(epsilon_hypotheses,),
    ),
    "gamma and beta": Mistake(
        {"gamma and beta": Kind("gamma and beta swapped", AFFINE_NORM, plants.swapped("weight", "bias"))},
        hypotheses=(mixed_up_hypotheses,),
    ),
    "mean and variance": Mistake(
        {
            "mean and variance": Kind(
                "moving mean and variance swapped", NORM, plants.swapped("running_mean", "running_var")
            )
        },
        hypotheses=(mixed_up_hypotheses,),
    ),
    "deviation": Mistake(
        {
            "deviation squared": Kind(
                "variance taken for a standard deviation, and squared",
                sites.modules(BATCH_NORMS, where=sites.changes("running_var", torch.square)),
                plants.tensor("running_var", torch.square),
            ),
            "deviation rooted": Kind(
                "square root of a variance",
                sites.modules(BATCH_NORMS, where=sites.changes("running_var", torch.sqrt)),
                plants.tensor("running_var", torch.sqrt),
            ),
        },
        hypotheses=(mixed_up_hypotheses,),
    ),
    "momentum": Mistake(
        {
            "momentum": Kind(
                "momentum 0.99 for 0.01",
                MOVING_NORM,
                plants.attribute("momentum", lambda norm: 1 - norm.momentum),
                left_out=STILL,
            ),
            "momentum other": Kind(
                "PyTorch's default momentum for Keras's",
                sites.moving(sites.modules(BATCH_NORMS, where=plants.has_other_momentum)),
                plants.attribute("momentum", lambda norm: plants.TORCH_MOMENTUM),
                left_out=f"{STILL}; Keras's 0.9 is PyTorch's default",
            ),
        },
        statistics=(statistics_hypotheses,),
        fields=frozenset({"momentum"}),
    ),
    "moving variance": Mistake(
        {
            "moving variance": Kind(
                "unbiased moving variance for the biased one",
                sites.moving(sites.modules(BATCH_NORMS, where=sites.is_fused)),
                plants.attribute("moving_variance", lambda norm: "tf_keras"),
                left_out=f"{STILL}; batch norms of vectors have one rule",
            ),
            "moving variance said": Kind(
                "another Keras's rule of the moving variance in the port's file",
                descriptions.of_the_network(descriptions.has_batch_norm),
                descriptions.changed(descriptions.with_other_rule),
                "fields",
            ),
        },
        statistics=(statistics_hypotheses,),
        fields=frozenset({"rule of the moving variances"}),
    ),
    "call order": Mistake(
        {
            "call order": Kind(
                "a shared batch norm called in another order",
                sites.called_twice(BATCH_NORMS),
                plants.called_in_another_order,
                left_out="a call that reads what an earlier one gave has no other order",
            )
        },
    ),
}
