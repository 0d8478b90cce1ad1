"""Made-up data sets in the real formats: CIFAR-10's archives, class folders, WebDataset shards."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "emu")


def pixels(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colours, (count, size, size, 3) of uint8, each image another."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = random.uniform(0.5, 4, (count, 3, 2))[..., np.newaxis, np.newaxis]
    values = np.sin(waves[:, :, 0] * y * 6 + waves[:, :, 1] * x * 6 + random.uniform(0, 6, (count, 3, 1, 1)))
    return (127.5 + 127.5 * values).round().astype(np.uint8).transpose(0, 2, 3, 1)


def write_npz(
    path: Path, train: int = 40, test: int = 12, size: int = 32, classes: int = 3, **more: np.ndarray
) -> Path:
    """An ``.npz`` whose label is the brightest third's: something to learn."""
    arrays = {}
    for part, count, seed in (("train", train, 1), ("test", test, 2)):
        images = pixels(count, size, seed)
        order = images.mean(axis=(1, 2, 3)).argsort().argsort()
        arrays |= {f"{part}_images": images, f"{part}_labels": (order * classes // count).astype(np.int64)}
    np.savez(path, **{**arrays, **more})
    return path


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its text, which is how CIFAR-10's batches are pickled."""

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}  # noqa: RUF012


def python2_pickle(value: object) -> bytes:
    """The bytes."""
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def cifar10_files(per_batch: int = 7) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of the python archive and of the binary archive, with the same images."""
    python, binary = {}, {}
    meta = {b"label_names": [name.encode() for name in CLASSES], b"num_cases_per_batch": per_batch, b"num_vis": 3072}
    python["batches.meta"] = python2_pickle(meta)
    binary["batches.meta.txt"] = "\n".join(CLASSES).encode()
    for number in range(6):
        images = pixels(per_batch, seed=number)
        rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(per_batch, -1)
        labels = np.random.default_rng(number).integers(0, 10, per_batch)
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        batch = {b"batch_label": name.encode(), b"labels": labels.tolist(), b"data": rows, b"filenames": [b"a.png"]}
        python[name] = python2_pickle(batch)
        binary[f"{name}.bin"] = np.column_stack([labels.astype(np.uint8), rows]).tobytes()
    return python, binary


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    """A ``.tar.gz`` of files in a folder."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            _add(archive, f"{folder}/{name}", content)
    return path


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """The files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tree(root: Path, parts: tuple[str, ...] = ("train", "val", "test"), per_class: int = 3) -> Path:
    """A folder for each class in each part, with images of several sizes; one class has a folder in its folder."""
    for seed, part in enumerate(parts):
        for label, name in enumerate(CLASSES):
            for number in range(per_class):
                folder = root / part / name / ("more" if number == 2 else "")
                folder.mkdir(parents=True, exist_ok=True)
                image = pixels(1, size=20 + 4 * label + number, seed=100 * seed + 10 * label + number)[0]
                Image.fromarray(image).save(folder / f"{chr(ord('z') - number)}.png")
    return root


def encoded(image: np.ndarray, kind: str = "png") -> bytes:
    """An image file's bytes."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, {"jpg": "JPEG"}.get(kind, kind.upper()))
    return file.getvalue()


def write_shards(folder: Path, num_shards: int = 3, per_shard: int = 8, size: int = 24) -> list[Path]:
    """Shards whose samples have ``.jpg`` or ``.png``, and ``.cls`` or ``.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for shard in range(num_shards):
        paths.append(folder / f"shards-{shard:03d}.tar")
        with tarfile.open(paths[-1], "w") as archive:
            for number, image in enumerate(pixels(per_shard, size, seed=shard)):
                key, label = f"some/{shard:03d}{number:03d}", (shard * per_shard + number) % len(CLASSES)
                kind = "jpg" if number % 2 else "png"
                _add(archive, f"{key}.{kind}", encoded(image, kind))
                if number % 3:
                    _add(archive, f"{key}.cls", str(label).encode())
                else:
                    _add(archive, f"{key}.json", f'{{"label": {label}, "width": {size}}}'.encode())
    return paths


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    """A shard of just these members."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            _add(archive, name, content)
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
