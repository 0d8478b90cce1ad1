"""Mistakes that act in training alone, or in another precision: a port's file says them, and no output shows them."""

from __future__ import annotations

from collections.abc import Mapping

from resnet_torch.comparison.mistakes import described
from resnet_torch.comparison.mistakes.mistake import Kind, Mistake

RATED, NOISY = described.layers_with("rate"), described.layers_with("stddev")

DESCRIBING: Mapping[str, Mistake] = {
    "dropout": Mistake(
        {
            "dropout lost": Kind("dropout lost", RATED, described.setting("rate", lambda rate: 0.0), "fields"),
            "dropout kept": Kind(
                "the share that is kept for the one that is dropped",
                described.layers_with("rate", lambda rate: rate != 1 - rate),
                described.setting("rate", lambda rate: 1 - rate),
                "fields",
                left_out="a half is both",
            ),
        },
        fields=frozenset({"rate"}),
    ),
    "noise": Mistake(
        {
            "noise lost": Kind("noise lost", NOISY, described.setting("stddev", lambda stddev: 0.0), "fields"),
            "noise squared": Kind(
                "variance of a noise for its deviation",
                described.layers_with("stddev", lambda stddev: stddev != stddev**2),
                described.setting("stddev", lambda stddev: stddev**2),
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
                described.held_by("regularizers"),
                described.without("regularizers"),
                "fields",
            ),
            "regularizer halved": Kind(
                "penalty half as strong, as weight_decay has it",
                described.held_by("regularizers"),
                described.with_numbers("regularizers", lambda number: number / 2),
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
                "constraint lost", described.held_by("constraints"), described.without("constraints"), "fields"
            ),
            "constraint other": Kind(
                "another largest norm",
                described.held_by("constraints"),
                described.with_numbers("constraints", lambda number: number + 1),
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
                "a layer frozen that learns", described.learning, described.described(described.frozen), "fields"
            ),
            "frozen lost": Kind(
                "a layer learns that is frozen",
                described.frozen_layers,
                described.described(described.unfrozen),
                "fields",
            ),
        },
        fields=frozenset({"trainable"}),
    ),
    "call mode": Mistake(
        {
            "call mode": Kind(
                "training=False of a call lost",
                described.calls_with_a_mode,
                described.described(described.without_mode),
                "fields",
            )
        },
        fields=frozenset({"training in its call"}),
    ),
    "precision": Mistake(
        {
            "precision": Kind(
                "dtype policy of a layer lost",
                described.layers_with_a_policy,
                described.described(described.without_policy),
                "fields",
            ),
            "precision of all": Kind(
                "float16 for the network's dtype",
                described.of_the_network(lambda known: known.precision.dtype != "float16"),
                described.described(described.in_half_precision),
                "fields",
            ),
        },
        fields=frozenset({"dtype policy", "dtype"}),
    ),
}
