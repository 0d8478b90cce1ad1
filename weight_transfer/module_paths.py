"""Where a Keras layer's module is in a PyTorch module: paths made of letters, digits and underscores alone.

A Keras name is any text, and a module's name becomes an attribute, a key of the state dict, and a word of
source that others generate (`torch.fx`, a standalone package). So no name of a file is used as one: each
layer gets a path of its own, and keeps its name beside it as data.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from weight_transfer.errors import ArchitectureError

# What every torch module's attributes are called, and the name by which `torch.fx` calls the module itself.
_OF_ANY_MODULE = frozenset(
    {
        "T_destination", "add_module", "add_submodule", "apply", "bfloat16", "buffers", "call_super_init", "children",
        "code", "compile", "cpu", "cuda", "delete_all_unused_submodules", "delete_submodule", "double", "dump_patches",
        "eval", "extra_repr", "finished", "float", "forward", "get_buffer", "get_extra_state", "get_parameter",
        "get_submodule", "graph", "half", "ipu", "load_state_dict", "meta", "modules", "mtia", "named_buffers",
        "named_children", "named_modules", "named_parameters", "network", "parameters", "predict", "print_readable",
        "recompile", "register_backward_hook", "register_buffer", "register_forward_hook",
        "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module",
        "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook", "requires_grad_",
        "self", "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "to_folder",
        "train", "training", "type", "values", "xpu", "zero_grad",
    }
)  # fmt: skip
# What a ported model's are called beside, which earlier files have as names of layers.
_OF_A_PORT = frozenset(
    {
        "description", "feature_info", "features", "features_only", "forward_features", "forward_head", "freeze",
        "from_pretrained", "generate_model_card", "get_classifier", "push_to_hub", "reset_classifier",
        "save_pretrained", "unfreeze",
    }
)  # fmt: skip
TAKEN_NAMES = _OF_ANY_MODULE | _OF_A_PORT  # a layer of such a name gets an underscore behind it
_OF_A_PART = _OF_ANY_MODULE | {"append", "extend", "insert", "pop"}  # of a native ResNet, which is a Sequential
HEAD = "head."  # where a ResNet holds the graph of its own head
_PLAIN = re.compile(r"[A-Za-z0-9_]+")


def module_paths(layers: Mapping[str, bool], taken: frozenset[str] = TAKEN_NAMES) -> dict[str, tuple[str, ...]]:
    """Returns the paths of the modules that each layer runs through, one behind the other.

    No two modules share a path, and none lies inside another's. Names of letters, digits and underscores stay
    as they are, nested models' first: ``resnet50/conv1`` is ``resnet50.conv1``. Others, those that a module has
    already, and a layer that is called as others' parent is, get an underscore or a number.

    Args:
        layers: By Keras path, whether the layer's activation is a module of its own behind it.
        taken: Names that a module has already.

    Example:
        >>> module_paths({"a/conv": True, "train": False, "fc.1": False, "fc_1": False})
        {'a/conv': ('a.conv', 'a.conv_activation'), 'train': ('train_',), 'fc.1': ('fc_1_2',), 'fc_1': ('fc_1',)}
    """
    wanted = {path: _wanted(path, taken) for path in layers}
    free = _Free({parent for path in wanted.values() for parent in _parents(path)})
    # Names that stay as they are come first, so that theirs do not depend on what other layers are called.
    found = {path: free.take(wanted[path]) for path in sorted(wanted, key=lambda path: not _stays(path, taken))}
    return {
        path: (found[path], free.take(f"{found[path]}_activation")) if activated else (found[path],)
        for path, activated in layers.items()
    }


def earlier_paths(layers: Mapping[str, bool]) -> dict[str, tuple[str, ...]]:
    """Returns the module paths that earlier versions gave each layer and that their files hold, the latest first.

    Args:
        layers: As `module_paths` takes them.
    """
    fewer_names = module_paths(layers, _OF_ANY_MODULE)
    return {path: (fewer_names[path][0], _path_in_0_1_0(path)) for path in layers}


def _path_in_0_1_0(path: str) -> str:
    names = (name.replace(".", "_") for name in path.split("/"))
    return ".".join(f"{name}_" if name != "self" and _is_taken(name, _OF_ANY_MODULE) else name for name in names)


def checked_name(name: object, place: str) -> str:
    """Returns a name that a module can have as it is.

    Args:
        name: From a file.
        place: What it is the name of.

    Raises:
        ArchitectureError: A module cannot.
    """
    if isinstance(name, str) and _PLAIN.fullmatch(name) and not _is_taken(name, _OF_A_PART):
        return name
    raise ArchitectureError(
        f"{place} must be letters, digits and underscores, and no word that Python or a module has. Received: {name!r}"
    )


def _wanted(path: str, taken: frozenset[str]) -> str:
    """A path without dots, which would split it, and what else is no letter, digit or underscore."""
    names = (re.sub(r"[^A-Za-z0-9_]", "_", name) for name in path.split("/"))
    return ".".join(f"{name}_" if _is_taken(name, taken) else name for name in names)


def _stays(path: str, taken: frozenset[str]) -> bool:
    return all(_PLAIN.fullmatch(name) is not None and not _is_taken(name, taken) for name in path.split("/"))


def _is_taken(name: str, taken: frozenset[str]) -> bool:
    return name in taken or name[:1] in ("", "_") or keyword.iskeyword(name)


def _parents(path: str) -> Iterator[str]:
    parts = path.split(".")[:-1]
    return (".".join(parts[: depth + 1]) for depth in range(len(parts)))


class _Free:
    """Paths that nobody has yet."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._numbers: Counter[str] = Counter()

    def take(self, path: str) -> str:
        """Returns the path, where it is not free with the first number behind it that is."""
        found = path
        while found in self._taken:
            self._numbers[path] += 1
            found = f"{path}_{self._numbers[path] + 1}"
        self._taken.add(found)
        return found
