"""Batches as torch tensors, made by worker processes: each process's part of each batch, whoever makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from resnet_torch.training.settings import Settings
from weight_transfer.data import Batch, Batches, StreamBatches
from weight_transfer.errors import TransferError

Place = tuple[int, int]  # an epoch, and a batch of it or a piece, all from 0


class Part(NamedTuple):
    """This process's part of a batch, or one of the pieces in which it computes it.

    Attributes:
        x: (N, C, H, W), preprocessed; N may be 0.
        y: (N,), labels.
        total: Images of the whole batch, over all processes and pieces.
        problem: Why there are no images here, or an empty text: out of a worker, an error would come mangled.
    """

    x: Tensor
    y: Tensor
    total: int
    problem: str = ""


class Share(NamedTuple):
    """Which part of every batch a process takes.

    Attributes:
        rank: Of the process.
        world: Processes.
    """

    rank: int = 0
    world: int = 1


class IndexedParts(Dataset[Part]):
    """The parts of batches of a set of images, by place.

    Args:
        batches: Of the whole training.
        share: Which part of each.
    """

    def __init__(self, batches: Batches, share: Share) -> None:
        self.batches, self.share = batches, share

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.batches)

    def __getitem__(self, place: Place) -> Part:
        """Makes a part."""
        try:
            return _part(self.batches.batch(*place, *self.share), self.batches.size(*place))
        except TransferError as error:
            return _nothing(error)


class Places(Sampler[Place]):
    """The places of the epoch that is on, from where it goes on.

    Args:
        length: Batches of an epoch.
        position: Says which epoch is on, and from which batch it goes on; asked anew for each epoch.
    """

    def __init__(self, length: int, position: Callable[[], Place]) -> None:
        self.length, self.position = length, position

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Place]:
        epoch, start = self.position()
        return iter([(epoch, number) for number in range(start, self.length)])


class StreamedParts(IterableDataset[Part]):
    """The parts of a stream's batches, one after the other; several workers take turns.

    Args:
        batches: Of the whole training.
        share: Which part of each.

    Attributes:
        place: Where the next iteration begins.
    """

    def __init__(self, batches: StreamBatches, share: Share) -> None:
        self.batches, self.share = batches, share
        self.place: Place = 0, 0

    def __iter__(self) -> Iterator[Part]:
        worker, workers = (0, 1) if (info := get_worker_info()) is None else (info.id, info.num_workers)
        epoch, start = self.place
        try:
            for total, made in self.batches.stream(epoch, *self.share, start=start + worker, stride=workers):
                yield _part(made, total)
        except TransferError as error:
            yield _nothing(error)


class PartLoader(DataLoader[Part]):
    """Gives the parts of an epoch, each in so many pieces.

    Args:
        batches: Of the whole training.
        share: Which part of each.
        settings: Workers, memory format.
        position: Says which epoch is on, and from which batch it goes on; asked anew for each epoch.
        pieces: Of each part.
    """

    def __init__(
        self,
        batches: Batches | StreamBatches,
        share: Share,
        settings: Settings,
        position: Callable[[], Place] = lambda: (0, 0),
        pieces: int = 1,
    ) -> None:
        workers = settings.num_workers
        arguments: dict[str, Any] = {"num_workers": workers, "pin_memory": settings.device == "cuda"}
        if isinstance(batches, Batches):
            arguments |= {"sampler": Places(len(batches), position), "persistent_workers": workers > 0}
            super().__init__(IndexedParts(batches, share), batch_size=None, **arguments)
        else:
            super().__init__(StreamedParts(batches, share), batch_size=None, **arguments)
        self.position, self.pieces = position, pieces
        self.memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format

    def __len__(self) -> int:
        """Pieces of an epoch; a stream does not know."""
        return super().__len__() * self.pieces

    def __iter__(self) -> Iterator[Part]:  # type: ignore[override]  # a generator is enough
        if isinstance(self.dataset, StreamedParts):
            self.dataset.place = self.position()
        for x, y, total, problem in super().__iter__():
            for piece in range(self.pieces):
                chosen = slice(piece, None, self.pieces)
                yield Part(x[chosen].contiguous(memory_format=self.memory_format), y[chosen], total, problem)


def _part(made: Batch, total: int) -> Part:
    return Part(torch.from_numpy(made.x).permute(0, 3, 1, 2), torch.from_numpy(made.y), total)


def _nothing(error: TransferError) -> Part:
    return Part(torch.zeros(0, 3, 1, 1), torch.zeros(0, dtype=torch.int64), 0, str(error))
