"""Keras ResNet checkpoints to PyTorch, with proof. Loads no framework.

Example:
    >>> import weight_transfer
    >>> weight_transfer.convert("resnet50.h5", "resnet50.safetensors").num_arrays
    320
"""

from weight_transfer import isolation  # noqa: F401  # first, and it acts: the folder may hold an h5py.py

# isort: split
from typing import TYPE_CHECKING

from weight_transfer.lazy_names import lazy_names

if TYPE_CHECKING:
    from weight_transfer.architecture import Architecture, Conventions, Head, Names
    from weight_transfer.checkpoint import Array, Checkpoint, read_checkpoint
    from weight_transfer.conversion.convert import Conversion, convert
    from weight_transfer.conversion.export import export
    from weight_transfer.conversion.hints import Hints
    from weight_transfer.conversion.identify import identify
    from weight_transfer.errors import (
        ArchitectureError,
        CheckpointError,
        ImageError,
        MappingError,
        OptionError,
        TransferError,
        VerificationError,
    )
    from weight_transfer.graph import Graph
    from weight_transfer.identified import Identified
    from weight_transfer.parity.reference import record
    from weight_transfer.parity.report import Row, Verification
    from weight_transfer.parity.verify import verify
    from weight_transfer.resnet.dialects import DIALECTS, Dialect, design
    from weight_transfer.version import __version__
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "architecture": ("Architecture", "Conventions", "Head", "Names"),
            "checkpoint": ("Array", "Checkpoint", "read_checkpoint"),
            "conversion.convert": ("Conversion", "convert"),
            "conversion.export": ("export",),
            "conversion.hints": ("Hints",),
            "conversion.identify": ("identify",),
            "errors": (
                "ArchitectureError",
                "CheckpointError",
                "ImageError",
                "MappingError",
                "OptionError",
                "TransferError",
                "VerificationError",
            ),
            "graph": ("Graph",),
            "identified": ("Identified",),
            "parity.reference": ("record",),
            "parity.report": ("Row", "Verification"),
            "parity.verify": ("verify",),
            "resnet.dialects": ("DIALECTS", "Dialect", "design"),
            "version": ("__version__",),
        },
    )

__all__ = [
    "DIALECTS",
    "Architecture",
    "ArchitectureError",
    "Array",
    "Checkpoint",
    "CheckpointError",
    "Conventions",
    "Conversion",
    "Dialect",
    "Graph",
    "Head",
    "Hints",
    "Identified",
    "ImageError",
    "MappingError",
    "Names",
    "OptionError",
    "Row",
    "TransferError",
    "Verification",
    "VerificationError",
    "__version__",
    "convert",
    "design",
    "export",
    "identify",
    "read_checkpoint",
    "record",
    "verify",
]
