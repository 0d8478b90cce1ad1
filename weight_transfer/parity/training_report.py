"""What the comparison of two training runs found. Plain data, as `weight_transfer.parity.report`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.report import Check, Report, Row, Trial, Verdict

OURS = "resnet_torch.optimizers has Keras's rules: optimizer_from_keras builds one from Keras's config."

AMPLIFIED = 100  # times the effect of one unit in the last place of each weight: the effect of all roundings
NOT_THE_OPTIMIZERS = ("learning rate", "moving variance")


@dataclass(frozen=True)
class TrainingExplanation:
    """The first thing that differs, and why.

    Attributes:
        check: What it is.
        name: Of its row.
        error: Its error.
        by_rule: Whether the port gives Keras's run when it trains by Keras's rule.
        rounding: How far Keras's own run is from one that starts from weights one unit in the last place away:
            the worst of all rows; None where that was not asked.
        found: The mistakes that together make Keras's rule give the port's run, each with the error that it
            leaves; empty where none do.
        tried: The mistakes that were tried, each by itself or with others, the nearest first.
    """

    check: Check
    name: str
    error: float
    by_rule: bool
    found: tuple[Trial, ...] = ()
    tried: tuple[Trial, ...] = ()
    rounding: float | None = None

    @property
    def by_rounding(self) -> bool:
        """Whether rounding explains it: the training amplifies it, and the run proves nothing."""
        return self.rounding is not None and self.error <= AMPLIFIED * self.rounding

    @property
    def sentence(self) -> str:
        """What a person is told."""
        by = f"by {self.error:.1e}" if math.isfinite(self.error) else "by what is no number"
        start = f"{self.name} is the first that differs, {by}. "
        if self.by_rounding:
            return start + (
                f"Rounding alone moves Keras's own run by {self.rounding:.1e}, which this training amplifies from step "
                "to step: it proves nothing. Take a lower --learning-rate, fewer --steps or a larger --batch-size."
            )
        if not self.by_rule:
            return start + (
                "Keras's own rule gives the port another run too, so that it is the network that differs: "
                "weight-transfer verify compares its layers and gradients."
            )
        if not self.found:
            return start + (
                f"By Keras's rule the port gives Keras's run; none of {len(self.tried)} known mistakes gives its own."
            )
        error = self.found[-1].error
        equal = f"to {error:.0e}" if error else "bit for bit"
        return (
            start
            + f"The port's run is, {equal}, that of Keras's rule with "
            + (", and ".join(trial.text for trial in self.found) + ".")
        )

    @property
    def advice(self) -> list[str]:
        """What to do about it."""
        causes = dict.fromkeys(trial.cause for trial in self.found)
        ours = [OURS] if set(causes) - set(NOT_THE_OPTIMIZERS) else []
        return [CAUSES[cause].advice for cause in causes] + ours


@dataclass(frozen=True)
class TrainingVerification(Report):
    """Two training runs, compared.

    Attributes:
        title: What the network is.
        source: The Keras checkpoint.
        source_sha256: Of that file.
        reference: As `Verification.reference`.
        loaded_by: The reference in words.
        converted: The port.
        converted_sha256: Of that file.
        batches: What both were trained on, in words.
        optimizer: Keras's, its config.
        port_optimizer: The port's, in words, where it is another.
        losses: Of every step, by side: ``keras``, ``torch``.
        rows: A row for each loss, and for each weight, slot and moving statistic after the last step.
        weights_equal: Arrays that were bit-equal before the first step.
        weights_total: Arrays in all.
        weights_differing: The others, ``layer/role``.
        environment: Versions and machine of both sides.
        notes: What acts when the file's owner trains, and does not here, in words.
        explanation: Where the runs differ.
        duration_s: Of all of it, seconds.
    """

    title: str
    source: str
    source_sha256: str
    reference: str
    loaded_by: str
    converted: str
    converted_sha256: str
    batches: str
    optimizer: Mapping[str, Any]
    port_optimizer: str | None
    losses: Mapping[str, tuple[float, ...]]
    rows: tuple[Row, ...]
    weights_equal: int
    weights_total: int
    weights_differing: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    explanation: TrainingExplanation | None = None
    duration_s: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """NOT PROVEN, too, where rounding alone moves Keras's own run as far as the port's is from it."""
        found, equal_before = super().verdict, self.weights_equal == self.weights_total
        by_rounding = self.explanation is not None and self.explanation.by_rounding
        return "NOT PROVEN" if found == "DIFFERS" and equal_before and by_rounding else found
