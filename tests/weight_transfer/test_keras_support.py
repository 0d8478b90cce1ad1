"""What `inspect` says of today's Kerases, against what they did with the real files."""

from __future__ import annotations

import json

import pytest

from weight_transfer import read_checkpoint
from weight_transfer.cli.inspect import foreign_classes
from weight_transfer.keras_support import keras_support

STATUS = {"ok": "loads it", "ok only with compile=False": "loads it with compile=False", "FAIL": "does not load it"}
# tf_keras refuses the training half of this one for an optimizer that it moved elsewhere.
UNTOLD = {("CS-433__ml-project-2-nuclear-fusion__resnet.keras", "tf_keras")}


def test_verdicts_are_what_keras_did(shared_data):
    catalogue = json.loads((shared_data / "wild" / "catalogue.json").read_text())
    for entry in catalogue:
        with read_checkpoint(shared_data / "wild" / entry["file"]) as checkpoint:
            support = keras_support(checkpoint, foreign_classes(checkpoint))
        for keras, key in (("Keras 3", "keras_3_15_load"), ("tf_keras", "tf_keras_2_21_load")):
            if (entry["file"], keras) not in UNTOLD:
                verdict, _, reason = support[keras].partition(":")
                assert verdict == STATUS[entry[key]["status"]], (entry["file"], keras, support)
                assert bool(reason) == (verdict != "loads it")


@pytest.mark.parametrize("word", ["lr", "reduction=auto"])
def test_reasons_name_the_argument(word, shared_data):
    name = {
        "lr": "jayanthkmr__Thesis-work__cifar10_ResNet8v1_model.001.h5",
        "reduction=auto": "MohamedElhadidy0019__stm32ai-modelzoo__miniresnet_1stacks_64x50_tl.h5",
    }[word]
    with read_checkpoint(shared_data / "wild" / name) as checkpoint:
        assert word in keras_support(checkpoint)["Keras 3"]
