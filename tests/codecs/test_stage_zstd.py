"""Zstandard beside the entropy coder, and without the package."""

import sys

import numpy as np
import pytest

from contracts import codec_suite as suite
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.stages.zstd import Zstd
from fedcomp.errors import ConfigError

VALUES = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)


def test_without_the_package_a_config_is_refused_by_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigError, match=r"\[0\] zstd: expected the package zstandard.*pip install fedcomp\[zstd\]"):
        codec_from_config([{"id": "zstd"}])


def test_it_is_lossless_and_costs_more_than_rans_on_sparse_levels() -> None:
    pytest.importorskip("zstandard", reason="zstandard is not installed: pip install fedcomp[zstd]")
    step = {"id": "step", "step_rms": 4.0}
    sizes = {}
    for coder in ("rans", "zstd"):
        codec = codec_from_config([step | {"dead_zone": 0.6}, {"id": coder}])
        payload = suite.encode(codec, {"x": VALUES})
        sizes[coder] = len(payload)
        assert np.array_equal(
            codec.decode(payload)["x"],
            codec_from_config([step | {"dead_zone": 0.6}]).decode(
                suite.encode(codec_from_config([step | {"dead_zone": 0.6}]), {"x": VALUES})
            )["x"],
        )
    assert sizes["zstd"] > 1.5 * sizes["rans"]


def test_more_level_is_fewer_bytes() -> None:
    pytest.importorskip("zstandard", reason="zstandard is not installed: pip install fedcomp[zstd]")
    text = np.tile(VALUES[:500], 20)
    sizes = [len(suite.encode(codec_from_config([{"id": "zstd", "level": level}]), {"x": text})) for level in (1, 19)]
    assert sizes[1] <= sizes[0] < text.nbytes / 5
    assert Zstd().level == 3
