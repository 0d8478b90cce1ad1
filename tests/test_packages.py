"""The packages of weight_transfer import one way: no two of them, and no longer circle, need one another."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "weight_transfer"
Imports = Mapping[str, set[str]]


def imports_of(root: Path) -> dict[str, set[str]]:
    """What each package imports of the others, within functions too; a module of the root counts as one."""
    found: dict[str, set[str]] = {}
    for path in sorted(root.rglob("*.py")):
        own = path.relative_to(root).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [] if module is None or module.partition(".")[0] != root.name else [module]
            if module == root.name and isinstance(node, ast.ImportFrom):
                names = [f"{module}.{alias.name}" for alias in node.names]
            others = {name.split(".")[1] for name in names} - {own}
            found.setdefault(own, set()).update(others)
    return found


def reached(start: str, imports: Imports) -> set[str]:
    """All that a package needs, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in imports.get(waiting.pop(), set()) - found:
            found.add(other)
            waiting.append(other)
    return found


def circles(root: Path) -> Iterator[frozenset[str]]:
    """The packages that need one another, each group once; a group of modules of the root alone is none of packages."""
    imports = {name: others for name, others in imports_of(root).items() if name != "__init__"}
    needs = {name: reached(name, imports) for name in imports}
    groups = {frozenset(other for other in needs[name] if name in needs.get(other, set())) for name in needs}
    return (group for group in groups if any((root / name).is_dir() for name in group))


def test_no_packages_need_one_another():
    assert sorted(map(sorted, circles(ROOT))) == []


def test_a_circle_is_seen(tmp_path):
    root = tmp_path / "weight_transfer"
    for name, text in {
        "a/x.py": "from weight_transfer.b.y import f",
        "b/y.py": "def f():\n    from weight_transfer import c",
        "c/z.py": "from weight_transfer.a import x",
        "d/w.py": "from weight_transfer.a import x",
    }.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    assert list(circles(root)) == [{"a", "b", "c"}]
