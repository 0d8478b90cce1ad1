"""Verification without starting two processes for each: Keras in the long-lived one, torch in pytest's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weight_transfer.parity.messages import Answer, decode_reply, pack, pack_answer, unpack, unpack_answer
from weight_transfer.parity.protocol import Request, Result
from weight_transfer.parity.runner import Runner
from weight_transfer.parity.worker import answer_of
from weight_transfer.progress import OnProgress


def answered(call: bytes) -> bytes:
    """What a process of its own does with a request."""
    request, _ = unpack(call)
    return pack_answer(answer_of(request)(request, lambda share: None))


def sides_here(keras_side: Callable[..., Any] | None = None) -> Runner:
    """Has requests answered here, or in the process that has Keras, by the bytes that a process of its own gets."""

    def run(request: Request[Result], on_progress: OnProgress = lambda share: None, /) -> Result:
        if request.answered_by.startswith("resnet_keras."):
            assert keras_side is not None
            reply = keras_side(answered, pack(request))
        else:
            reply = answered(pack(request))
        answer = decode_reply(reply)
        assert isinstance(answer, Answer)
        return unpack_answer(answer, request)

    return run


def no_work(request: Request[Result], on_progress: OnProgress = lambda share: None, /) -> Result:
    """Neither side may start."""
    raise RuntimeError("long work was started")
