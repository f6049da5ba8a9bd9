"""How messages and states cross from the server's side to a client's: copied in one process, piped between two.

Flower's messages nest protobuf in protobuf, and each level copies all arrays again (2 ms for 400 kB); here the form
that is piped carries hollow arrays, and their bytes follow it as they are. Nothing is pickled.
"""

from copy import copy
from multiprocessing.connection import Connection
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Context as ContextProto
from flwr.proto.message_pb2 import Message as MessageProto

CLIENT_FAILED = 2
"""Flower's code for an exception in a ClientApp."""


def copy_message(message: Message, message_id: str) -> Message:
    """Return the message under ``message_id`` with records of its own, as if it had travelled.

    Flower's strategies send one and the same record to every client; what one of them does to it stays with it.
    """
    metadata = copy(message.metadata)
    metadata.__dict__["_message_id"] = message_id
    return make_message(metadata, content=copy_records(message.content))


def copy_records(records: RecordDict) -> RecordDict:
    """Return records that can be changed without changing ``records``; the bytes of arrays are shared."""
    copied = records.copy()
    for name, record in records.items():
        fields: Any = record.copy()
        for key, value in record.items():
            if isinstance(value, Array):
                fields[key] = _copy_array(value)
            elif isinstance(value, list):
                fields[key] = list(value)
        copied[name] = fields
    return copied


def _copy_array(array: Array) -> Array:
    copied = Array.__new__(Array)  # its constructor looks at every way to make one: 10 us
    copied.__dict__.update(array.__dict__)
    return copied


def error_reply(message: Message, reason: str) -> Message:
    """Return the reply that Flower's engines send for a client that failed."""
    return Message(Error(CLIENT_FAILED, reason), reply_to=message)


def send(pipe: Connection, message: Message, context: Context) -> None:
    """Write both to a pipe; raises ``OSError`` if nobody reads it any more."""
    state, hollow_state = _hollow(context.state)
    contents: list[bytes] = []
    hollow_message = message
    if message.has_content():
        contents, hollow = _hollow(message.content)
        hollow_message = make_message(message.metadata, content=hollow)
    hollow_context = copy(context)
    hollow_context.state = hollow_state
    pipe.send_bytes(message_to_proto(hollow_message).SerializeToString())
    pipe.send_bytes(context_to_proto(hollow_context).SerializeToString())
    for content in (*contents, *state):
        pipe.send_bytes(content)


def receive(pipe: Connection) -> tuple[Message, Context]:
    """Read what ``send`` wrote; raises ``EOFError`` or ``OSError`` if the other end is gone, even halfway."""
    message = message_from_proto(MessageProto.FromString(pipe.recv_bytes()))
    context = context_from_proto(ContextProto.FromString(pipe.recv_bytes()))
    for records in (message.content if message.has_content() else RecordDict(), context.state):
        for array in _arrays(records):
            array.data = pipe.recv_bytes()
    return message, context


def _hollow(records: RecordDict) -> tuple[list[bytes], RecordDict]:
    """Return the bytes of all arrays, and copies of the records that lack them."""
    hollow = copy_records(records)
    contents = []
    for array in _arrays(hollow):
        contents.append(array.data)
        array.data = b""
    return contents, hollow


def _arrays(records: RecordDict) -> list[Array]:
    return [array for record in records.values() if isinstance(record, ArrayRecord) for array in record.values()]
