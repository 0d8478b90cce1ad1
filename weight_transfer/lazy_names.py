"""A package whose names are imported when they are first used: ``python -m package --help`` loads no framework."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, names: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns a package's ``__getattr__`` and ``__dir__`` (PEP 562), for names that stand in its submodules.

    Args:
        package: Its ``__name__``.
        names: Of each submodule, what the package has of it. No name may be a submodule's.

    Example:
        >>> __getattr__, __dir__ = lazy_names(__name__, {"stages": ("Stage",), "loading": ("load_model",)})
    """
    homes = {name: f"{package}.{submodule}" for submodule, own in names.items() for name in own}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        found = vars(sys.modules[package])[name] = getattr(importlib.import_module(homes[name]), name)
        return found

    return get, lambda: sorted({*vars(sys.modules[package]), *homes})
