"""What every network of a Keras file has in PyTorch, whether it is a `ResNet` or an `ImportedModel`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch import Tensor, nn

from resnet_torch.batch_norm import set_trainable
from resnet_torch.constraints import renew_constraints
from resnet_torch.inference import cast_inputs, inference
from weight_transfer.architecture import Activation
from weight_transfer.converted import read_converted
from weight_transfer.description import MADE_HERE, Description, Training
from weight_transfer.errors import SHOWN_AT_MOST, ArchitectureError, nearest
from weight_transfer.graph import Graph
from weight_transfer.new_classifier import classifier_of, config_of_new_classifier, with_num_classes
from weight_transfer.notebook import network_html
from weight_transfer.pretrained_folder import CONFIG, WEIGHTS
from weight_transfer.weight_mapping import modules_of_layers

DESCRIPTION = "_description"  # where a module keeps what its file said

Outputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


class FeatureInfo(NamedTuple):
    """One of a network's feature maps.

    Attributes:
        name: Its key in `PortedModel.features`.
        channels: How many it has.
        reduction: Pixels of the image to one place of the map, (vertical, horizontal); None where the network's size
            is open and nothing says it.
    """

    name: str
    channels: int
    reduction: int | None


Model = TypeVar("Model", bound="PortedModel")


class PortedModel(nn.Module, PyTorchModelHubMixin, library_name="keras-resnet-to-torch"):
    """Any network of a Keras file: what `load_model` gives is one.

    `save_pretrained`, `from_pretrained` and `push_to_hub` are those of the Hugging Face Hub, and work on local
    folders; `save_converted` and `save_keras` take one as well.
    """

    # The mixin would keep the arguments of __init__, which take the network apart in another way than its description.
    _hub_mixin_config: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        renew_constraints(self)

    @property
    def network(self) -> Graph:
        """What it is, without its weights."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return network_html(self.network)

    @property
    def description(self) -> Description:
        """What is known of it: what its file said, or, of one that was made here, what its network shows."""
        found: Description | None = self.__dict__.get(DESCRIPTION)
        return found or Description(self.network, MADE_HERE)

    def predict(self, *inputs: Tensor, keras_layout: bool = False) -> Outputs:
        """Returns what the Keras model returns: with the softmax or sigmoid at its end that `forward` leaves out.

        Runs in inference mode, without gradients, and leaves each module's mode as it was. Inputs are cast to the
        dtype of the weights, as Keras casts what a model is given.

        Args:
            *inputs: Preprocessed images (N, C, H, W), sequences (N, C, L) or vectors (N, C), in the file's order.
            keras_layout: Whether inputs and outputs have their axes in the Keras model's order: (N, H, W, C) and
                (N, L, C), unless the model itself is of ``channels_first``.

        Returns:
            One tensor, a tuple in the file's order, or a dict where Keras returns one. Feature maps are
            (N, C, H, W) and sequences (N, C, L), also where Keras reshaped to (N, L, C), unless ``keras_layout``.
        """
        moves = keras_layout and self.network.channels_last
        given = tuple(x.movedim(-1, 1) if moves and x.dim() > 2 else x for x in inputs)
        with inference(self):
            outputs = self.finished(self(*cast_inputs(self, given)))
        return _mapped(outputs, lambda y: y.movedim(1, -1) if moves and y.dim() > 2 else y)

    def finished(self, outputs: Any) -> Outputs:
        """Returns outputs of `forward` with the activations that it leaves out."""
        raise NotImplementedError

    def features(self, x: Tensor, *more: Tensor) -> dict[str, Tensor]:
        """Returns the feature maps that detectors, segmenters and new heads build on, by name.

        The last is what global pooling reads. Runs in the mode that the model is in, with gradients.
        """
        raise NotImplementedError

    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Returns what `features` gives, in its order: names, channels, and how far each is reduced."""
        raise NotImplementedError

    def features_only(self, out_indices: Sequence[int] | None = None) -> FeatureExtractor:
        """Returns a module that gives feature maps as a list, as detectors and segmenters take a backbone.

        Args:
            out_indices: Which of `feature_info`, from 0; negative ones count from the end. By default all.

        Raises:
            ArchitectureError: There is no such map, or it is not clear which value is the last one.

        Example:
            >>> from resnet_torch import resnet18
            >>> backbone = resnet18(input_size=(3, 64, 64)).features_only(out_indices=(1, 4))
            >>> [tuple(y.shape) for y in backbone(torch.zeros(2, 3, 64, 64))]
            [(2, 64, 16, 16), (2, 512, 2, 2)]
        """
        return FeatureExtractor(self, out_indices)

    def forward_features(self, x: Tensor, *more: Tensor) -> Tensor:
        """Returns the last feature map, which global pooling reads; `forward` is `forward_head` of it.

        Args:
            x: The first input, preprocessed, channels first.
            *more: The others, in the file's order.

        Raises:
            ArchitectureError: It is not clear which map that is.
        """
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Outputs:
        """Returns what `forward` makes of the last feature map.

        Args:
            x: What `forward_features` gives.
            pre_logits: Whether to end before the classifier, at the features that it reads.

        Raises:
            ArchitectureError: The head reads more than the last feature map, or it is not clear which layer the
                classifier is.
        """
        raise NotImplementedError

    def get_classifier(self) -> nn.Module:
        """Returns the classifier, the last layer with weights.

        Raises:
            ArchitectureError: It is not clear which layer that is.
        """
        return self.get_submodule(modules_of_layers(self.network)[classifier_of(self.network)])

    def freeze(self, *parts: str) -> None:
        """Stops parts from learning, as ``trainable = False`` does in Keras.

        Their weights get no gradient, and their batch norms stay in inference mode whatever `train` says.

        Args:
            *parts: Of a `ResNet` ``stem``, ``stage2`` and so on, and ``head``; of an `ImportedModel` the models
                nested in it; of both, Keras layers. None means all of it.

        Raises:
            ArchitectureError: There is no such part.

        Example:
            >>> from resnet_torch import resnet18
            >>> model = resnet18(input_size=(3, 32, 32))
            >>> model.freeze("stem", "stage2")
        """
        self._set_trainable(parts, trainable=False)

    def unfreeze(self, *parts: str) -> None:
        """Undoes `freeze`.

        Args:
            *parts: As `freeze` takes them; none means all of it.

        Raises:
            ArchitectureError: There is no such part.
        """
        self._set_trainable(parts, trainable=True)

    def _set_trainable(self, parts: Sequence[str], trainable: bool) -> None:
        groups, layers = self._parts(), modules_of_layers(self.network)
        known = [*groups, *layers]
        unknown = [f"{part}{nearest(part, known)}" for part in sorted(set(parts) - set(known))]
        if unknown:
            names = list(groups or layers)
            more = f" and {len(names) - SHOWN_AT_MOST} more" if len(names) > SHOWN_AT_MOST else ""
            raise ArchitectureError(
                f"no such part. Expected a Keras layer, or any of {', '.join(names[:SHOWN_AT_MOST])}{more}. "
                f"Received: {', '.join(unknown)}"
            )
        for part in parts:
            for module in groups.get(part) or [self.get_submodule(layers[part])]:
                set_trainable(module, trainable, self.training)
        if not parts:
            set_trainable(self, trainable, self.training)

    def _parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """Groups of layers that people freeze together, by name."""
        raise NotImplementedError

    def reset_classifier(self, num_classes: int, activation: Activation | None = None) -> None:
        """Replaces the classifier, the last layer with weights, by a new one that starts as Keras starts a Dense.

        The layer keeps its Keras name, so that `save_converted`, `save_pretrained` and `save_keras` go on.
        What is known of the file's classes, and the old classifier's regularizers, constraints and
        ``trainable=False`` are gone. Build the optimizer afterwards.

        Args:
            num_classes: Outputs of the new one. A `ResNet` without a classifier gets one.
            activation: What `predict` ends with; by default what it ends with now: of a network that ended in one
                sigmoid, a sigmoid for each class.

        Raises:
            ArchitectureError: The network has several outputs, or does not end in a Dense or in a convolution of
                kernel size 1; the message says what to do.

        Example:
            >>> from resnet_torch import resnet18
            >>> model = resnet18(input_size=(3, 32, 32))
            >>> model.reset_classifier(3)
            >>> model(torch.zeros(2, 3, 32, 32)).shape
            torch.Size([2, 3])
        """
        network = with_num_classes(self.network, num_classes, activation)
        with_network(self, network, renewed=[classifier_of(network)])

    def _take_network(self, network: Graph, renewed: Collection[str]) -> None:
        """Becomes a network that differs in its classifier; ``renewed`` layers start anew, the others stay."""
        raise NotImplementedError

    def _save_pretrained(self, save_directory: Path) -> None:
        from resnet_torch.saving import save_converted  # which takes these classes

        save_converted(self, save_directory / WEIGHTS)
        said = read_converted(save_directory / WEIGHTS).description.to_dict()
        (save_directory / CONFIG).write_text(json.dumps(said, sort_keys=True, indent=2))

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin's passes anything on to __init__
        cls: type[Model],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        map_location: str = "cpu",
    ) -> Model:
        """Loads what `save_pretrained` wrote, in evaluation mode.

        Args:
            pretrained_model_name_or_path: A folder, or the name of a repository on the Hugging Face Hub.
            force_download: Whether to download what lies in the cache already.
            token: For the Hub.
            cache_dir: Where downloads are kept.
            local_files_only: Whether to download nothing.
            revision: Of the repository.
            map_location: Which device the model is moved to.

        Raises:
            TransferError: The folder holds none, or one of another class.
        """
        from resnet_torch.loading import load_model  # which builds these classes

        folder = Path(pretrained_model_name_or_path)
        if not folder.exists():
            for name in (CONFIG, WEIGHTS):
                folder = Path(
                    hf_hub_download(
                        str(pretrained_model_name_or_path),
                        name,
                        revision=revision,
                        cache_dir=cache_dir,
                        force_download=force_download,
                        token=token,
                        local_files_only=local_files_only,
                    )
                ).parent
        model = load_model(folder)
        if not isinstance(model, cls):
            kind = type(model).__name__
            raise ArchitectureError(
                f"{folder}: holds {model.network.title}, an {kind}. Expected a {cls.__name__}. Take "
                f"{kind}.from_pretrained, or load_model, which gives either."
            )
        return model.to(map_location)


class FeatureExtractor(nn.Module):
    """Gives a network's feature maps as a list; `PortedModel.features_only` makes one.

    Args:
        model: The network, whose weights it shares.
        out_indices: Which of ``model.feature_info()``; by default all.

    Attributes:
        model: The network.
        feature_info: The maps that `forward` gives.
    """

    def __init__(self, model: PortedModel, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model = model
        known = model.feature_info()
        try:
            self.feature_info = known if out_indices is None else tuple(known[index] for index in out_indices)
        except IndexError as error:
            raise ArchitectureError(
                f"out_indices must lie in 0 to {len(known) - 1}: {', '.join(one.name for one in known)}. "
                f"Received: {out_indices}"
            ) from error

    def forward(self, x: Tensor, *more: Tensor) -> list[Tensor]:
        """Returns the feature maps, (N, C, H, W).

        Args:
            x: The first input, preprocessed, channels first.
            *more: The others, in the file's order.
        """
        maps = self.model.features(x, *more)
        return [maps[one.name] for one in self.feature_info]


def with_network(model: PortedModel, network: Graph, renewed: Collection[str]) -> None:
    """Makes a live module one of another network, with all that is known of it.

    Args:
        model: Changed in place; every layer that is not renewed keeps its module, its weights and its mode.
        network: Differs from the module's own in its classifier alone.
        renewed: Keras layers that start anew, by their Keras paths.
    """
    known = model.description
    config = known.keras_config
    if config is not None:
        config = config_of_new_classifier(config, model.network, network, renewed)
    model._take_network(network, renewed)
    model.__dict__[DESCRIPTION] = dataclasses.replace(
        known,
        network=network,
        training=known.training or Training(known.moving_variance),
        regularizers={layer: held for layer, held in known.regularizers.items() if layer not in renewed},
        constraints={layer: held for layer, held in known.constraints.items() if layer not in renewed},
        frozen=tuple(layer for layer in known.frozen if layer not in renewed),
        keras_config=config,
    )


def _mapped(outputs: Outputs, function: Any) -> Outputs:
    """Applies a function to each tensor of a module's outputs."""
    if isinstance(outputs, torch.Tensor):
        return function(outputs)  # type: ignore[no-any-return]
    if isinstance(outputs, dict):
        return {name: function(value) for name, value in outputs.items()}
    return tuple(map(function, outputs))
