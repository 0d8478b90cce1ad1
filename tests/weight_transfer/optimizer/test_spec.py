"""What a person says of an optimizer."""

from __future__ import annotations

import pytest

from weight_transfer.errors import TransferError
from weight_transfer.optimizer.spec import Said, parse_said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Said()),
        ("Adam", Said("Adam", {})),
        ("Adam learning_rate=1e-4", Said("Adam", {"learning_rate": 1e-4})),
        ("SGD momentum=0.9  nesterov=true weight_decay=None", None),
        ("learning_rate=1e-4", Said(None, {"learning_rate": 1e-4})),
        ('{"class_name": "SGD", "config": {"learning_rate": {"class_name": "CosineDecay"}}}', None),
    ],
)
def test_words(text, expected):
    said = parse_said(text)
    if expected is None:
        assert said.class_name == "SGD"
        assert said.arguments in (
            {"momentum": 0.9, "nesterov": True, "weight_decay": None},
            {"learning_rate": {"class_name": "CosineDecay"}},
        )
    else:
        assert said == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Adam 0.1", "takes a class and its arguments, such as 'Adam learning_rate=1e-4'. Received: '0.1'"),
        ("Adam 1rate=0.1", "Received: '1rate=0.1'"),
        ("Adam learning_rate=fast", "expected a number, true, false or null. Received: 'learning_rate=fast'"),
        ("Adam learning_rate=[1]", "expected a number"),
        ("{", "its JSON cannot be used"),
        ('{"config": {}}', "as Keras serializes one"),
    ],
)
def test_what_is_neither_is_refused(text, message):
    with pytest.raises(TransferError, match=message):
        parse_said(text)
