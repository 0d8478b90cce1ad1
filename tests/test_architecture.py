"""docs/architecture.md is true: its modules exist, call what it says, and take part; and its pages build."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest

from weight_transfer import convert

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
AT_MOST = {"From the command to the written file": 8, "From the command to the verdict": 10}


def ways() -> dict[str, dict[str, list[str]]]:
    """By heading, the modules of a way and what each calls."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        rows = re.findall(r"^\| `([\w.]+)` \| .* \| (.+) \|$", section, flags=re.MULTILINE)
        if rows:
            found[section.splitlines()[0]] = {module: re.findall(r"`(\w+)`", calls) for module, calls in rows}
    return found


def source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    return Path(str(spec.origin))


def called_in(module: str) -> set[str]:
    """Names of what a module calls, and of what it hands on to be called."""
    calls = [node for node in ast.walk(ast.parse(source(module).read_text())) if isinstance(node, ast.Call)]
    functions = [call.func for call in calls]
    methods = {one.attr for one in functions if isinstance(one, ast.Attribute)}
    return methods | {one.id for one in functions if isinstance(one, ast.Name)}


def test_each_way_is_short():
    assert {heading: len(modules) <= AT_MOST[heading] for heading, modules in ways().items()} == dict.fromkeys(
        AT_MOST, True
    )


@pytest.mark.parametrize(("module", "calls"), [pair for way in ways().values() for pair in way.items()])
def test_a_module_calls_what_the_page_says(module, calls):
    assert set(calls) <= called_in(module)


def test_every_module_of_the_way_takes_part_in_a_conversion(tmp_path):
    model = checkpoints.checkpoint(tmp_path / "model.h5", checkpoints.small())
    ran: set[str] = set()
    sys.setprofile(lambda frame, event, argument: ran.add(frame.f_code.co_filename))
    try:
        convert(model, tmp_path / "port.safetensors")
    finally:
        sys.setprofile(None)
    command, *modules = ways()["From the command to the written file"]
    assert command == "weight_transfer.cli.convert"
    assert {str(source(module)) for module in modules} <= ran


def test_the_pages_and_the_reference_build(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    reference = (tmp_path / "site" / "reference" / "resnet_torch" / "index.html").read_text()
    assert 'id="resnet_torch.load_model"' in reference
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    listed = (ROOT / "docs" / "index.md").read_text()
    assert {page for page in pages if f"({page}.md)" not in listed} == {"index"}
