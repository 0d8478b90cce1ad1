"""What a person writes of an optimizer: one grammar for every command."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from weight_transfer.errors import TransferError
from weight_transfer.optimizer.classes import CLIPPING, OPTIMIZERS, REQUIRED, SCHEDULES, TODAYS, Argument
from weight_transfer.optimizer.grammar import Call, parse_call, parse_optimizer, parse_schedule, training_optimizer
from weight_transfer.optimizer.spec import OptimizerSpec, ScheduleSpec, call_text

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROOT = Path(__file__).resolve().parents[3]
COSINE = ScheduleSpec("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 9})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, OptimizerSpec()),
        ("", OptimizerSpec()),
        ("Adam", OptimizerSpec("Adam")),
        ("adam()", OptimizerSpec("Adam")),
        ("Adam(learning_rate=1e-4)", OptimizerSpec("Adam", {"learning_rate": 1e-4})),
        ("keras.optimizers.Adam(lr=1e-4)", OptimizerSpec("Adam", {"learning_rate": 1e-4})),
        (
            "SGD(momentum=0.9, nesterov=True, weight_decay=None)",
            OptimizerSpec("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": None}),
        ),
        ("learning_rate=1e-4", OptimizerSpec(None, {"learning_rate": 1e-4})),
        (" learning_rate=1e-4, clipnorm=1.0 ", OptimizerSpec(None, {"learning_rate": 1e-4, "clipnorm": 1.0})),
        (
            "SGD(learning_rate=schedules.CosineDecay(initial_learning_rate=0.1, decay_steps=9))",
            OptimizerSpec("SGD", {"learning_rate": COSINE}),
        ),
        (
            "lr=CosineDecay(initial_learning_rate=0.1, decay_steps=9)",
            OptimizerSpec(None, {"learning_rate": COSINE}),
        ),
        (
            '{"class_name": "SGD", "config": {"learning_rate": {"class_name": "CosineDecay"}}}',
            OptimizerSpec("SGD", {"learning_rate": ScheduleSpec("CosineDecay")}),
        ),
        ('{"class_name": "Custom>adam", "config": {"jit_compile": true}}', OptimizerSpec("Adam", {}, "tf_keras")),
        ("jit_compile=True, beta_1=0.5", OptimizerSpec(None, {"beta_1": 0.5})),
        ("Adam(name='mine', jit_compile=False, loss_scale_factor=None)", OptimizerSpec("Adam", {"name": "mine"})),
    ],
)
def test_forms(text, expected):
    assert parse_optimizer(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Adam 0.1", r"a name with named arguments that are numbers, .*: SGD\(momentum=0.9\). Received: 'Adam 0.1'"),
        ("Adam learning_rate=1e-4 amsgrad=true", r"Write Adam\(learning_rate=1e-4, amsgrad=True\). Received"),
        ("momentum=0.9 nesterov=true", r"Write momentum=0.9, nesterov=True. Received"),
        ("Adam 1rate=0.1", "Received: 'Adam 1rate=0.1'"),
        ("Adam(learning_rate=fast)", r"Received: 'Adam\(learning_rate=fast\)'"),
        ("Adam(learning_rate='fast')", "learning_rate must be a number from 0, or a schedule, not 'fast'"),
        ("Adam(learning_rate=[1])", r"learning_rate must be a number from 0, or a schedule, not \[1\]"),
        ("Adam(learning_rate=Mine(x=1))", "No schedule 'Mine'. Known: CosineDecay"),
        ("Adam(beta_1=CosineDecay(decay_steps=1))", "a name with named arguments that are numbers"),
        ("learning_rate=CosineDecay(decay_steps=1)", "CosineDecay: it needs initial_learning_rate. It takes: initial_"),
        ("momentun=0.9", r"the optimizer: it has no argument momentun \(nearest: momentum\)"),
        ("a=1)(b=2", "a name with named arguments that are numbers"),
        ("Adam(**{})", "a name with named arguments that are numbers"),
        ("-" * 20000 + "1", "a name with named arguments that are numbers"),
        ("(" * 20000, "a name with named arguments that are numbers"),
        ("SGD(lr=0.1, decay=1e-6)", "no argument decay.*decay is Keras 2's: decay=1e-6 is InverseTimeDecay"),
        ("SGD(lr=0.1, learning_rate=0.2)", "lr is learning_rate, and both are there"),
        ("RMSprop(eps_outside_root=True)", "it has no argument eps_outside_root"),
        ("Adam(gradient_accumulation_steps=2)", "not an update rule:\n  gradient_accumulation_steps=2"),
        ("{", "its JSON cannot be used"),
        ('{"config": {}}', "as Keras serializes one"),
        ('{"class_name": "Lion"}', "No optimizer 'Lion'"),
    ],
)
def test_what_is_none_of_them_is_refused(text, message):
    with pytest.raises(TransferError, match=message):
        parse_optimizer(text)


def test_a_training_says_its_rate_apart():
    found = training_optimizer("SGD(momentum=0.5)", 0.1, "CosineDecay(decay_steps=9)")
    assert found == OptimizerSpec("SGD", {"learning_rate": COSINE, "momentum": 0.5})
    assert training_optimizer('{"class_name": "Adam", "config": {"jit_compile": true}}', 0.1) == OptimizerSpec(
        "Adam", {"learning_rate": 0.1}
    )
    with pytest.raises(TransferError, match="Adam: it is Keras 2's, and training goes by Keras 3's"):
        training_optimizer('{"class_name": "Adam", "config": {"decay": 0.1}}', 0.1)
    with pytest.raises(TransferError, match="the optimizer must be a name"):
        training_optimizer("momentum=0.9", 0.1)


def test_a_call_of_anybodys():
    assert parse_call("torch.optim.Adam(betas=(0.9, 0.99))") == Call("torch.optim.Adam", {"betas": (0.9, 0.99)})
    assert parse_call("mine").name == "mine"
    for text in ("a=1", "f(lr=g())", "f(1)"):
        with pytest.raises(TransferError, match="the optimizer must be a name"):
            parse_call(text)


def values(argument: Argument) -> st.SearchStrategy[object]:
    """What a person may give an argument."""
    numbers = st.one_of(st.floats(0, 10), st.integers(1, 100), st.floats(1e-12, 1, exclude_max=True))
    found: st.SearchStrategy[object] = {
        "flag": st.booleans(),
        "list": st.lists(numbers, min_size=1, max_size=3),
        "text": st.text(max_size=5),
        "number": numbers.filter(argument.takes).map(
            lambda value: float(value) if argument.name == "momentum" else value
        ),
    }[argument.values.kind]
    return found if argument.default is not None else st.one_of(st.none(), found)


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleSpec:
    row = draw(st.sampled_from(list(SCHEDULES.values())))
    chosen = [one for one in row.arguments if one.default is REQUIRED or draw(st.booleans())]
    return ScheduleSpec(row.name, {one.name: draw(values(one)) for one in draw(st.permutations(chosen))})


@st.composite
def specs(draw: st.DrawFn) -> OptimizerSpec:
    """Any optimizer with any of its arguments, in any order."""
    row = draw(st.sampled_from(list(OPTIMIZERS.values())))
    known = [one for one in row.arguments if one.effect == "rule" and set(one.generations) & set(TODAYS)]
    chosen = draw(st.lists(st.sampled_from(known), unique_by=lambda one: one.name))
    arguments = {one.name: draw(values(one)) for one in chosen}
    given_clipping = [name for name in CLIPPING if arguments.get(name) is not None]
    arguments = {name: value for name, value in arguments.items() if name not in given_clipping[1:]}
    if "learning_rate" in arguments and draw(st.booleans()):
        arguments["learning_rate"] = draw(schedules())
    return OptimizerSpec(draw(st.sampled_from([row.name, None])) if arguments else row.name, arguments)


@given(specs())
@UNHURRIED
def test_what_is_written_is_read_again(spec):
    assert parse_optimizer(str(spec)) == spec
    if spec.class_name is not None:
        assert parse_optimizer(json.dumps(spec.to_config())) == spec


def test_a_number_that_is_written_short_is_another():
    spec = OptimizerSpec("Adam", {"learning_rate": 0.123456789})
    assert parse_optimizer(call_text(spec, lambda value: f"{value:g}")) != spec == parse_optimizer(call_text(spec))


@given(schedules())
@UNHURRIED
def test_a_schedule_that_is_written_is_read_again(schedule):
    assert parse_schedule(str(schedule), 0.25) == schedule


@given(st.text())
@UNHURRIED
def test_any_other_text_is_one_message(text):
    with contextlib.suppress(TransferError):
        parse_optimizer(text)


def test_every_example_in_the_pages_is_read():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    form = r"""--optimizer (?:"([^"]+)"|'([^']+)'|(\w+))"""
    found = ["".join(groups) for page in pages for groups in re.findall(form, page.read_text())]
    assert len(found) > 5
    for text in found:
        parse_optimizer(re.sub(r"\s+", " ", text))
