"""What the owner's own calls show: a frozen batch norm, a dropout, images whose layout matters."""

from __future__ import annotations

from pathlib import Path


def save(path: Path) -> Path:
    """Builds a network with one frozen batch norm and one that learns, and saves it."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="learns", momentum=0.9)(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    frozen = layers.BatchNormalization(name="frozen", trainable=False)
    x = layers.GlobalAveragePooling2D(name="pool")(frozen(layers.Dropout(0.5, name="drop")(x)))
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="classes")(x), name="m")
    model.save(path)
    return path


def doubt_of_another_reference(path: Path, folder: Path) -> tuple[str, str]:
    """What is said of the rebuilt layers as they are, and once one of them computes something else."""
    import numpy as np

    from resnet_keras.owner import OwnersModel
    from resnet_keras.subject import subject_of
    from weight_transfer.parity.inputs import Case
    from weight_transfer.parity.protocol import ReferenceModel
    from weight_transfer.parity.recording import RecordingWriter
    from weight_transfer.parity.sketch import COMPACT

    subject = subject_of(ReferenceModel(path, "", "file", None), ("float64", "float32"))
    image = np.random.default_rng(0).normal(0, 60, (1, 12, 12, 3)).astype(np.float32)
    found = []
    for number in (0, 1):
        case = Case(f"image {number}", (image,), raw=False)
        writer = RecordingWriter(folder / "unused.safetensors", COMPACT)
        writer.add_case(case)
        owner = OwnersModel(subject, case, [image])
        found.append(owner.record(writer, path, {}, training=False, step=False))
        layer = subject.models["float64"].layers["learns"]
        layer.epsilon = 0.5
    return found[0], found[1]
