"""The dialects of the Keras ResNet family, one record each.

A dialect is who wrote the code: how the layers are called, and what that code computes beyond
what a weights file shows. Adding a dialect is adding a record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

from weight_transfer.architecture import (
    DEPTHS,
    Activation,
    Architecture,
    BlockKind,
    Conventions,
    Head,
    Names,
    Padding,
    StrideIn,
    kernel_pair,
)
from weight_transfer.errors import ArchitectureError

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on

IMAGENET_CLASSES = 1000
IMAGENET_SIZE = 224  # pixels, of keras.applications' ResNets

# Caffe's ResNet-101 and -152 name the blocks of stages 3 and 4 a, b1, b2 (prototxt of
# KaimingHe/deep-residual-networks).
CAFFE_NUMBERED: Mapping[int, tuple[int, ...]] = {101: (3, 4), 152: (3, 4)}


class ConventionOptions(TypedDict, total=False):
    """Keyword arguments that take the place of a dialect's conventions; the fields of `Conventions`."""

    epsilon: float
    momentum: float
    conv_bias: bool
    stride_in: StrideIn
    stem_padding: Literal["zeros", "same"]
    pool_padding: Padding
    kernel_initializer: Literal["he_normal", "glorot_uniform"]


class ResNetOptions(ConventionOptions, total=False):
    """Keyword arguments of `design` that `create_resnet` and `resnet50` pass on, in both frameworks."""

    block: BlockKind | None
    block_counts: tuple[int, ...] | None
    filters: tuple[tuple[int, ...], ...]
    stem_filters: int
    middle_kernel_size: int | tuple[int, int]


@dataclass(frozen=True)
class Dialect:
    """One family of checkpoints.

    Attributes:
        key: What ``--dialect`` takes.
        title: What a person calls it.
        source: Where its names and conventions were read.
        names: Layer names.
        conventions: What a weights file does not show.
        head: The head its networks usually carry.
        numbered: By depth, the stages whose blocks are named a, b1, b2.
        spellings: Names that files of this dialect also come with.
        preprocessing: The preset that its networks' images usually go through.
    """

    key: str
    title: str
    source: str
    names: Names
    conventions: Conventions
    head: Head = field(default_factory=Head)
    numbered: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    spellings: tuple[Mapping[str, str], ...] = ({},)
    preprocessing: str = "caffe"


TUTORIAL = Dialect(
    key="tutorial",
    title="the tutorial's create_resnet",
    source="the Korean CIFAR-10 tutorial, two block functions",
    names=Names(stem_conv="conv"),
    conventions=Conventions(),
    head=Head(hidden_units=200, classes=10, dropout=0.5),
    numbered=CAFFE_NUMBERED,
    spellings=({}, {"stem_conv": "conv1"}),
)

_KERAS_2_NAMES = Names(classifier="fc1000")

KERAS_2_2 = Dialect(
    key="keras-2.2",
    title="keras_applications ResNet50 from August 2018 (Keras 2.2.3): stem pool padded, 56 x 56",
    source="keras-applications resnet50.py, commit 36436f6",
    names=_KERAS_2_NAMES,
    conventions=Conventions(),
)

KERAS_2_1 = Dialect(
    key="keras-2.1",
    title="Keras and deep-learning-models ResNet50 before August 2018: stem pool unpadded, 55 x 55",
    source="keras-applications resnet50.py, parent of commit 36436f6",
    names=_KERAS_2_NAMES,
    conventions=Conventions(pool_padding="none"),
)

MASK_RCNN = Dialect(
    key="mask-rcnn",
    title="Mask R-CNN's backbone: stem pool 'same', blocks a..w by letter, no head",
    source="matterport/Mask_RCNN mrcnn/model.py resnet_graph",
    names=Names(),
    conventions=Conventions(pool_padding="same", kernel_initializer="glorot_uniform"),
    head=Head(pooling=None, classes=None),
    preprocessing="none",  # the detector subtracts its own mean pixel from RGB before the network
)

KERAS_RESNET = Dialect(
    key="keras-resnet",
    title="keras-resnet (RetinaNet): no conv bias, epsilon 1e-5, stem 'same'",
    source="broadinstitute/keras-resnet keras_resnet/models/_2d.py and blocks/_2d.py",
    names=Names(classifier="fc1000", global_pool="pool5", pad="padding{stage}{block}_branch{branch}"),
    conventions=Conventions(epsilon=1e-5, conv_bias=False, stem_padding="same", pool_padding="same"),
    numbered={**CAFFE_NUMBERED, 18: (2, 3, 4, 5), 34: (2, 3, 4, 5)},
)

CAFFE = Dialect(
    key="caffe",
    title="the original Caffe networks: no conv bias, epsilon 1e-5, stem pool in ceil mode",
    source="KaimingHe/deep-residual-networks prototxt",
    names=Names(classifier="fc1000", global_pool="pool5"),
    # Caffe's ceil mode adds a window at the bottom and the right where one does not fit, which
    # is TensorFlow's 'same' rule for even sizes.
    conventions=Conventions(epsilon=1e-5, conv_bias=False, pool_padding="same"),
    numbered=CAFFE_NUMBERED,
)

