"""What a converted file says of the images its network was shown."""

from __future__ import annotations

import dataclasses
import warnings

import checkpoints
import pytest
from handmade_graphs import conv, network, row

from weight_transfer import ArchitectureError, CheckpointError, Hints, convert
from weight_transfer.converted import read_converted, write_converted
from weight_transfer.description import MADE_HERE, Description


def test_a_file_that_does_not_say_what_its_augmentation_does_is_warned_of(tmp_path):
    """As version 0.1.0 wrote it; what is said of an augmentation is said to nobody."""
    rows = row("RandomFlip", "flip", ["image"], mode="horizontal"), conv("c", "flip")
    graph = network(*rows, outputs=[["c", 0, 0]])
    earlier = dataclasses.replace(
        graph, layers={**graph.layers, "flip": dataclasses.replace(graph.layers["flip"], settings={})}
    )
    for held, path in ((graph, tmp_path / "new.safetensors"), (earlier, tmp_path / "old.safetensors")):
        write_converted(path, [], Description(held, MADE_HERE))
    with pytest.warns(UserWarning, match=r"(?s)old\.safetensors: an earlier version .* do nothing:\n  flip\nConvert"):
        read_converted(tmp_path / "old.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_converted(tmp_path / "new.safetensors")


@pytest.fixture
def model(tmp_path):
    return checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())


@pytest.mark.parametrize("loading", ["keras", "opencv", "resizing", None])
def test_the_loading_of_images_is_kept(loading, model, tmp_path):
    conversion = convert(model, tmp_path / "m.safetensors", Hints(image_loading=loading))
    assert conversion.description.image_loading == loading
    assert read_converted(tmp_path / "m.safetensors").description.image_loading == loading


def test_a_file_that_nothing_was_said_of_is_as_it_always_was(model, tmp_path):
    convert(model, tmp_path / "one.safetensors")
    convert(model, tmp_path / "two.safetensors", Hints(image_loading=None))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert b"image_loading" not in (tmp_path / "one.safetensors").read_bytes()


def test_an_unknown_loading_is_refused(model, tmp_path):
    with pytest.raises(ArchitectureError, match=r"image_loading must be one of .* Received: image_loading='pillow'"):
        Hints(image_loading="pillow")  # type: ignore[arg-type]
    convert(model, tmp_path / "m.safetensors", Hints(image_loading="keras"))
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole.replace(b'image_loading\\":\\"keras', b'image_loading\\":\\"kodak'))
    with pytest.raises(CheckpointError, match=r"its metadata is damaged \(.image_loading 'kodak'.\)"):
        read_converted(tmp_path / "m.safetensors")
