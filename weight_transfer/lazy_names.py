"""A package whose names are imported when they are first used: ``python -m package --help`` loads no framework.

A module's `__getattr__` (PEP 562) would not do here: a function may have its submodule's name, as ``head`` has, and
importing the submodule puts the module where the function is expected.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def lazy_names(package: str, names: Mapping[str, tuple[str, ...]]) -> None:
    """Gives a package names that stand in its submodules.

    Args:
        package: Its ``__name__``.
        names: Of each submodule, what the package has of it.

    Example:
        >>> lazy_names(__name__, {"head": ("head",), "stages": ("stage",)})
    """
    homes = {name: f"{package}.{submodule}" for submodule, own in names.items() for name in own}
    properties = {name: _lazy(home, name) for name, home in homes.items()}
    module = sys.modules[package]

    def listed(self: ModuleType) -> list[str]:
        return sorted({*vars(self), *homes})

    module.__class__ = type("LazyPackage", (type(module),), {**properties, "__dir__": listed})


def _lazy(home: str, name: str) -> property:
    def found(package: ModuleType) -> Any:
        known = vars(package)
        if name not in known:
            known[name] = getattr(importlib.import_module(home), name)
        return known[name]

    def keep(package: ModuleType, value: Any) -> None:
        # Importing a submodule sets the package's attribute of that name: the function keeps it.
        if not isinstance(value, ModuleType):
            vars(package)[name] = value

    return property(found, keep)
