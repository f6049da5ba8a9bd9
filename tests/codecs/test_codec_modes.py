"""Which privacy modes admit which stage."""

import pytest

from fedcomp.codecs import codec_from_config, describe_codecs
from fedcomp.codecs.modes import admitted_modes, stages_that_do_not_fit
from fedcomp.codecs.registry import STAGES
from fedcomp.codecs.stages.random_mask import RandomMask
from fedcomp.order import Mode

MODES: list[Mode] = ["none", "local", "central", "distributed"]
LINEAR = {"raw", "random-mask", "released-mask", "sketch"}


def test_the_rule() -> None:
    for info in describe_codecs():
        assert "none" in info.modes
        assert "central" in info.modes
        assert ("local" in info.modes) == (info.id != "importance-topk")
        assert ("distributed" in info.modes) == (info.id in LINEAR)
        assert list(info.modes) == [mode for mode in MODES if mode in info.modes]


@pytest.mark.parametrize("flag", ["data_dependent", "private_side", "needs_importance"])
def test_what_looks_at_private_data_is_not_admitted(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = RandomMask(0.5)
    assert admitted_modes(stage) == tuple(MODES)
    monkeypatch.setattr(RandomMask, flag, True)
    if flag == "needs_importance":
        assert "local" not in admitted_modes(stage)
    else:
        assert "distributed" not in admitted_modes(stage)


def test_every_stage_says_what_its_error_is() -> None:
    for stage in STAGES.values():
        assert stage.bound
        assert not stage.bound.endswith(".")
        assert len(stage.bound) <= 80


def test_a_codec_is_refused_stage_by_stage() -> None:
    raw_sum = codec_from_config([{"id": "random-mask", "density": 0.5}, {"id": "dither", "step_rms": 1.0}])
    (problem,) = stages_that_do_not_fit(raw_sum, "distributed")
    assert problem.startswith("dither: expected a stage that mode distributed admits")
    assert stages_that_do_not_fit(raw_sum, "local") == ()
    assert stages_that_do_not_fit(raw_sum, "distributed", downlink=True) == ()
