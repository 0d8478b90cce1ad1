"""The recording: what Keras gave for given inputs, in one file that a machine without Keras compares against.

A safetensors file. ``values`` holds what `sketch` keeps of every tensor, one behind the other, and
the metadata says which; ``input/CASE/NUMBER`` are the inputs. The metadata are compressed, in
``facts``. Written as a stream: one tensor in memory at a time.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from weight_transfer.errors import VerificationError
from weight_transfer.parity.checkpoint_facts import CheckpointFacts
from weight_transfer.parity.exact_runs import ExactRuns
from weight_transfer.parity.inputs import Case, case_of, describe_case
from weight_transfer.parity.owner_step import OwnerStep
from weight_transfer.parity.recorded_network import RecordedNetwork
from weight_transfer.parity.report import LAYER_CHECKS, Check
from weight_transfer.parity.sketch import BY_LAYER, DETAILS, Detail, Expected, sketch
from weight_transfer.preprocessing import PRESETS, Preprocessing, preset
from weight_transfer.tensor_file import Content, Kind, Tensor, TensorFile, open_tensor_file

RECORDING = Kind(
    name="recording",
    format=1,
    expected="a file that `weight-transfer record` wrote",
    remedy="Record it again.",
    error=VerificationError,
)
MOST_BYTES = 1 << 28  # of what is said beside the numbers; a file that says more is cut off, and damaged
PIECE_BYTES = 1 << 20  # read at a time; whole numbers
Tops = list[list[tuple[int, float]]]  # of each picture: class and value, the largest first
VALUES = "values"
FACTS = "facts"
TOP = 5  # classes of a picture
OUTPUT = "output"  # what the model returns, where the last layer shows its logits


def output_names(count: int, taken: Collection[str] = ()) -> tuple[str, ...]:
    """Names for what a model returns that no layer has: ``output``, or ``output 1`` and so on of several."""
    name = OUTPUT
    while True:
        names = (name,) if count == 1 else tuple(f"{name} {number}" for number in range(1, count + 1))
        if not set(names) & set(taken):
            return names
        name = f"model {name}"


@dataclass(frozen=True)
class Entry:
    """One recorded tensor.

    Attributes:
        case: Name of the inputs.
        check: What it is.
        name: Keras layer, ``output``, ``layer/role`` or ``loss``.
        shape: Channels last.
        peak: What an error is measured against. Of a gradient that is zero but for rounding, such as
            that of a bias before a batch norm, the largest of its layer's, or of all where these are zero.
        noise: The reference's own float32 error, where it was measured.
    """

    case: str
    check: Check
    name: str
    shape: tuple[int, ...]
    peak: float
    noise: float | None = None

    @property
    def key(self) -> str:
        """Decides samples and signs."""
        return f"{self.check}/{self.name}"

    def detail(self, usual: Detail) -> Detail:
        """Returns how much of it is kept in a recording that keeps so much of a layer's output on images."""
        return BY_LAYER if self.check in LAYER_CHECKS or self.check == "trained weights" else usual


@dataclass(frozen=True)
class Origin:
    """What was recorded, and by what.

    Attributes:
        source: Name of the checkpoint.
        sha256: Of the checkpoint; empty where the model came from no file.
        reference: ``file`` or ``twin``, as `Verification.reference`.
        loaded_by: The reference in words.
        recorded: When, ISO 8601, UTC.
        environment: Versions and machine.
        module: ``keras`` or ``tf_keras``.
        preprocessing: Of raw images.
        channels: Of the images that the network takes; 0 for other inputs.
        last_activations: Of each output, the softmax or sigmoid that ends it.
        outputs: Under which name each output is recorded as the model returns it.
        skipped: Why a check was left out, by check.
        doubt: Why the reference may not be the owner's model; empty where it is.
        optimizer: Of a training run, its config as Keras serializes it.
        network: What is known of the network itself; None in a recording of an earlier version.
    """

    source: str
    sha256: str
    reference: str
    loaded_by: str
    recorded: str
    environment: Mapping[str, str]
    module: str = "keras"
    preprocessing: Preprocessing = PRESETS["none"]
    channels: int = 0
    last_activations: tuple[str | None, ...] = (None,)
    outputs: tuple[str, ...] = (OUTPUT,)
    skipped: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""
    optimizer: Mapping[str, Any] | None = None
    network: RecordedNetwork | None = None


