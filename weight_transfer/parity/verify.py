"""Verification: the same inputs through Keras and through the port, compared at every tap."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from weight_transfer.architecture import Architecture
from weight_transfer.checkpoint import Checkpoint, read_checkpoint
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import Identified, identify
from weight_transfer.conversion.mapping import mapping
from weight_transfer.conversion.structure import can_resize
from weight_transfer.converted import Converted, read_converted
from weight_transfer.errors import VerificationError
from weight_transfer.layer_graph import LayerGraph
from weight_transfer.model_config import model_graph
from weight_transfer.network import network_to_dict
from weight_transfer.parity.inputs import Case, arrays_of, cases
from weight_transfer.parity.processes import check_installed, run_side
from weight_transfer.parity.report import TapRow, Verification
from weight_transfer.parity.tolerances import TOLERANCES

Progress = Callable[[str, float], None]
Device = Literal["cpu", "cuda"]
REFERENCE_SHARE = 0.5  # of the progress bar
OUTPUT = "output"


def verify(
    source: str | os.PathLike[str],
    converted: str | os.PathLike[str] | None = None,
    hints: Hints | None = None,
    devices: Sequence[Device] = ("cpu", "cuda"),
    num_photographs: int = 2,
    on_progress: Progress = lambda stage, share: None,
) -> Verification:
    """Compares a Keras checkpoint with its port: a ResNet at the stem, every block, the logits and the
    output, an imported graph at every layer.

    For a file that carries its model the reference is the model that Keras loads from it; for a
    weights-only file it is `resnet_keras`, or the family's network in Keras, with the file's
    weights. Keras and PyTorch run in two processes of their own.

    Args:
        source: The Keras checkpoint.
        converted: The port; by default the source is converted on the way.
        hints: What the checkpoint may not show.
        devices: Where the port runs; ``cuda`` is left out where there is none.
        num_photographs: Real photographs at the network's size.
        on_progress: Called with what is going on and the share that is done.

    Raises:
        CheckpointError, ArchitectureError, MappingError: As `convert`.
        VerificationError: A framework is missing or failed.
    """
    for package in ("resnet_keras", "resnet_torch"):
        check_installed(package)
    with tempfile.TemporaryDirectory() as name, read_checkpoint(source) as checkpoint:
        folder = Path(name)
        identified = identify(checkpoint, hints)
        _check_runnable(checkpoint, identified)
        if converted is None:
            converted = folder / "converted.safetensors"
            convert(source, converted, hints)
        port = read_converted(converted)
        shown = cases(identified.network, any_size=_any_size(identified), num_photographs=num_photographs)
        save_file(dict(arrays_of(shown)), folder / "inputs.safetensors")
        reference, errors = _run(checkpoint, identified, port, shown, folder, devices, on_progress)
        differing = _differing(checkpoint, identified, port)
    total = len(mapping(identified.network))
    return Verification(
        source=checkpoint.path.name,
        reference=_kind(checkpoint),
        loaded_by=reference["loaded_by"],
        converted=port.path.name,
        inputs=tuple(case.name for case in shown),
        rows=tuple(_rows(reference, errors["errors"])),
        weights_equal=total - len(differing),
        weights_total=total,
        weights_differing=tuple(differing),
        assumed=identified.assumed,
        frameworks={"reference": reference["loaded_by"], "torch": errors["torch"]},
    )


def _kind(checkpoint: Checkpoint) -> str:
    return "twin" if checkpoint.config is None else "file"


def _check_runnable(checkpoint: Checkpoint, identified: Identified) -> None:
    """Raises VerificationError for a network that the reference cannot run."""
    network = identified.network
    if isinstance(network, LayerGraph) and network.data_format == "channels_first":
        raise VerificationError(
            f"{checkpoint.path.name}: a channels_first network, whose convolutions TensorFlow has for GPUs only, "
            "so that there is no reference on the CPU to compare with. The conversion itself does not depend on it."
        )


def _any_size(identified: Identified) -> bool:
    """Whether the reference can be rebuilt for other sizes: imported graphs are shown their own."""
    if not isinstance(identified.network, Architecture):
        return False
    return identified.keras is None or can_resize(model_graph(identified.keras))


def _run(
    checkpoint: Checkpoint,
    identified: Identified,
    port: Converted,
    shown: Sequence[Case],
    folder: Path,
    devices: Sequence[Device],
    on_progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Records the reference, then compares the port with the recording."""
    common = {
        "inputs": str(folder / "inputs.safetensors"),
        "cases": {f"case{index}": case.raw for index, case in enumerate(shown)},
    }
    recording = str(folder / "reference.safetensors")
    request = {
        **common,
        "checkpoint": str(checkpoint.path),
        "container": checkpoint.container,
        "reference": _kind(checkpoint),
        "arrays": {name: array.name for name, array in identified.arrays.items()},
        "network": network_to_dict(identified.network),
        "config": None if checkpoint.config is not None else identified.config,
        "output": recording,
    }
    reference = run_side("resnet_keras.recording", request, lambda share: on_progress("Keras", share * REFERENCE_SHARE))
    request = {
        **common,
        "converted": str(port.path),
        "reference": recording,
        "taps": reference["taps"],
        "devices": list(devices),
    }
    errors = run_side(
        "resnet_torch.comparison",
        request,
        lambda share: on_progress("PyTorch", REFERENCE_SHARE + share * (1 - REFERENCE_SHARE)),
    )
    return reference, errors


def _rows(reference: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> list[TapRow]:
    """One row per device and tap, the worst of all inputs."""
    if not errors:
        raise VerificationError("nothing was compared: no device that was asked for is there")
    taps = reference["taps"]
    gated = taps[-2] if len(taps) > 1 else taps[-1]  # the logits: the last tap before the output
    rows = []
    for device in dict.fromkeys(error["device"] for error in errors):
        for tap in taps:
            here = [error for error in errors if error["device"] == device and error["tap"] == tap]
            noise = max(by_tap[tap] for by_tap in reference["noise"].values())
            by_dtype = {dtype: max(error["error"] for error in here if error["dtype"] == dtype) for dtype in TOLERANCES}
            rows.append(
                TapRow(
                    tap=tap,
                    device=device,
                    shape=tuple(here[0]["shape"]),
                    peak=max(error["peak"] for error in here),
                    errors=by_dtype,
                    noise=noise,
                    limits=_limits(noise, gated=tap == gated),
                )
            )
    return rows


def _limits(noise: float, *, gated: bool) -> dict[str, float]:
    """What each dtype's error may be at a tap whose float32 reference has this error itself."""
    limits = {}
    for dtype, tolerance in TOLERANCES.items():
        limit = tolerance.error
        if tolerance.noise_factor is not None:
            own = tolerance.noise_factor * max(noise, tolerance.noise_floor)
            limit = own if gated else max(limit, own)
        limits[dtype] = limit
    return limits


def _differing(checkpoint: Checkpoint, identified: Identified, port: Converted) -> list[str]:
    """Arrays that are not bit for bit the same on both sides."""
    tensors = port.tensors()
    targets = {row.keras: row.torch for row in mapping(port.network)}
    differing = []
    for row in mapping(identified.network):
        tensor = tensors.get(targets.get(row.keras, ""))
        ours = row.to_torch(identified.arrays[row.keras].read())
        if tensor is None or tensor.dtype != ours.dtype or not np.array_equal(tensor, ours):
            differing.append(row.keras)
    return differing
