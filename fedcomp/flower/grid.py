"""LocalGrid: Flower's ``Grid`` in this process, or over a pool of worker processes.

The same ServerApp and ClientApp run here that run on Flower's engines. A client costs nothing until it is sent a
message: no actor, no context, no copy of a model. Without workers a message is a function call; replies are made one
by one as they are pulled, so a server that aggregates as it pulls holds one update at a time.
"""

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from flwr.app import Context, Message, RecordDict
from flwr.app.user_config import UserConfig, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedcomp.flower.transfer import copy_message, copy_records
from fedcomp.flower.workers import WorkerPool, answer, load_client_app

SERVER_NODE_ID = 2**63 - 1
_PULL_SECONDS = 1.0
"""How long a pull waits for a busy worker before it returns empty-handed."""


class LocalGrid(Grid):
    """Runs ``num_clients`` virtual clients; node ids are ``1 .. num_clients``, their ``partition-id`` one less.

    Messages to one client are handled in the order they were pushed, one at a time. A client that fails gets an error
    reply and keeps the ``context.state`` that it had before. A message that is not answered within its time to live
    is dropped at the next push, and a worker that still holds it is ended.

    Args:
        app: the ClientApp, or ``"module:name"`` of one or of a function that makes one; workers need the latter.
        num_clients: how many clients are registered.
        node_config: what every client finds in ``context.node_config`` beside its partition.
        run_config: what every client finds in ``context.run_config``.
        workers: processes that train; 0 trains in this one.
        run_id: Flower's number of the run.

    Use it as a context manager, or call ``close``, so that worker processes end.

    Raises:
        ValueError: if there are no clients, or if workers could not import the app.
        ConfigError: if ``app`` names no ClientApp.
    """

    def __init__(
        self,
        app: ClientApp | str,
        num_clients: int,
        *,
        node_config: Mapping[str, UserConfigValue] | None = None,
        run_config: UserConfig | None = None,
        workers: int = 0,
        run_id: int = 1,
    ) -> None:
        if num_clients < 1:
            raise ValueError(f"num_clients must be at least 1, got {num_clients}")
        if workers < 0:
            raise ValueError(f"workers must be at least 0, got {workers}")
        if workers and (not isinstance(app, str) or app.startswith("__main__")):
            raise ValueError(f"app must be 'module:name' of a module that workers can import, got {app!r}")
        self._call = load_client_app(app) if isinstance(app, str) else app
        self._run = Run.create_empty(run_id)
        self._num_clients = num_clients
        self._node_config = dict(node_config or {})
        self._run_config: UserConfig = dict(run_config or {})
        self._states: dict[int, RecordDict] = {}
        self._ids = itertools.count(1)
        self._queued: dict[str, Message] = {}
        self._running: dict[str, Message] = {}
        self._ready: dict[str, Message] = {}
        self._closed = False
        self._pool = WorkerPool(app, workers) if workers and isinstance(app, str) else None
        # Message() reads these; on Flower's own engines the process that hosts an app sets them
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = run_id, 1, SERVER_NODE_ID

    def set_run(self, run: Run) -> None:
        """Set the run, as ``Grid`` asks."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message to one client."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Sequence[int]:
        """Return the ids of all registered clients, in order."""
        return range(1, self._num_clients + 1)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages; each is handled when its reply is pulled, or at once where a worker is idle.

        Raises:
            ValueError: if a message goes to a node that is not registered; none is taken then.
            RuntimeError: if the grid was closed.
        """
        if self._closed:
            raise RuntimeError("the grid is closed: expected messages before close()")
        taken = list(messages)
        for message in taken:
            if not 1 <= message.metadata.dst_node_id <= self._num_clients:
                raise ValueError(f"node {message.metadata.dst_node_id} is not one of the {self._num_clients} clients")
        self._drop_expired()
        ids = []
        for message in taken:
            message_id = str(next(self._ids))
            self._queued[message_id] = copy_message(message, message_id)
            ids.append(message_id)
        self._dispatch()
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return at least one reply of those asked for; empty if none is outstanding or workers take too long."""
        return self._pull(list(message_ids), _PULL_SECONDS)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages and return all replies, or those that came within ``timeout`` seconds.

        Without workers a client that has begun is not interrupted. What was not answered in time is forgotten: it
        cannot turn up among the replies of a later round.
        """
        outstanding = dict.fromkeys(self.push_messages(messages))
        deadline = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while outstanding and (deadline is None or time.monotonic() < deadline):
            seconds = None if deadline is None else max(deadline - time.monotonic(), 0)
            for reply in self._pull(outstanding, seconds):
                del outstanding[reply.metadata.reply_to_message_id]
                replies.append(reply)
        for message_id in outstanding:
            self._forget(message_id)
        return replies

    def serve(self, app: ServerApp, run_config: UserConfig) -> None:
        """Run a ServerApp on this grid, to its end; ``run_config`` is what it finds in its context."""
        app(self, Context(self._run.run_id, SERVER_NODE_ID, {}, RecordDict(), run_config))

    def close(self) -> None:
        """End the worker processes and take no more messages; may be called twice."""
        self._closed = True
        if self._pool:
            self._pool.close()

    def __enter__(self) -> "LocalGrid":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pull(self, message_ids: Iterable[str], seconds: float | None) -> list[Message]:
        """Return replies to some of ``message_ids``, waiting at most ``seconds`` for a worker."""
        if self._pool is None:
            first = next((message_id for message_id in message_ids if message_id in self._queued), None)
            return [] if first is None else [self._answer(self._queued.pop(first))]
        deadline = None if seconds is None else time.monotonic() + seconds
        while not (ready := [message_id for message_id in message_ids if message_id in self._ready]):
            outstanding = any(message_id in self._queued or message_id in self._running for message_id in message_ids)
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not outstanding or not self._collect(self._pool, left):
                return []
        return [self._ready.pop(message_id) for message_id in ready]

    def _collect(self, pool: WorkerPool, seconds: float | None) -> bool:
        """Take what workers have finished and give them more; False if nothing was within ``seconds``."""
        finished = pool.finished(seconds)
        for reply, context in finished:
            message_id = reply.metadata.reply_to_message_id
            self._keep_state(reply, context)
            if self._running.pop(message_id, None):
                self._ready[message_id] = self._named(reply)
        self._dispatch()
        return bool(finished)

    def _dispatch(self) -> None:
        """Give queued messages to idle workers, but never two of one client at once."""
        if self._pool is None:
            return
        busy = {message.metadata.dst_node_id for message in self._running.values()}
        while self._pool.idle:
            free = (key for key, message in self._queued.items() if message.metadata.dst_node_id not in busy)
            if (message_id := next(free, None)) is None:
                return
            message = self._running[message_id] = self._queued.pop(message_id)
            busy.add(message.metadata.dst_node_id)
            self._pool.submit(message, self._context(message))

    def _answer(self, message: Message) -> Message:
        context = self._context(message)
        reply = answer(self._call, message, context)
        self._keep_state(reply, context)
        return self._named(reply)

    def _context(self, message: Message) -> Context:
        node_id = message.metadata.dst_node_id
        place = {"partition-id": node_id - 1, "num-partitions": self._num_clients}
        state = self._states.get(node_id)
        return Context(
            run_id=self._run.run_id,
            node_id=node_id,
            node_config={**self._node_config, **place},
            state=RecordDict() if state is None else copy_records(state),
            run_config=dict(self._run_config),
        )

    def _keep_state(self, reply: Message, context: Context) -> None:
        if reply.has_error():
            return
        if context.state:  # a client that keeps nothing costs nothing
            self._states[context.node_id] = context.state
        else:
            self._states.pop(context.node_id, None)

    def _named(self, reply: Message) -> Message:
        reply.metadata.__dict__["_message_id"] = f"reply-{reply.metadata.reply_to_message_id}"
        return reply

    def _drop_expired(self) -> None:
        now = time.time()
        for waiting in (self._queued, self._running, self._ready):
            for message_id, message in list(waiting.items()):
                if message.metadata.created_at + message.metadata.ttl < now:
                    self._forget(message_id)

    def _forget(self, message_id: str) -> None:
        """Drop a message, or the reply to it; a worker that holds it is ended."""
        self._queued.pop(message_id, None)
        self._ready.pop(message_id, None)
        if self._running.pop(message_id, None) and self._pool:
            self._pool.abandon(message_id)
