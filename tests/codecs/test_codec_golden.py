"""Bytes that were written once are decodable for ever. `pytest --update-golden` writes them anew."""

import json
from pathlib import Path

import numpy as np
import pytest

from contracts import codec_suite as suite
from fedcomp.arrays import digest
from fedcomp.codecs import Codec, codec_from_config

GOLDEN = Path(__file__).parents[1] / "golden"


def decoded(codec: Codec, payload: bytes) -> dict[str, np.ndarray]:
    return suite.decode(codec, payload, suite.example_arrays(300))


@pytest.mark.parametrize("name", suite.CHAINS)
def test_golden_payload(name: str, update_golden: bool) -> None:
    payload_file, expected_file = GOLDEN / f"codec-{name}.bin", GOLDEN / f"codec-{name}.json"
    if update_golden:
        codec = suite.codec_of(name)
        payload = suite.encode(codec, suite.example_arrays(300))
        payload_file.write_bytes(payload)
        expected = {"codec": codec.config(), "digest": codec.digest(), "arrays": digest(decoded(codec, payload))}
        expected_file.write_text(json.dumps(expected, indent=1) + "\n")
    expected = json.loads(expected_file.read_text())
    assert suite.codec_of(name).digest() == expected["digest"]
    codec = codec_from_config(expected["codec"])
    assert codec == suite.codec_of(name)
    assert digest(decoded(codec, payload_file.read_bytes())) == expected["arrays"]


def test_no_golden_file_is_forgotten() -> None:
    assert {path.name for path in GOLDEN.glob("codec-*")} == {
        f"codec-{name}{ending}" for name in suite.CHAINS for ending in (".bin", ".json")
    }
