"""What a verification found. Plain data: only a command line prints it, only `weight_transfer.report` draws it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

Check = Literal[
    "predict",
    "training call",
    "moved statistics",
    "trained loss",
    "trained weights",
    "exact",
    "local output",
    "local gradient",
    "local statistics",
    "inference",
    "training",
    "loss",
    "gradient",
    "statistics",
    "step",
    "weights",
    "slots",
    "moving",
]


Verdict = Literal["SAME FUNCTION", "EQUAL", "DIFFERS", "NOT PROVEN"]
PASSING: tuple[Verdict, ...] = ("SAME FUNCTION", "EQUAL")
STEP_CHECKS: frozenset[Check] = frozenset({"trained loss", "trained weights"})
OWNER_CHECKS: frozenset[Check] = STEP_CHECKS | {"predict", "training call", "moved statistics"}
# Checks of single layers on drawn numbers: every one of them is proof, a zero that must be zero too.
LAYER_CHECKS: frozenset[Check] = frozenset({"exact", "local output", "local gradient", "local statistics"})


@dataclass(frozen=True)
class Row:
    """One tensor of both sides, over all inputs, on one device.

    Attributes:
        check: What it is. Of the owner's own calls, what ``predict`` gives, what a ``training call`` gives and by how
            much it ``moved statistics``; of one ``train_on_batch`` the ``trained loss``, and by how much each of the
            ``trained weights`` moved. Of each layer by itself its output on numbers that round nothing, ``exact``, and
            in a training step its ``local output``, the ``local gradient`` of a parameter or of what a layer
            reads, a batch norm's ``local statistics``. Of the whole network a layer's output in ``inference`` or in
            ``training`` mode, the ``loss``, the ``gradient`` of a parameter, a batch norm's moving ``statistics``
            after one training step. Of a training run, the loss of one ``step``; after the last one the
            ``weights``, the optimizer's ``slots`` and the ``moving`` statistics.
        name: Keras layer, ``output`` for what the model returns, ``layer/role`` of an array, with a slot's name
            behind it, or ``step 1``.
        device: ``cpu`` or ``cuda``.
        shape: Of the reference for the first input, channels last.
        peak: max|reference| over all inputs.
        errors: By precision, the largest error over all inputs: max|actual - expected| / peak.
        limits: By precision, what the error may be. A precision without one is reported and never gates.
        noise: The reference's own float32 error, the largest over all inputs; None where it has none.
        where: Index of the largest float64 difference, channels last, batch first.
    """

    check: Check
    name: str
    device: str
    shape: tuple[int, ...]
    peak: float
    errors: dict[str, float]
    limits: dict[str, float]
    noise: float | None = None
    where: tuple[int, ...] | None = None

    @property
    def passed(self) -> bool:
        """Whether every error is within its limit."""
        return all(self.errors[precision] <= limit for precision, limit in self.limits.items())

    @property
    def differs(self) -> bool:
        """Whether the port gives another number than the reference; of one that has no number it cannot be told."""
        return not self.passed and math.isfinite(self.peak)

    @property
    def proves(self) -> bool:
        """Whether it says something: a reference that is all zero, or has a number that is none, does not."""
        within = not self.limits or min(self.limits.values()) < 1.0  # of the peak: a wider gate lets anything through
        return self.check in LAYER_CHECKS or (0 < self.peak < math.inf and within)


def layer_of(check: Check, name: str) -> str:
    """Returns the Keras layer of a row's name: a gradient's and a statistic's is ``layer/role``."""
    of_arrays = ("gradient", "statistics", "local gradient", "local statistics")
    return name.rpartition("/")[0] if check in of_arrays else name


@dataclass(frozen=True)
class Trial:
    """One hypothesis about the first divergence, tried on that layer alone.

    Attributes:
        cause: Key of the kind of mistake, as `CAUSES` lists them.
        text: What was changed, in words: ``epsilon 0.001``.
        error: The layer's error with the change.
    """

    cause: str
    text: str
    error: float