KERAS_APPLICATIONS = Dialect(
    key="keras-applications",
    title="keras.applications ResNet50, ResNet101, ResNet152",
    source="keras/src/applications/resnet.py",
    names=Names(
        stem_conv="conv1_conv",
        stem_norm="conv1_bn",
        pool="pool1_pool",
        conv="conv{stage}_block{block}_{branch}_conv",
        norm="conv{stage}_block{block}_{branch}_bn",
        relu="conv{stage}_block{block}_{branch}_relu",
        pad="conv{stage}_block{block}_{branch}_pad",
        add="conv{stage}_block{block}_add",
        out="conv{stage}_block{block}_out",
        branches=("1", "2", "3"),
        shortcut="0",
        block_labels="numbers",
        classifier="predictions",
        shortcut_first=True,
    ),
    conventions=Conventions(epsilon=1.001e-5, kernel_initializer="glorot_uniform"),
    # The tutorial's second model: this backbone under the tutorial's head.
    spellings=({}, {"hidden": "fc_01", "classifier": "fc_final"}),
)

# In the order in which they are tried: where two describe the same network, the first is named.
DIALECTS: Mapping[str, Dialect] = {
    dialect.key: dialect
    for dialect in (KERAS_2_2, KERAS_2_1, KERAS_APPLICATIONS, KERAS_RESNET, MASK_RCNN, CAFFE, TUTORIAL)
}


def dialect_named(key: str) -> Dialect:
    """Returns the dialect with this key.

    Raises:
        ArchitectureError: There is no such dialect.
    """
    if key not in DIALECTS:
        raise ArchitectureError(f"unknown dialect. Expected one of {', '.join(DIALECTS)}. Received: {key!r}")
    return DIALECTS[key]


def head_for(dialect: str | Dialect, n_classes: int | None) -> Head:
    """Returns the dialect's head for this many classes: sigmoid for one, none at all for None."""
    if n_classes is None:
        return Head(pooling=None, classes=None)
    usual = (dialect_named(dialect) if isinstance(dialect, str) else dialect).head
    activation: Activation = "sigmoid" if n_classes == 1 else "softmax"
    return dataclasses.replace(usual, pooling=usual.pooling or "avg", classes=n_classes, activation=activation)


def design(
    depth: int = 50,
    *,
    dialect: str | Dialect = TUTORIAL,
    in_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    head: Head | None = None,
    block: BlockKind | None = None,
    block_counts: tuple[int, ...] | None = None,
    filters: tuple[tuple[int, ...], ...] = (),
    stem_filters: int = 64,
    middle_kernel_size: int | tuple[int, int] = 3,
    **conventions: Unpack[ConventionOptions],
) -> Architecture:
    """Draws an architecture from a depth, or from a block kind and block counts.

    Args:
        depth: 18, 34, 50, 101 or 152; ignored where ``block_counts`` is given.
        dialect: Names and conventions.
        in_shape: (H, W, C); H and W may be None.
        head: What follows the last stage; by default the dialect's own.
        block: ``basic`` or ``bottleneck``; by default what ``depth`` says.
        block_counts: Blocks in each stage.
        filters: Channels of each convolution, stage by stage; by default He et al.'s.
        stem_filters: Channels of the 7x7.
        middle_kernel_size: Of the 3x3: a number or a pair.
        **conventions: Fields of `Conventions` that differ from the dialect's.

    Raises:
        ArchitectureError: No such network exists.
    """
    if isinstance(dialect, str):
        dialect = dialect_named(dialect)
    if block_counts is None and depth not in DEPTHS:
        raise ArchitectureError(f"depth must be one of {tuple(DEPTHS)}, or give block_counts. Received: {depth=}")
    default_block, default_counts = DEPTHS.get(depth, DEPTHS[50])
    unknown = sorted(set(conventions) - {f.name for f in dataclasses.fields(Conventions)})
    if unknown:
        raise ArchitectureError(f"unknown argument. Received: {', '.join(unknown)}")
    block, block_counts = block or default_block, block_counts or default_counts
    return Architecture(
        block=block,
        block_counts=block_counts,
        filters=filters,
        stem_filters=stem_filters,
        middle_kernel_size=kernel_pair(middle_kernel_size),
        in_shape=in_shape,
        head=head or dialect.head,
        conventions=dataclasses.replace(dialect.conventions, **conventions),
        names=dataclasses.replace(dialect.names, numbered_stages=_numbered(dialect, block, block_counts)),
        dialect=dialect.key,
    )


def published_resnet(
    depth: int,
    num_classes: int | None = IMAGENET_CLASSES,
    in_chans: int = 3,
    input_size: tuple[int, int | None, int | None] | None = None,
    dialect: str | Dialect = KERAS_APPLICATIONS,
    **options: Unpack[ResNetOptions],
) -> Architecture:
    """Draws a ResNet as it was published: one dense layer behind the pooling.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Outputs of the classifier; 0 ends with the pooled features, None with the last feature map.
        in_chans: Channels of an image.
        input_size: (channels, height, width) of an image, of which height and width may be None; by default
            ``in_chans`` channels of 224 x 224.
        dialect: Names and conventions.
        **options: Further arguments of `design`.

    Raises:
        ArchitectureError: No such network exists, or the two numbers of channels contradict one another.
    """
    channels, height, width = input_size or (in_chans, IMAGENET_SIZE, IMAGENET_SIZE)
    if in_chans not in (3, channels):
        raise ArchitectureError(
            f"in_chans and input_size say two numbers of channels. Received: {in_chans=}, {input_size=}"
        )
    head = head_for(dialect, num_classes or None)
    if num_classes == 0:
        head = dataclasses.replace(head, pooling="avg")
    return design(depth, dialect=dialect, in_shape=(height, width, channels), head=head, **options)


def _numbered(dialect: Dialect, block: BlockKind, block_counts: tuple[int, ...]) -> tuple[int, ...]:
    """The depth's numbered stages; elsewhere those that letters cannot count."""
    for depth, standard in DEPTHS.items():
        if standard == (block, block_counts) and depth in dialect.numbered:
            return dialect.numbered[depth]
    return tuple(stage for stage, count in enumerate(block_counts, start=2) if count > 26)
