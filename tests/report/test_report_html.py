"""The page holds everything, loads nothing, and runs nothing whatever the files say."""

import json
import re
from html.parser import HTMLParser

import pytest

from fedcomp.errors import RunError
from fedcomp.report import html, write_report
from fedcomp.report.html import render_report
from fedcomp.report.load import load_run

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"
_VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


class _Page(HTMLParser):
    """Elements with their attributes, the text, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def plain(monkeypatch):
    """A page without plots, for what is about texts alone."""
    monkeypatch.setattr(html, "_figures", lambda run: [])


def _page(sample, path):
    text = render_report(load_run(sample.write(path)))
    page = _Page(text)
    assert page.open == []
    return text, page


def test_the_page_has_every_part(sample, tmp_path):
    sample.metrics[1]["refused"] = [{"client": "client-3", "reason": "replayed payload"}]
    _, page = _page(sample, tmp_path)
    assert sum(tag == "svg" for tag, _ in page.elements) == 4
    for part in (
        "Each example has epsilon 2.99 at delta 1e-5.",
        "What was claimed, and what was measured",
        "epsilon is at most 3",
        "✓ holds",
        "The one claim of this run holds.",
        "client-3",
        "1 \N{MULTIPLICATION SIGN} replayed payload",
        "✓ verified",
        "target_epsilon = 3.0",
        "digits-1",
        "3.11.9",
    ):
        assert part in " ".join(page.text.split()), part


def test_nothing_is_loaded_from_anywhere(sample, tmp_path):
    text, page = _page(sample, tmp_path)
    assert "http" not in text.replace("http-equiv", "")
    assert "//" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "action", "data"}:
                assert value.startswith("#")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def _hostile(sample):
    sample.config = f"# {HOSTILE}\n"
    sample.summary |= {"name": HOSTILE, "task": HOSTILE, "mode": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    sample.summary["data"]["dataset_id"] = HOSTILE
    sample.summary["uplink"] = [{"id": HOSTILE, HOSTILE: HOSTILE}]
    for key in ("unit", "mode", "neighboring_relation", "accountant", "sentence"):
        sample.summary["epsilon"][key] = HOSTILE
    sample.summary["claims"] = [
        {"claim": HOSTILE, "measured": HOSTILE, "holds": held, "how": HOSTILE} for held in (True, False)
    ]
    sample.audit["global"]["assumptions"] = [HOSTILE, HOSTILE]
    sample.bytes["arrays"][0]["array"] = sample.bytes["stages"][1]["stage"] = HOSTILE
    sample.metrics[0]["refused"] = [{"client": HOSTILE, "reason": HOSTILE}]
    return sample


def test_hostile_texts_are_shown_and_not_run(sample, tmp_path, plain):
    harmless = {tag for tag, _ in _page(sample.copy(), tmp_path / "harmless")[1].elements}
    text, page = _page(_hostile(sample), tmp_path / "hostile")
    assert "<script" not in text
    assert "<img" not in text
    assert {tag for tag, _ in page.elements} <= harmless | {"ul", "li"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count(HOSTILE) >= 17


def test_the_page_would_fail_this_test_without_escaping(sample, tmp_path, monkeypatch, plain):
    # The wrong variant: the same template with autoescape off.
    class Careless(html.Environment):
        def __init__(self, **options):
            super().__init__(**(options | {"autoescape": False}))

    monkeypatch.setattr(html, "Environment", Careless)
    assert "<script>" in render_report(load_run(_hostile(sample).write(tmp_path)))


def test_no_privacy_is_never_shown_as_zero(bare, tmp_path):
    _, page = _page(bare, tmp_path)
    assert "none: no privacy is claimed" in page.text
    assert "None: no privacy is claimed." in page.text
    assert "No attack was run." in page.text
    assert "no student" in page.text
    assert not re.search(r"epsilon (is |of )?0", page.text, flags=re.I)


def test_a_claim_that_does_not_hold_is_at_the_top(sample, tmp_path, plain):
    sample.summary["claims"].append({"claim": "uplink", "measured": "3 times", "holds": False, "how": "bytes"})
    _, page = _page(sample, tmp_path)
    text = " ".join(page.text.split())
    assert "1 of 2 claims of this run does not hold." in text
    assert text.index("does not hold") < text.index("In plain words")


def test_contradictions_are_at_the_top(sample, tmp_path, plain):
    sample.audit["ledger"]["verified"] = False
    _, page = _page(sample, tmp_path)
    assert page.text.index("could not be verified") < page.text.index("In plain words")
    assert "✗ not verified" in page.text


def test_very_many_refusals_are_cut_and_counted(sample, tmp_path, plain):
    sample.metrics[0]["refused"] = [{"client": f"c{n}", "reason": "replayed"} for n in range(1234)]
    _, page = _page(sample, tmp_path)
    assert "1,234 \N{MULTIPLICATION SIGN} replayed" in page.text
    assert "and 1,034 more" in page.text
    assert "c199" in page.text
    assert "c200" not in page.text


def test_the_same_files_give_the_same_page(sample, tmp_path):
    path = write_report(sample.write(tmp_path))
    first = path.read_bytes()
    assert path == tmp_path / "report.html"
    assert write_report(tmp_path).read_bytes() == first


def test_a_damaged_run_leaves_the_old_page(sample, tmp_path, plain):
    path = write_report(sample.write(tmp_path))
    first = path.read_bytes()
    (tmp_path / "summary.json").write_text(json.dumps({"name": "half"}))
    with pytest.raises(RunError, match=r"summary\.json"):
        write_report(tmp_path)
    assert path.read_bytes() == first


def test_a_figure_and_its_unit_stay_on_one_line(sample, tmp_path, plain):
    text, _ = _page(sample, tmp_path)
    assert "19.8\N{NO-BREAK SPACE}% of those" in text
    assert "4.00\N{NO-BREAK SPACE}KB" in text


def test_bytes_after_each_stage_and_by_layer_are_shown(sample, tmp_path, plain):
    text, _ = _page(sample, tmp_path)
    shown = " ".join(re.sub(r"<[^>]+>", " ", text.replace("<wbr>", "")).split())
    for part in (
        "Where the bytes went",
        "One update of round 4, the last",
        "topk 330 B 12.3 times fewer",
        "conv.weight 900 70 B 0.63",
        "All 1,000 80 B 0.64",
        "The newest change of the model",
        "rotate 4.11 KB the same",
        "No byte of this payload can be given to one layer",
    ):
        assert part in shown, part
    assert "conv.<wbr>weight" in text
    assert 'style="width: 8.1%"' in text  # 330 of 4,060
    assert "no payload of the downlink" not in shown


def test_bytes_of_the_uplink_alone_say_so(sample, tmp_path, plain):
    del sample.bytes["downlink"]
    _, page = _page(sample, tmp_path)
    assert "value takes. The run kept no payload of the downlink" in " ".join(page.text.split())
    assert "No byte of this payload" not in page.text


def test_without_bytes_there_is_no_section(bare, tmp_path, plain):
    _, page = _page(bare, tmp_path)
    assert "Where the bytes went" not in page.text
    assert not any(attributes.get("class") == "bar" for _, attributes in page.elements)
