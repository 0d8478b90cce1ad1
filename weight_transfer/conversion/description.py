"""What is known of an identified checkpoint's network, in the one form that files and modules keep."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from weight_transfer.checkpoint import Checkpoint
from weight_transfer.conversion.constraints import (
    constrained_weights,
    constraints_for_keras,
    constraints_of_backbone,
)
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.regularizers import regularizers_for_keras, regularizers_of_backbone
from weight_transfer.description import Description, Origin
from weight_transfer.errors import ArchitectureError, TransferError
from weight_transfer.graph import Graph
from weight_transfer.identified import Identified
from weight_transfer.images import Crop, ImageLoading, crop_text
from weight_transfer.preprocessing import INSIDE, Preprocessing, agreed
from weight_transfer.published import expected_preprocessing
from weight_transfer.version import __version__
from weight_transfer.weight_mapping import modules_of_layers


def describe(
    checkpoint: Checkpoint, identified: Identified, hints: Hints | None = None, *, unfreeze: bool = False
) -> Description:
    """Gathers what a checkpoint and a person say of a network, for `convert`, `load_model` and training alike.

    Args:
        checkpoint: What was read.
        identified: What `identify` found in it.
        hints: What the person knows.
        unfreeze: Whether layers learn that do not learn in Keras.

    Raises:
        ArchitectureError: A batch norm learns in a way that only Keras has.
    """
    frozen = () if unfreeze else frozen_layers(checkpoint, identified)
    return Description(
        network=identified.network,
        origin=Origin(
            source=checkpoint.path.name,
            sha256=checkpoint.sha256,
            container=checkpoint.container,
            keras_version=checkpoint.keras_version,
            tool_version=__version__,
            backend=checkpoint.backend,
        ),
        said_preprocessing=None if hints is None else _overruling(hints.preprocessing, identified.network),
        image_loading=None if hints is None else hints.image_loading,
        crop=None if hints is None else hints.crop,
        regularizers=regularizers_of_backbone(identified),
        precision=identified.precision,
        remarks=(
            *identified.remarks,
            *_remarks_on_norms(checkpoint, identified, frozen),
            *_remarks_on_constraints(identified),
        ),
        constraints=constraints_of_backbone(identified),
        frozen=frozen,
        compiled=checkpoint.training or {},
        keras_config=_config_alone(identified.config),
    )


def _config_alone(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A model's config without how it was compiled, which is a field of its own."""
    return None if config is None else {key: value for key, value in config.items() if key != "compile_config"}


def _overruling(said: Preprocessing | None, network: Graph) -> Preprocessing | None:
    """What a person says of a network's images, unless the network's own layers say the same."""
    return None if expected_preprocessing(network).certainty == "inside the network" and said == INSIDE else said


def training_arguments(description: Description) -> dict[str, dict[str, Any]]:
    """Returns, by Keras layer, the arguments that no architecture has, as every Keras from 2.4 on reads them.

    They act in training alone, but for the dtype policies.

    Raises:
        TransferError: A regularizer or a constraint is not known.
    """
    regularizers = regularizers_for_keras(description.regularizers)
    constraints = constraints_for_keras(description.constraints)
    frozen: dict[str, dict[str, Any]] = {layer: {"trainable": False} for layer in description.frozen}
    policies = {layer.rpartition("/")[2]: {"dtype": name} for layer, name in description.precision.policies.items()}
    found: dict[str, dict[str, Any]] = {}
    for arguments in (regularizers, constraints, frozen, policies):
        for layer, held in arguments.items():
            found.setdefault(layer, {}).update(held)
    return found