class RecordingWriter:
    """Writes a recording tensor by tensor; the file appears when the block ends without an error.

    Args:
        path: The output.
        detail: How much of each tensor to keep.
        folder: Where what was written so far lies, by default the system's temporary folder.

    Example:
        >>> with RecordingWriter("reference.safetensors", COMPACT) as writer:
        ...     writer.add_case(case)
        ...     writer.add("photographs", "inference", "conv1", array)
        ...     writer.origin = origin
    """

    origin: Origin

    def __init__(self, path: Path, detail: Detail, folder: Path | None = None) -> None:
        self.path = path
        self.detail = detail
        self.feeds: dict[str, tuple[str, ...]] = {}
        self.tops: dict[str, Tops] = {}
        self.exact_runs: ExactRuns | None = None
        self.owner_step: OwnerStep | None = None
        self.facts: CheckpointFacts | None = None
        self._cases: list[Case] = []
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._starts: dict[tuple[str, str, str], int] = {}
        self._count = 0
        self._blob = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed in __exit__)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            self._blob.close()

    def add_case(self, case: Case) -> None:
        """Adds inputs."""
        self._cases.append(case)

    def add(
        self,
        case: str,
        check: Check,
        name: str,
        array: npt.NDArray[Any],
        peak: float | None = None,
        noise: float | None = None,
    ) -> None:
        """Adds a tensor.

        Args:
            case: Name of the inputs it was computed from.
            check: What it is.
            name: Of the layer, the array, ``output`` or ``loss``.
            array: Channels last.
            peak: What an error is measured against, by default max|array|.
            noise: How far the reference itself is from the truth, where that is known.
        """
        key = (case, check, name)
        if key in self._entries:
            raise ValueError(f"{case}: {check} {name} was recorded before")
        own = float(np.max(np.abs(array), initial=0.0))
        entry = Entry(case, check, name, tuple(array.shape), own if peak is None else peak, noise)
        kept = sketch(array, entry.key, entry.detail(self.detail))
        self._entries[key], self._starts[key] = entry, self._count
        self._count += kept.size
        self._blob.seek(0, 2)
        self._blob.write(kept.tobytes())

    def measure_noise(self, case: str, check: Check, name: str, rough: npt.NDArray[Any]) -> float:
        """Notes, and returns, how far the reference in another precision is from what was added."""
        key = (case, check, name)
        entry = self._entries[key]
        self._blob.seek(self._starts[key] * 8)
        kept = np.frombuffer(self._blob.read(self.detail.kept(entry.shape) * 8))
        noise = Expected(entry.key, entry.shape, entry.peak, kept, self.detail).error(rough).error
        self._entries[key] = Entry(**{**entry.__dict__, "noise": noise})
        return noise

    def _write(self) -> None:
        everything = lambda: np.concatenate([np.empty(0), *self._pieces()])  # noqa: E731
        values = Tensor(VALUES, np.dtype(np.float64), (self._count,), everything, self._pieces)
        inputs = (
            Tensor.of(f"input/{case.name}/{number}", array)
            for case in self._cases
            for number, array in enumerate(case.arrays)
        )
        facts = {
            "detail": self.detail.name,
            "checkpoint": None if self.facts is None else asdict(self.facts),
            "origin": {**asdict(self.origin), "preprocessing": self.origin.preprocessing.to_dict()},
            "feeds": self.feeds,
            "tops": self.tops,
            "cases": [describe_case(case) for case in self._cases],
            "exact_runs": msgspec.to_builtins(self.exact_runs),
            "owner_step": msgspec.to_builtins(self.owner_step),
            "entries": [[e.case, e.check, e.name, e.shape, e.peak, e.noise] for e in self._entries.values()],
        }
        Content(RECORDING, {}, (values, *inputs, packed(facts))).write(self.path)

    def _pieces(self) -> Iterator[npt.NDArray[Any]]:
        self._blob.seek(0)
        while piece := self._blob.read(PIECE_BYTES):
            yield np.frombuffer(piece)


