"""Parts of batches: whoever makes them, they are those of the shared pipeline."""

from __future__ import annotations

import image_data
import numpy as np
import pytest
import torch

from resnet_torch.training.loading import PartLoader, Share
from resnet_torch.training.settings import Settings
from weight_transfer.data import Batches, Fixed, Preparation, Shuffled, StreamBatches, open_images
from weight_transfer.errors import ImageError

CPU = Settings(accelerator="cpu")


@pytest.fixture
def batches(images):
    return Batches(open_images(str(images), "train"), Shuffled(np.arange(22), 3), 5, Preparation((8, 8)))


@pytest.fixture
def stream(tmp_path):
    image_data.write_shards(tmp_path)
    source = str(tmp_path / "shards-{000..002}.tar")
    return StreamBatches(open_images(source, "train", 3), 5, Preparation((8, 8)), seed=3)


def together(parts, pieces):
    """Images of whole batches: those of the pieces, put in order again."""
    return [torch.cat([part.x for part in parts[at : at + pieces]]) for at in range(0, len(parts), pieces)]


@pytest.mark.parametrize("workers", [0, 2])
def test_pieces_of_all_ranks_are_the_batch(batches, workers):
    settings = Settings(accelerator="cpu", workers=workers)
    by_rank = [list(PartLoader(batches, Share(rank, 2), settings, lambda: (1, 0), pieces=2)) for rank in range(2)]
    for step in range(len(batches)):
        expected = batches.batch(1, step)
        found = [part for parts in by_rank for part in parts[2 * step : 2 * step + 2]]
        assert {part.total for part in found} == {len(expected.y)}
        x = torch.cat([part.x for part in found]).permute(0, 2, 3, 1).numpy()
        assert sorted(map(bytes, x)) == sorted(map(bytes, expected.x))
        assert sorted(torch.cat([part.y for part in found]).tolist()) == sorted(expected.y.tolist())


def test_the_last_batch_may_leave_a_piece_without_images(batches):
    sizes = [len(part.y) for part in PartLoader(batches, Share(1, 2), CPU, pieces=2)]
    assert sizes == [1, 1] * 4 + [1, 0]  # of 5 images a rank has 2, of 2 it has 1


def test_an_epoch_goes_on_in_its_middle(batches):
    whole = list(PartLoader(batches, Share(), CPU, lambda: (2, 0), pieces=2))
    rest = list(PartLoader(batches, Share(), CPU, lambda: (2, 3), pieces=2))
    assert len(rest) == len(whole) - 6
    assert all(torch.equal(a.x, b.x) for a, b in zip(rest, whole[6:], strict=True))


def test_each_epoch_asks_anew_where_it_is(batches):
    place = [0, 0]
    loader = PartLoader(batches, Share(), CPU, lambda: tuple(place))
    first = torch.cat([part.x for part in loader])
    place[0] = 1
    assert not torch.equal(torch.cat([part.x for part in loader]), first)


@pytest.mark.parametrize(("channels_last", "expected"), [(True, torch.channels_last), (False, torch.contiguous_format)])
def test_memory_is_laid_out_as_asked(batches, channels_last, expected):
    settings = Settings(accelerator="cpu", channels_last=channels_last)
    for pieces in (1, 2):
        part = next(iter(PartLoader(batches, Share(), settings, pieces=pieces)))
        assert part.x.shape[1:] == (3, 8, 8)
        assert part.x.is_contiguous(memory_format=expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 2])
def test_a_stream_comes_in_order_whoever_reads_it(stream, workers, start):
    settings = Settings(accelerator="cpu", workers=workers)
    parts = list(PartLoader(stream, Share(1, 2), settings, lambda: (1, start), pieces=2))
    expected = list(stream.stream(1, 1, 2, start=start))
    assert [part.total for part in parts[::2]] == [total for total, _ in expected]
    for step, (_, batch) in enumerate(expected):
        pieces = parts[2 * step : 2 * step + 2]
        assert [piece.y.tolist() for piece in pieces] == [batch.y[0::2].tolist(), batch.y[1::2].tolist()]
        assert np.array_equal(pieces[0].x.permute(0, 2, 3, 1).numpy(), batch.x[0::2])


def test_a_stream_does_not_know_its_length(stream):
    with pytest.raises(TypeError):
        len(PartLoader(stream, Share(), CPU))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_said_in_the_part(images, workers):
    class Torn:
        class_names, labels = ("a", "b"), np.zeros(4, np.int64)

        def __len__(self):
            return 4

        def image(self, index, loading):
            raise ImageError(f"{index}.png: torn")

    batches = Batches(Torn(), Fixed(np.arange(4)), 2, Preparation((8, 8)))
    part = next(iter(PartLoader(batches, Share(), Settings(accelerator="cpu", workers=workers), pieces=2)))
    assert part.problem == "0.png: torn"
    assert len(part.y) == 0