def frozen_layers(checkpoint: Checkpoint, identified: Identified) -> tuple[str, ...]:
    """Returns the layers with arrays that do not learn in the model that Keras loads from a file.

    A loaded layer has its own flag, also inside a model that is frozen: what a nested model says of itself is forgotten
    by tf_keras and read by Keras 3 without effect. Of the outermost model, Keras 3 takes False for all of its layers,
    unless it is a Sequential, whose flag no Keras reads, and tf_keras for none.

    Args:
        checkpoint: The file.
        identified: What `identify` found in it.

    Raises:
        ArchitectureError: A batch norm is trainable inside a frozen model: Keras 3 then moves its statistics and
            nothing else of it.

    Source: trainable_variables in keras/src/models/model.py and keras/src/layers/layer.py, from_config in
        keras/src/models/sequential.py, keras 3.15.1; reconstruct_from_config in
        tf_keras/src/engine/functional.py, tf_keras 2.21.0.
    """
    if identified.keras is None or identified.config is None:
        return ()
    inside = {} if identified.config.get("class_name") == "Sequential" else identified.config.get("config")
    keras_3 = (checkpoint.keras_version or "3").startswith("3")
    whole = keras_3 and isinstance(inside, Mapping) and inside.get("trainable") is False
    known = modules_of_layers(identified.network)
    found = set()
    for path, layer in identified.keras.listed.items():
        name = path if path in known else layer.name
        if name not in known or (layer.trainable and not whole):
            continue
        if layer.trainable and layer.class_name.startswith("BatchNormalization"):
            raise ArchitectureError(
                f"{checkpoint.path.name}: batch norm {path!r} is trainable in a model that is not: Keras moves its "
                "statistics and trains nothing of it. Let all layers learn by --unfreeze (unfreeze=True)."
            )
        found.add(name)
    return tuple(name for name in known if name in found)


def _remarks_on_constraints(identified: Identified) -> tuple[str, ...]:
    """Which constraints are not known, so that training their weights is refused."""
    held = {**constraints_of_backbone(identified), **identified.network.constraints}
    found = constrained_weights(identified.network, held).values()
    unknown = [one.constraint for one in found if isinstance(one.constraint, TransferError)]
    return tuple(f"what it constrains is not trained: {error}" for error in unknown)


def _remarks_on_norms(checkpoint: Checkpoint, identified: Identified, frozen: Collection[str]) -> tuple[str, ...]:
    """Says how batch norms train on where the Keras that wrote the file trained them otherwise.

    Before TensorFlow 2 frozen ones normalized by the batch's statistics all the same. Keras 2.1 and 2.2 on TensorFlow
    correct their averages for having begun at 0, which they count anew after loading: the first step forgets the
    file's statistics.

    Source: keras-team/keras pull requests 9965 and 13892; keras 2.3.1 keras/layers/normalization.py; tf_keras
        layers/normalization/batch_normalization.py, _get_training_value; moving_average_update in keras 2.2.4
        keras/backend/tensorflow_backend.py (zero_debias=True).
    """
    version = checkpoint.keras_version or "3"
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    tensorflow_2 = numbers >= [2, 4] or (numbers == [2, 3] and "tf" in version) or numbers[:1] == [3]
    layers = () if identified.keras is None else identified.keras.listed.items()
    norms = [{path, layer.name} for path, layer in layers if "BatchNorm" in layer.class_name]
    learning = [names for names in norms if names.isdisjoint(frozen)]
    remarks = []
    if not tensorflow_2 and len(learning) < len(norms):
        remarks.append(
            f"frozen batch norms in inference mode, as since TensorFlow 2 (Keras {version} may have used the batch's)"
        )
    anew = numbers in ([2, 1], [2, 2]) and "tf" not in version and checkpoint.backend in (None, "tensorflow")
    if anew and learning:
        remarks.append(
            f"training goes on from the file's moving statistics (Keras {version} began them anew with the first step "
            "after loading)"
        )
    return tuple(remarks)


def with_input(
    known: Description,
    place: str,
    preprocessing: Preprocessing | None,
    image_loading: ImageLoading | None,
    crop: Crop,
) -> Description:
    """Returns a description with what a person says of images, where the network leaves that open.

    Args:
        known: What the network brings.
        place: Its file, for messages.
        preprocessing: What a person says of it, if anything; likewise the others.
        image_loading: How image files are loaded.
        crop: What is cut out of them.

    Raises:
        TransferError: The person contradicts what is no guess.
    """
    how = agreed(known.preprocessing, preprocessing, place)
    if known.image_loading is not None:
        for what, ours, theirs in (
            ("image loading", known.image_loading, image_loading),
            ("crop", crop_text(known.crop), None if crop is None else crop_text(crop)),
        ):
            if theirs not in (None, ours):
                raise TransferError(
                    f"{place}: its {what} is known: {ours}. Received: {theirs}. Leave the option out; or, if the file "
                    "is wrong, convert the Keras checkpoint again with it: weight-transfer convert"
                )
    return dataclasses.replace(
        known,
        said_preprocessing=known.said_preprocessing if how.certainty == "guessed" else how,
        image_loading=known.image_loading or image_loading,
        crop=known.crop or crop,
    )
