"""docs/proven-networks.md, and the script that makes it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import keras_exact
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("proven_networks", ROOT / "benchmarks" / "proven_networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_figures_make(script, tmp_path):
    proofs = script.read(script.PAGE)
    assert set(script.NETWORKS) <= set(proofs)
    assert all(proofs[name].verdict == "SAME FUNCTION" for name in script.NETWORKS)
    script.write(proofs, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == script.PAGE.read_text()
    assert (tmp_path / "page.json").read_text() == script.PAGE.with_suffix(".json").read_text()


@pytest.mark.slow
@pytest.mark.keras
def test_a_run_that_was_stopped_goes_on(script, tmp_path, keras_side, capsys):
    good, bad = tmp_path / "good.keras", tmp_path / "bad.h5"
    keras_side(keras_exact.save, good)
    bad.write_bytes(b"nothing of the kind")
    page = tmp_path / "page.md"
    files = {"bad": bad, "good": good}
    first = script.run((), files, page, again=False)
    assert first["bad"].verdict == ""
    assert first["bad"].note
    assert first["good"].verdict == "SAME FUNCTION"
    assert first["good"].exact > 0
    capsys.readouterr()
    figures = json.loads(page.with_suffix(".json").read_text())
    del figures["bad"]
    page.with_suffix(".json").write_text(json.dumps(figures))
    bad.write_bytes(b"something else")
    second = script.run((), files, page, again=False)
    assert "good: SAME FUNCTION, as before" in capsys.readouterr().out
    assert list(json.loads(page.with_suffix(".json").read_text())) == ["bad", "good"]
    assert second["good"] == first["good"]
    assert "| good | SAME FUNCTION |" in page.read_text()
