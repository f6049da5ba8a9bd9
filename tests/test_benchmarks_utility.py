"""The benchmark of accuracy under a budget: cases that can be planned, and a table that says what holds."""

import pytest
import torch

from benchmarks.utility_cases import CASES, Case
from benchmarks.utility_models import tanh_cnn
from benchmarks.utility_runs import Outcome, carry_out, row_of, table
from fedcomp.files import write_atomic
from fedcomp.plan import make_plan
from fedcomp.training import check_private_model
from tasks.idx_files import write_fashion_mnist


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDCOMP_DATA", str(write_fashion_mnist(tmp_path_factory.mktemp("data"))))
        yield


def outcome(accuracy, uplink_bytes=100, seconds=10.0):
    spent = {"value": 2.99, "delta": 1e-5, "unit": "client", "mode": "central"}
    return Outcome(accuracy, uplink_bytes, 1000, 50, spent, seconds)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_can_be_planned_and_claims_what_it_says(case):
    plan = make_plan(case.at(1))
    assert (plan.config.seed, plan.config.privacy.delta) == (1, 1e-5)
    assert plan.config.privacy.target_epsilon == (
        8.0 if case.name.startswith("clients") and "epsilon 3" not in case.name else 3.0
    )
    assert not plan.config.student.enabled
    assert not plan.config.audit.enabled
    assert ("fp32" in case.name) == (plan.config.uplink == [] and case.name != "silos, trusted server")


def test_references_come_before_what_is_compared_with_them_and_differ_by_the_codec_alone():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    by_name = dict(zip(names, CASES, strict=True))
    compared = [case for case in CASES if case.reference]
    assert compared
    for case in compared:
        assert names.index(case.reference) < names.index(case.name)
        # the headroom is there for the codec: what the server clips to is the same
        left_out = {"uplink": True, "privacy": {"clipping_headroom"}}
        plain, coded = (some.at(0).model_dump(exclude=left_out) for some in (by_name[case.reference], case))
        assert plain == coded


def test_the_cnn_has_the_published_shape():
    module = tanh_cnn().network()
    check_private_model(module)
    assert sum(parameter.numel() for parameter in module.parameters()) == 26_010
    assert module(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_row_says_what_holds_and_by_how_much_the_rest_misses():
    case = Case("coded", "demo", accuracy=87.0, seconds=5, reference="plain", lost=0.3, fewer=50)
    outcomes = {("coded", 0): outcome(0.87), ("coded", 1): outcome(0.88, seconds=12.0)}
    outcomes |= {("plain", 0): outcome(0.88), ("plain", 1): outcome(0.884)}
    row = row_of(case, outcomes, [0, 1])
    assert row["mean"] == pytest.approx(87.5)
    assert row["lost"] == pytest.approx([1.0, 0.4])
    assert row["goals"] == {
        "accuracy": (87.0, "holds"),
        "seconds": (5, "misses by 7 s"),
        "points lost": (0.3, "misses by 0.4 points"),
        "fewer bytes up": (50, "misses by 40 x"),
    }
    assert "87.00  88.00   87.50" in table([row], [0, 1])


def test_without_its_reference_a_case_says_that_the_loss_was_not_measured():
    row = row_of(Case("coded", "demo", reference="plain", lost=0.3), {("coded", 0): outcome(0.87)}, [0])
    assert row["lost"] is None
    assert row["goals"] == {"points lost": (0.3, "not measured")}
    assert table([row], [0])


def test_a_run_that_was_kept_is_not_made_again(tmp_path):
    case = CASES[0]
    config = case.at(5)
    kept = tmp_path / f"{config.digest()[:16]}-{config.engine.workers}.json"
    write_atomic(
        kept,
        b'{"accuracy": 0.5, "uplink_bytes": 1, "uplink_fp32_bytes": 2, "downlink_bytes": 3, '
        b'"epsilon": {}, "seconds": 1}',
    )
    assert carry_out(case, 5, tmp_path).accuracy == 0.5
