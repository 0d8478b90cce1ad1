"""Which layers of a recording somebody's own module has, by their names or by those that its owner gives."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from resnet_torch.comparison.arrays import learn_as_recorded
from resnet_torch.comparison.layer_errors import DTYPES
from resnet_torch.comparison.port_comparison import learn_as_in_float64, subject_for_comparison
from resnet_torch.comparison.subject import Subject, Tap, subject_of_module
from resnet_torch.model import PortedModel
from weight_transfer.errors import SHOWN_AT_MOST, VerificationError, nearest
from weight_transfer.graph import Graph
from weight_transfer.parity.exact_runs import logits_name
from weight_transfer.parity.recorded_network import RecordedLayer, RecordedNetwork
from weight_transfer.parity.recording import Recording


@dataclass(frozen=True)
class Asked:
    """What a person asked for: the arguments of `assert_parity`."""

    names: Mapping[str, str]
    without: tuple[str, ...]
    outputs_only: bool
    training: bool
    gives_predictions: bool


def check_without(recording: Recording, asked: Asked) -> None:
    """Raises VerificationError where layers are left out that there are none of."""
    known = _layer_names(recording)
    wrong = [f"{name}{nearest(name, known)}" for name in asked.without if name not in known]
    if wrong:
        raise VerificationError(f"without= names no layer of Keras's: {', '.join(wrong)}.")


def _layer_names(recording: Recording) -> list[str]:
    network = recording.origin.network
    layers = () if network is None else network.layers
    return list(dict.fromkeys([*recording.feeds, *(layer.name for layer in layers)]))


def subject_of_any(model: nn.Module, recording: Recording, asked: Asked, precision_name: str) -> Subject:
    """Describes a copy of a module, in a precision, by its names or by those that its owner gives."""
    copied = copy.deepcopy(model).to(DTYPES[precision_name])
    placed = next(copied.parameters(), torch.empty(0, dtype=DTYPES[precision_name]))
    if isinstance(copied, PortedModel) and not asked.names:
        subject = subject_for_comparison(copied, recording, placed.device.type, precision_name)
        return _with_outputs(subject, copied.network, recording.origin.outputs)
    if recording.origin.network is not None:
        learn_as_recorded(copied, recording.origin.network)
    learn_as_in_float64(copied, recording)
    layers = _layer_names(recording)
    how = {"gives_predictions": asked.gives_predictions}
    return dataclasses.replace(subject_of_module(copied, asked.names, layers, recording.origin, **how), placed=placed)


def _with_outputs(subject: Subject, network: Graph, names: Sequence[str]) -> Subject:
    """A converted model as a recording of just any model sees it: its outputs have names beside the layers'.

    There a last layer with a softmax or sigmoid of its own shows what comes before it.
    """
    if set(names) <= set(subject.taps):
        return subject
    taps, endings = dict(subject.taps), dict(subject.endings)
    layers = {call.value: call.layer for call in network.calls}
    for position, (name, value) in enumerate(zip(names, network.outputs, strict=True)):
        ending = endings.get(value, (position, nn.Identity()))
        if value in endings and network.layers[layers[value]].fused_activation is not None:
            del endings[value]
            taps[value] = Tap(network.modules[layers[value]][:1])
        endings[name], taps[name] = ending, Tap(())
    return dataclasses.replace(subject, taps=taps, endings=endings)


def only_what_both_name(subject: Subject, recording: Recording, asked: Asked) -> tuple[Recording, list[str]]:
    """Returns the recording without what the module has no name for, and the layers without arrays among that."""
    outputs = recording.origin.outputs
    known = {*subject.taps, *subject.rows, "loss"}
    if asked.outputs_only:
        known = {*outputs, "loss"}
    left_out = _left_out_names(recording, asked) - {*outputs}
    logits = {logits_name(name) for name in outputs}  # of last layers, which are compared with their activation
    layers = (entry.name for entry in recording.entries if entry.check == "inference" and entry.name not in logits)
    names = list(dict.fromkeys(layers))
    if not asked.outputs_only and not any(name in known and name not in outputs for name in names):
        modules = [path for path, _ in subject.model.named_modules() if path]
        hints = [f"{name}{nearest(name, modules)}" for name in names[:SHOWN_AT_MOST]]
        raise VerificationError(
            "no module has the name of a Keras layer. Give a map: names={'keras layer': 'path.of.the.module'}, or "
            "compare the outputs alone: outputs_only=True. "
            f"Keras's layers: {', '.join(hints)}{' ...' if len(names) > SHOWN_AT_MOST else ''}"
        )
    kept = {name for name in known if name not in left_out and name.rpartition("/")[0] not in left_out}
    entries = tuple(entry for entry in recording.entries if entry.name in kept)
    starts = {key: start for key, start in recording.starts.items() if key[2] in kept}
    with_arrays = {*layers_with_arrays(recording)}
    unnamed = [name for name in names if name not in known and name not in with_arrays and name not in left_out]
    return dataclasses.replace(recording, entries=entries, starts=starts), [] if asked.outputs_only else unnamed


def _left_out_names(recording: Recording, asked: Asked) -> set[str]:
    """The layers left out on purpose, and what their calls are called."""
    network = recording.origin.network
    layers = () if network is None else network.layers
    return {*asked.without, *(call for layer in layers if layer.name in asked.without for call in layer.calls)}


def layers_with_arrays(recording: Recording) -> list[str]:
    """Returns each layer that has arrays, as far as it is recorded."""
    return [layer.name for layer in network_of(recording).layers if layer.arrays]


def network_of(recording: Recording) -> RecordedNetwork:
    """Returns the network; of a recording of an earlier version what its gradients and statistics show."""
    if recording.origin.network is not None:
        return recording.origin.network
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    learning: dict[str, list[str]] = {}
    for entry in recording.entries:
        if entry.check in ("gradient", "statistics"):
            layer, _, role = entry.name.rpartition("/")
            shapes.setdefault(layer, {})[role] = entry.shape
            learning.setdefault(layer, []).extend([role] if entry.check == "gradient" else [])
    return RecordedNetwork(
        (),
        tuple(
            RecordedLayer(name, "", {}, (), arrays, tuple(learning[name]), True, {name: None})
            for name, arrays in shapes.items()
        ),
    )


def standing_for_random(subject: Subject, recording: Recording) -> list[str]:
    """Returns the paths of the modules that have the names of random layers."""
    network = recording.origin.network
    layers = () if network is None else network.layers
    taps = [tap for layer in layers if layer.is_random for name in layer.calls if (tap := subject.taps.get(name))]
    return [path for tap in taps for path in tap.modules]
