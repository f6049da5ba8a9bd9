"""A client's policy: every rule that a run breaks is named, and no server's config lowers it."""

import pytest

from fedcomp.config import config_from_dict
from fedcomp.errors import ConfigError
from fedcomp.policy import NO_POLICY, Policy, load_policy
from fedcomp.privacy import Budget

LOCAL = {"mode": "local", "noise_multiplier": 1.5, "delta": 1e-5, "nominal_examples": 100}
WHOLE = """
modes = ["local"]
min_noise_multiplier = 1.0
max_epsilon = 3.0
max_delta = 1e-5
codecs = ["topk", "rans"]
tasks = ["digits"]
require_envelope = true
"""


def config(**changes):
    return config_from_dict({"privacy": LOCAL, "uplink": [{"id": "topk", "density": 0.1}], **changes})


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "policy.toml").write_text(WHOLE)
    return load_policy(tmp_path / "policy.toml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "evil:task"}, "tasks: expected one of ['digits'], got 'evil:task'"),
        ({"privacy": {}}, "modes: expected one of ['local'], got 'none'"),
        ({"privacy": {}}, "min_noise_multiplier: expected a private mode"),
        ({"privacy": {}}, "max_epsilon: expected a private mode"),
        ({"privacy": {**LOCAL, "mode": "central"}}, "modes: expected one of"),
        ({"privacy": {**LOCAL, "mode": "central"}}, "max_epsilon: expected mode local"),
        ({"privacy": {**LOCAL, "noise_multiplier": 0.9}}, "min_noise_multiplier: expected at least 1, got 0.9"),
        ({"privacy": {**LOCAL, "noise_multiplier": None}}, "min_noise_multiplier: expected at least 1, got 0"),
        ({"privacy": {**LOCAL, "delta": 1e-4}}, "max_delta: expected at most 1e-05, got 0.0001"),
        ({"uplink": [{"id": "sign"}]}, "codecs: expected stages among ['topk', 'rans'], got ['sign']"),
        ({"envelope": {"enabled": False}}, "require_envelope: expected sealed payloads"),
    ],
)
def test_a_broken_rule_is_named(policy, changes, words):
    assert any(problem.startswith(words) for problem in policy.problems(config(**changes)))
    assert policy.problems(config()) == []
    assert NO_POLICY.problems(config(**changes)) == []


def test_the_smaller_budget_counts(policy):
    assert policy.budget(None, 1e-6) == Budget(3.0, 1e-6)
    assert policy.budget(Budget(8.0, 1e-6), 1e-6) == Budget(3.0, 1e-6)
    assert policy.budget(Budget(2.0, 1e-6), 1e-6) == Budget(2.0, 1e-6)
    assert NO_POLICY.budget(None, 1e-6) is None
    assert NO_POLICY.budget(Budget(8.0, 1e-6), 1e-6) == Budget(8.0, 1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modes = 'local'", "modes: "),
        ("max_epsilon = 0.0", "max_epsilon: "),
        ("max_epsilon = inf", "max_epsilon: "),
        ("max_epsilom = 3.0", "max_epsilom: "),
        ("modes = [", "not a TOML file"),
    ],
)
def test_a_policy_that_cannot_be_read_is_none(tmp_path, text, words):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_policy(path)
    with pytest.raises(ConfigError, match="cannot read the policy"):
        load_policy(tmp_path / "none.toml")


def test_rules_that_are_left_out_ask_for_nothing():
    assert Policy(modes=["none"]).problems(config(privacy={})) == []
