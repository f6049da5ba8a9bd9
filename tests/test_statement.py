"""The statement says what is claimed, and says so where something is not covered."""

import pytest

from fedcomp.audit.finding import Finding, judged
from fedcomp.config import config_from_dict, load_config
from fedcomp.plan import make_plan
from fedcomp.plan.teacher import remark
from fedcomp.statement import statement

VERSIONS = {"python": "3.11", "dp-accounting": "0.6.0"}
SAMPLED = judged("L1 components", "sampling: each example takes part", True, "200 draws", "statistics")


def said(findings: tuple[Finding, ...] = (), **settings: object) -> dict:
    plan = make_plan(load_config("configs/digits.toml", settings))
    return statement(plan, plan.spent_after(40), findings, VERSIONS, 40)


def answers(told: dict, checklist: str) -> dict[str, str]:
    return {item["item"]: item["answer"] for item in told["checklists"][checklist]}


def test_an_epsilon_never_stands_alone():
    told = said()
    for word in ("epsilon = 8.000", "delta = 0.0001", "example", "mode local", "add_or_remove_one", "PLD"):
        assert word in told["paragraph"].lower() or word in told["paragraph"]
    assert told["claim"]["epsilon"] == pytest.approx(8.0, abs=1e-3)
    assert told["claim"]["epsilon_by_rdp"] > told["claim"]["epsilon"]


def test_what_nobody_stated_or_audited_is_not_covered():
    told = said()
    assert told["tuning"].startswith("not covered")
    assert answers(told, "How to DP-fy ML, reporting")["whether the code samples so"].startswith("not covered")
    assert "It was not audited" in told["paragraph"]
    items = told["checklists"]["NIST SP 800-226"]
    assert {item["covered"] for item in items} == {True, False}
    assert all(item["covered"] != item["answer"].startswith("not covered") for item in items)


def test_the_audit_is_part_of_it():
    told = said((SAMPLED,), **{"privacy.tuning": "other data"})
    assert answers(told, "How to DP-fy ML, reporting")["whether the code samples so"].startswith(
        "audited, 1 checks hold"
    )
    assert told["tuning"].startswith("stated")
    failed = judged("L1 components", "sampling: each example takes part", False, "twice as many", "statistics")
    told = said((failed,))
    assert "does not hold" in told["sampling"]["code"]
    assert "1 do not hold" in told["paragraph"]


def test_without_a_claim_it_says_so():
    plan = make_plan(load_config("configs/digits.toml", {"privacy": {}}))
    told = statement(plan, None, (), VERSIONS, 0)
    assert told["claim"] is None
    assert told["paragraph"].startswith("No privacy is claimed")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"privacy.mode": "central", "uplink": []}, "each example is in a step's batch"),
        (
            {
                "privacy.mode": "central",
                "privacy.unit": "client",
                "clients.cohort": 2,
                "clients.sampling": "bernoulli",
            },
            "registered clients is in a round's cohort",
        ),
        (
            {"privacy.mode": "central", "privacy.unit": "client", "clients.cohort": 2, "clients.sampling": "fixed"},
            "twice the bound",
        ),
    ],
)
def test_each_mode_says_what_it_samples(settings, words):
    assert words in said(**settings)["sampling"]["declared"]


def test_a_run_with_a_teacher_says_that_the_teachers_cost_comes_on_top():
    teacher = {"model": "dense.safetensors", "sha256": "ab" * 32}
    assert "both add up" in remark(config_from_dict({"teacher": teacher}))
    assert "abababababababab" in remark(config_from_dict({"teacher": teacher}))
    assert remark(config_from_dict({"teacher": teacher | {"source": "public"}})) == ""
    assert remark(config_from_dict({})) == ""
