"""The page: complete, self-contained, and safe whatever a file calls its layers."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from weight_transfer import report as package
from weight_transfer.errors import TransferError, VerificationError
from weight_transfer.parity.causes import CAUSES
from weight_transfer.parity.report import FieldDifference
from weight_transfer.report import page, write_report
from weight_transfer.report.formats import visible

VOID = {"meta", "img", "input", "br", "wbr"}


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, the text of each, and whether all are closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.by_element: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
            self.by_element.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        for tag in set(self.open):
            self.by_element[tag][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def few(found):
    """The same with its first rows only: quick to draw."""
    return dataclasses.replace(found, rows=found.rows[:45])


@pytest.fixture(scope="module")
def passed(passing):
    return page.render(passing)


@pytest.fixture(scope="module")
def failed(failing):
    return page.render(failing)


@pytest.fixture(scope="module")
def attacked(hostile):
    return page.render(hostile)


def test_the_page_needs_nothing_else(passed, failed):
    for content in (passed, failed):
        for outside in ("http://", "https://", "@import", "<link", "<iframe"):
            assert outside not in content
        read = Page(content)
        sources = [attributes["src"] for _, attributes in read.elements if "src" in attributes]
        assert sources
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert all(attributes["href"].startswith("#") for _, attributes in read.elements if "href" in attributes)


def test_the_page_stays_light(passed):
    assert len(passed.encode()) < 1_000_000


def test_every_element_is_closed_and_every_id_is_its_own(passed, failed, attacked):
    for content in (passed, failed, attacked):
        read = Page(content)
        assert read.open == []
        ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        named = {attributes["href"][1:] for _, attributes in read.elements if "href" in attributes}
        assert named <= set(ids)


def test_the_verdict_stands_first(passed, failed):
    for content, verdict in ((passed, "EQUAL"), (failed, "DIFFERS")):
        read = Page(content)
        assert read.by_element["h1"] == [verdict]
        assert read.by_element["title"][0].startswith(f"{verdict}: ResNet-50")


def test_sections_come_in_the_order_of_a_readers_questions(failed, passed):
    assert Page(failed).by_element["h2"] == [
        "Where the models part",
        "Layer by layer",
        "The same pictures, through both",
        "What was compared, and with what",
        "All tensors",
        "Weights",
        "Which files these were",
        "Environment",
    ]
    assert "Would it notice?" in Page(passed).by_element["h2"]
    assert "Where the models part" not in Page(passed).by_element["h2"]


def test_every_row_is_in_the_table(passed, passing):
    read = Page(passed)
    assert sum(attributes.get("id", "").startswith("row-") for attributes in read.of("tr")) == len(passing.rows)
    cells = set(read.by_element["th"])
    assert {row.name for row in passing.rows} <= cells


def test_a_row_shows_all_that_is_known_of_it(failed, failing):
    row = failing.first_divergence
    found = re.search(rf'<tr id="row-{failing.rows.index(row)}">.*?</tr>', failed, re.DOTALL)
    told = Page(found[0]).by_element["td"]
    assert told == [
        "41", "2.1e-02", "1e-12", "2.1e-02", "1e-05", f"{row.noise:.1e}", f"{row.peak:.3g}",
        "2 \u00d7 28 \u00d7 28 \u00d7 128", ", ".join(map(str, row.where)), "DIFFERS",
    ]  # fmt: skip
    assert found[0].count('class="over"') == 2


def test_the_explanation_is_told_with_its_hypotheses(failed, failing):
    read = Page(failed)
    assert failing.explanation.sentence in read.text
    assert "BatchNorm2d, differs by 2.1e-02" in read.text
    for trial in failing.explanation.tried:
        assert {trial.text, CAUSES[trial.cause].title} <= set(read.by_element["td"])
    assert failed.count('class="found"') == 1
    assert f"{CAUSES['epsilon'].title}: {CAUSES['epsilon'].advice}" in read.by_element["p"]
    assert "The 4 that came nearest of 31 known mistakes, each tried on this layer alone" in read.by_element["caption"]


def test_where_no_hypothesis_holds_the_nearest_are_shown_without_advice(failing):
    why = dataclasses.replace(failing.explanation, found=None, tried=failing.explanation.tried[1:])
    content = page.render(dataclasses.replace(few(failing), explanation=why))
    assert "None of 31 known mistakes, tried on this layer alone, explains it." in Page(content).text
    assert why.tried[0].text in Page(content).by_element["td"]
    assert 'class="found"' not in content
    assert 'class="advice"' not in content


def test_another_shape_is_told_in_words(failing):
    rows = [
        dataclasses.replace(row, errors=dict.fromkeys(row.errors, math.inf)) if not row.passed else row
        for row in few(failing).rows
    ]
    why = dataclasses.replace(failing.explanation, error=math.inf)
    read = Page(page.render(dataclasses.replace(failing, rows=tuple(rows), explanation=why)))
    assert "BatchNorm2d, another shape or no number" in read.text
    assert "in inference, bn3a_branch2b has another shape or no number." in read.text
    assert "\u221e" in read.by_element["td"]


def test_a_divergence_without_an_explanation_is_still_named(failing):
    read = Page(page.render(dataclasses.replace(few(failing), explanation=None)))
    assert "bn3a_branch2b (inference, cpu) is the first that differs: float64 2.1e-02, gate 1e-12" in read.text


def test_arrays_that_differ_are_listed(passing):
    found = dataclasses.replace(few(passing), weights_equal=321, weights_differing=("conv1/kernel",))
    read = Page(page.render(found))
    assert "conv1/kernel" in read.by_element["li"]
    assert "the arrays are not all the same" in read.text


def test_what_was_compared_is_told(passed, passing):
    told = Page(passed).text
    for text in (
        passing.source, passing.source_sha256, passing.converted_sha256, passing.port_digest, passing.loaded_by,
        passing.recorded, passing.detail, *passing.inputs, *passing.assumed, *passing.environment.values(),
        "weight-transfer check certificate.json --model FILE", "1 min 3 s",
    ):  # fmt: skip
        assert text in told


def test_both_sides_environments_stand_side_by_side(passed):
    table = re.search(r'<table class="plain sides">.*?</table>', passed, re.DOTALL)
    read = Page(table[0])
    assert read.by_element["th"] == ["What", "Keras", "PyTorch", "python", "system", "keras", "torch"]
    assert read.by_element["td"] == ["3.11.7", "3.12.2", "Linux x86_64", "Linux x86_64", "3.15.1", "", "", "2.14.1"]


def test_a_check_in_float64_only_has_no_float32_column(passed):
    headings = [
        Page(table).by_element["th"] for table in re.findall(r'<table class="rows">.*?</thead>', passed, re.DOTALL)
    ]
    float64 = ["#", "Name", "float64", "float64 gate"]
    rest = ["Peak", "Shape", "Largest at", "Verdict"]
    assert headings == [[*float64, "float32", "float32 gate", "Keras float32", *rest], *[[*float64, *rest]] * 4]
    glance = Page(re.search(r'<table class="glance.*?</table>', passed, re.DOTALL)[0])
    assert [text for text in glance.by_element["td"] if "only" in text] == ["float64 only"] * 4


def test_precisions_that_never_gate_have_no_gate_column(passing):
    rows = [dataclasses.replace(row, device="cuda", errors={**row.errors, "tf32": 1e-3}) for row in few(passing).rows]
    read = Page(page.render(dataclasses.replace(passing, rows=(*few(passing).rows, *rows))))
    assert "tf32" in read.by_element["th"]
    assert "tf32 gate" not in read.by_element["th"]
    assert "tf32 (not gated), at most" in read.by_element["th"]
    assert "float64 and float32 only" in read.by_element["td"]  # on the processor


def test_what_pictures_tell_is_left_out_without_pictures(passing):
    read = Page(page.render(dataclasses.replace(few(passing), predictions=())))
    assert "Would it notice?" in read.by_element["h2"]
    assert "By the top class" not in read.text


def test_probabilities_that_are_none_are_not_listed(passing):
    picture = passing.predictions[0]
    sure = dataclasses.replace(picture, reference=((2, 1.0), (8, 1e-83)), port=((2, 1.0), (1, 0.0)))
    read = Page(page.render(dataclasses.replace(few(passing), predictions=(sure,))))
    assert "class 8" not in read.text
    assert "Same class. The others score 0.0000 in both." in read.text


def test_each_chart_and_picture_has_words_of_its_own(passed):
    read = Page(passed)
    assert all(attributes["alt"] for attributes in read.of("img"))
    charts = [attributes for attributes in read.of("svg") if attributes.get("role") == "img"]
    assert len(charts) == 8
    assert all("gate" in attributes["aria-label"] for attributes in charts)
    assert all("aria-hidden" in attributes for attributes in read.of("svg") if attributes not in charts)
    assert all(read.by_element["caption"])
    assert len(read.by_element["caption"]) == len(read.of("table"))


def test_classes_are_numbers_or_names(passed, passing):
    assert "class 7" in Page(passed).text
    named = Page(page.render(few(passing), class_names=["<i>zero</i>", "one", "two"])).text
    assert "<i>zero</i>" in named
    assert "class 7" in named


def test_devices_are_told_apart(passing):
    rows = few(passing).rows
    both = (*rows, *(dataclasses.replace(row, device="cuda") for row in rows))
    read = Page(page.render(dataclasses.replace(passing, rows=both)))
    assert {"Inference cpu", "Inference cuda"} <= set(read.by_element["h3"])
    assert {"cpu", "cuda"} <= set(read.by_element["option"])


def test_a_verification_of_nothing_is_a_page(passing):
    nothing = dataclasses.replace(
        passing, rows=(), predictions=(), sensitivity=(), inputs=(), assumed=(), environment={}
    )
    assert "No tensor was compared." in Page(page.render(nothing)).text


def test_hostile_names_are_text(attacked, hostile_texts):
    read = Page(attacked)
    assert len(read.of("script")) == 1
    assert read.by_element["script"] == [resources_text("table.js")]
    assert not [attributes for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert all(attributes["src"].startswith("data:") for attributes in read.of("img"))
    for name in hostile_texts:
        assert visible(name) in read.text
    assert not re.search("[\x00\x1b\u202e\ud800-\udfff]", attacked)
    attacked.encode()


def test_only_our_own_script_may_run(passed):
    policy = next(attributes["content"] for attributes in Page(passed).of("meta") if "http-equiv" in attributes)
    digest = base64.b64encode(hashlib.sha256(Page(passed).by_element["script"][0].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_same_verification_gives_the_same_bytes(failing, failed):
    assert page.render(failing) == failed


def test_it_is_written_under_its_name_or_not_at_all(passing, passed, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    monkeypatch.setattr(page, "render", lambda found, class_names: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        write_report(passing, path)
    assert path.read_text() == "earlier"
    monkeypatch.undo()
    write_report(passing, path)
    assert path.read_text(encoding="utf-8") == passed
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_not_there_is_said_before_the_work(passing, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "render", lambda found, class_names: pytest.fail("drawn for nothing"))
    with pytest.raises(TransferError, match=r"the output folder .* does not exist"):
        write_report(passing, tmp_path / "missing" / "report.html")


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_library_is_named_with_what_to_install(name, passing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    message = (
        rf"the report is made with {name}, not installed here. Install: pip install 'keras-resnet-to-torch\[report\]'"
    )
    with pytest.raises(VerificationError, match=message):
        write_report(passing, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_no_library():
    code = (
        "import sys, weight_transfer.report; print([name for name in ('jinja2', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def resources_text(name: str) -> str:
    return (page.resources.files(package) / name).read_text(encoding="utf-8")


def test_what_is_not_proven_is_no_difference(passing):
    shown = page.render(dataclasses.replace(passing, doubt="its predict is another"))
    assert '<header class="doubtful">' in shown
    assert "Nothing differs, and its predict is another." in shown
    assert "DIFFERS" not in Page(shown).by_element["td"]


def test_a_wire_that_differs_is_named(passing):
    wired = FieldDifference("add", "reads", "conv, image", "conv, conv")
    shown = page.render(dataclasses.replace(passing, wiring_total=3, wiring_differing=(wired,)))
    assert '<section id="wiring">' in shown
    assert "the description is not" not in shown


def test_a_tensor_that_says_nothing_is_not_called_equal(passing):
    silent = dataclasses.replace(passing.rows[0], peak=0.0, errors=dict.fromkeys(passing.rows[0].errors, 0.0))
    shown = Page(page.render(dataclasses.replace(passing, rows=(silent, *passing.rows[1:]))))
    assert shown.by_element["td"].count("says nothing") == 1
