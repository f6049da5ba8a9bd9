"""An epsilon is never printed alone."""

import json
import math

from fedcomp.privacy import PrivacySpent

SPENT = PrivacySpent(2.9999, 1e-5, "example", "local")


def test_the_sentence_says_what_the_number_means():
    assert SPENT.sentence() == (
        "epsilon = 3.000 at delta = 1e-05 for each example (mode local, neighboring relation add_or_remove_one, "
        "accountant PLD)"
    )


def test_an_infinite_epsilon_is_called_by_its_name():
    spent = PrivacySpent(math.inf, 1e-5, "example", "none")
    assert "no differential privacy" in spent.sentence()
    assert json.loads(json.dumps(spent.to_json(), allow_nan=False))["epsilon"] is None


def test_json_has_every_field():
    assert SPENT.to_json() == {
        "epsilon": 2.9999,
        "delta": 1e-5,
        "unit": "example",
        "mode": "local",
        "neighboring_relation": "add_or_remove_one",
        "accountant": "PLD",
    }
