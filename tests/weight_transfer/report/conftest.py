"""Verifications built by hand: a ResNet-50's, as large as a real one; with a mistake; with hostile names."""

from __future__ import annotations

import base64
import dataclasses
import math
import random
import struct
import zlib
from collections.abc import Iterator

import pytest

from weight_transfer.parity.report import Explanation, Planted, Prediction, Row, Trial, Verification
from weight_transfer.parity.tolerances import TOLERANCES

STAGES = {2: (3, 56, 64), 3: (4, 28, 128), 4: (6, 14, 256), 5: (3, 7, 512)}
HOSTILE = (
    '<script>alert("x")</script>',
    '"><img src=https://elsewhere.example/x onerror=alert(1)>',
    "{{ found.source }}{% raw %}",
    r"$\frac{1}{0}$ & a_b",
    "right\u202eto left\x1b[31m\x00\n",
    "lone \ud800 surrogate",
    "畳み込み層",
    "x" * 300,
)


def layers() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every layer of a ResNet-50 with its output's shape, in execution order."""
    yield from ((name, (2, 112, 112, 64)) for name in ("conv1", "bn_conv1", "conv1_relu"))
    yield "pool1", (2, 56, 56, 64)
    for stage, (num_blocks, size, width) in STAGES.items():
        for block in "abcdef"[:num_blocks]:
            for branch, channels in (("2a", width), ("2b", width), ("2c", 4 * width)):
                yield from (
                    (f"{kind}{stage}{block}_branch{branch}", (2, size, size, channels)) for kind in ("res", "bn")
                )
                if branch != "2c":
                    yield f"res{stage}{block}_branch{branch}_relu", (2, size, size, channels)
            if block == "a":
                yield from ((f"{kind}{stage}a_branch1", (2, size, size, 4 * width)) for kind in ("res", "bn"))
            yield from ((f"res{stage}{block}{after}", (2, size, size, 4 * width)) for after in ("", "_relu"))
    yield from (("avg_pool", (2, 2048)), ("fc_01", (2, 200)), ("fc_01_relu", (2, 200)), ("fc_final", (2, 10)))
    yield "output", (2, 10)


def rows_of(check: str, draw: random.Random, device: str = "cpu") -> Iterator[Row]:
    """What a correct port measures."""
    factor = {"inference": 1, "training": 3, "gradient": 20, "statistics": 0.1, "loss": 1}[check]
    for position, (name, shape) in enumerate(tensors(check)):
        grown = factor * (1 + position / 60)
        errors = {"float64": grown * 7e-16 * math.exp(draw.gauss(0, 0.4))}
        noise = None
        if "float32" in TOLERANCES[check]:
            noise = grown * 1.5e-7 * math.exp(draw.gauss(0, 0.35))
            errors["float32"] = noise * math.exp(draw.gauss(0, 0.2))
        yield Row(
            check=check,
            name=name,
            device=device,
            shape=shape,
            peak=math.exp(draw.gauss(1.5, 1)),
            errors=errors,
            limits={precision: tolerance.limit(noise) for precision, tolerance in TOLERANCES[check].items()},
            noise=noise,
            where=tuple(draw.randrange(size) for size in shape),
        )


