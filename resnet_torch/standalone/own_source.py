"""What a network uses of this project's own sources, as text that stands by itself.

Definitions are taken whole, with every class, function, constant and import that they name,
recursively; an import of this project gives way to the definition behind it.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from weight_transfer.errors import TransferError

PROJECT = ("resnet_torch", "weight_transfer")
Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True, order=True)
class Import:
    """One imported name; ``name`` is empty for ``import module``."""

    module: str
    name: str = ""
    alias: str = ""

    @property
    def bound(self) -> str:
        """The name it gives to the file."""
        return self.alias or self.name or self.module.partition(".")[0]


@dataclass
class OwnSource:
    """Definitions in an order in which Python can read them, and the imports they need.

    Attributes:
        imports: Of other packages.
        definitions: Text by name.
        origins: Module of each definition, to see two of one name.
    """

    imports: set[Import] = field(default_factory=set)
    definitions: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def add(self, module: str, name: str) -> None:
        """Adds a definition and all that it needs.

        Raises:
            TransferError: Another module's definition of the same name is there already.
        """
        if self.origins.get(name) == module:
            return
        if name in self.origins:
            raise TransferError(
                f"two definitions are both named {name!r}, in {self.origins[name]} and {module}. "
                "Expected one: a standalone file holds them side by side. Report this network."
            )
        self.origins[name] = module
        source = _parsed(module)
        node = source.definitions[name]
        for used in _names(node):
            found = source.imports.get(used)
            if used in source.definitions and used != name:
                self.add(module, used)
            elif found is not None and found.module.partition(".")[0] in PROJECT:
                self.add(found.module, found.name)
            elif found is not None:
                self.imports.add(found)
        self.definitions[name] = source.text(node)


def collect(objects: Iterable[object]) -> OwnSource:
    """Takes classes and functions of this project out of their files.

    Args:
        objects: Each with ``__module__`` and ``__name__``.
    """
    found = OwnSource()
    for one in objects:
        found.add(one.__module__, one.__name__)  # type: ignore[attr-defined]
    return found


def import_lines(imports: Iterable[Import]) -> str:
    """Returns import statements, the standard library's first, sorted as isort does."""
    groups: list[list[str]] = [[], []]
    unique = set(imports)
    for module in sorted({one.module for one in unique}):
        group = groups[module.partition(".")[0] not in sys.stdlib_module_names]
        here = sorted(one for one in unique if one.module == module)
        group += [f"import {module}" + (f" as {one.alias}" if one.alias else "") for one in here if not one.name]
        names = [one.name + (f" as {one.alias}" if one.alias else "") for one in here if one.name]
        if names:
            group.append(f"from {module} import {', '.join(names)}")
    return "\n\n".join("\n".join(sorted(group, key=_isort_key)) for group in groups if group)


def _isort_key(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line


@dataclass(frozen=True)
class _Parsed:
    lines: list[str]
    definitions: dict[str, Definition]
    imports: dict[str, Import]

    def text(self, node: Definition) -> str:
        """A definition's lines, with its decorators and the comments right above."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        while first and self.lines[first - 1].startswith("#"):
            first -= 1
        text = "\n".join(self.lines[first : node.end_lineno])
        # Docstrings name classes by a path that a standalone file does not have.
        return re.sub(rf"`(?:{'|'.join(PROJECT)})(?:\.\w+)*\.(\w+)`", r"`\1`", text)


@cache
def _parsed(module: str) -> _Parsed:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise TransferError(f"the source of {module} is not there, and a standalone file is made of it.")
    text = Path(spec.origin).read_text(encoding="utf-8")
    definitions: dict[str, Definition] = {}
    imports: dict[str, Import] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update((one.bound, one) for one in _imports(node))
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            definitions.update((target.id, node) for target in targets if isinstance(target, ast.Name))
    return _Parsed(text.splitlines(), definitions, imports)


def _imports(node: ast.Import | ast.ImportFrom) -> list[Import]:
    if isinstance(node, ast.Import):
        return [Import(alias.name, alias=alias.asname or "") for alias in node.names]
    return [Import(node.module or "", alias.name, alias.asname or "") for alias in node.names]


def _names(node: ast.AST) -> list[str]:
    """The names that a definition uses, in the order in which it does."""
    found = (one for one in ast.walk(node) if isinstance(one, ast.Name))
    return list(dict.fromkeys(one.id for one in sorted(found, key=lambda one: (one.lineno, one.col_offset))))