@dataclass(frozen=True)
class Recording:
    """A recording that was opened.

    Attributes:
        file: The file.
        origin: What was recorded.
        detail: How much of each tensor it holds.
        cases: The inputs, in the order in which they are shown.
        entries: The tensors, in the order in which Keras computed them.
        feeds: By layer, the layers whose outputs it reads.
        tops: By case, the top classes that Keras gives each picture.
        exact_runs: What was drawn on integers, and what Keras gave; None of a recording that has none.
        owner_step: How the owner's own model was trained for one step; None where it was not.
        facts: What the checkpoint says and holds; None of a recording of an earlier version, or of no checkpoint.
    """

    file: TensorFile
    origin: Origin
    detail: Detail
    cases: tuple[Case, ...]
    entries: tuple[Entry, ...]
    feeds: Mapping[str, tuple[str, ...]]
    tops: Mapping[str, Tops]
    starts: Mapping[tuple[str, str, str], int] = field(repr=False)
    exact_runs: ExactRuns | None = field(default=None, repr=False)
    owner_step: OwnerStep | None = field(default=None, repr=False)
    facts: CheckpointFacts | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.file.path

    def of(self, case: str, check: Check) -> list[Entry]:
        """The entries of one case and check."""
        return [entry for entry in self.entries if entry.case == case and entry.check == check]

    def expected(self, entry: Entry) -> Expected:
        """Reads what is kept of a tensor."""
        start = self.starts[entry.case, entry.check, entry.name]
        detail = entry.detail(self.detail)
        kept = self.file.elements(VALUES, start, detail.kept(entry.shape))
        return Expected(entry.key, entry.shape, entry.peak, kept, detail)


def read_recording(path: Path) -> Recording:
    """Opens a recording.

    Raises:
        VerificationError: It is none, damaged, or of another format.
    """
    file = open_tensor_file(path, RECORDING)
    return file.parsed(partial(_recording, file))


def packed(facts: Mapping[str, Any]) -> Tensor:
    """Returns what a recording says beside its numbers, as JSON can hold it, as a tensor of compressed bytes."""
    return Tensor.of(FACTS, np.frombuffer(zlib.compress(json.dumps(facts).encode(), 9), np.uint8))


def unpacked(file: TensorFile) -> dict[str, Any]:
    """Returns what was given to `packed`, or the metadata of a recording of an earlier version.

    Raises:
        ValueError: It is damaged.
    """
    if FACTS not in file.tensors:
        return dict(file.facts)
    try:
        text = zlib.decompressobj().decompress(file.tensors[FACTS].read().tobytes(), MOST_BYTES)
        found: dict[str, Any] = json.loads(text)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return found


def _recording(file: TensorFile, metadata: Mapping[str, Any]) -> Recording:
    facts = unpacked(file)
    cases = tuple(
        case_of(row, [file.tensors[f"input/{row['name']}/{number}"].read() for number in range(row["inputs"])])
        for row in facts["cases"]
    )
    entries = tuple(Entry(c, k, name, tuple(shape), *rest) for c, k, name, shape, *rest in facts["entries"])
    detail = DETAILS[facts["detail"]]
    origin = dict(facts["origin"])
    origin |= {name: tuple(origin[name]) for name in ("last_activations", "outputs")}
    stored = origin["preprocessing"]  # of version 0.1: a preset's name
    origin["preprocessing"] = preset(stored) if isinstance(stored, str) else Preprocessing.from_dict(stored)
    if origin.get("network") is not None:
        origin["network"] = RecordedNetwork.from_dict(origin["network"])
    starts, total = _starts(entries, detail)
    if file.tensors[VALUES].shape != (total,):
        raise KeyError(VALUES)
    feeds = {name: tuple(inputs) for name, inputs in facts["feeds"].items()}
    try:
        exact_runs = msgspec.convert(facts.get("exact_runs"), ExactRuns | None)
        owner_step = msgspec.convert(facts.get("owner_step"), OwnerStep | None)
    except msgspec.ValidationError as error:
        raise ValueError(f"exact_runs, owner_step: {error}") from error
    checkpoint = facts.get("checkpoint")
    return Recording(
        file=file,
        origin=Origin(**origin),
        detail=detail,
        cases=cases,
        entries=entries,
        feeds=feeds,
        tops=facts["tops"],
        starts=starts,
        exact_runs=exact_runs,
        owner_step=owner_step,
        facts=None if checkpoint is None else CheckpointFacts.from_dict(checkpoint),
    )


def _starts(entries: Sequence[Entry], detail: Detail) -> tuple[dict[tuple[str, str, str], int], int]:
    starts: dict[tuple[str, str, str], int] = {}
    count = 0
    for entry in entries:
        starts[entry.case, entry.check, entry.name] = count
        count += entry.detail(detail).kept(entry.shape)
    return starts, count
