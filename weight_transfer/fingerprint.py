"""What tells whether two sets of tensors are the same: an optimizer's state names the weights it belongs to by it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_transfer.tensor_file import Tensor


@dataclass
class Fingerprint:
    """A hash of tensors in any order: the same where names, dtypes, shapes and numbers are equal."""

    _digests: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, array: npt.NDArray[Any]) -> None:
        """Counts a tensor in."""
        self._digests[name] = array_digest(array)

    def counting(self, tensor: Tensor) -> Tensor:
        """Returns the tensor, which is counted in when it is read."""

        def read() -> npt.NDArray[Any]:
            array = tensor.read()
            self.add(tensor.name, array)
            return array

        return dataclasses.replace(tensor, read=read)

    @property
    def value(self) -> str:
        """The fingerprint of the tensors counted in so far, in hexadecimal."""
        return hashlib.sha256(json.dumps(sorted(self._digests.items())).encode()).hexdigest()


def array_digest(array: npt.NDArray[Any]) -> str:
    """Returns an array's dtype, its shape and a hash of its bits."""
    content = hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()
    return f"{array.dtype.name} {array.shape} {content}"


def fingerprint_of(tensors: Iterable[tuple[str, npt.NDArray[Any]]]) -> str:
    """Returns the fingerprint of tensors by name."""
    found = Fingerprint()
    for name, array in tensors:
        found.add(name, array)
    return found.value
