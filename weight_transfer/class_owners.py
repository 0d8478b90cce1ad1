"""Whose a serialized object is: Keras's own, or one of a user's that may be called like it.

Keras 3, and Keras 2 from 2.13, write a class's module and the name it is registered under beside it. Earlier
Kerases write the bare name, with the package of a registered class before it: ``mine>ReLU``. Here a foreign
class is named in that way in every schema, so that no table of Keras's classes knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OWN_PACKAGES = ("keras", "tf_keras", "tensorflow", "keras_core")  # whose classes are Keras's own
FUNCTION = "function"  # the class of a function; its name stands in ``config``
WITHOUT_MODULE = "builtins"  # what is written for the module of any function, Keras's own too
UNNAMED_PACKAGE = "Custom"  # of a class registered without one; Keras 2.11 and 2.12 write their optimizers so too
UNKNOWN_PACKAGE = "own"  # of a class with neither module nor package
KNOWN_FOREIGN = ("Scale",)  # a row of the layer table all the same; by this name alone, in every schema


def is_own(package: str) -> bool:
    """Whether a module or a package is Keras's."""
    return package.partition(".")[0].lower() in OWN_PACKAGES


def has_modules(value: Any) -> bool:
    """Whether a config says of which modules its layers are: of Keras 3, and of Keras 2 from 2.13."""
    return any("inbound_nodes" in node and "module" in node for node in objects_in(value))


def with_owners(value: Any) -> Any:
    """Returns a config in which every class that is not Keras's own has a package before its name.

    Args:
        value: A config or a part of it; it stays as it is.

    Example:
        >>> with_owners({"module": "mine", "class_name": "ReLU", "config": {}, "registered_name": "mine>ReLU"})[
        ...     "class_name"
        ... ]
        'mine>ReLU'

    Source: keras 3.15.1, keras/src/saving/serialization_lib.py, serialize_keras_object; the same in tf_keras 2.21.
    """
    return _named(value) if any(_foreign(node) for node in objects_in(value)) else value


def without_owners(value: Any) -> Any:
    """Returns a config as its Keras wrote it: the inverse of `with_owners`."""
    if isinstance(value, Mapping):
        bare = {key: without_owners(item) for key, item in value.items()}
        if "module" in bare or "registered_name" in bare:
            key = "config" if bare.get("class_name") == FUNCTION else "class_name"
            if isinstance(bare.get(key), str):
                bare[key] = bare[key].rpartition(">")[2]
        return bare
    return [without_owners(item) for item in value] if isinstance(value, (list, tuple)) else value


def objects_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every dict in a config, whatever holds it."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            yield item
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item


def _foreign(node: Mapping[str, Any]) -> str | None:
    """The name of a foreign object with its package; None of Keras's own, and where the config does not say."""
    class_name = node.get("class_name")
    if not isinstance(class_name, str) or class_name.startswith("__") or ">" in class_name:
        return None
    if class_name == FUNCTION:
        return _foreign_function(node)
    if "module" not in node and "registered_name" not in node:
        return None
    registered = node.get("registered_name")
    package, _, name = registered.rpartition(">") if isinstance(registered, str) else ("", "", class_name)
    module = node.get("module", package or OWN_PACKAGES[0])
    if name == class_name and (_is_own(module) or (class_name in KNOWN_FOREIGN and not package)):
        return None
    owners = (package, module)  # a user may register under Keras's own name; the class is a user's all the same
    owner = next((one for one in owners if one and one != UNNAMED_PACKAGE and not _is_own(one)), UNKNOWN_PACKAGE)
    return f"{owner}>{class_name}"


def _is_own(module: Any) -> bool:
    return isinstance(module, str) and is_own(module)


def _foreign_function(node: Mapping[str, Any]) -> str | None:
    """The same for a function, of which the module may be written as any function's."""
    name, module = node.get("config"), node.get("module", WITHOUT_MODULE)
    if not isinstance(name, str) or ">" in name or module == WITHOUT_MODULE or _is_own(module):
        return None
    return f"{module or UNKNOWN_PACKAGE}>{name}"


def _named(value: Any) -> Any:
    if isinstance(value, Mapping):
        named = {key: _named(item) for key, item in value.items()}
        foreign = _foreign(value)
        if foreign is not None:
            named["config" if named["class_name"] == FUNCTION else "class_name"] = foreign
        return named
    return [_named(item) for item in value] if isinstance(value, (list, tuple)) else value
