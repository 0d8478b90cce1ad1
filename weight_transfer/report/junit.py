"""The verification as JUnit XML, which every CI shows: a test case for each tensor."""

from __future__ import annotations

import os
from typing import Any

from weight_transfer.atomic import atomic_write
from weight_transfer.errors import VerificationError
from weight_transfer.parity.groups import devices, precisions
from weight_transfer.parity.report import Row, Verification
from weight_transfer.report.formats import limit, number, visible

LISTED = 10  # arrays that differ


def write_junit(found: Verification, path: str | os.PathLike[str]) -> None:
    """Writes a suite per check and a case per tensor, failed where it differs; a case for weights and for description.

    Args:
        found: What to write.
        path: The XML file.

    Raises:
        VerificationError: junitparser is not installed.
        TransferError: The output cannot be written.
    """
    try:
        from junitparser import Failure, JUnitXml, TestCase, TestSuite
    except ImportError as error:
        raise VerificationError(
            "JUnit XML needs junitparser. Install: pip install 'keras-resnet-to-torch[report]'"
        ) from error

    def case_of(name: str, kind: str, why: str | None) -> TestCase:
        """A case; what XML cannot hold of a name from a file is written out."""
        case = TestCase(visible(name), visible(f"{found.source}.{kind}"))
        if why is not None:
            case.result = [Failure(visible(why))]
        return case

    xml: Any = JUnitXml()
    weights = TestSuite("weights")
    for name, value in _properties(found).items():
        weights.add_property(name, visible(value))
    weights.add_testcase(case_of("arrays bit-equal", "weights", _weights(found)))
    xml.add_testsuite(weights)
    if found.fields_total:
        description = TestSuite("description")
        description.add_testcase(case_of("fields as the file has them", "description", _fields(found)))
        xml.add_testsuite(description)
    if found.wiring_total:
        wiring = TestSuite("wiring")
        wiring.add_testcase(case_of("outputs computed from the same outputs", "wiring", _wiring(found)))
        xml.add_testsuite(wiring)
    if found.doubt:
        reference = TestSuite("reference")
        reference.add_testcase(case_of("the owner's own model", "reference", f"{found.verdict}: {found.doubt}"))
        xml.add_testsuite(reference)
    for check in dict.fromkeys(row.check for row in found.rows):
        suite = TestSuite(check)
        suite.add_testcases([case_of(f"{row.name} ({row.device})", check, _why(row, found)) for row in found.of(check)])
        xml.add_testsuite(suite)
    xml.update_statistics()
    xml.time = found.duration_s
    with atomic_write(path) as temporary:
        xml.write(str(temporary), pretty=True)


def _properties(found: Verification) -> dict[str, str]:
    """What a CI shows beside the cases: the verdict, what was compared with what, versions."""
    return {
        "verdict": found.verdict,
        "reference": found.loaded_by,
        "recorded": found.recorded,
        "checkpoint": found.source,
        "checkpoint sha256": found.source_sha256,
        "port": found.converted,
        "port sha256": found.converted_sha256,
        "port digest": found.port_digest,
        "inputs": "; ".join(found.inputs),
        "devices": ", ".join(devices(found.rows)),
        "precisions": ", ".join(precisions(found.rows)),
        "sizes of the exact runs": ", ".join(found.sizes),
        "seed of the exact runs": "" if found.seed is None else str(found.seed),
        "left out": "; ".join(found.left_out),
        "notes": "; ".join(found.assumed),
        **found.environment,
    }


def _weights(found: Verification) -> str | None:
    """Which arrays differ; None where all are the same."""
    differing = found.weights_differing
    if found.weights_equal == found.weights_total:
        return None
    listed = ", ".join(differing[:LISTED]) + (", ..." if len(differing) > LISTED else "")
    return f"{found.weights_total - found.weights_equal} of {found.weights_total} differ: {listed}"


def _fields(found: Verification) -> str | None:
    """Which fields of the description differ; None where all are the file's."""
    differing = found.fields_differing
    listed = "; ".join(map(str, differing[:LISTED])) + ("; ..." if len(differing) > LISTED else "")
    return f"{len(differing)} of {found.fields_total} differ: {listed}" if differing else None


def _wiring(found: Verification) -> str | None:
    """Which outputs are computed from others than in Keras; None where none is."""
    differing = found.wiring_differing
    listed = "; ".join(map(str, differing[:LISTED])) + ("; ..." if len(differing) > LISTED else "")
    return f"{len(differing)} of {found.wiring_total} differ: {listed}" if differing else None


def _why(row: Row, found: Verification) -> str | None:
    """Why a tensor fails; None where it does not."""
    if row.passed and row.proves:
        return None
    over = {name: gate for name, gate in row.limits.items() if not row.errors[name] <= gate}
    errors = ", ".join(f"{name} {number(row.errors[name])} > {limit(gate)}" for name, gate in over.items())
    why = (
        f"differs from {found.loaded_by}: {errors}."
        if over
        else "the reference is all zero, or no number, which proves nothing."
    )
    said = found.explanation.sentence if row is found.first_divergence and found.explanation is not None else ""
    return f"{why} {said}".rstrip()
