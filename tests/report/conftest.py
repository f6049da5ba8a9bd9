"""A run directory as the simulation leaves one, with every figure made up but consistent."""

import copy
import json
import math
from pathlib import Path

import pytest

CONFIG = """name = "sample"
task = "digits"
[privacy]
mode = "local"
target_epsilon = 3.0
"""


def _row(number, rounds):
    return {
        "round": number,
        "accuracy": None if number % 2 else 0.9 - 0.3 / number,
        "loss": None if number % 2 else 1 / number,
        "uplink_bytes": 1_000,
        "downlink_bytes": 4_000,
        "uplink_fp32_bytes": 40_000,
        "downlink_fp32_bytes": 40_000,
        "cohort": 10,
        "survivors": 10,
        "refused": [],
        "epsilon": 2.981 * math.sqrt(number / rounds),
        "seconds": 0.5,
    }


def _leak(auc):
    return {
        "membership_auc": auc,
        "tpr_at_0.1%_fpr": 0.0012,
        "tpr_at_1%_fpr": 0.0123,
        "epsilon_lower_bound": 0.0799,
        "confidence": 0.95,
        "assumptions": "members and others come from one distribution",
    }


def _attack(auc):
    return {
        "auc": auc,
        "auc_low": auc - 0.01,
        "auc_high": auc + 0.01,
        "roc": [[0.0, 0.0], [0.001, 0.0012], [0.01, 0.0123], [0.1, 0.11], [1.0, 1.0]],
        "tpr_at_fpr": [{"fpr": 0.01, "tpr": 0.0123, "low": 0.009, "high": 0.016}],
        "num_members": 1000,
        "num_non_members": 1000,
        "epsilon_lower_bound": 0.0799,
        "confidence": 0.95,
        "assumptions": "members and others come from one distribution",
    }


def _audit():
    ledger = {"verified": True, "entries": 40, "subjects": 10, "max_epsilon": 2.981}
    return {"global": _attack(0.512), "student": _attack(0.506), "ledger": ledger}


def _summary(rounds):
    return {
        "name": "sample",
        "task": "digits",
        "mode": "local",
        "seed": 7,
        "rounds": rounds,
        "clients": {"population": 10, "cohort": 10},
        "data": {"train": 55_000, "public": 5_000, "test": 10_000, "dataset_id": "digits-1"},
        "accuracy": {"global": 0.8783, "student": 0.8512},
        "uplink_bytes": 1_000 * rounds,
        "downlink_bytes": 4_000 * rounds,
        "uplink_fp32_bytes": 40_000 * rounds,
        "downlink_fp32_bytes": 40_000 * rounds,
        "uplink_compression": 40.0,
        "downlink_compression": 10.0,
        "bits_per_parameter": 0.8,
        "epsilon": {
            "value": 2.981,
            "delta": 1e-5,
            "unit": "example",
            "mode": "local",
            "neighboring_relation": "add or remove one example",
            "accountant": "PLD",
            "sentence": "Each example has epsilon 2.99 at delta 1e-5.",
        },
        "leakage": {**_leak(0.512), "student": _leak(0.506)},
        "model": {"parameters": 39_050, "bytes": 156_200, "latency_ms": 1.84},
        "student": {"parameters": 20_490, "bytes": 24_012, "latency_ms": 0.213, "onnx_bytes": 26_114},
        "uplink": [{"id": "topk", "density": 0.05}, {"id": "rans"}],
        "downlink": [],
        "refused": 0,
        "seconds": {"training": 66.0, "student": 41.0, "audit": 6.0, "total": 113.0},
        "peak_memory_mb": 912.3,
        "claims": [{"claim": "epsilon is at most 3", "measured": "2.99", "holds": True, "how": "the ledger"}],
        "versions": {"fedcomp": "0.1.0", "python": "3.11.9"},
    }


def _payload(*arrays, stages=()):
    """Of an update of 1,000 values; ``arrays`` are (name, values, bytes)."""
    return {
        "stages": [{"stage": name, "bytes": size} for name, size in (("fp32", 4_060), *stages)],
        "arrays": [{"array": name, "values": values, "bytes": size} for name, values, size in arrays],
    }


def _bytes():
    up = _payload(("conv.weight", 900, 70.4), ("conv.bias", 100, 9.6), stages=[("topk", 330), ("rans", 80)])
    down = _payload(stages=[("rotate", 4_110), ("rans", 400)])
    return {**up, "downlink": {**down, "whole": False}}


NO_PRIVACY = dict.fromkeys(("value", "delta", "unit", "neighboring_relation", "accountant", "sentence"))


class Sample:
    """The files of a run as plain values: change them, then ``write``."""

    def __init__(self, rounds=4):
        self.config = CONFIG
        self.metrics = [_row(number, rounds) for number in range(1, rounds + 1)]
        self.summary = _summary(rounds)
        self.audit = _audit()
        self.bytes = _bytes()

    def without_privacy(self):
        """Mode none, no student, no audit: everything that may be absent is."""
        self.config = 'name = "sample"\n'
        self.summary |= {"mode": "none", "student": None, "leakage": None, "claims": []}
        self.summary["epsilon"] = {**NO_PRIVACY, "mode": "none"}
        self.summary["accuracy"]["student"] = None
        self.summary["seconds"] = {"training": 66.0, "total": 66.0}
        for row in self.metrics:
            row["epsilon"] = None
        self.audit = self.bytes = None
        return self

    def copy(self):
        return copy.deepcopy(self)

    def write(self, path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.toml").write_text(self.config)
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.metrics))
        (path / "summary.json").write_text(json.dumps(self.summary))
        if self.audit is not None:
            (path / "audit.json").write_text(json.dumps(self.audit))
        if self.bytes is not None:
            (path / "bytes.json").write_text(json.dumps(self.bytes))
        return path


@pytest.fixture
def sample() -> Sample:
    return Sample()


@pytest.fixture
def bare() -> Sample:
    return Sample().without_privacy()


@pytest.fixture(scope="session")
def make_sample():
    return Sample
