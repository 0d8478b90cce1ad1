"""The verdict and the captions, in words."""

from __future__ import annotations

import dataclasses
import math

from weight_transfer.parity import groups
from weight_transfer.parity.causes import CAUSES
from weight_transfer.report import summary


def test_the_groups_hold_every_row_in_its_place(passing):
    together = groups.groups(passing)
    assert [group.title for group in together] == ["Inference", "Training", "Gradients", "Statistics", "Loss"]
    assert [place for group in together for place, _ in group.rows] == list(range(len(passing.rows)))


def test_a_device_is_a_group_of_its_own(passing):
    on_cuda = [dataclasses.replace(row, device="cuda") for row in passing.of("inference")]
    both = dataclasses.replace(passing, rows=(*passing.of("inference"), *on_cuda))
    assert [(group.check, group.device) for group in groups.groups(both)] == [
        ("inference", "cpu"),
        ("inference", "cuda"),
    ]
    assert ", cpu)" in summary.sentence(both)


def test_the_sentence_of_a_correct_port(passing):
    worst = {precision: passing.worst(precision) for precision in ("float64", "float32")}
    assert summary.sentence(passing) == (
        f"All {len(passing.rows)} tensors agree with Keras and all 322 arrays are bit for bit the same; in inference, "
        f"float64 differs by at most {worst['float64'].errors['float64']:.1e} of the peak ({worst['float64'].name}), "
        f"float32 by at most {worst['float32'].errors['float32']:.1e} ({worst['float32'].name})."
    )


def test_the_sentence_of_a_wrong_one_names_the_first(failing):
    differing = sum(not row.passed for row in failing.rows)
    start = (
        f"{differing} of {len(failing.rows)} tensors differ from Keras, the first of them bn3a_branch2b; in inference"
    )
    assert summary.sentence(failing).startswith(start)


def test_the_sentence_counts_arrays_that_differ(passing):
    found = dataclasses.replace(passing, weights_equal=320, weights_differing=("conv1/kernel", "conv1/bias"))
    assert summary.sentence(found).startswith("2 of 322 arrays are not bit for bit the same; ")


def test_another_check_than_inference_is_named(passing):
    rows = [dataclasses.replace(row, errors={"float64": 1.0}) if row.name == "loss" else row for row in passing.rows]
    assert "the first of them loss (loss)" in summary.sentence(dataclasses.replace(passing, rows=tuple(rows)))


def test_the_first_is_named_with_its_device_where_there_are_several(failing):
    on_cuda = [dataclasses.replace(row, device="cuda") for row in failing.rows]
    right = [row for row in failing.of("inference") if row.passed]
    both = dataclasses.replace(failing, rows=(*right, *on_cuda))
    assert "the first of them bn3a_branch2b (cuda);" in summary.sentence(both)


def test_an_infinite_error_is_told_in_words(failing):
    rows = [dataclasses.replace(row, errors={**row.errors, "float64": math.inf}) for row in failing.rows]
    assert summary.sentence(dataclasses.replace(failing, rows=tuple(rows))).endswith(
        "the first of them conv1; in inference, conv1 has another shape or no number."
    )


def test_nothing_compared_has_a_sentence_too(passing):
    assert summary.sentence(dataclasses.replace(passing, rows=())) == "Nothing differs, and nothing was compared."


def test_not_a_number_is_the_worst_error(passing):
    row = dataclasses.replace(next(passing.of("inference")), errors={"float64": math.nan, "float32": 0.0})
    group = groups.groups(dataclasses.replace(passing, rows=(*passing.of("inference"), row)))[0]
    assert group.worst("float64") is row
    assert group.worst("bfloat16") is None


def test_precisions_that_never_gate_come_last_and_say_so(passing):
    rows = tuple(dataclasses.replace(row, errors={"tf32": 1e-3, **row.errors}) for row in passing.of("inference"))
    assert groups.precisions(rows) == ["float64", "float32", "tf32"]
    assert groups.gated(rows) == ["float64", "float32"]
    group = groups.groups(dataclasses.replace(passing, rows=rows))[0]
    assert "tf32 1.0e-03 at conv1, not gated" in summary.caption(group)


def test_the_caption_says_what_the_chart_shows(failing):
    group = groups.groups(failing)[0]
    said = summary.caption(group)
    assert said.startswith("40 of 177 agree. Largest errors: float64 2.1e-02 at ")
    assert "gate 1e-12" in said
    assert said.endswith("The first that differs: bn3a_branch2b.")


def test_predictions_are_compared_by_class_and_rank(passing):
    same = passing.predictions[0]
    swapped = (same.port[0], same.port[2], same.port[1], *same.port[3:])
    assert summary.same_classes(same) == "Same 5 classes, same order."
    assert summary.same_classes(dataclasses.replace(same, port=swapped)) == "They differ, first at rank 2."
    assert summary.same_classes(dataclasses.replace(same, port=same.port[:3])) == "They differ in number."
    one = dataclasses.replace(same, port=same.port[:1], reference=same.reference[:1])
    assert summary.same_classes(one) == "Same class."


def test_classes_without_probability_do_not_count(passing):
    sure = dataclasses.replace(
        passing.predictions[0], reference=((2, 1.0), (8, 1e-83), (3, 1e-90)), port=((2, 1.0), (1, 0.0), (0, 0.0))
    )
    assert summary.ranks(sure) == 1
    assert summary.same_classes(sure) == "Same class. The others score 0.0000 in both."
    unsure = dataclasses.replace(sure, port=((2, 0.9), (1, 0.1), (0, 0.0)))
    assert summary.ranks(unsure) == 2
    assert summary.same_classes(unsure) == "They differ, first at rank 2."


def test_logits_count_all(passing):
    logits = dataclasses.replace(passing.predictions[0], reference=((2, 4.0), (8, 0.0)), port=((2, 4.0), (8, 0.0)))
    assert summary.ranks(logits) == 2


def test_a_cause_is_told_in_words(failing):
    assert summary.cause("gamma and beta") == "gamma and beta swapped"
    assert summary.cause("of a later version") == "of a later version"
    assert summary.advice(failing.explanation) == CAUSES["epsilon"].advice
    assert summary.advice(dataclasses.replace(failing.explanation, found=None)) == ""


def test_how_many_hypotheses_were_tried_is_told(failing):
    shown = len(failing.explanation.tried)
    all_of_them = dataclasses.replace(failing.explanation, num_tried=shown)
    assert summary.tried(failing.explanation).startswith(f"The {shown} that came nearest of 31 known mistakes")
    assert summary.tried(all_of_them) == "Known mistakes, each tried on this layer alone, the nearest first"


def test_the_environment_is_told_side_by_side():
    environment = {"reference numpy": "1.26", "reference keras": "3.15.1", "port numpy": "2.4", "port gpu": "H100"}
    assert [(each.name, each.reference, each.port) for each in summary.installed(environment)] == [
        ("numpy", "1.26", "2.4"),
        ("keras", "3.15.1", ""),
        ("gpu", "", "H100"),
    ]
    both = summary.installed({"machine": "a desk"})
    assert both == [summary.Installed("machine", "a desk", "a desk")]


def test_planted_mistakes_are_counted(passing):
    said = summary.seen(passing.sensitivity)
    assert "Mistakes of 3 kinds" in said
    assert "6 in all: the gates saw 6, and 5 were named right" in said
