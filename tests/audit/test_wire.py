"""L0 on the wire: declared replies pass, and whatever else is in one is named."""

from dataclasses import replace

from fedcomp.audit.wire import Declared, WireReply, check_replies

DECLARED = Declared(frozenset({"client", "public_key"}), frozenset({"client", "round"}), frozenset({"head"}))
GREETING = WireReply("a", "query.hello", {"client": "a", "public_key": ""}, {}, ())
UPDATE = WireReply("a", "train", {"client": "a", "round": 1}, {"head": ""}, (100,))


def found(*replies: WireReply) -> tuple[bool, str]:
    finding = check_replies(replies, DECLARED)
    return finding.holds, finding.measured


def test_what_is_declared_passes():
    assert found(GREETING, UPDATE)[0]


def test_a_metric_beside_the_update_is_named():
    assert found(GREETING, replace(UPDATE, inner={"head": "", "loss": 0.1})) == (
        False,
        "a sent what was not declared: loss",
    )


def test_a_count_in_the_open_header_or_in_the_greeting_is_named():
    assert not found(replace(UPDATE, outer={"client": "a", "round": 1, "num_examples": 7}))[0]
    assert not found(replace(GREETING, outer={**GREETING.outer, "accuracy": 1.0}), UPDATE)[0]


def test_more_than_one_payload_is_named():
    holds, measured = found(replace(UPDATE, payloads=(100, 8)))
    assert not holds
    assert "2 payloads" in measured


def test_nobody_or_a_refusal_proves_nothing():
    assert not found(GREETING)[0]
    assert not found(WireReply("a", "train", {"refused": "policy"}, {}, ()))[0]
