"""Which of an optimizer's variables is which: by their names where a file has them, else by order and shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weight_transfer.checkpoint import Array
from weight_transfer.errors import MappingError, quoted
from weight_transfer.optimizer.classes import AVERAGE, TODAYS, Slot
from weight_transfer.optimizer.spec import OptimizerSpec
from weight_transfer.optimizer.variables import Variable

U_PRODUCT = "u_product"  # Nadam's, one for all weights
UNUSED = "unused"  # what Keras 2's Adam stores in place of a slot that it does not keep
UNUSED_SHAPE = (1,)


@dataclass(frozen=True)
class Entry:
    """One variable of an optimizer.

    Attributes:
        slot: A slot's name, `U_PRODUCT` or `UNUSED`.
        variable: The weight that it belongs to; None of `U_PRODUCT`.
    """

    slot: str
    variable: Variable | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """What the file must hold."""
        if self.variable is None:
            return ()
        return UNUSED_SHAPE if self.slot == UNUSED else self.variable.row.shape


def entries_of(spec: OptimizerSpec, slots: Sequence[Slot], variables: Sequence[Variable]) -> tuple[Entry, ...]:
    """Returns the variables that an optimizer keeps, in the order in which its Keras makes them.

    Args:
        spec: The optimizer.
        slots: Those that it keeps.
        variables: The weights that it was built for, in their order.
    """
    row, newer = spec.row, spec.generation in TODAYS
    own = [slot for slot in slots if slot != AVERAGE]
    together = row.interleaved if newer else 1
    groups = [[AVERAGE]] if AVERAGE in slots else []
    groups += [own[:together], *([slot] for slot in own[together:])]
    entries = [Entry(slot.name, variable) for group in groups for variable in variables for slot in group]
    if spec.class_name == "Nadam" and spec.generation == "keras3":
        entries.append(Entry(U_PRODUCT))
    return tuple(entries)


def match(label: str, arrays: Sequence[Array], spec: OptimizerSpec, variables: Sequence[Variable]) -> tuple[Entry, ...]:
    """Returns what each array is.

    Args:
        label: The file, for messages.
        arrays: The optimizer's, without counter and learning rate.
        spec: The optimizer.
        variables: Every weight that could learn, in the model's order.

    Raises:
        MappingError: They are not those of this optimizer and these weights.
    """
    named = _by_name(arrays, spec, variables)
    if named is not None:
        return named
    shapes = [array.shape for array in arrays]
    layouts = list(_layouts(spec, variables))
    for entries in layouts:
        if shapes == [entry.shape for entry in entries]:
            return entries
    raise _mismatch(label, shapes, spec, variables, layouts)


def _layouts(spec: OptimizerSpec, variables: Sequence[Variable]) -> Iterator[tuple[Entry, ...]]:
    """What the arrays may be, the likeliest first.

    An optimizer that was built before layers were frozen has slots of all weights. tf_keras and Keras 2 keep
    SGD's momentum without using it, Keras 2 a number for each of Adam's missing slots.
    """
    learning = [variable for variable in variables if variable.learns]
    slots = spec.slots
    for chosen in (learning, list(variables)):
        yield entries_of(spec, slots, chosen)
        if spec.class_name == "SGD" and not spec.arguments.get("momentum"):
            yield entries_of(spec, (*slots, *spec.row.slots), chosen)
        if spec.class_name == "Adam" and spec.generation == "keras2" and not spec.arguments.get("amsgrad"):
            unused = tuple(Entry(UNUSED, variable) for variable in chosen)
            yield (*entries_of(spec, slots, chosen), *unused)


def _mismatch(
    label: str,
    shapes: Sequence[tuple[int, ...]],
    spec: OptimizerSpec,
    variables: Sequence[Variable],
    layouts: Sequence[tuple[Entry, ...]],
) -> MappingError:
    kept = ", ".join(slot.name for slot in spec.slots) or "no slots"
    learning = sum(variable.learns for variable in variables)
    what = f"{quoted(label)}: its optimizer's variables are not those of {spec.class_name} ({kept}) for this network"
    same_count = next((entries for entries in layouts if len(entries) == len(shapes)), None)
    if same_count is not None:
        number = next(n for n, entry in enumerate(same_count) if entry.shape != shapes[n])
        entry = same_count[number]
        of = "" if entry.variable is None else f" of {entry.variable.row.keras}"
        return MappingError(
            f"{what}: number {number + 1} of {len(shapes)} has shape {shapes[number]}, expected {entry.slot}{of} "
            f"{entry.shape}. Expected the optimizer and the weights of one model, saved together."
        )
    frozen = f", {len(variables) - learning} more are frozen" if learning < len(variables) else ""
    return MappingError(
        f"{what}: {len(shapes)} are there, expected {len(layouts[0])}: {learning} weights learn{frozen}. "
        "If layers were frozen or freed after model.compile(), compile, train and save the model again; "
        "if the optimizer's class or arguments are not those in the file, say so with --optimizer."
    )


def _by_name(arrays: Sequence[Array], spec: OptimizerSpec, variables: Sequence[Variable]) -> tuple[Entry, ...] | None:
    """What the names say, if each says it, and all of them together make sense; else None.

    ``adam/conv1_kernel_momentum`` (Keras 3), ``Adam/m/conv1/kernel:0`` (tf_keras), ``Adam/conv1/kernel/m:0``.
    """
    slots = {slot.name: slot for slot in (AVERAGE, *spec.row.slots)}
    known = _known_names(list(slots.values()), variables)
    entries: list[Entry] = []
    for array in arrays:
        if spec.class_name == "Nadam" and array.shape == () and spec.generation == "keras3":
            entries.append(Entry(U_PRODUCT))  # a variable that Keras gives no name
            continue
        found = next((known[end] for end in _ends(_plain(array.name)) if end in known), None)
        if found is None or found.shape != array.shape:
            return None
        entries.append(found)
    kept: dict[str, list[str]] = {}
    for entry in entries:
        if entry.variable is not None:
            kept.setdefault(entry.slot, []).append(entry.variable.row.keras)
    needed = {slot.name for slot in spec.slots}
    complete = all(len(set(names)) == len(names) for names in kept.values())
    if not complete or len({frozenset(names) for names in kept.values()}) > 1 or not needed.issubset(kept):
        return None
    return tuple(entries)


def _known_names(slots: Sequence[Slot], variables: Sequence[Variable]) -> dict[str, Entry]:
    """Every way to name a slot of a weight, but those that could mean two."""
    known: dict[str, Entry | None] = {}
    for variable in variables:
        if variable.variable is None:
            continue
        name = _plain(variable.variable)
        for slot in slots:
            for word in slot.words:
                for text in {f"{name}_{word}", f"{word}_{name}"}:
                    known[text] = None if text in known else Entry(slot.name, variable)
    return {text: entry for text, entry in known.items() if entry is not None}


def _plain(name: str) -> str:
    return re.sub(r":\d+$", "", name).replace("/", "_")


def _ends(name: str) -> Iterator[str]:
    """``adam_conv1_kernel_m``, ``conv1_kernel_m``, ``kernel_m``, ``m``: the longest that is known is meant."""
    yield name
    while "_" in name:
        name = name.partition("_")[2]
        yield name
