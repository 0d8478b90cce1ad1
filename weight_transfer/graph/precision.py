"""In which precision a Keras model held and computed each of its layers: their dtype policies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from weight_transfer.errors import ArchitectureError
from weight_transfer.graph.graph import INPUT, Graph

Dtype = Literal["float16", "bfloat16", "float32", "float64"]
Policies: TypeAlias = Mapping[str, str]  # by layer, of layers with another policy than float32

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
MIXED: Mapping[str, Dtype] = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}  # their variables are float32
# Of TensorFlow 1.14 to 2.0: the dtype of the first input, which a file does not name.
INFERRED = ("infer", "infer_with_float32_vars", "_infer")
# How far outputs computed in each are from those in float32, of the peak: what half as many bits leave.
ROUNDING: Mapping[str, str] = {"float16": "5e-3", "bfloat16": "2e-2"}


@dataclass(frozen=True)
class Precision:
    """The precision of a network, and of the Keras model that it was.

    Attributes:
        dtype: Of the port's weights, inputs and arithmetic: what every layer with weights had in Keras, both for its
            variables and to compute in, else float32.
        policies: Keras's dtype policy by layer, where it is not float32.
    """

    dtype: Dtype = "float32"
    policies: Policies = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or not all(isinstance(name, str) for name in self.policies.values()):
            raise ValueError(f"precision {self.dtype!r}, {dict(self.policies)!r}")

    @property
    def stored(self) -> str:
        """The dtype of its weights in files and NumPy, which has no bfloat16: float32 holds each of its numbers."""
        return "float32" if self.dtype == "bfloat16" else self.dtype

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person must know of it, in sentences; none for a model of float32."""
        lines = []
        if self.dtype != "float32":
            lines.append(f"computes in {self.dtype}, as the layers' dtype policies say; inputs are cast to it")
        for name in sorted(set(self.policies.values()) - {self.dtype}):
            layers = [layer for layer, policy in self.policies.items() if policy == name]
            where = f"{len(layers)} layers ({layers[0]}{' and others' if len(layers) > 1 else ''})"
            compute = MIXED.get(name, name)
            cost = ""
            if compute in ROUNDING:
                cost = f": the owner's own outputs are up to about {ROUNDING[compute]} of their peak from these"
            lines.append(
                f"{where} had the dtype policy {name} and computed in {compute}; the port computes them in "
                f"{self.dtype}{cost}"
            )
        return tuple(lines)


def precision_of(graph: Graph, weighted: Collection[str]) -> Precision:
    """Reads the precision of a model.

    Args:
        graph: Its graph.
        weighted: Paths, or names alone, of the layers that hold arrays; they decide in what the port computes.

    Raises:
        ArchitectureError: A layer has a policy that is none of float numbers, such as a quantized one.
    """
    policies = {
        path: policy_name(path, layer.config.get("dtype"))
        for path, layer in graph.listed.items()
        if layer.class_name != INPUT or layer.config.get("dtype") in MIXED.values()  # which rounds what it takes
    }
    held = {name for path, name in policies.items() if path in weighted or path.rpartition("/")[2] in weighted}
    uniform = held.pop() if len(held) == 1 else ""
    others = {path: name for path, name in policies.items() if name != "float32"}
    return Precision(next((one for one in DTYPES if one == uniform), "float32"), others)


def policy_name(path: str, value: Any) -> str:
    """Returns the name of a policy in any schema: ``"float16"``, ``{"class_name": "DTypePolicy", "config": {...}}``.

    Args:
        path: The layer's path, for messages.
        value: Its ``dtype``.

    Raises:
        ArchitectureError: It is none of float numbers.
    """
    inside = value.get("config") if isinstance(value, Mapping) else None
    name = inside.get("name") if isinstance(inside, Mapping) else value
    if name is None or name in INFERRED:
        return "float32"
    if not isinstance(name, str) or name not in (*DTYPES, *MIXED):
        raise ArchitectureError(
            f"layer {path!r}: its dtype policy {name!r} is not supported. Expected one of {(*DTYPES, *MIXED)}."
        )
    return name
