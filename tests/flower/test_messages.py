"""What travels in a Flower message: everything that did not come from ``pack`` is refused by one error."""

import json
import struct

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.errors import FedcompError
from fedcomp.flower.messages import STYPE, Frame, MessageError, from_message, pack, to_record, unpack

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)
FRAMES = st.builds(
    Frame, st.dictionaries(st.text(max_size=6), JSON, max_size=4), st.lists(st.binary(max_size=9)).map(tuple)
)
SAMPLE = pack(Frame({"run": "r", "round": 3}, (b"one", b"", b"three")))


def raw(header: bytes, *lengths: int, rest: bytes = b"", count: int | None = None, size: int | None = None) -> bytes:
    """Build a message by hand, with lengths that may lie."""
    head = struct.pack("<I", len(header) if size is None else size) + header
    number = struct.pack("<I", len(lengths) if count is None else count)
    return head + number + struct.pack(f"<{len(lengths)}Q", *lengths) + rest


@pytest.fixture(autouse=True, scope="module")
def _identity():
    """Message() reads these; on Flower's engines, the process that hosts an app sets them."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


def message(content: RecordDict) -> Message:
    return Message(content, dst_node_id=1, message_type="train")


@settings(max_examples=80, deadline=None)
@given(FRAMES)
def test_a_frame_comes_back(frame):
    found = unpack(pack(frame))
    assert json.dumps(found.header, sort_keys=True) == json.dumps(frame.header, sort_keys=True)
    assert found.parts == frame.parts


def test_the_layout_is_the_one_that_is_written_down():
    assert raw(b'{"round":3,"run":"r"}', 3, 0, 5, rest=b"onethree") == SAMPLE
    assert pack(Frame({"b": 1, "a": 2})) == pack(Frame({"a": 2, "b": 1})), "equal headers give equal bytes"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_frame_or_the_one_error(content):
    try:
        frame = unpack(content)
    except MessageError:
        return
    assert pack(frame) == content


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_message_gives_a_frame_or_the_one_error(data):
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "grow"]))
        if kind == "set":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 9))]
        else:
            content[at:at] = data.draw(st.binary(max_size=9))
        content = content or bytearray(b"\0")
    try:
        frame = unpack(bytes(content))
    except MessageError:
        return
    assert pack(frame) == bytes(content), "what is accepted is what pack would have written"


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_every_cut_is_refused(length):
    with pytest.raises(MessageError):
        unpack(SAMPLE[:length])


HOSTILE = {
    "empty": (b"", "message is damaged"),
    "header of 4 GB": (raw(b"{}", size=2**32 - 1), "message header of 4294967295 bytes in a message of 10"),
    "header past the limit": (raw(b" " * (2**20 + 1)), "message header of 1048577 bytes"),
    "too many parts": (raw(b"{}", count=4097), "expected at most 4096 parts, got 4097"),
    "lengths that are not there": (raw(b"{}", count=4096), "message is damaged"),
    "a part of 2**64 bytes": (raw(b"{}", 2**64 - 1), "its lengths do not add up"),
    "lengths that wrap": (raw(b"{}", 2**63, 2**63), "its lengths do not add up"),
    "left over": (raw(b"{}", 1, rest=b"xy"), "its lengths do not add up"),
    "too short": (raw(b"{}", 3, rest=b"xy"), "its lengths do not add up"),
    "list": (raw(b"[]"), "its header is no object"),
    "number": (raw(b"3"), "its header is no object"),
    "null": (raw(b"null"), "its header is no object"),
    "no JSON": (raw(b"{"), "message is damaged"),
    "no UTF-8": (raw(b'{"\xff":1}'), "message is damaged"),
    "deep": (raw(b"[" * 100_000), "message is damaged"),
    "deep and closed": (raw(b'{"a":' * 5000 + b"1" + b"}" * 5000), "message is damaged"),
    "endless number": (raw(b'{"a":' + b"9" * 5000 + b"}"), "message is damaged"),
    "a key twice": (raw(b'{"a":1,"a":2}'), "not in the one form"),
    "spaces": (raw(b'{"a": 1}'), "not in the one form"),
    "another order": (raw(b'{"b":1,"a":2}'), "not in the one form"),
    "another number": (raw(b'{"a":1e5}'), "not in the one form"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_message_is_refused_in_words(attack):
    content, said = HOSTILE[attack]
    with pytest.raises(MessageError, match=said):
        unpack(content)


def test_the_largest_that_is_accepted():
    frame = Frame({"a": "x" * (2**20 - 8)}, (b"",) * 4096)
    assert unpack(pack(frame)) == frame
    for too_much in (Frame({"a": "x" * (2**20 - 7)}), Frame({}, (b"",) * 4097)):
        with pytest.raises(MessageError, match="expected a header of at most 1048576 bytes and at most 4096 parts"):
            pack(too_much)


def test_fields_of_the_header_are_what_they_should_be():
    frame = Frame({"text": "x", "number": -3, "true": True, "real": 1.0, "none": None})
    assert frame.text("text") == "x"
    assert frame.number("number") == -3
    for key in ("number", "true", "real", "none", "missing"):
        with pytest.raises(MessageError, match=f"expected text at '{key}', got"):
            frame.text(key)
    for key in ("text", "true", "real", "none", "missing"):
        with pytest.raises(MessageError, match=f"expected an integer at '{key}', got"):
            frame.number(key)


def test_refusals_do_not_repeat_all_that_a_stranger_wrote():
    long = "x" * 100_000
    refusals = []
    for refused in (
        lambda: Frame({"a": [long]}).text("a"),
        lambda: Frame({"a": long}).number("a"),
        lambda: from_message(Message(Error(0, long), reply_to=message(RecordDict()))),
        lambda: from_message(message(RecordDict({long: ConfigRecord()}))),
    ):
        with pytest.raises(MessageError) as caught:
            refused()
        refusals.append(len(str(caught.value)))
    assert max(refusals) < 700


@settings(max_examples=20, deadline=None)
@given(content=st.binary(max_size=100))
def test_bytes_travel_in_one_array_that_nobody_averages(content):
    record = to_record(content)
    (arrays,) = record.array_records.values()
    (array,) = arrays.values()
    assert (array.stype, array.dtype, list(array.shape)) == (STYPE, "uint8", [len(content)])
    assert from_message(message(record)) == content
    with pytest.raises(TypeError, match="Unsupported serialization type"):
        array.numpy()


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"fedcomp": ConfigRecord({"payload": b"x"})}),
        RecordDict({"fedcomp": ArrayRecord()}),
        RecordDict({"other": ArrayRecord({"payload": Array("uint8", (1,), STYPE, b"x")})}),
        RecordDict({"fedcomp": ArrayRecord({"other": Array("uint8", (1,), STYPE, b"x")})}),
        RecordDict({"fedcomp": ArrayRecord({"payload": Array("uint8", (1,), "numpy.ndarray", b"x")})}),
        RecordDict({"fedcomp": ArrayRecord({"payload": Array("uint8", (1,), "fedcomp.v2", b"x")})}),
    ],
    ids=["nothing", "config", "no array", "other record", "other array", "numpy", "other version"],
)
def test_records_of_others_are_refused(content):
    with pytest.raises(MessageError, match=r"expected one array of stype 'fedcomp.v1', got records \{"):
        from_message(message(content))


@pytest.mark.parametrize(("reason", "said"), [("out of memory", "out of memory"), ("", "the client failed")])
def test_an_error_reply_is_refused_with_its_reason(reason, said):
    reply = Message(Error(2, reason), reply_to=message(RecordDict()))
    with pytest.raises(MessageError, match=rf"no reply: {said} \(code 2\)") as caught:
        from_message(reply)
    assert isinstance(caught.value, FedcompError), "the round goes on without it"
