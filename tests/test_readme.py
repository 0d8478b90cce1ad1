"""The README is true: its commands run and print what it shows, its links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from readme_blocks import README, ROOT, blocks, sh

from weight_transfer.parity.tolerances import TOLERANCES


def test_ci_runs_the_readmes_test_command():
    set_up_and_test = blocks("sh")[-1].strip()
    pytest_command = ".venv/bin/pytest -n auto --dist loadfile -m"
    assert set_up_and_test.endswith(f'&& {pytest_command} "not slow"')
    *_, first, then = (ROOT / ".ci" / "run").read_text().rstrip().splitlines()
    assert (first, then) == (set_up_and_test, f"{pytest_command} slow")  # all of it, none twice
    assert set_up_and_test in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_pages_name_the_fast_part():
    for page in ("README.md", "CONTRIBUTING.md"):
        assert '`-m "not keras and not slow"`' in (ROOT / page).read_text()


def test_a_running_example_stands_by_line_30():
    lines = README.splitlines()[:30]
    assert any("weight-transfer demo" in line for line in lines)
    assert any(line.startswith("SAME FUNCTION at ") for line in lines)


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_paths_that_the_pages_name_exist():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for path in re.findall(
            r"`((?:tests|weight_transfer|resnet_\w+|examples|benchmarks)/[\w/.]+)`", page.read_text()
        ):
            found = ROOT / path
            assert found.exists() or (ROOT / "weight_transfer" / path).exists(), f"{page.name}: {path}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, str]:
    """What the first command prints and leaves behind."""
    folder = tmp_path_factory.mktemp("readme")
    command = blocks("sh")[0].strip().split("&&")[-1].strip()
    assert command == ".venv/bin/weight-transfer demo"
    done = sh(command, folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows_of(text: str) -> dict[str, list[str]]:
    """The table's rows by check."""
    rows = (re.split(r" {2,}", line.strip()) for line in text.splitlines())
    return {row[0]: row[1:] for row in rows if row[-1] == "equal"}


@pytest.mark.keras
def test_demo_prints_the_table_that_the_readme_shows(demo):
    printed, shown = rows_of(demo[1]), rows_of(blocks("text")[0])
    rows = json.loads((demo[0] / "demo" / "certificate.json").read_text())["rows"]
    assert printed.keys() == shown.keys() == {row["check"] for row in rows}
    for check, row in shown.items():
        assert printed[check][0] == row[0], check  # how many tensors
    said = " ".join(blocks("text")[0].partition("SAME FUNCTION")[2].split())
    assert said in " ".join(demo[1].partition("SAME FUNCTION")[2].split())


@pytest.mark.keras
def test_demo_holds_its_gates_at_every_tensor(demo):
    certificate = json.loads((demo[0] / "demo" / "certificate.json").read_text())
    assert certificate["passed"] is True
    assert certificate["verdict"] == "SAME FUNCTION"
    assert len(certificate["rows"]) == 1769
    for row in certificate["rows"]:
        assert row["peak"] > 0, row
        for precision, tolerance in TOLERANCES[row["check"]].items():
            assert row["errors"].get(precision, 0) <= tolerance.limit(row["noise"]), row


@pytest.mark.keras
def test_demo_leaves_a_report(demo):
    page = (demo[0] / "demo" / "report.html").read_text()
    assert "SAME FUNCTION" in page
    assert "res5c_branch2c" in page


@pytest.mark.keras
def test_commands_of_the_readme_run(demo):
    folder, _ = demo
    shutil.copy(folder / "demo" / "resnet50.h5", folder / "resnet50.h5")
    for command in (blocks("sh")[1] + blocks("sh")[2] + blocks("sh")[5]).strip().splitlines():
        done = sh(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (folder / "back.keras").exists()


@pytest.mark.keras
def test_python_of_the_readme_runs(demo):
    code = "\n".join(blocks("python")) + "\nprint(model.stages.stage2.a.residual.res2a_branch2a)"
    done = subprocess.run([sys.executable, "-c", code], cwd=demo[0], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = re.search(r"# (Conv2d.*)", code)
    assert expected is not None
    assert done.stdout.strip() == expected[1]
