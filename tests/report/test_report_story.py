"""The plain words say what the figures say, and claim nothing that was not claimed."""

import math

import pytest

from fedcomp.report.load import load_run
from fedcomp.report.story import is_private, story


def _told(sample, path):
    return {paragraph.heading: paragraph.text for paragraph in story(load_run(sample.write(path)))}


def test_a_private_run(sample, tmp_path):
    told = _told(sample, tmp_path)
    assert told["What was trained"].startswith(
        "10 clients trained one model for the task “digits” together in 4 rounds"
    )
    assert "costs no more privacy" in told["What was trained"]
    assert told["Who is protected, and against whom"].startswith(
        "Every single example of every client is protected against everyone"
    )
    assert told["How strong the protection is"].startswith("Each example has epsilon 2.99 at delta 1e-5.")
    assert "at most 19.8 % of those inside" in told["How strong the protection is"]
    assert "Clients sent 4.00 KB (40.0 times fewer than in fp32) in all" in told["What was sent"]
    assert "encrypted and authenticated" in told["What was sent"]
    assert "scored 0.512 on the global model and 0.506 on the student" in told["What an attack found"]


def test_a_run_without_privacy_promises_nothing(bare, tmp_path):
    told = _told(bare, tmp_path)
    assert told["Who is protected, and against whom"].startswith("Nobody: no privacy is claimed.")
    assert told["How strong the protection is"].startswith("Epsilon is none: no privacy is claimed.")
    assert "No attack was run" in told["What an attack found"]
    assert "costs no more privacy" not in told["What was trained"]


@pytest.mark.parametrize("mode", ["local", "central", "distributed"])
def test_an_infinite_epsilon_is_no_privacy_in_any_mode(sample, tmp_path, mode):
    sample.summary["epsilon"] |= {"value": math.inf, "mode": mode}
    told = _told(sample, tmp_path)
    assert told["Who is protected, and against whom"].startswith("Nobody")
    assert "at most" not in told["How strong the protection is"]
    assert not is_private(load_run(tmp_path).summary)


@pytest.mark.parametrize(
    ("mode", "unit", "words"),
    [
        ("central", "client", "All that one client holds is protected against the other clients"),
        ("central", "client", "The server is trusted"),
        ("distributed", "client", "against the server"),
        ("local", "example", "nobody has to be trusted but the client"),
    ],
)
def test_each_mode_names_whom_it_trusts(sample, tmp_path, mode, unit, words):
    sample.summary["epsilon"] |= {"mode": mode, "unit": unit}
    assert words in _told(sample, tmp_path)["Who is protected, and against whom"]


def test_a_guarantee_for_clients_is_not_read_as_one_for_examples(sample, tmp_path):
    sample.summary["epsilon"] |= {"mode": "central", "unit": "client"}
    told = _told(sample, tmp_path)
    assert "Read as an attack" not in told["How strong the protection is"]


def test_payloads_in_the_open_and_refused_ones_are_told(sample, tmp_path):
    sample.config += "[envelope]\nenabled = false\n"
    sample.summary["refused"] = 1
    sent = _told(sample, tmp_path)["What was sent"]
    assert "not encrypted by fedcomp" in sent
    assert "1 payload was refused" in sent


def test_a_cohort_is_told(sample, tmp_path):
    sample.summary["clients"] = {"population": 1000, "cohort": 20}
    assert _told(sample, tmp_path)["What was trained"].startswith("1,000 clients, 20 of them asked in a round, trained")
