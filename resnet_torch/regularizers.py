"""Keras's regularizers: what they add to the loss, of the layers that had them and of no other.

PyTorch's ``weight_decay`` is another thing: it acts on every parameter of its group, its gradient is
``wd * w`` where an L2 regularizer's is ``2 * l2 * w``, and the loss does not show it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_torch.imported import ImportedModel, tails
from resnet_torch.wrappers import description_of_module, unwrapped
from weight_transfer.checkpoint import read_checkpoint
from weight_transfer.conversion.description import describe
from weight_transfer.conversion.hint_checks import refuse_said_of_converted
from weight_transfer.conversion.hints import Hints
from weight_transfer.conversion.identify import identify
from weight_transfer.conversion.regularizers import Penalty, penalties
from weight_transfer.converted import is_converted, read_converted
from weight_transfer.description import Description, Generation, generation_of
from weight_transfer.errors import TransferError, listing, nearest
from weight_transfer.module_paths import HEAD


class Regularization:
    """What a model's regularizers add to its loss; call it after each forward pass.

    Build it of a model that `load_model` read with `regularization`, or of any other by hand. Keras
    adds it to the loss that it shows, in training and in validation.

    Args:
        model: The module.
        weights: Of each parameter by name, such as ``{"head.fc.weight": Penalty(l2=1e-4)}``.
        outputs: Of the output of each submodule by name, its penalty, which is divided by the batch's size.
        rule: Which Keras: 3 leaves frozen parameters (``requires_grad=False``) out and takes the factors through
            float32, tf_keras does neither.

    Raises:
        TransferError: The model has no such parameter or submodule.

    Example:
        >>> penalty = regularization(model)
        >>> loss = loss_function(model(x), y) + penalty()

    Source: Keras 3.15.1 keras/src/regularizers/regularizers.py; keras/src/layers/layer.py, __call__ and losses;
    tf_keras 2.21 engine/base_layer.py, _handle_weight_regularization and _handle_activity_regularization.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Mapping[str, Penalty],
        outputs: Mapping[str, Penalty] | None = None,
        rule: Generation = "keras3",
    ) -> None:
        self.model = model
        self.rule = rule
        self.weights = {name: self._held(penalty) for name, penalty in weights.items()}
        self._of_outputs: list[Tensor] = []
        parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
        _check_known("parameters", self.weights, parameters)
        _check_known("submodules", outputs or {}, modules)
        self._hooks = [model.register_forward_pre_hook(lambda module, inputs: self._of_outputs.clear())]
        for name, penalty in (outputs or {}).items():
            self.watch(modules[name], penalty)

    def __call__(self) -> Tensor:
        """Returns the sum of all penalties: of the parameters now, and of the outputs of the last forward pass."""
        parameters = ((self.model.get_parameter(name), penalty) for name, penalty in self.weights.items())
        terms = [
            penalty_of(parameter, penalty)
            for parameter, penalty in parameters
            if parameter.requires_grad or self.rule == "tf_keras"
        ] + self._of_outputs
        if not terms:
            return torch.zeros((), device=next((parameter.device for parameter in self.model.parameters()), None))
        return torch.stack([term.to(terms[0]) for term in terms]).sum()

    def watch(
        self, module: nn.Module, penalty: Penalty, finish: Callable[[Any], Tensor] = lambda output: output
    ) -> None:
        """Adds a penalty of a submodule's output.

        Args:
            module: Whose output.
            penalty: Divided by the batch's size.
            finish: Applied to the output first.
        """
        held = self._held(penalty)

        def note(_: nn.Module, __: Any, output: Any) -> None:
            value = finish(output)
            value = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
            self._of_outputs.append(penalty_of(value, held) / max(len(value), 1))

        self._hooks.append(module.register_forward_hook(note))

    def _held(self, penalty: Penalty) -> Penalty:
        return _cast(penalty) if self.rule == "keras3" else penalty

    def remove(self) -> None:
        """Stops watching outputs."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._of_outputs.clear()


def regularization(model: nn.Module, replaced: Sequence[str] = ()) -> Regularization:
    """Builds the regularization that a model which `load_model` read was trained with.

    Args:
        model: Plain, compiled or data-parallel.
        replaced: Submodules that are no longer the Keras model's, such as a new ``head``: without regularizers,
            as a new Keras layer is.

    Returns:
        One that adds nothing where the Keras model had no regularizers or its config is not known.

    Raises:
        TransferError: A regularizer is none that is known, or one of a layer's output in a native ResNet.
    """
    bare = unwrapped(model)
    return _built(bare, description_of_module(bare), replaced)


def regularizers_from_keras(
    path: str | os.PathLike[str], model: nn.Module, replaced: Sequence[str] = (), hints: Hints | None = None
) -> Regularization:
    """Builds the regularization that a file's Keras model was trained with, for a model with its layers.

    Args:
        path: A Keras file that holds the model's config, or a converted one.
        model: With the parameters' names of the port.
        replaced: See `regularization`.
        hints: For a Keras checkpoint, what its file does not show.

    Raises:
        TransferError: The file cannot be read or holds no config, a regularizer is none that is known, or the
            model lacks a parameter that had one.
    """
    if is_converted(path):
        refuse_said_of_converted(path, hints=hints)
        return _built(_bare(model), read_converted(path).description, replaced)
    with read_checkpoint(path) as checkpoint:
        identified = identify(checkpoint, hints)
        if identified.config is None:
            raise TransferError(
                f"{checkpoint.path.name}: a weights-only file does not say how its layers were regularized. Give the "
                "model's file, or its config, or build a Regularization by hand."
            )
        return _built(_bare(model), describe(checkpoint, identified, hints), replaced)


def penalty_of(tensor: Tensor, penalty: Penalty) -> Tensor:
    """What a regularizer adds to the loss for a tensor: a scalar; a matrix (out, in) for an orthogonal one."""
    terms = []
    if penalty.l1:
        terms.append(penalty.l1 * tensor.abs().sum())
    if penalty.l2:
        terms.append(penalty.l2 * tensor.square().sum())
    if penalty.orthogonal:
        terms.append(penalty.orthogonal * _mean_cosine(tensor, penalty.mode))
    return torch.stack(terms).sum() if terms else tensor.new_zeros(())


def _mean_cosine(weight: Tensor, mode: str) -> Tensor:
    if weight.ndim != 2:
        raise TransferError(f"an orthogonal regularizer is of a matrix. Received: shape {tuple(weight.shape)}")
    vectors = weight.T if mode == "rows" else weight  # Keras's kernel is (in, out)
    vectors = vectors / vectors.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    cosines = vectors @ vectors.T
    num_pairs = len(vectors) * (len(vectors) - 1) / 2
    return 0.5 * (cosines - cosines.diag().diag()).abs().sum() / num_pairs


def _cast(penalty: Penalty) -> Penalty:
    """With factors that went through float32, as Keras 3 casts them whatever the weights are."""
    l1, l2, orthogonal = (float(np.float32(value)) for value in (penalty.l1, penalty.l2, penalty.orthogonal))
    return Penalty(l1, l2, orthogonal, penalty.mode)


def _built(model: nn.Module, description: Description, replaced: Sequence[str]) -> Regularization:
    network, rule = description.network, generation_of(description.origin.keras_version)
    weights, outputs = penalties(network, description.regularizers)
    graph = network.imported
    unknown = [path for path in outputs if graph is None or path not in graph.layers]
    if unknown:
        raise TransferError(
            "Regularizers of outputs are computed in imported graphs, not in a native ResNet. Convert the checkpoint "
            f"with --as graph. Layers with one:{listing(unknown)}"
        )
    kept = {name: penalty for name, penalty in weights.items() if not _is_in(name, replaced)}
    found = Regularization(model, kept, rule=rule)
    if graph is not None and outputs:
        prefix = "" if network.architecture is None else HEAD
        inside = model.get_submodule(prefix.removesuffix("."))
        for path, penalty in outputs.items():
            modules = graph.modules[path]
            if not _is_in(f"{prefix}{modules[0]}", replaced):
                calls = sum(call.layer == path for call in graph.calls)
                _watch_layer(found, inside, modules[-1], penalty, calls)
    return found


def _watch_layer(found: Regularization, model: nn.Module, last: str, penalty: Penalty, calls: int) -> None:
    """Watches a Keras layer's outputs: behind its last module, which `forward` may leave to `predict` at the end.

    Each call counts; those whose activation `forward` leaves out are the model's outputs.
    """
    left_out = tails(model.network) if isinstance(model, ImportedModel) else ()
    for place, tail in enumerate(left_out):
        if tail == last:
            found.watch(model, penalty, _finished(model.get_submodule(last), place))
    if calls > left_out.count(last):
        found.watch(model.get_submodule(last), penalty)


def _finished(activation: nn.Module, place: int) -> Callable[[Any], Tensor]:
    """One output of a model with its activation; not the module's own call, whose hooks would count it again."""

    def finish(outputs: Any) -> Tensor:
        value = outputs if isinstance(outputs, Tensor) else list(_values(outputs))[place]
        done: Tensor = activation.forward(value)
        return done

    return finish


def _values(outputs: Any) -> Any:
    return outputs.values() if isinstance(outputs, Mapping) else outputs


def _is_in(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _bare(model: nn.Module) -> nn.Module:
    """The module that has the parameters' names: not what wraps it."""
    while isinstance(getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = getattr(model, "_orig_mod", None) or model.module  # type: ignore[assignment]
    return model


def _check_known(what: str, wanted: Mapping[str, Penalty], known: Mapping[str, Any]) -> None:
    unknown = [f"{name}{nearest(name, list(known))}" for name in wanted if name not in known]
    if unknown:
        raise TransferError(
            f"Regularizers of {what} that the model has not:{listing(unknown)}\n"
            "Name the submodules that are no longer the Keras model's as replaced."
        )
