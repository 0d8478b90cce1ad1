"""Mistakes that act in training alone, or in another precision: a port's file says them, and no output shows them."""

from __future__ import annotations

from collections.abc import Mapping

from resnet_torch.comparison.mistakes import descriptions
from resnet_torch.comparison.mistakes.mistake import Kind, Mistake

RATED, NOISY = descriptions.layers_with("rate"), descriptions.layers_with("stddev")

DESCRIBING: Mapping[str, Mistake] = {
    "dropout": Mistake(
        {
            "dropout lost": Kind("dropout lost", RATED, descriptions.setting("rate", lambda rate: 0.0), "fields"),
            "dropout kept": Kind(
                "the share that is kept for the one that is dropped",
                descriptions.layers_with("rate", lambda rate: rate != 1 - rate),
                descriptions.setting("rate", lambda rate: 1 - rate),
                "fields",
                left_out="a half is both",
            ),
        },
        fields=frozenset({"rate"}),
    ),
    "noise": Mistake(
        {
            "noise lost": Kind("noise lost", NOISY, descriptions.setting("stddev", lambda stddev: 0.0), "fields"),
            "noise squared": Kind(
                "variance of a noise for its deviation",
                descriptions.layers_with("stddev", lambda stddev: stddev != stddev**2),
                descriptions.setting("stddev", lambda stddev: stddev**2),
                "fields",
                left_out="one is its own square",
            ),
        },
        fields=frozenset({"stddev"}),
    ),
    "regularizer": Mistake(
        {
            "regularizer lost": Kind(
                "penalty lost",
                descriptions.held_by("regularizers"),
                descriptions.without("regularizers"),
                "fields",
            ),
            "regularizer halved": Kind(
                "penalty half as strong, as weight_decay has it",
                descriptions.held_by("regularizers"),
                descriptions.with_numbers("regularizers", lambda number: number / 2),
                "fields",
            ),
        },
        fields=frozenset(
            f"{what}_regularizer" for what in ("kernel", "bias", "activity", "depthwise", "pointwise", "gamma", "beta")
        ),
    ),
    "constraint": Mistake(
        {
            "constraint lost": Kind(
                "constraint lost", descriptions.held_by("constraints"), descriptions.without("constraints"), "fields"
            ),
            "constraint other": Kind(
                "another largest norm",
                descriptions.held_by("constraints"),
                descriptions.with_numbers("constraints", lambda number: number + 1),
                "fields",
            ),
        },
        fields=frozenset(
            f"{what}_constraint" for what in ("kernel", "bias", "depthwise", "pointwise", "gamma", "beta")
        ),
    ),
    "trainable": Mistake(
        {
            "trainable": Kind(
                "a layer frozen that learns", descriptions.learning, descriptions.changed(descriptions.frozen), "fields"
            ),
            "frozen lost": Kind(
                "a layer learns that is frozen",
                descriptions.frozen_layers,
                descriptions.changed(descriptions.unfrozen),
                "fields",
            ),
        },
        fields=frozenset({"trainable"}),
    ),
    "call mode": Mistake(
        {
            "call mode": Kind(
                "training=False of a call lost",
                descriptions.calls_with_a_mode,
                descriptions.changed(descriptions.without_mode),
                "fields",
            )
        },
        fields=frozenset({"training in its call"}),
    ),
    "precision": Mistake(
        {
            "precision": Kind(
                "dtype policy of a layer lost",
                descriptions.layers_with_a_policy,
                descriptions.changed(descriptions.without_policy),
                "fields",
            ),
            "precision of all": Kind(
                "float16 for the network's dtype",
                descriptions.of_the_network(lambda known: known.precision.dtype != "float16"),
                descriptions.changed(descriptions.in_half_precision),
                "fields",
            ),
        },
        fields=frozenset({"dtype policy", "dtype"}),
    ),
}
