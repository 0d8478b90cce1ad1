"""WebDataset shards: the library's own samples, the same batches for any number of ranks and workers."""

from __future__ import annotations

import json
from pathlib import Path

import braceexpand
import fsspec
import image_data
import numpy as np
import pytest
from webdataset import TarWriter, tariterators

from weight_transfer.data import KeySplit, Preparation, StreamBatches, open_images
from weight_transfer.errors import ImageError, TransferError

SIZE = (16, 16)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    image_data.write_shards(tmp_path_factory.mktemp("shards") / "x")
    return str(tmp_path_factory.getbasetemp() / "shards0" / "x" / "shards-{000..002}.tar")


def batches(shards: str, **more) -> StreamBatches:
    return StreamBatches(open_images(shards, "train", 3), 5, Preparation(SIZE, augment_seed=7), seed=11, **more)


def test_samples_are_those_of_the_library(shards):
    theirs: list[dict] = []
    for url in braceexpand.braceexpand(shards):
        with open(url, "rb") as stream:
            files = tariterators.tar_file_expander([{"url": url, "stream": stream}])
            theirs += list(tariterators.group_by_keys(files))
    ours = list(open_images(shards, "train", 3).samples(None))
    assert [sample.key for sample in ours] == [sample["__key__"] for sample in theirs]
    for mine, sample in zip(ours, theirs, strict=True):
        assert mine.content == sample.get("jpg", sample.get("png"))
        label = sample["cls"] if "cls" in sample else json.loads(sample["json"])["label"]
        assert mine.label == int(label)


def test_shards_that_the_library_wrote(tmp_path):
    with TarWriter(str(tmp_path / "a.tar")) as writer:
        for number, image in enumerate(image_data.pixels(4, 24)):
            writer.write({"__key__": f"sample{number}", "png": image_data.encoded(image), "cls": number % 3})
    samples = list(open_images(str(tmp_path / "a.tar"), "train", 3).samples(None))
    assert [sample.label for sample in samples] == [0, 1, 2, 0]


def test_each_epoch_has_every_sample_once_in_an_order_of_its_own(shards):
    orders = [[n for _, batch in batches(shards).stream(epoch) for n in batch.indices.tolist()] for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert len(set(orders[0])) == 24


def test_ranks_share_the_batches_of_one_process(shards):
    whole = list(batches(shards).stream(3))
    assert [size for size, _ in whole] == [5, 5, 5, 5, 4]
    parts = [list(batches(shards).stream(3, rank, 3)) for rank in range(3)]
    for i, (size, batch) in enumerate(whole):
        for rank in range(3):
            assert parts[rank][i][0] == size
            np.testing.assert_array_equal(parts[rank][i][1].x, batch.x[rank::3])
            np.testing.assert_array_equal(parts[rank][i][1].y, batch.y[rank::3])


def test_workers_and_restarts_make_the_batches_of_one_process(shards):
    whole = [batch.x for _, batch in batches(shards).stream(2)]
    apart = [[batch.x for _, batch in batches(shards).stream(2, start=worker, stride=2)] for worker in range(2)]
    for i, x in enumerate(whole):
        np.testing.assert_array_equal(apart[i % 2][i // 2], x)
    later = [batch.x for _, batch in batches(shards).stream(2, start=3)]
    np.testing.assert_array_equal(later[0], whole[3])


def test_only_ones_own_part_is_decoded(shards, monkeypatch):
    decoded = []
    from weight_transfer.data import stream_batches

    real = stream_batches.decode_image
    monkeypatch.setattr(
        stream_batches, "decode_image", lambda data, *rest: (decoded.append(data), real(data, *rest))[1]
    )
    list(batches(shards).stream(0, rank=1, world=4))
    assert len(decoded) == 5  # of 24: one or two of each batch of five, one of the last


def test_keys_decide_what_is_kept_for_validation(shards):
    kept = {
        part: {key for _, batch in batches(shards, keep=KeySplit(2021, 0.3, part)).stream(0) for key in batch.indices}
        for part in ("train", "validation")
    }
    assert not kept["train"] & kept["validation"]
    assert len(kept["train"] | kept["validation"]) == 24
    assert 2 <= len(kept["validation"]) <= 14


def test_steps_end_an_epoch(shards):
    assert len(list(batches(shards, steps=2).stream(0))) == 2


def test_any_url_of_fsspec(shards):
    store = fsspec.filesystem("memory")
    for number in range(3):
        store.put(shards.replace("{000..002}", f"{number:03d}"), f"/remote/shards-{number:03d}.tar")
    there = open_images("memory://remote/shards-{000..002}.tar", "train", 3)
    assert [s.key for s in there.samples(None)] == [s.key for s in open_images(shards, "train", 3).samples(None)]
    missing = open_images("memory://remote/none.tar", "train", 3)
    with pytest.raises(TransferError, match=r"memory://remote/none.tar: cannot be opened \(FileNotFoundError"):
        next(missing.samples(None))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.cls": b"1"}, r"sample a has no image. Expected a member a.jpg or the like. Received: cls"),
        ({"a.png": b"", "a.txt": b"1"}, r"sample a has the label None. Expected a number in 0..2 in a.cls"),
        ({"a.png": b"", "a.cls": b"3"}, r"sample a has the label 3"),
        ({"a.png": b"", "a.json": b"[1"}, r"sample a has the label None"),
    ],
)
def test_a_sample_that_lacks_something_is_named(tmp_path, members, message):
    image_data.write_shard(tmp_path / "x.tar", members)
    with pytest.raises(TransferError, match=message):
        list(open_images(str(tmp_path), "train", 3).samples(None))


def test_a_corrupt_image_is_named_by_shard_and_key(tmp_path):
    content = image_data.encoded(image_data.pixels(1)[0], "jpg")
    image_data.write_shard(
        tmp_path / "x.tar", {"k1.jpg": content, "k1.cls": b"1", "k2.jpg": content[:300], "k2.cls": b"1"}
    )
    stream = batches(str(tmp_path / "x.tar")).stream(0)
    with pytest.raises(ImageError, match=r"x.tar, k2.jpg: not a readable image"):
        next(stream)


def test_a_cut_off_shard_and_a_missing_one_are_named(tmp_path, shards):
    first = shards.replace("{000..002}", "000")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(Path(first).read_bytes()[:3000])
    with pytest.raises(TransferError, match=r"cut.tar: not a whole tar file"):
        list(open_images(str(cut), "train", 3).samples(None))
    with pytest.raises(TransferError, match=r"shards-003.tar: does not exist \(1 of 4 shards do not\)"):
        open_images(shards.replace("002", "003"), "train", 3)
    with pytest.raises(TransferError, match="Say it by --classes"):
        open_images(shards, "train")
