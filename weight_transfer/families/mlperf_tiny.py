"""ResNet-8 of MLPerf Tiny: the CIFAR example's v1 with one block a stage.

The stem's stage has no projection, so the network is `cifar_example`'s with three blocks of widths
in the ratio 1 : 2 : 4. Its pooling covers whatever is left, 8 x 8 for its images of 32 x 32.

Source: mlcommons/tiny benchmark/training/image_classification/keras_model.py resnet_v1_eembc,
commit 5872274 (any width), and v0.1/benchmarks/image_classification, commit 2f0ce9e (16).
"""

from __future__ import annotations

from collections.abc import Iterator

from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.cifar_example import networks, resnet_v1
from weight_transfer.families.family import Candidate, Family


def _candidates(arrays: Arrays) -> Iterator[Candidate]:
    for network in networks(arrays, 2):
        width = network.stem_filters
        widths = [block.filters for block in network.blocks]
        if widths == [(width, width), (2 * width, 2 * width), (4 * width, 4 * width)] and network.pooled_size == 1:
            yield f"MLPerf Tiny ResNet-8: {width} filters; {network.classes} classes", resnet_v1(network)


MLPERF_TINY = Family(
    key="mlperf-tiny",
    title="MLPerf Tiny image classification, ResNet-8",
    source="mlcommons/tiny benchmark/training/image_classification/keras_model.py resnet_v1_eembc",
    assumptions=(
        "images of 32 x 32; batch normalization epsilon 0.001; padding 'same'; strides 2 on the first "
        "convolution of a stage and on its projection; average pooling over all that is left, then "
        "softmax"
    ),
    candidates=_candidates,
)
