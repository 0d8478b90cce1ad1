"""What a person says of a checkpoint beside its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from weight_transfer.architecture import DEPTHS
from weight_transfer.errors import ArchitectureError
from weight_transfer.families import FAMILIES
from weight_transfer.images import WAYS, Crop, ImageLoading
from weight_transfer.preprocessing import Preprocessing
from weight_transfer.resnet.dialects import dialect_named

ImportAs = Literal["native", "graph"]
PairBy = Literal["order", "name"]


@dataclass(frozen=True)
class Hints:
    """What a person says of a checkpoint that its file may not show.

    Attributes:
        dialect: Key of a dialect.
        depth: 18, 34, 50, 101 or 152.
        in_shape: (H, W) of the input.
        pooling: Global pooling of a network without a classifier.
        conventions: Fields of `Conventions` that differ from the dialect's.
        import_as: ``native`` for a `resnet_torch.ResNet` or nothing, ``graph`` for the network as its
            own graph has it; None takes the first that is possible.
        family: Key of a family of weights-only files.
        config: A JSON file with the model's description (``model.to_json()`` or ``get_config()``).
        like: Another checkpoint of the same model, one that carries its description.
        pair_by: Whether the arrays of a file whose model ``config`` or ``like`` describes are paired with its layers
            by order, as Keras's ``load_weights`` does, or by name; None takes what fits, if that is one pairing.
        preprocessing: What its owner did to images before the network.
        image_loading: How its owner made pixels of image files, a key of `weight_transfer.images.WAYS`.
        crop: What its owner cut out of their centre.
    """

    dialect: str | None = None
    depth: int | None = None
    in_shape: tuple[int, int] | None = None
    pooling: Any = None
    conventions: Mapping[str, Any] = field(default_factory=dict)
    import_as: ImportAs | None = None
    family: str | None = None
    config: Path | None = None
    like: Path | None = None
    pair_by: PairBy | None = None
    preprocessing: Preprocessing | None = None
    image_loading: ImageLoading | None = None
    crop: Crop = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files to read beside the checkpoint."""
        return tuple(Path(path) for path in (self.config, self.like) if path is not None)

    def __post_init__(self) -> None:
        if self.dialect is not None:
            dialect_named(self.dialect)
        if self.depth is not None and self.depth not in DEPTHS:
            raise ArchitectureError(f"depth must be one of {tuple(DEPTHS)}. Received: depth={self.depth}")
        if self.family is not None and self.family not in FAMILIES:
            raise ArchitectureError(f"family must be one of {tuple(FAMILIES)}. Received: family={self.family!r}")
        if self.image_loading is not None and self.image_loading not in WAYS:
            raise ArchitectureError(
                f"image_loading must be one of {tuple(WAYS)}. Received: image_loading={self.image_loading!r}"
            )
