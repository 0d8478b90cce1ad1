"""What a port must say and hold because its Keras checkpoint does, in a form that a recording keeps.

With it a machine that has neither Keras nor the checkpoint compares a port's fields and arrays too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.conversion.convert import tensors_of
from weight_transfer.conversion.description import describe
from weight_transfer.conversion.hints import Hints
from weight_transfer.converted import Converted
from weight_transfer.description import Description
from weight_transfer.fingerprint import array_digest
from weight_transfer.identified import Identified
from weight_transfer.weight_mapping import mapping


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says of its network, and a hash of each of its arrays.

    Attributes:
        description: What `Description.to_dict` gives of it, without the Keras model's whole config.
        digests: By ``layer/role``, dtype, shape and hash of an array as a converted file holds it.
        assumed: What the checkpoint does not say, in words.
    """

    description: Mapping[str, Any]
    digests: Mapping[str, str]
    assumed: tuple[str, ...] = ()

    @property
    def described(self) -> Description:
        """The description as an object."""
        return Description.from_dict(self.description)

    def differing(self, port: Converted) -> list[str]:
        """Returns the arrays that a port does not hold bit for bit, by ``layer/role``."""
        targets = {row.keras: row.torch for row in mapping(port.network)}
        stored = {name: port.stored.get(targets.get(name, "")) for name in self.digests}
        return [
            name
            for name, tensor in stored.items()
            if tensor is None or array_digest(tensor.read()) != self.digests[name]
        ]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointFacts:
        """Returns facts that came through JSON."""
        return cls(values["description"], values["digests"], tuple(values["assumed"]))


def facts_of(checkpoint: Checkpoint, identified: Identified, hints: Hints | None = None) -> CheckpointFacts:
    """Reads a checkpoint's arrays once, and says what its port must say and hold.

    Args:
        checkpoint: The file.
        identified: What was found in it.
        hints: What the person knows.
    """
    said = describe(checkpoint, identified, hints).to_dict()
    if "keras_config" in said:
        said["keras_config"] = {}  # that there is one is all that a comparison asks
    rows = zip(mapping(identified.network), tensors_of(identified, []), strict=True)
    digests = {row.keras: array_digest(tensor.read()) for row, tensor in rows}
    return CheckpointFacts(said, digests, tuple(identified.assumed))