def tensors(check: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if check in ("inference", "training"):
        yield from layers()
    elif check == "loss":
        yield "loss", (1,)
    else:
        for name, shape in layers():
            if name.startswith("bn"):
                roles = ("moving_mean", "moving_variance") if check == "statistics" else ("gamma", "beta")
                yield from ((f"{name}/{role}", (shape[-1],)) for role in roles)
            elif check == "gradient" and (name.startswith("fc") or "branch" in name) and not name.endswith("relu"):
                yield f"{name}/kernel", (3, 3, 64, shape[-1])
                yield f"{name}/bias", (shape[-1],)


def picture(size: int, shade: int) -> str:
    """A gradient, PNG in base64."""
    lines = b"".join(
        b"\0" + bytes(v for x in range(size) for v in (x * 255 // size, y * 255 // size, shade)) for y in range(size)
    )
    chunks = (
        (b"IHDR", struct.pack(">2I5B", size, size, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + content).decode()


def resnet50() -> Verification:
    """A correct port's."""
    draw = random.Random(0)
    checks = ("inference", "training", "gradient", "statistics", "loss")
    top = ((7, 0.7661), (2, 0.1312), (0, 0.0514), (9, 0.0231), (4, 0.0117))
    return Verification(
        title="ResNet-50",
        source="resnet50.h5",
        source_sha256="5f" * 32,
        reference="file",
        loaded_by="keras 3.15.1 from the file",
        recorded="2026-11-04T09:31:12+00:00",
        detail="every element of every tensor, float64 and float32",
        converted="resnet50.safetensors",
        converted_sha256="a3" * 32,
        port_digest="c7" * 32,
        inputs=("photographs 224x224", "photograph 97x225", "impulse, constants, noise 65x71"),
        rows=tuple(row for check in checks for row in rows_of(check, draw)),
        weights_equal=322,
        weights_total=322,
        weights_differing=(),
        assumed=("preprocessing: caffe (BGR, minus the ImageNet mean)",),
        environment={
            "reference python": "3.11.7",
            "reference system": "Linux x86_64",
            "reference keras": "3.15.1",
            "port python": "3.12.2",
            "port system": "Linux x86_64",
            "port torch": "2.14.1",
        },
        predictions=tuple(
            Prediction(f"photographs 224x224, {number}", picture(64, 90 * number), top, top) for number in (1, 2)
        ),
        sensitivity=(
            Planted(
                "epsilon", "epsilon 1e-5 for 1.001e-5", ("bn2a_branch2a", "bn5c_branch2c"), 2, 2, 1.3e-8, 1e-12, 0, 0
            ),
            Planted("stride", "stride on the wrong convolution", ("res3a_branch2a",), 1, 1, 2.1e-2, 1e-12, 1, 0),
            Planted(
                "padding",
                "padding on both sides",
                ("conv1", "res3a_branch2b", "res4a_branch2b"),
                3,
                2,
                6.4e-2,
                1e-12,
                3,
                1,
            ),
        ),
        duration_s=63.4,
    )


def parted(found: Verification) -> Verification:
    """The same with a wrong epsilon at one batch norm: everything after it differs."""
    wrong = "bn3a_branch2b"
    trials = (
        Trial("epsilon", "epsilon 0.001 in place of 1.001e-05", 3.1e-15),
        Trial("epsilon", "epsilon 1e-05 in place of 1.001e-05", 2.0e-4),
        Trial("gamma and beta", "gamma and beta swapped", 0.31),
        Trial("mean and variance", "moving mean and variance swapped", 4.2),
    )
    rows, parting = [], False
    for row in found.rows:
        parting = row.check != "statistics" and (parting or row.name == wrong)
        more = {precision: 2.1e-2 + error for precision, error in row.errors.items()}
        rows.append(dataclasses.replace(row, errors=more) if parting else row)
    return dataclasses.replace(
        found,
        rows=tuple(rows),
        explanation=Explanation(
            check="inference",
            layer=wrong,
            class_name="BatchNorm2d",
            error=2.1e-2,
            inputs={"res3a_branch2b": 6.7e-16},
            found=trials[0],
            tried=trials,
            num_tried=31,
        ),
        predictions=tuple(
            dataclasses.replace(prediction, port=((2, 0.41), (7, 0.35), (0, 0.12), (9, 0.08), (4, 0.04)))
            for prediction in found.predictions
        ),
        sensitivity=(),
    )


def hostile_names(found: Verification) -> Verification:
    """Names, paths and words as an enemy writes them, and numbers that no axis has."""
    names = iter(HOSTILE * 100)
    rows = [dataclasses.replace(row, name=next(names)) for row in found.rows]
    rows[3] = dataclasses.replace(rows[3], errors={"float64": 0.0, "float32": math.inf}, noise=None, where=None)
    rows[4] = dataclasses.replace(rows[4], peak=0.0, errors={"float64": math.nan, "float32": 0.0})
    evil = HOSTILE[0]
    trial = Trial(evil, evil, 1e-15)
    return dataclasses.replace(
        found,
        title=evil,
        source=evil,
        source_sha256=evil,
        loaded_by=evil,
        recorded=evil,
        detail=evil,
        converted=evil,
        converted_sha256=evil,
        port_digest=evil,
        inputs=(evil,),
        rows=tuple(rows),
        weights_equal=321,
        weights_differing=HOSTILE,
        assumed=HOSTILE,
        environment={evil: evil, f"reference {evil}": evil},
        explanation=Explanation("inference", evil, evil, 0.1, {evil: 1e-16}, trial, (trial,)),
        predictions=(Prediction(evil, '"><script>alert(2)</script>', ((1, 0.5),), ((2, -0.5),)),),
        sensitivity=(Planted(evil, evil, (evil,), 0, 0, 0.0, 1e-12, 0, 0),),
    )


@pytest.fixture(scope="session")
def passing() -> Verification:
    return resnet50()


@pytest.fixture(scope="session")
def failing(passing) -> Verification:
    return parted(passing)


@pytest.fixture(scope="session")
def hostile(passing) -> Verification:
    return hostile_names(passing)


@pytest.fixture(scope="session")
def hostile_texts() -> tuple[str, ...]:
    return HOSTILE
