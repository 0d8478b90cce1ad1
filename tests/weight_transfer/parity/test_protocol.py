"""What crosses a process border is what was sent, or one clear error."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np
import pytest

from weight_transfer.errors import VerificationError
from weight_transfer.parity import messages, protocol
from weight_transfer.parity.messages import (
    Answer,
    decode_reply,
    encode,
    pack,
    pack_answer,
    read_frame,
    unpack,
    unpack_answer,
    write_frame,
)
from weight_transfer.parity.protocol import (
    REQUESTS,
    ComparedRun,
    ComparisonRequest,
    ComparisonResult,
    PackageRequest,
    PredictionRequest,
    ReferenceModel,
    ReferenceRequest,
    Request,
    SensitivityRequest,
    SensitivityResult,
    TrainingComparisonRequest,
    TrainingComparisonResult,
    Written,
)
from weight_transfer.parity.report import Explanation, Planted, Row, Trial
from weight_transfer.parity.sketch import LIVE
from weight_transfer.parity.training_report import TrainingExplanation
from weight_transfer.parity.worker import answer_of
from weight_transfer.preprocessing import Preprocessing, preset

FOLDERS = (Path("/tmp/a"), Path("/tmp/b"))
MODEL = ReferenceModel(
    checkpoint=Path("a\udcff.h5"),  # a name that is no text
    sha256="0",
    reference="file",
    network={"layers": [{"rate": 0.5, "size": [3, 3], "name": None}], "epsilon": 1e-3},
    arrays={"conv/kernel": "conv_1/kernel:0"},
    preprocessing=Preprocessing("BGR", mean=(1.0, 2.0, 3.0), certainty="guessed"),
)
SENT: list[Request[Any]] = [
    ReferenceRequest(MODEL, Path("inputs"), LIVE, Path("recording")),
    ComparisonRequest(Path("port"), Path("recording"), ("cpu", "cuda"), False, Path("right")),
    SensitivityRequest(Path("port"), Path("recording")),
    TrainingComparisonRequest(Path("port"), (Path("one"), Path("two")), "torch.optim.Adam"),
    PredictionRequest(Path("port"), (Path("ä.png"),), "keras", "aspect", (3, 4), preset("tf"), 5, "cpu", True),
    PredictionRequest(Path("port"), (), "opencv", (256, 256), None, preset("tf"), 5, "cpu", True),
    PackageRequest(Path("port"), Path("folder")),
]
ROW = Row("inference", "conv", "cpu", (2, 8, 8, 3), 1.0, {"float64": math.inf}, {"float64": 1e-12}, where=(0, 1, 2, 3))
TRIAL = Trial("epsilon", "epsilon 0.001", math.inf)
APART = TrainingExplanation("step", "step 1", 1.0, True, (TRIAL,))
ANSWERS: list[tuple[Request[Any], Any]] = [
    (SENT[0], Written()),
    (SENT[1], ComparisonResult((ROW,), None, {"pictures": [[(3, 0.5)]], "noise": None}, {"torch": "2"})),
    (
        SENT[1],
        ComparisonResult((), Explanation("loss", "loss", "", 1.0, {"a": 0.0}, TRIAL, (TRIAL, TRIAL), 2), {}, {}),
    ),
    (SENT[2], SensitivityResult((Planted("epsilon", "off", ("a", "b"), 2, 1, math.inf, 1e-12, 0, 0),))),
    (SENT[3], TrainingComparisonResult((ComparedRun((ROW,), {"keras": (1.0, math.inf)}, APART),), {})),
]


@pytest.mark.parametrize("request_", SENT, ids=lambda one: type(one).__name__)
def test_a_request_arrives_as_it_was_sent(request_):
    assert unpack(pack(request_, FOLDERS)) == (request_, FOLDERS)


@pytest.mark.parametrize(("request_", "result"), ANSWERS, ids=lambda one: type(one).__name__)
def test_a_result_arrives_as_it_was_sent(request_, result):
    answer = decode_reply(pack_answer(result))
    assert unpack_answer(answer, request_) == result


def test_a_number_that_is_none_and_numpys_own_arrive():
    sent = dataclasses.replace(ROW, peak=np.float64(0.5), errors={"float64": math.nan})
    answer = decode_reply(pack_answer(ComparisonResult((sent,), None, {}, {})))
    (row,) = unpack_answer(answer, SENT[1]).rows
    assert type(row.peak) is float
    assert math.isnan(row.errors["float64"])


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind.answered_by.startswith("resnet_torch.")])
def test_what_answers_a_request_takes_it_and_gives_its_result(kind):
    hints = get_type_hints(answer_of(kind))
    assert hints["request"] is kind
    assert hints["return"] is kind.result_type()


def test_every_request_is_in_the_table_and_frozen():
    assert set(Request.__subclasses__()) == set(REQUESTS)
    for kind in (*REQUESTS, *(kind.result_type() for kind in REQUESTS)):
        assert kind.__dataclass_params__.frozen


def test_another_version_is_refused_at_both_ends(monkeypatch):
    call, answer = pack(SENT[2]), decode_reply(pack_answer(ANSWERS[3][1]))
    monkeypatch.setattr(messages, "VERSION", protocol.VERSION + 1)
    text = r"another process speaks version \d+ of the protocol. Expected \d+: two versions .* are mixed"
    with pytest.raises(VerificationError, match=text):
        unpack(call)
    with pytest.raises(VerificationError, match=text):
        unpack_answer(answer, SENT[2])


def broken(**changed: Any) -> bytes:
    """A request for planting, with other fields."""
    fields = {"converted": b"port", "reference": b"recording", "kinds": None, **changed}
    return encode(messages.Call(protocol.VERSION, "SensitivityRequest", msgspec.Raw(encode(fields))))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (broken(kinds="epsilon"), r"is no SensitivityRequest: Expected `array \| null`, got `str` - at `\$.kinds`"),
        (broken(converted=3), r"is no SensitivityRequest: Expected a Path"),
        (encode(messages.Call(protocol.VERSION, "Nothing", msgspec.Raw(encode({})))), "no such request: 'Nothing'"),
        (pack(SENT[2])[:-3], "what another process sent is no Call: Input data was truncated"),
        (b'{"progress": 0.5}\n', "what another process sent is no Call"),
    ],
)
def test_a_request_of_a_wrong_form_is_one_message(data, text):
    with pytest.raises(VerificationError, match=text) as caught:
        unpack(data)
    assert len(str(caught.value).splitlines()) == 1


def test_a_result_of_a_wrong_form_is_one_message():
    with pytest.raises(VerificationError, match=r"is no ComparisonResult: Object missing required field `rows`"):
        unpack_answer(Answer(protocol.VERSION, msgspec.Raw(encode({}))), SENT[1])
    with pytest.raises(VerificationError, match="what another process sent is no"):
        decode_reply(b'{"result": {}}')


def test_what_cannot_be_sent_is_one_message():
    with pytest.raises(VerificationError, match="SensitivityRequest cannot be sent to another process: a object"):
        pack(SensitivityRequest(Path("port"), Path("recording"), (object(),)))  # type: ignore[arg-type]
    with pytest.raises(VerificationError, match="SeededModelRequest cannot be sent to another process"):
        pack(protocol.SeededModelRequest(50, 2**70, Path("images"), Path("output")))


class Slow(io.BytesIO):
    """A pipe that gives and takes a byte at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1))

    def write(self, data: Any, /) -> int:
        return super().write(bytes(data[:1]))


def test_messages_are_told_apart_on_a_pipe():
    pipe = Slow()
    for message in (b"one", b"", b"three"):
        write_frame(pipe, message)
    pipe.seek(0)
    assert [read_frame(pipe) for _ in range(4)] == [b"one", b"", b"three", None]
    for cut in (3, 9):
        with pytest.raises(VerificationError, match="the other process ended in the middle of a message"):
            read_frame(Slow(pipe.getvalue()[:cut]))
