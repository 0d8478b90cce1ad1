"""The table of mistakes: what explanations look for and what sensitivity plants, one entry for each cause."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resnet_torch.comparison.mistakes.mistake import Kind, Mistake
from resnet_torch.comparison.mistakes.normalization import NORMALIZING
from resnet_torch.comparison.mistakes.operations import INPUTS, PASSING, POOLING
from resnet_torch.comparison.mistakes.sites import Site
from resnet_torch.comparison.mistakes.training_settings import DESCRIBING
from resnet_torch.comparison.mistakes.weights import ARRAYS, KERNELS, WINDOWS
from resnet_torch.comparison.subject import Subject, subject_of

# By cause, a key of `CAUSES`, in the order in which they are tried: what says most first.
MISTAKES: Mapping[str, Mistake] = {
    **INPUTS,
    **NORMALIZING,
    **KERNELS,
    **POOLING,  # before another padding, which may give the same numbers of one size
    **WINDOWS,
    **PASSING,
    **ARRAYS,
    **DESCRIBING,
}
KINDS: Mapping[str, Kind] = {key: kind for mistake in MISTAKES.values() for key, kind in mistake.kinds.items()}
CAUSE_OF: Mapping[str, str] = {key: cause for cause, mistake in MISTAKES.items() for key in mistake.kinds}


def planted(subject: Subject, kind: Kind, site: Site) -> Subject:
    """Returns a copy of a port with a mistake in it."""
    model: Any = copy.deepcopy(subject.model)
    return kind.plant(replace(subject_of(model), placed=subject.placed), site)


def chosen_sites(subject: Subject, kind: Kind) -> list[Site]:
    """An early, a middle and a late site; fewer where there are fewer."""
    found = list(kind.sites(subject))
    return list(dict.fromkeys(found[index] for index in (0, len(found) // 2, len(found) - 1))) if found else []
