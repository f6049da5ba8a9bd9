"""A pool of worker processes that run a ClientApp.

Messages cross the pipes in Flower's own protobuf form, never pickled. A worker that dies costs the message it held,
which gets an error reply, and is replaced.
"""

import importlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Context as ContextProto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.supercore.task_identity import TaskIdentity

from fedcomp.errors import ConfigError

CLIENT_FAILED = 2
"""Flower's code for an exception in a ClientApp."""

Call = Callable[[Message, Context], Message]
Finished = tuple[str, Message, Context]


def load_client_app(reference: str) -> ClientApp:
    """Return the ClientApp at ``"module:name"``, which may also name a function that makes one.

    Raises:
        ConfigError: if there is nothing of that name, or it is no ClientApp.
    """
    module, _, name = reference.partition(":")
    try:
        app = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError([f"client app: expected 'module:name', got {reference!r}: {error}"]) from error
    app = app if isinstance(app, ClientApp) else app()
    if not isinstance(app, ClientApp):
        raise ConfigError([f"client app: expected {reference!r} to be a ClientApp, got {type(app).__name__}"])
    return app


def answer(call: Call, message: Message, context: Context) -> Message:
    """Return the client's reply; as on Flower's engines, an exception in the client becomes an error reply."""
    try:
        return call(message, context)
    except Exception as error:  # whatever a user's client raises, the round goes on
        return Message(Error(CLIENT_FAILED, f"{type(error).__name__}: {error}"), reply_to=message)


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    message_id: str | None = None


class WorkerPool:
    """Hands messages to the first idle of ``size`` processes."""

    def __init__(self, app: str, size: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        # the server process imports torch and the app once; its workers are forks of it and start in milliseconds
        self._context.set_forkserver_preload([__name__, app.partition(":")[0]])
        self._app = app
        self._queue: deque[str] = deque()
        self._held: dict[str, tuple[Message, Context]] = {}
        self._workers = [self._start() for _ in range(size)]

    def submit(self, message_id: str, message: Message, context: Context) -> None:
        """Queue a message; it goes to a worker as soon as one is idle."""
        self._held[message_id] = (message, context)
        self._queue.append(message_id)
        self._dispatch()

    def finished(self, wanted: Collection[str], timeout: float | None = None) -> list[Finished]:
        """Wait until at least one of ``wanted`` is done, and return those that are, with the client's new context."""
        done: list[Finished] = []
        while not any(message_id in wanted for message_id, _, _ in done):
            ready = wait([worker.pipe for worker in self._workers if worker.message_id], timeout)
            if not ready:
                break
            done.extend(self._collect(worker) for worker in list(self._workers) if worker.pipe in ready)
            self._dispatch()
        return done

    def close(self) -> None:
        """End the workers; one that is still training is terminated."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
            worker.process.join()
        self._workers = []

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._app), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _dispatch(self) -> None:
        for worker in list(self._workers):
            if worker.message_id is None and self._queue:
                worker.message_id = self._queue.popleft()
                message, context = self._held[worker.message_id]
                try:
                    worker.pipe.send_bytes(message_to_proto(message).SerializeToString())
                    worker.pipe.send_bytes(context_to_proto(context).SerializeToString())
                except OSError:
                    continue  # it is dead: its pipe reads as closed, and _collect replaces it

    def _collect(self, worker: _Worker) -> Finished:
        message_id = worker.message_id or ""
        message, context = self._held.pop(message_id)
        try:
            reply = message_from_proto(MessageProto.FromString(worker.pipe.recv_bytes()))
            context = context_from_proto(ContextProto.FromString(worker.pipe.recv_bytes()))
            worker.message_id = None
        except (EOFError, OSError):
            worker.process.join()
            why = f"the worker process ended with exit code {worker.process.exitcode}"
            reply = Message(Error(CLIENT_FAILED, why), reply_to=message)
            worker.pipe.close()
            self._workers[self._workers.index(worker)] = self._start()
        return message_id, reply, context


def _serve(pipe: Connection, app: str) -> None:
    """The life of a worker: message and context in, reply and context out, until the pipe closes."""
    call: Call = load_client_app(app)
    while True:
        try:
            message = message_from_proto(MessageProto.FromString(pipe.recv_bytes()))
            context = context_from_proto(ContextProto.FromString(pipe.recv_bytes()))
        except (EOFError, OSError):
            return
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = context.run_id, 1, context.node_id
        reply = answer(call, message, context)
        pipe.send_bytes(message_to_proto(reply).SerializeToString())
        pipe.send_bytes(context_to_proto(context).SerializeToString())
