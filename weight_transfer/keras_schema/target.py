"""What is written: which generation's schema, for which container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from weight_transfer.checkpoint.writing import Schema
from weight_transfer.errors import ArchitectureError

Container: TypeAlias = Literal[".keras", ".h5"]

# The Keras that reads what is written, by whose rules a config is read again.
READERS: Mapping[Schema, str] = {"keras2": "2.15.0", "keras3": "3.15.1"}
NAMES: Mapping[Schema, str] = {"keras2": "Keras 2 (tf_keras)", "keras3": "Keras 3"}


@dataclass(frozen=True)
class Target:
    """Attributes:
    schema: Of which generation.
    container: A legacy ``.h5`` of Keras 2 names classes alone, which each Keras from 2.2 on reads; every other
        file says their modules too.
    """

    schema: Schema
    container: Container

    def object(
        self, class_name: str, config: Any, module: str | None, registered_name: str | None = None
    ) -> dict[str, Any]:
        """Returns a serialized object: a layer, a model, an initializer."""
        if self.schema == "keras2" and self.container == ".h5":
            return {"class_name": class_name, "config": config}
        return {"module": module, "class_name": class_name, "config": config, "registered_name": registered_name}

    def refusal(self, layer: str, class_name: str, what: str) -> ArchitectureError:
        """Returns the error for what this schema cannot say.

        Args:
            layer: Path of the layer.
            class_name: Its class in the file.
            what: Field and value.
        """
        return ArchitectureError(
            f"layer {layer!r} ({class_name}): {what} cannot be said in the schema of {NAMES[self.schema]}, where no "
            "field means the same. Write the file without --schema, in the schema of the Keras that wrote the model."
        )
