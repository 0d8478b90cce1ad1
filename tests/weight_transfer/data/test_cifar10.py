"""CIFAR-10's archives, made up in the real formats: the same images as torchvision's own reader gives."""

from __future__ import annotations

import hashlib
import pickle

import image_data
import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from weight_transfer.data import open_images
from weight_transfer.data.cifar10 import CLASS_NAMES
from weight_transfer.errors import TransferError


def as_torchvision_reads(folder, files, train) -> CIFAR10:
    def listed(names):
        return [[name, hashlib.md5(files[name]).hexdigest()] for name in names]

    class Small(CIFAR10):
        train_list = listed([f"data_batch_{n}" for n in range(1, 6)])
        test_list = listed(["test_batch"])
        meta = {  # noqa: RUF012
            "filename": "batches.meta",
            "key": "label_names",
            "md5": hashlib.md5(files["batches.meta"]).hexdigest(),
        }

    return Small(folder, train=train)


@pytest.mark.filterwarnings("ignore:dtype.*align should be passed:Warning")  # torchvision's unpickling
@pytest.mark.parametrize("part", ["train", "test"])
def test_every_kind_gives_what_torchvision_reads(tmp_path, part):
    python, binary = image_data.cifar10_files()
    root = tmp_path / "root"
    folder = image_data.write_files(root / "cifar-10-batches-py", python)
    sources = [
        folder,
        root,  # as torchvision leaves it
        image_data.write_files(tmp_path / "unpacked", binary),
        image_data.write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", python),
        image_data.write_archive(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary),
    ]
    theirs = as_torchvision_reads(root, python, part == "train")
    for source in sources:
        ours = open_images(str(source), part)
        np.testing.assert_array_equal(ours.pixels, theirs.data, err_msg=str(source))
        assert ours.labels.tolist() == theirs.targets
        assert ours.class_names == CLASS_NAMES


def test_a_folder_that_holds_the_archive_is_enough(tmp_path):
    _, binary = image_data.cifar10_files()
    image_data.write_archive(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary)
    assert len(open_images(str(tmp_path), "train")) == 35


class Malicious:
    def __reduce__(self):
        return print, ("ran",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, capsys):
    python, _ = image_data.cifar10_files()
    python["data_batch_3"] = pickle.dumps({"data": Malicious(), "labels": [1]})
    folder = image_data.write_files(tmp_path / "cifar-10-batches-py", python)
    with pytest.raises(TransferError, match=r"data_batch_3: a pickle that calls for builtins.print"):
        open_images(str(folder), "train")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_2.bin", lambda content: content[:-1], r"data_batch_2.bin: expected 3073 bytes per image"),
        ("data_batch_2.bin", lambda content: content[:-3073], r"6 images. Expected 7, as the others have"),
        ("data_batch_2.bin", lambda content: b"\x0b" + content[1:], r"expected images with labels in 0..9"),
        ("data_batch_4.bin", None, r"data_batch_4.bin: cannot be read .* Expected the whole archive"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, change, message):
    _, binary = image_data.cifar10_files()
    content = binary.pop(name)
    if change is not None:
        binary[name] = change(content)
    image_data.write_files(tmp_path, binary)
    with pytest.raises(TransferError, match=message):
        open_images(str(tmp_path), "train")


def test_a_cut_off_archive_and_another_one_are_refused(tmp_path):
    python, binary = image_data.cifar10_files()
    path = image_data.write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", python)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TransferError, match="not a whole archive"):
        open_images(str(path), "train")
    del binary["data_batch_5.bin"]
    path = image_data.write_archive(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary)
    with pytest.raises(TransferError, match=r"not CIFAR-10's archive. Expected data_batch_1, data_batch_2"):
        open_images(str(path), "train")
