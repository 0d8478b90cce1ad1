"""Proves one network after the other, and writes the table of docs/proven-networks.md.

Networks are made with real Keras: seeded weights, statistics of their own activations. Each is verified in a process of
its own; what was proven by this version is not proven again, so that a run that was stopped goes on.

    python benchmarks/proven_networks.py [--only NAME] [--again] [--folder DIR ...]

``--folder`` adds the checkpoints below a folder, by their file names: yours, or the suite's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "proven-networks.md"
SUFFIXES = (".h5", ".hdf5", ".keras")
DEMO = {"ResNet-50 of the demo": 50, "ResNet-152 of the demo": 152}  # depths
APPLICATIONS = ("ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "MobileNetV2", "DenseNet121")
EXAMPLE = {"CIFAR ResNet-20 v1": "_cifar_v1", "CIFAR ResNet-29 v2": "_cifar_v2"}  # of Keras's cifar10_resnet.py
NETWORKS = (*DEMO, *(f"keras.applications {name}" for name in APPLICATIONS), *EXAMPLE)
TEXT = """# Proven networks

What `weight-transfer verify` said of each, with its exact runs, the model as its Keras loads it called and trained for
a step, and photographs. `benchmarks/proven_networks.py` makes this page, and goes on where it was stopped;
[parity.md](parity.md) says what the words mean.

{table}

*Exact* counts the layer outputs that are equal in every bit, on integers at each of the sizes, of all; *float64* is the
largest error on images, as a share of a layer's peak. Weights are seeded, and the statistics of batch norms those of
the network's own activations; of files that were found in public repositories they are their owners'. *Weights alone*
are held by the same network of ours in Keras. Keras 3 adds a bias along the width where that is as long as the channels
of a channels-first layer, which no port should; tf_keras does not.
"""


@dataclass(frozen=True)
class Proof:
    """What was said of one network.

    Attributes:
        verdict: Of `weight-transfer verify`; empty where the file was refused.
        reference: Which Keras.
        sizes: Of the exact runs.
        exact: Layer outputs that are bit-equal.
        layers: Layer outputs in all.
        error: The largest float64 error of a layer on images; None where one is infinite.
        note: Why nothing more was proven.
        version: Of this library.
        seconds: Of the verification.
    """

    verdict: str
    reference: str
    sizes: tuple[str, ...]
    exact: int
    layers: int
    error: float | None
    note: str
    version: str
    seconds: float


def prove(path: Path, version: str) -> Proof:
    """Verifies a checkpoint in a process of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "weight_transfer", "verify", str(path), "--json"], capture_output=True, text=True
    )
    seconds = round(time.monotonic() - started, 1)
    if not done.stdout:
        line = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "error: no result")
        said = line.removeprefix("error: ").replace(str(path), path.name)
        return Proof(
            "", "", (), 0, 0, 0.0, re.split(r"[:.] ", said.removeprefix(f"{path.name}: "))[0], version, seconds
        )
    found = json.loads(done.stdout)
    exact = [row for row in found["rows"] if row["check"] == "exact"]
    telling = [row for row in found["rows"] if row["check"] == "inference" and row["limits"]["float64"] < 1]
    errors = [row["errors"]["float64"] for row in telling]
    return Proof(
        verdict=found["verdict"],
        reference=" ".join(found["loaded_by"].split()[:2]) if found["reference"] == "file" else "weights alone",
        sizes=tuple(found["sizes"]),
        exact=sum(row["passed"] and row["limits"]["float64"] == 0 for row in exact),
        layers=len(exact),
        error=None if None in errors else max(errors, default=0.0),
        note="" if found["passed"] else found["doubt"] or (found["explanation"] or {}).get("sentence", ""),
        version=version,
        seconds=seconds,
    )


def make(name: str, path: Path) -> None:
    """Writes a network of `NETWORKS`."""
    if name in DEMO:
        from weight_transfer.cli.demo import make_checkpoint

        make_checkpoint(DEMO[name], 0, path, lambda share: None)
        return
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import keras
    import keras_zoo

    if name in EXAMPLE:
        model = getattr(keras_zoo, EXAMPLE[name])(keras, int(name.split()[1].partition("-")[2]))
    else:
        model = getattr(keras.applications, name.split()[1])(weights=None)
    keras_zoo.save_as(path, keras_zoo.seed_weights(keras, model))


def table(proofs: Mapping[str, Proof]) -> str:
    """The proofs as a table of a page."""
    lines = [
        "| network | verdict | at | exact | float64 | reference |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in proofs.items():
        if one.verdict:
            sizes, error = ", ".join(one.sizes), "another shape" if one.error is None else f"{one.error:.1e}"
            verdict = f"{one.verdict}: {one.note}" if one.note else one.verdict
            cells = verdict, sizes, f"{one.exact} of {one.layers}", error, one.reference
        else:
            cells = f"refused: {one.note}", "", "", "", ""
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(proofs: Mapping[str, Proof], page: Path) -> None:
    """Writes the page, and the figures beside it."""
    page.with_suffix(".json").write_text(
        json.dumps({name: asdict(one) for name, one in proofs.items()}, indent=1) + "\n"
    )
    page.write_text(TEXT.format(table=table(proofs)))


def read(page: Path) -> dict[str, Proof]:
    """Returns the proofs of earlier runs."""
    path = page.with_suffix(".json")
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {name: Proof(**{**one, "sizes": tuple(one["sizes"])}) for name, one in stored.items()}


def run(names: Sequence[str], files: Mapping[str, Path], page: Path, *, again: bool) -> dict[str, Proof]:
    """Proves what this version has not proven yet, and writes the page after each."""
    from weight_transfer.version import __version__

    proofs = read(page)
    for number, name in enumerate((*names, *files), start=1):
        line = f"[{number} of {len(names) + len(files)}] {name}: "
        if not again and name in proofs and proofs[name].version == __version__:
            print(f"{line}{proofs[name].verdict or 'refused'}, as before", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = files.get(name) or Path(folder) / "model.keras"
            if name in names:
                made = subprocess.run(
                    [sys.executable, __file__, "--make", name, str(path)], capture_output=True, text=True
                )
                if made.returncode:
                    print(f"{line}not made: {(made.stderr.splitlines() or [''])[-1]}", flush=True)
                    continue
            proofs[name] = prove(path, __version__)
        print(f"{line}{proofs[name].verdict or 'refused'} {proofs[name].note} ({proofs[name].seconds} s)", flush=True)
        write({known: proofs[known] for known in dict.fromkeys((*names, *files, *proofs)) if known in proofs}, page)
    return proofs


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=list(NETWORKS), help="A network; by default all.")
    parser.add_argument("--again", action="store_true", help="Prove again what was proven.")
    parser.add_argument("--folder", action="append", default=[], type=Path, help="Checkpoints to prove too.")
    parser.add_argument("--page", type=Path, default=PAGE, help="The page to write.")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.make:
        make(chosen.make[0], Path(chosen.make[1]))
        return
    found = [path for folder in chosen.folder for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES]
    run(chosen.only or list(NETWORKS), {path.name: path for path in found}, chosen.page, again=chosen.again)


if __name__ == "__main__":
    main()
