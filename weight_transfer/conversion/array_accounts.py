"""Every array accounted for: what a file holds against what a network needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weight_transfer.checkpoint import Array, Checkpoint
from weight_transfer.errors import MappingError, listing, nearest
from weight_transfer.graph import Graph
from weight_transfer.layer_types import ROLE_ALIASES
from weight_transfer.weight_mapping import Row, mapping


@dataclass(frozen=True)
class Accounting:
    """The balance of one file against one network.

    Attributes:
        rows: What the network needs.
        arrays: What the file holds, by ``layer/role``.
        missing: Needed and not there.
        extra: There and not needed.
        misfits: There, needed, and of the wrong shape or type, in words.
    """

    rows: tuple[Row, ...]
    arrays: Mapping[str, Array]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misfits: tuple[str, ...]

    @classmethod
    def of(cls, arrays: Mapping[str, Array], network: Graph) -> Accounting:
        """Balances the arrays against the network."""
        rows = mapping(network)
        needed = {row.keras: row for row in rows}
        return cls(
            rows=rows,
            arrays=arrays,
            missing=tuple(name for name in needed if name not in arrays),
            extra=tuple(name for name in arrays if name not in needed),
            misfits=tuple(_misfits(needed, arrays)),
        )

    @property
    def complete(self) -> bool:
        """Whether names and shapes are exactly what the network needs."""
        return not (self.missing or self.extra or self.misfits)

    @property
    def num_problems(self) -> int:
        """How far the file is from the network."""
        return len(self.missing) + len(self.extra) + len(self.misfits)

    def error(self, what: str) -> MappingError:
        """Returns an error that starts with ``what`` and lists every problem, once it is shown."""
        return MappingError(lambda: self._text(what))

    def _text(self, what: str) -> str:
        parts = [what + "."]
        if self.missing:
            parts.append(f"Missing {len(self.missing)} of {len(self.rows)} arrays:{self._missing_lines()}")
        if self.extra:
            known = self.missing or tuple(row.keras for row in self.rows)
            lines = {f"{name!r} {self.arrays[name].shape}": name for name in self.extra}
            shown = listing(lines, lambda line: nearest(lines[line], known))
            parts.append(f"Not part of it {len(self.extra)} arrays:{shown}")
        if self.misfits:
            parts.append(f"Misfits {len(self.misfits)} arrays:{listing(self.misfits)}")
        return "\n".join(parts)

    def _missing_lines(self) -> str:
        """A line for each part of the network that is wholly missing, then the single arrays."""
        missing = set(self.missing)
        parts: dict[str, list[str]] = {}
        for row in self.rows:
            parts.setdefault(_part(row), []).append(row.keras)
        whole = {part: names for part, names in parts.items() if missing.issuperset(names)}
        lines = "".join(
            f"\n  {part}: all {len(names)} arrays, {names[0]} to {names[-1]}" for part, names in whole.items()
        )
        single = missing.difference(*whole.values()) if whole else missing
        return lines + listing(single, lambda name: nearest(name, self.extra))


def _part(row: Row) -> str:
    """``stem``, ``stage3``, ``head``."""
    path = row.torch.split(".")
    return path[1] if path[0] == "stages" else path[0]


def _misfits(needed: Mapping[str, Row], arrays: Mapping[str, Array]) -> list[str]:
    lines = []
    for name, row in needed.items():
        array = arrays.get(name)
        if array is None:
            continue
        if array.shape != row.shape:
            theano = len(row.shape) == 4 and array.shape == row.torch_shape != row.shape
            hint = " (Theano's order: convert the file with Keras 1's convert_kernel first)" if theano else ""
            lines.append(f"{name}: expected shape {row.shape}, received {array.shape}{hint}")
        elif not np.issubdtype(array.dtype, np.number if row.weight.whole else np.floating):
            lines.append(f"{name}: expected floating-point numbers, received {array.dtype}")
    return lines


def imported(
    checkpoint: Checkpoint,
    keras: Graph,
) -> tuple[Graph, Mapping[str, Array]]:
    """Imports a model's graph and finds every array of it in the checkpoint.

    Args:
        checkpoint: The arrays, by the names of the graph's layers.
        keras: The model's graph, from the checkpoint's own config or another's.

    Raises:
        ArchitectureError: The graph has layers that cannot be imported.
        MappingError: Arrays are missing, left over or of a wrong shape.
    """
    network = keras.checked()
    arrays = by_role(network, checkpoint.arrays)
    accounting = Accounting.of(arrays, network)
    if not accounting.complete:
        raise accounting.error(f"{checkpoint.path.name}: its arrays are not those of its model {network.name!r}")
    return network, arrays


def by_role(network: Graph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Returns a file's arrays under the table's roles: from other Kerases' names, and from Keras 3's numbers."""
    found = {}
    for name, array in arrays.items():
        path, _, role = name.rpartition("/")
        layer = network.layers.get(path)
        if layer is not None:
            roles = list(layer.weights)
            number = role.removeprefix("vars_")
            if role not in roles and number.isdigit() and int(number) < len(roles):
                role = roles[int(number)]
            elif role not in roles:
                role = ROLE_ALIASES.get(role, role)
        found[f"{path}/{role}"] = array
    return found
