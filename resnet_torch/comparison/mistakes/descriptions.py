"""Mistakes in what a port says of itself: where they can be planted in a description, and how it is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from resnet_torch.comparison.mistakes.plants import Plant
from resnet_torch.comparison.mistakes.sites import Site, Sites
from resnet_torch.comparison.subject import Subject
from resnet_torch.wrappers import description_of_module, with_description
from weight_transfer.description import Description, Training
from weight_transfer.graph import Graph
from weight_transfer.graph.precision import Precision
from weight_transfer.parity.fields import NETWORK

Held = Literal["regularizers", "constraints"]
Change = Callable[[Description, str], Description]  # of a description, at a layer


def changed(change: Change) -> Plant:
    """Changes what a port says of a layer."""

    def plant(subject: Subject, site: Site) -> Subject:
        model: Any = subject.model
        with_description(model, change(description_of_module(model), site.layer))
        return subject

    return plant


# Where


def of_the_network(where: Callable[[Description], bool]) -> Sites:
    """The whole network, where a rule holds for what is said of it."""

    def sites(subject: Subject) -> Iterator[Site]:
        if where(description_of_module(subject.model)):
            yield Site(NETWORK)

    return sites


def has_batch_norm(known: Description) -> bool:
    """Whether a network has a batch norm."""
    return any("moving_variance" in layer.weights for layer in known.network.layers.values())


def layers_with(name: str, where: Callable[[Any], bool] = bool) -> Sites:
    """Layers that have a setting for whose value a rule holds."""

    def sites(subject: Subject) -> Iterator[Site]:
        for path, layer in description_of_module(subject.model).network.layers.items():
            if name in layer.settings and where(layer.settings[name]):
                yield Site(path)

    return sites


def held_by(what: Held) -> Sites:
    """Layers that have a regularizer, or a constraint."""
    return lambda subject: (Site(path) for path, held in _held(subject, what).items() if held)


def _held(subject: Subject, what: Held) -> Mapping[str, Mapping[str, Any]]:
    held: Mapping[str, Mapping[str, Any]] = getattr(description_of_module(subject.model), what)
    return held


def learning(subject: Subject) -> Iterator[Site]:
    """Layers with weights that learn."""
    known = description_of_module(subject.model)
    return (Site(path) for path, layer in known.network.layers.items() if layer.weights and path not in known.frozen)


def frozen_layers(subject: Subject) -> Iterator[Site]:
    """Layers that do not learn."""
    return map(Site, description_of_module(subject.model).frozen)


def calls_with_a_mode(subject: Subject) -> Iterator[Site]:
    """Calls that say their mode themselves."""
    calls = description_of_module(subject.model).network.calls
    return (Site(call.value) for call in calls if call.training is not None)


def layers_with_a_policy(subject: Subject) -> Iterator[Site]:
    """Layers that have another dtype policy than float32."""
    return map(Site, description_of_module(subject.model).precision.policies)


# How


def setting(name: str, value: Callable[[Any], Any]) -> Plant:
    """Makes another value of a layer's setting."""

    def change(known: Description, layer: str) -> Description:
        settings = known.network.layers[layer].settings
        network = _with_layer(known.network, layer, settings={**settings, name: value(settings[name])})
        return replace(known, network=network)

    return changed(change)


def _with_layer(network: Graph, layer: str, **changes: Any) -> Graph:
    return replace(network, layers={**network.layers, layer: replace(network.layers[layer], **changes)})


def without(what: Held) -> Plant:
    """Takes a layer's regularizers or constraints away."""
    return changed(lambda known, layer: _with_held(known, layer, what, {}))


def with_numbers(what: Held, value: Callable[[float], float]) -> Plant:
    """Makes other numbers of those of a layer's regularizers or constraints."""

    def change(known: Description, layer: str) -> Description:
        return _with_held(known, layer, what, _numbers(getattr(known, what)[layer], value))

    return changed(change)


def _numbers(config: Any, value: Callable[[float], float]) -> Any:
    """A config with other numbers in it; a truth value and the axis of a constraint are none."""
    if isinstance(config, Mapping):
        return {key: one if key == "axis" else _numbers(one, value) for key, one in config.items()}
    return value(config) if isinstance(config, (int, float)) and not isinstance(config, bool) else config


def _with_held(known: Description, layer: str, what: Held, held: Mapping[str, Any]) -> Description:
    network = _with_layer(known.network, layer, **{what: held})
    return replace(known, network=network, **{what: {**getattr(known, what), layer: held}})  # type: ignore[arg-type]


def frozen(known: Description, layer: str) -> Description:
    """Says that a layer does not learn."""
    return replace(known, frozen=(*known.frozen, layer))


def unfrozen(known: Description, layer: str) -> Description:
    """Says that a layer learns."""
    return replace(known, frozen=tuple(one for one in known.frozen if one != layer))


def without_mode(known: Description, value: str) -> Description:
    """Takes the mode out of a call."""
    calls = [replace(call, training=None) if call.value == value else call for call in known.network.calls]
    return replace(known, network=replace(known.network, calls=tuple(calls)))


def without_policy(known: Description, layer: str) -> Description:
    """Says that a layer had no dtype policy of its own."""
    policies = {path: policy for path, policy in known.precision.policies.items() if path != layer}
    return replace(known, precision=replace(known.precision, policies=policies))


def in_half_precision(known: Description, layer: str) -> Description:
    """Says that the network computes in float16."""
    return replace(known, precision=Precision("float16", known.precision.policies))


def with_other_rule(known: Description, layer: str) -> Description:
    """Says that its batch norms move their variances as another Keras does."""
    return replace(known, training=Training("keras3" if known.moving_variance == "tf_keras" else "tf_keras"))
