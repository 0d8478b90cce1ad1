"""What crosses the border between two processes: a request to one side, and its result.

Each request is a frozen dataclass that names the function that answers it, and the class of the result.
`weight_transfer.parity.messages` sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

from weight_transfer.architecture import StrideIn
from weight_transfer.description import MovingVariance
from weight_transfer.images import Crop, ImageLoading
from weight_transfer.network_summary import Alternative, NetworkSummary
from weight_transfer.parity.checkpoint_facts import CheckpointFacts
from weight_transfer.parity.recording import Tops
from weight_transfer.parity.report import Explanation, FieldDifference, Planted, Row
from weight_transfer.parity.sketch import Detail
from weight_transfer.parity.training_report import TrainingExplanation
from weight_transfer.picture_classifier import Prediction
from weight_transfer.preprocessing import PRESETS, Preprocessing

VERSION = 5  # of all that is below: one more with each change
Result = TypeVar("Result")


class Request(Generic[Result]):
    """What one side is asked. A subclass is a frozen dataclass, and names its result: ``Request[ComparisonResult]``."""

    answered_by: ClassVar[str]
    """``package.module:function``, from this request and a function to tell its progress to its result."""

    @classmethod
    def result_type(cls) -> type[Result]:
        """Returns the class of the result."""
        (result,) = get_args(cls.__dict__["__orig_bases__"][0])
        found: type[Result] = result
        return found


@dataclass(frozen=True)
class Written:
    """The result of a request whose outcome is a file: it was written."""


# Keras's side


@dataclass(frozen=True)
class ReferenceModel:
    """A Keras checkpoint, and what Keras's side needs to know to load its model.

    Attributes:
        checkpoint: The file.
        sha256: Of the file.
        reference: ``file`` where Keras loads the model from the file; ``twin`` where a model of ours takes its arrays.
        network: What `network_to_dict` wrote; None for whatever model the file holds.
        arrays: By ``layer/role``, the array's name in the file.
        preprocessing: Of raw images.
        config: Of a weights-only file's model, where the network is an imported one.
    """

    checkpoint: Path
    sha256: str
    reference: Literal["file", "twin"]
    network: Mapping[str, Any] | None
    arrays: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Preprocessing = PRESETS["none"]
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ReferenceRequest(Request[Written]):
    """Asks Keras to write down what every layer gives.

    Attributes:
        model: What to run.
        inputs: What `save_cases` wrote.
        detail: How much of each tensor to keep.
        output: The recording to write.
        of_a_port: Whether the recording is to verify a port: then the network runs on integers too, and the
            loaded model is called as its owner calls it. `assert_parity` compares neither.
        quick: Whether to run on integers at the network's own size alone, of one kind, and without a training step.
        facts: What to keep of the checkpoint itself; None where there is none.
    """

    answered_by: ClassVar[str] = "resnet_keras.recording:record"

    model: ReferenceModel
    inputs: Path
    detail: Detail
    output: Path
    of_a_port: bool = True
    quick: bool = False
    facts: CheckpointFacts | None = None


@dataclass(frozen=True)
class ReferenceRun:
    """One training of the reference.

    Attributes:
        optimizer: As Keras serializes it.
        output: The recording to write.
        nudged: Whether it starts from weights that are one unit in the last place away.
    """

    optimizer: Mapping[str, Any]
    output: Path
    nudged: bool = False


@dataclass(frozen=True)
class TrainingReferenceRequest(Request[Written]):
    """Asks Keras to train, each time from the file's weights, and to write down each loss and what is left at the end.

    Attributes:
        model: What to train.
        inputs: What `save_cases` wrote: a batch for each step.
        detail: How much of each tensor to keep.
        runs: One after the other.
    """

    answered_by: ClassVar[str] = "resnet_keras.trajectory:record_runs"

    model: ReferenceModel
    inputs: Path
    detail: Detail
    runs: tuple[ReferenceRun, ...]


@dataclass(frozen=True)
class SeededModelRequest(Request[Written]):
    """Asks Keras for a ResNet with weights that look trained.

    Attributes:
        depth: Of the network.
        seed: Of its weights.
        images: What `save_cases` wrote, to fit the statistics to.
        output: The checkpoint to write.
    """

    answered_by: ClassVar[str] = "resnet_keras.random_weights:make"

    depth: int
    seed: int
    images: Path
    output: Path


# PyTorch's side


@dataclass(frozen=True)
class ComparisonResult:
    """How far the port is from the recording.

    Attributes:
        rows: What was compared.
        explanation: Of the first that differs, if one does.
        tops: By the name of the inputs, each picture's classes in float32; None where there are no classes.
        environment: Versions and machine.
        wiring: Layer outputs that are not computed from what they are in Keras.
        num_wired: Layer outputs of which that was compared.
        untraced: Those of which autograd does not show it, or for which Keras gives no number in the exact runs.
        notes: What was not compared, in words.
    """

    rows: tuple[Row, ...]
    explanation: Explanation | None
    tops: Mapping[str, Tops | None]
    environment: Mapping[str, str]
    wiring: tuple[FieldDifference, ...] = ()
    num_wired: int = 0
    untraced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonRequest(Request[ComparisonResult]):
    """Asks PyTorch to compare a port with what Keras gave.

    Attributes:
        converted: The port.
        reference: The recording.
        devices: ``cpu``, ``cuda``; the latter is left out where there is none.
        training: Whether to compare a training step too.
        right: The port as the checkpoint makes it, where ``converted`` has other numbers.
        quick: Whether to leave out of the exact runs what `ExactRuns.quick` does.
        optimizer: The state of the file's optimizer, where it has one: a file that lies beside the port, or one as
            `weight-transfer convert --with-optimizer` writes it.
    """

    answered_by: ClassVar[str] = "resnet_torch.comparison.port_comparison:compare"

    converted: Path
    reference: Path
    devices: tuple[str, ...] = ("cpu",)
    training: bool = True
    right: Path | None = None
    quick: bool = False
    optimizer: Path | None = None


@dataclass(frozen=True)
class SensitivityResult:
    """What was seen of planted mistakes.

    Attributes:
        planted: One for each kind that the network has a place for.
    """

    planted: tuple[Planted, ...]


@dataclass(frozen=True)
class SensitivityRequest(Request[SensitivityResult]):
    """Asks PyTorch to plant mistakes in a port that agrees with a recording.

    Attributes:
        converted: The port.
        reference: The recording.
        kinds: Keys of `resnet_torch.comparison.mistakes.KINDS`; None for all.
    """

    answered_by: ClassVar[str] = "resnet_torch.comparison.sensitivity:plant_all"

    converted: Path
    reference: Path
    kinds: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ComparedRun:
    """How far one training of the port is from Keras's.

    Attributes:
        rows: What was compared.
        losses: Of every step, by side: ``keras``, ``torch``.
        explanation: Where the runs differ.
    """

    rows: tuple[Row, ...]
    losses: Mapping[str, tuple[float, ...]]
    explanation: TrainingExplanation | None


@dataclass(frozen=True)
class TrainingComparisonResult:
    """How far trainings of the port are from Keras's.

    Attributes:
        runs: One for each recording.
        environment: Versions and machine.
    """

    runs: tuple[ComparedRun, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class TrainingComparisonRequest(Request[TrainingComparisonResult]):
    """Asks PyTorch to train a port as Keras was trained, and to compare.

    Attributes:
        converted: The port.
        references: A recording of each run; without any, the optimizer alone is tried.
        optimizer: The port's, as `resnet_torch.comparison.training_run.optimizer_of` reads it; None for Keras's rule.
        moving_variance: Rule of the port's batch norms; None for the reference's.
    """

    answered_by: ClassVar[str] = "resnet_torch.comparison.trajectory:compare_runs"

    converted: Path
    references: tuple[Path, ...]
    optimizer: str | None = None
    moving_variance: MovingVariance | None = None


@dataclass(frozen=True)
class PredictionResult:
    """What a network says of images.

    Attributes:
        predictions: One for each image.
        names: ImageNet's, where they are wanted and at hand.
    """

    predictions: tuple[Prediction, ...]
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class PredictionRequest(Request[PredictionResult]):
    """Asks PyTorch what a port says of image files.

    Attributes:
        converted: The port.
        images: The files.
        image_loading: How their pixels are made.
        crop: What is cut out of them.
        size: (H, W) to resize to; None for the network's.
        preprocessing: Of their pixels.
        top: How many classes to name.
        device: Where the port runs.
        imagenet: Whether ImageNet's names are wanted.
    """

    answered_by: ClassVar[str] = "resnet_torch.prediction:predict"

    converted: Path
    images: tuple[Path, ...]
    image_loading: ImageLoading
    crop: Crop
    size: tuple[int, int] | None
    preprocessing: Preprocessing
    top: int
    device: str
    imagenet: bool


@dataclass(frozen=True)
class SummaryResult:
    """What the published networks are made of and cost.

    Attributes:
        networks: Of each depth.
        blocks: The two kinds of block, and what one could have built in their place.
        alternatives: ResNet-50, and networks of basic blocks in its place.
    """

    networks: tuple[NetworkSummary, ...]
    blocks: tuple[Alternative, ...]
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class SummaryRequest(Request[SummaryResult]):
    """Asks PyTorch to measure networks.

    Attributes:
        depths: Which.
        input_size: (H, W) of an image.
        classes: Outputs of the classifier.
        stride_in: Which convolution of a bottleneck strides.
    """

    answered_by: ClassVar[str] = "resnet_torch.network_summary:summarize"

    depths: tuple[int, ...]
    input_size: tuple[int, int]
    classes: int
    stride_in: StrideIn


@dataclass(frozen=True)
class PackageRequest(Request[Written]):
    """Asks PyTorch to write a port as a package of its own.

    Attributes:
        converted: The port.
        folder: The package.
    """

    answered_by: ClassVar[str] = "resnet_torch.standalone.package:package"

    converted: Path
    folder: Path


REQUESTS: tuple[type[Request[Any]], ...] = (
    ReferenceRequest,
    TrainingReferenceRequest,
    SeededModelRequest,
    ComparisonRequest,
    SensitivityRequest,
    TrainingComparisonRequest,
    PredictionRequest,
    SummaryRequest,
    PackageRequest,
)
