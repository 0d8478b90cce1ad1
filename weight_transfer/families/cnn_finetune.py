"""cnn_finetune's ResNet-101 and -152: Caffe's networks, whose scale layers stay layers of their own.

Source: flyyufelix/cnn_finetune resnet_101.py, commit cba3439, and resnet_152.py, commit 61a7ab0; without
the classifier, and fed by Keras's ``preprocess_input``: adamcasson/resnet152 resnet152.py, commit 287260d.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Sequence

from weight_transfer.architecture import FIRST_STAGE
from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import Builder, Config, classifier_activation
from weight_transfer.families.family import Candidate, Family
from weight_transfer.families.staged import EXPANSION, Staged

EPSILON = 1.1e-5
CLASSIFIERS = ("fc1000", "fc8")  # ImageNet's, and the one that fine-tuning puts in its place

Labels = Sequence[Sequence[str]]  # of the blocks, stage by stage


def resnet(network: Staged, labels: Labels, classifier: str | None) -> Config:
    """Writes the whole network."""
    net = Builder(f"cnn_finetune_resnet{network.depth or ''}")
    size = 224 if classifier else None
    x = net.zero_pad(net.input((size, size, network.in_channels), "data"), 3, "conv1_zeropadding")
    x = net.conv(x, network.stem_filters, 7, 2, padding="valid", use_bias=False, name="conv1")
    x = net.relu(_norm_scale(net, x, "_conv1"), "conv1_relu")
    x = net.max_pool(x, 3, 2, "pool1")
    for position, (filters, stage) in enumerate(zip(network.filters, labels, strict=True)):
        for number, label in enumerate(stage):
            strides = 2 if position and not number else 1
            x = _block(net, x, filters, strides, number == 0, f"{FIRST_STAGE + position}{label}")
    x = net.average_pool(x, 7, "avg_pool")
    if classifier and network.classes:
        x = net.dense(net.flatten(x), network.classes, classifier_activation(network.classes), classifier)
    return net.model(x)


def _block(net: Builder, x: str, filters: int, strides: int, project: bool, block: str) -> str:
    y = _conv(net, x, filters, 1, strides, f"{block}_branch2a")
    y = net.zero_pad(net.relu(y, f"res{block}_branch2a_relu"), 1, f"res{block}_branch2b_zeropadding")
    y = net.relu(_conv(net, y, filters, 3, 1, f"{block}_branch2b"), f"res{block}_branch2b_relu")
    y = _conv(net, y, EXPANSION * filters, 1, 1, f"{block}_branch2c")
    if project:
        x = _conv(net, x, EXPANSION * filters, 1, strides, f"{block}_branch1")
    return net.relu(net.add([y, x], f"res{block}"), f"res{block}_relu")


def _conv(net: Builder, x: str, filters: int, kernel_size: int, strides: int, branch: str) -> str:
    x = net.conv(x, filters, kernel_size, strides, padding="valid", use_bias=False, name=f"res{branch}")
    return _norm_scale(net, x, branch)


def _norm_scale(net: Builder, x: str, branch: str) -> str:
    x = net.norm(x, epsilon=EPSILON, axis=3, name=f"bn{branch}")
    return net.add_layer("Scale", x, f"scale{branch}", axis=3, momentum=0.9)


def _candidates(arrays: Arrays) -> Iterator[Candidate]:
    stem = arrays.shape("conv1")
    labels = list(itertools.takewhile(bool, (_labels(arrays, stage) for stage in itertools.count(FIRST_STAGE))))
    firsts = (arrays.shape(f"res{stage}a_branch2a") for stage, _ in enumerate(labels, start=FIRST_STAGE))
    filters = tuple(shape[-1] for shape in firsts if shape)
    complete = 0 < len(labels) == len(filters) and "scale_conv1" in arrays.layers
    if stem is None or len(stem) != 4 or not complete:
        return
    classifier = next((name for name in CLASSIFIERS if name in arrays.layers), None)
    top = None if classifier is None else arrays.shape(classifier)
    counts = tuple(map(len, labels))
    network = Staged("bottleneck", counts, filters, stem[-1], stem[-2], top[-1] if top else None)
    yield network.describe("cnn_finetune ResNet{depth}"), resnet(network, labels, classifier)


def _labels(arrays: Arrays, stage: int) -> tuple[str, ...]:
    """The labels of a stage's blocks: a, b1, b2 in stages 3 and 4, a, b, c in the others."""
    numbered = itertools.chain("a", (f"b{number}" for number in itertools.count(1)))
    spellings = (
        tuple(itertools.takewhile(lambda label: f"res{stage}{label}_branch2a" in arrays.layers, labels))
        for labels in (numbered, string.ascii_lowercase)
    )
    return max(spellings, key=len)


CNN_FINETUNE = Family(
    key="cnn-finetune",
    title="cnn_finetune's ResNet-101 and -152, with layers Scale",
    source="flyyufelix/cnn_finetune resnet_101.py, resnet_152.py and custom_layers/scale_layer.py",
    assumptions=(
        "images of 224 x 224 with the classifier, of any size without it; batch normalization epsilon 1.1e-05; "
        "strides 2 in the first block of every stage but the first, on its first 1x1; the stem's pool unpadded "
        "(55 x 55); an average pool of 7 x 7, and softmax at the end"
    ),
    candidates=_candidates,
)
