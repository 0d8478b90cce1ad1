"""What is known of one mistake: how it is planted in a right port, and how it is recognised in a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from resnet_torch.comparison.hypotheses import Change, Divergence, Hypothesis
from resnet_torch.comparison.mistakes.plants import Plant
from resnet_torch.comparison.mistakes.sites import Sites

Evidence = Literal["outputs", "fields"]


@dataclass(frozen=True)
class Kind:
    """One way to make a mistake.

    Attributes:
        title: In words.
        sites: Where in a port it can be planted, in the order of execution.
        plant: Plants it in a copy of the port; returns the subject to compare.
        evidence: What sees it: ``outputs``, the numbers that the port gives, in training too, and holds; or
            ``fields``, what the port says of its layers.
        left_out: Where it would change nothing, so that it is not planted there, and why.
    """

    title: str
    sites: Sites
    plant: Plant
    evidence: Evidence = "outputs"
    left_out: str = ""


@dataclass(frozen=True)
class Mistake:
    """One cause of a difference. Its title and the advice on it are in `CAUSES`, by the same key.

    Attributes:
        kinds: The ways to make it, by key.
        hypotheses: Each yields what the layer that differs would give without it; those of another cause are not
            tried here.
        statistics: The same of a batch norm whose statistics move otherwise: cause, text, change of the module.
        gradients: Says of a parameter and its path, where its gradient differs, that this is why.
        fields: Of a description that differs because of it.
    """

    kinds: Mapping[str, Kind]
    hypotheses: tuple[Callable[[Divergence], Iterator[Hypothesis]], ...] = ()
    statistics: tuple[Callable[[nn.Module], Iterator[tuple[str, str, Change]]], ...] = ()
    gradients: tuple[Callable[[nn.Parameter, str], str | None], ...] = ()
    fields: frozenset[str] = field(default_factory=frozenset)
