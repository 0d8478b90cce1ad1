"""What a port has otherwise than its file or its owner's Keras, in sentences for `convert` and the converted file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weight_transfer.checkpoint import Array
from weight_transfer.checkpoint.kernel_layout import THEANO, said_of_kernels
from weight_transfer.graph import Graph, Layer
from weight_transfer.graph.precision import Precision
from weight_transfer.graph.value_dtypes import whole_inputs


def remarks_of(
    arrays: Mapping[str, Array], keras: Graph | None, precision: Precision, backend: str | None
) -> tuple[str, ...]:
    """Gathers what a person must know of an identified checkpoint.

    Args:
        arrays: The network's.
        keras: Its model's graph, where it is known.
        precision: In what it computes.
        backend: On what its Keras ran.
    """
    layouts = {name: array.layout for name, array in arrays.items() if array.layout is not None}
    return (
        *said_of_kernels(layouts),
        *(_of_theano(keras) if keras is not None and backend == THEANO else ()),
        *precision.remarks,
        *(_of_inputs(keras) if keras is not None else ()),
        *(_of_training(keras) if keras is not None else ()),
    )


def _of_theano(keras: Graph) -> Iterator[str]:
    """What else Theano did in its own way. Source: Keras 2.2.4 keras/backend/theano_backend.py."""
    strided = [layer.path for layer in keras.listed.values() if _is_strided_and_same(layer)]
    if strided:
        yield (
            f"{len(strided)} layers ({strided[0]}{' and others' if len(strided) > 1 else ''}) have strides and the "
            "padding 'same', which Theano put on both sides alike; they are computed as Keras 2 computed them when it "
            "loaded the file on TensorFlow, which puts the odd one behind"
        )
    if any(layer.class_name == "BatchNormalization" for layer in keras.listed.values()):
        yield "batch norms learn on as on TensorFlow; Theano added epsilon to each variance that it kept"


def _is_strided_and_same(layer: Layer) -> bool:
    config = layer.config
    if config.get("padding", config.get("border_mode")) != "same":
        return False
    keys = ("strides", "subsample", "subsample_length", "stride", "pool_size", "pool_length")
    given = next((config[key] for key in keys if config.get(key) is not None), 1)
    return any(isinstance(n, int) and n > 1 for n in (given if isinstance(given, (list, tuple)) else [given]))


def _of_training(keras: Graph) -> Iterator[str]:
    """What acts in training alone and is not in the port.

    Source: keras/src/layers/core/dense.py, enable_lora and save_own_variables, keras 3.15.1.
    """
    adapted = [layer.path for layer in keras.listed.values() if layer.config.get("lora_rank")]
    if adapted:
        yield (
            f"{len(adapted)} layers ({adapted[0]}{' and others' if len(adapted) > 1 else ''}) have LoRA, whose arrays "
            "the file holds added to the kernel: Keras trains new ones on a frozen kernel, the port trains the kernel"
        )


def _of_inputs(keras: Graph) -> Iterator[str]:
    """A sentence for each input that Keras cuts to whole numbers."""
    for name, dtype in whole_inputs(keras).items():
        yield f"input {name!r} takes whole numbers ({dtype}): Keras cuts the fractions of others off, the port does not"