@dataclass(frozen=True)
class Explanation:
    """The first layer that differs, and why.

    Attributes:
        check: Where it shows.
        layer: Keras name of the first layer, in execution order, that differs.
        class_name: The PyTorch module's class.
        error: Its error.
        inputs: Error of each layer that feeds it: these agree.
        found: The hypothesis with which the layer agrees; None where none does.
        tried: The hypotheses that came nearest, the best first.
        num_tried: How many were tried.
    """

    check: Check
    layer: str
    class_name: str
    error: float
    inputs: dict[str, float]
    found: Trial | None
    tried: tuple[Trial, ...]
    num_tried: int = 0

    @property
    def sentence(self) -> str:
        """What a person is told."""
        fed = ", ".join(f"{name} ({error:.1e})" for name, error in self.inputs.items())
        by = f"by {self.error:.1e} of the peak" if math.isfinite(self.error) else "in shape, or by what is no number"
        start = f"{self.layer} ({self.class_name}) is the first that differs, {by}"
        start += f"; what feeds it agrees: {fed}. " if fed else ". "
        if not self.num_tried:
            return start + "No known mistake could be tried on it."
        if self.found is None:
            return start + f"None of {self.num_tried} known mistakes, tried on this layer alone, explains it."
        return start + f"It agrees to {self.found.error:.0e} with {self.found.text}."


@dataclass(frozen=True)
class Prediction:
    """The top classes of both models for one picture.

    Attributes:
        picture: Key of the input, such as ``photographs 224x224, 1``.
        png: The picture, PNG bytes in base64.
        reference: (class number, value), the largest first, of Keras.
        port: The same of PyTorch in float32.
    """

    picture: str
    png: str
    reference: tuple[tuple[int, float], ...]
    port: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class NetworkLayer:
    """One output of the network that was compared, as a drawing of it needs it.

    Attributes:
        name: Keras layer, or the name of one of its calls.
        class_name: Keras class; empty where it is not known.
        inputs: What it is computed from.
    """

    name: str
    class_name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Planted:
    """What the gates saw of one kind of mistake, planted at several layers of this port.

    Attributes:
        kind: Key of the kind, as `resnet_torch.comparison.mistakes.KINDS` lists them.
        title: In words.
        planted: Layers where it was planted.
        seen: How many of these the gates saw.
        named: How many of these the explanation named right, layer and cause.
        smallest_error: The smallest float64 error that one of them made; where no output shows it, how many fields
            or arrays differ.
        gate: The limit that it exceeded; 0 of fields and arrays.
        seen_by_float32: How many the float32 gates would have seen alone.
        seen_by_top_1: How many changed the class of one of the pictures.
        located: How many of those seen were seen first at the very layer.
    """

    kind: str
    title: str
    planted: tuple[str, ...]
    seen: int
    named: int
    smallest_error: float
    gate: float
    seen_by_float32: int
    seen_by_top_1: int
    located: int = 0


@dataclass(frozen=True)
class FieldDifference:
    """A field of a layer, or of the whole network, of which the port says something else than its Keras file.

    Attributes:
        layer: Keras layer, a value of one, or ``network``.
        field: Which: ``rate``, ``trainable``, ``kernel_regularizer``, ``reads``.
        expected: What the file says, as JSON or in words, shortened.
        actual: What the port says.
    """

    layer: str
    field: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.field}: the file says {self.expected}, the port {self.actual}"


