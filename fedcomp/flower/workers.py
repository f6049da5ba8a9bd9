"""A pool of worker processes that run a ClientApp.

A worker that dies costs the message it held, which gets an error reply, and is replaced. Workers end with the process
that started them, even if that is killed: no client goes on training, or charging its ledger, for a server that is
gone.
"""

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import ModuleType

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from fedcomp.errors import ConfigError
from fedcomp.flower.transfer import error_reply, receive, send

Call = Callable[[Message, Context], Message]
_log = logging.getLogger(__name__)


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
    if not isinstance(app, ClientApp) and callable(app):
        app = app()
    if not isinstance(app, ClientApp):
        raise ConfigError([f"client app: expected {reference!r} to be a ClientApp, got {type(app).__name__}"])
    return app


def answer(call: Call, message: Message, context: Context) -> Message:
    """Return the client's reply; as on Flower's engines, an exception in the client becomes an error reply."""
    try:
        reply = call(message, context)
    except (Exception, SystemExit) as error:  # whatever a user's client raises, the round goes on
        _log.info("the client at node %d failed", context.node_id, exc_info=error)
        return error_reply(message, f"{type(error).__name__}: {error}")
    if not isinstance(reply, Message):
        return error_reply(message, f"TypeError: expected the client to return a Message, got {type(reply).__name__}")
    if reply.metadata.reply_to_message_id != message.metadata.message_id:
        return error_reply(
            message, "ValueError: expected a reply to the message, got a message that replies to another"
        )
    return reply


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    held: tuple[Message, Context] | None = None


class WorkerPool:
    """``size`` processes, each of which handles one message at a time.

    Args:
        app: ``"module:name"`` of the ClientApp, as for ``load_client_app``.
        size: how many processes.
    """

    def __init__(self, app: str, size: int) -> None:
        self._app = app
        self._context = multiprocessing.get_context("forkserver")
        # that process imports torch and the app once; the workers are forks of it and start in milliseconds
        self._context.set_forkserver_preload([__name__, app.partition(":")[0]])
        self._workers = [self._start() for _ in range(size)]

    @property
    def idle(self) -> bool:
        """Whether a worker has nothing to do."""
        return any(worker.held is None for worker in self._workers)

    def submit(self, message: Message, context: Context) -> None:
        """Give a message to an idle worker; there must be one."""
        worker = next(worker for worker in self._workers if worker.held is None)
        if not worker.process.is_alive():
            worker = self._replace(worker)
        worker.held = (message, context)
        # an OSError means that it died just now: its pipe reads as closed, and that is an error reply
        with contextlib.suppress(OSError):
            send(worker.pipe, message, context)

    def finished(self, timeout: float | None) -> list[tuple[Message, Context]]:
        """Wait until a worker is done, at most ``timeout`` seconds; return each reply and its client's new context."""
        held = [worker.pipe for worker in self._workers if worker.held]
        ready = wait(held, timeout) if held else []
        return [self._receive(worker) for worker in list(self._workers) if worker.pipe in ready]

    def abandon(self, message_id: str) -> None:
        """End the worker that holds a message, whatever it is doing; the message gets an error reply."""
        for worker in self._workers:
            if worker.held and worker.held[0].metadata.message_id == message_id:
                worker.process.kill()
                worker.process.join()

    def close(self) -> None:
        """End the workers; one that is still training is killed. May be called twice."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers = []

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._app), daemon=True)
        with _hidden_main():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _receive(self, worker: _Worker) -> tuple[Message, Context]:
        if worker.held is None:
            raise RuntimeError("expected a worker that holds a message")
        message, context = worker.held
        try:
            done = receive(worker.pipe)
            worker.held = None
        except (EOFError, OSError):
            self._replace(worker)
            why = f"the worker process ended with exit code {worker.process.exitcode}"
            done = error_reply(message, why), context
        return done

    def _replace(self, worker: _Worker) -> _Worker:
        """Start a worker in the place of one that ended."""
        worker.process.join()
        worker.pipe.close()
        successor = self._workers[self._workers.index(worker)] = self._start()
        return successor


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Hide ``__main__`` while a process starts: it would run the user's script a second time, for nothing."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, app: str) -> None:
    """The life of a worker: message and context in, reply and context out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the server, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    call: Call = load_client_app(app)
    with contextlib.suppress(EOFError, OSError):
        while True:
            message, context = receive(pipe)
            TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = context.run_id, 1, context.node_id
            send(pipe, answer(call, message, context), context)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
