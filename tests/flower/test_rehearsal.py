"""A rehearsed round shows what real clients send, sealed or not, and leaves nothing behind."""

import tempfile

import pytest

from fedcomp.config import config_from_dict
from fedcomp.flower import client
from fedcomp.flower.rehearsal import rehearse
from fedcomp.plan import make_plan

LOCAL = {
    "mode": "local",
    "noise_multiplier": 2.0,
    "delta": 1e-4,
    "sampling_probability": 0.25,
    "nominal_examples": 100,
}
CENTRAL = {
    "mode": "central",
    "unit": "client",
    "noise_multiplier": 2.0,
    "delta": 1e-4,
    "clipping_quantile": 0.5,
    "clipping_bit_noise": 5.0,
}


def plan_of(privacy, **more):
    tree = {
        "task": "digits",
        "clients": {"population": 3},
        "data": {"public_examples": 100},
        "student": {"enabled": False},
        "privacy": privacy,
        **more,
    }
    return make_plan(config_from_dict(tree))


@pytest.mark.parametrize(
    ("privacy", "more", "sealed"),
    [
        (LOCAL, {}, {"head", "ledger"}),
        (LOCAL, {"envelope": {"enabled": False}}, {"head", "ledger"}),
        (CENTRAL, {}, {"within"}),
    ],
)
def test_every_header_of_every_reply_is_seen(privacy, more, sealed, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    replies = rehearse(plan_of(privacy, **more))
    greetings, updates = ([one for one in replies if (one.kind == "train") == train] for train in (False, True))
    assert [set(one.outer) for one in greetings] == 2 * [{"client", "public_key", "version", "holds"}]
    assert [set(one.outer) for one in updates] == 2 * [{"client", "round"}]
    assert [set(one.inner) for one in updates] == 2 * [sealed]
    assert all(len(one.payloads) == 1 for one in updates)
    assert not list(tmp_path.iterdir())


def test_what_a_client_adds_inside_the_envelope_is_seen(monkeypatch):
    real = client._protected_update

    def talks(*arguments):
        update, header = real(*arguments)
        return update, {**header, "num_examples": 7}

    monkeypatch.setattr(client, "_protected_update", talks)
    assert all("num_examples" in one.inner for one in rehearse(plan_of(LOCAL)) if one.kind == "train")
