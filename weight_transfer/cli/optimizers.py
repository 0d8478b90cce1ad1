"""An optimizer's state in words, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from weight_transfer.optimizer.state import OptimizerState


def optimizer_as_dict(state: OptimizerState) -> dict[str, Any]:
    """Returns what is known of a state, without its numbers."""
    return {
        **state.facts(),
        "slots": {slot: len(tensors) for slot, tensors in state.slots.items()},
        "num_numbers": sum(tensor.size_bytes // tensor.dtype.itemsize for tensor in state.tensors),
    }


def optimizer_text(state: OptimizerState) -> str:
    """``Adam after 1,563 steps, learning rate 0.001; momentum and velocity of 34 weights; 2 layers frozen``."""
    rate = f"learning rate {state.learning_rate:g}" if state.learning_rate is not None else _schedule(state)
    slots = state.slots
    kept = " and ".join(slots) + f" of {len(next(iter(slots.values())))} weights" if slots else "no slots"
    parts = [f"{state.class_name} after {state.iterations:,} steps, {rate}", kept]
    if state.frozen:
        parts.append(f"{len(state.frozen)} layer{'s' * (len(state.frozen) > 1)} frozen")
    if state.loss_scale is not None:
        parts.append(f"loss scale {state.loss_scale.scale:g}")
    return escape("; ".join(parts))


def _schedule(state: OptimizerState) -> str:
    arguments = state.config.get("config") or {}
    rate = arguments.get("learning_rate")
    name = str(rate.get("class_name")) if isinstance(rate, dict) else "decay"
    return f"learning rate by {name if name.isprintable() else repr(name)}"