class Report:
    """What the report of any comparison says of itself; each is a dataclass with the fields that this reads."""

    rows: tuple[Row, ...]
    weights_equal: int
    weights_total: int
    explanation: Any

    @property
    def passed(self) -> bool:
        """Whether what was compared is equal, and says enough to be called so."""
        return self.verdict in PASSING

    @property
    def verdict(self) -> Verdict:
        """DIFFERS only where something differs; NOT PROVEN where nothing does and something says nothing."""
        if self.weights_equal != self.weights_total or any(row.differs for row in self.rows):
            return "DIFFERS"
        return "NOT PROVEN" if self.unproven or not self.rows else "EQUAL"

    @property
    def unproven(self) -> tuple[Row, ...]:
        """The rows that say nothing, of tensors of which no other row says anything."""
        proven = {row.name for row in self.rows if row.check in LAYER_CHECKS and row.passed}
        silent = (row for row in self.rows if not row.proves and not row.differs)
        return tuple(row for row in silent if not (row.passed and row.name in proven))

    @property
    def first_divergence(self) -> Row | None:
        """The first row, in order, that does not agree."""
        return next((row for row in self.rows if row.differs), None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON can hold it: an error that is infinite, or no number, is None."""
        fields: dict[str, Any] = asdict(cast(Any, self))
        rows = [{**asdict(row), "passed": row.passed} for row in self.rows]
        said = None if self.explanation is None else {**fields["explanation"], "sentence": self.explanation.sentence}
        found: dict[str, Any] = finite(
            {**fields, "rows": rows, "explanation": said, "passed": self.passed, "verdict": self.verdict}
        )
        return found


@dataclass(frozen=True)
class Verification(Report):
    """The whole comparison.

    Attributes:
        title: What the network is: ``ResNet-50``.
        source: The Keras checkpoint.
        source_sha256: Of that file.
        reference: ``file`` where Keras itself loaded the model from the file, ``twin`` where our
            Keras twin, or the family's network in Keras, took its weights.
        loaded_by: The reference in words.
        recorded: When the reference was recorded, ISO 8601.
        detail: How much of each tensor was compared, in words.
        converted: The port.
        converted_sha256: Of that file.
        port_digest: Of its network and tensors, whatever file they are in.
        inputs: What both were shown, in words.
        rows: Check by check, device by device, in execution order.
        weights_equal: Arrays bit-equal on both sides.
        weights_total: Arrays in all.
        weights_differing: The others, ``layer/role``.
        fields_total: Fields of the description that were compared: what acts in inference or in training.
        fields_differing: Those of which the port says something else than the file.
        wiring_total: Layer outputs of which it was compared what they are computed from.
        wiring_differing: Those that are computed from something else than in Keras.
        untraced: Those of which autograd does not show it, or for which Keras gives no number in the exact runs.
        doubt: Why the reference may not be the owner's model; empty where it is.
        seed: Of the numbers that the exact runs drew; None without them.
        sizes: Of the exact runs, in words: ``224x224``.
        left_out: What a quick verification left out, in words.
        assumed: What the file does not show.
        environment: Versions and machine of both sides: ``keras 3.15.1``, ``torch 2.14.1``, ``cpu``, ...
        explanation: Of the first divergence, where there is one.
        predictions: Of pictures, where the network classifies pictures.
        sensitivity: What the gates would have seen of known mistakes, where that was asked for.
        layers: The outputs that were compared, in the order of execution.
        duration_s: Of the whole verification, seconds.
    """

    title: str
    source: str
    source_sha256: str
    reference: str
    loaded_by: str
    recorded: str
    detail: str
    converted: str
    converted_sha256: str
    port_digest: str
    inputs: tuple[str, ...]
    rows: tuple[Row, ...]
    weights_equal: int
    weights_total: int
    weights_differing: tuple[str, ...]
    assumed: tuple[str, ...]
    environment: Mapping[str, str]
    fields_total: int = 0
    fields_differing: tuple[FieldDifference, ...] = ()
    wiring_total: int = 0
    wiring_differing: tuple[FieldDifference, ...] = ()
    untraced: tuple[str, ...] = ()
    doubt: str = ""
    seed: int | None = None
    sizes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    explanation: Explanation | None = None
    predictions: tuple[Prediction, ...] = ()
    sensitivity: tuple[Planted, ...] = field(default=())
    layers: tuple[NetworkLayer, ...] = ()
    duration_s: float = 0.0

    def __repr__(self) -> str:
        return f"<Verification: {self.verdict}, {self.converted} against {self.source}, {len(self.rows):,} rows>"

    def _repr_html_(self) -> str:
        from weight_transfer.parity.verdict_text import verification_html  # for notebooks alone

        return verification_html(self)

    @property
    def verdict(self) -> Verdict:
        """SAME FUNCTION where every layer was shown to be Keras's: wired alike, and bit for bit equal where exact."""
        if self.fields_differing or self.wiring_differing:
            return "DIFFERS"
        found = super().verdict
        if found == "EQUAL" and self.doubt:
            return "NOT PROVEN"
        exact = any(row.check == "exact" for row in self.rows)
        whole = exact and not self.untraced and not self.left_out
        return "SAME FUNCTION" if found == "EQUAL" and whole else found

    @property
    def num_exact(self) -> int:
        """Layer outputs that may not differ in a single bit, and do not."""
        return sum(row.passed and row.limits["float64"] == 0.0 for row in self.of("exact"))

    @property
    def inexact(self) -> tuple[str, ...]:
        """Layer outputs whose arithmetic rounds: what is known of them is evidence, not proof."""
        return tuple(row.name for row in self.of("exact") if row.limits["float64"] > 0.0)

    def of(self, check: Check) -> Iterator[Row]:
        """The rows of one check."""
        return (row for row in self.rows if row.check == check)

    def worst(self, precision: str, check: Check = "inference") -> Row:
        """The row of a check with the largest error in a precision."""
        return max(self.of(check), key=lambda row: row.errors.get(precision, 0.0))


def finite(value: Any) -> Any:
    """What JSON can hold of a value: None in place of a number that is infinite or none."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
