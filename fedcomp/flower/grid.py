"""LocalGrid: Flower's ``Grid`` in this process, or over a pool of worker processes.

The same ServerApp and ClientApp run here that run on Flower's engines. A client costs nothing until it is sent a
message: no actor, no context, no copy of a model. Without workers a message is a function call; replies are made one
by one as they are pulled, so a server that aggregates as it pulls holds one update at a time.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from types import TracebackType

from flwr.app import Context, Message, RecordDict
from flwr.app.user_config import UserConfig, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedcomp.flower.workers import Call, WorkerPool, answer, load_client_app

SERVER_NODE_ID = 2**63 - 1


class LocalGrid(Grid):
    """Runs ``num_clients`` virtual clients; node ids are ``1 .. num_clients``, their ``partition-id`` one less.

    Args:
        app: the ClientApp, or ``"module:name"`` of one or of a function that makes one; workers need the latter.
        num_clients: how many clients are registered.
        node_config: what every client finds in ``context.node_config`` beside its partition.
        run_config: what every client finds in ``context.run_config``.
        workers: processes that train; 0 trains in this one.

    Use it as a context manager, or call ``close``, so that worker processes end.
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
        if workers and not isinstance(app, str):
            raise ValueError("app must be 'module:name' when there are workers: a ClientApp cannot cross a process")
        self._run = Run.create_empty(run_id)
        self._num_clients = num_clients
        self._node_config = dict(node_config or {})
        self._run_config: UserConfig = dict(run_config or {})
        self._states: dict[int, RecordDict] = {}
        self._ids = itertools.count(1)
        self._waiting: dict[str, Message] = {}
        self._pool = WorkerPool(app, workers) if workers and isinstance(app, str) else None
        self._call: Call | None = None
        if self._pool is None:
            self._call = load_client_app(app) if isinstance(app, str) else app
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
        """
        taken = list(messages)
        for message in taken:
            if not 1 <= message.metadata.dst_node_id <= self._num_clients:
                raise ValueError(f"node {message.metadata.dst_node_id} is not one of the {self._num_clients} clients")
        ids = []
        for message in taken:
            message_id = str(next(self._ids))
            message.metadata.__dict__["_message_id"] = message_id
            message.metadata.__dict__["_src_node_id"] = SERVER_NODE_ID
            self._waiting[message_id] = message
            if self._pool:
                self._pool.submit(message_id, message, self._context(message))
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return at least one reply of those asked for, as soon as there is one; empty if none is outstanding."""
        asked = [message_id for message_id in message_ids if message_id in self._waiting]
        if not asked:
            return []
        if self._call is not None:
            return [self._answer(self._call, asked[0])]
        if self._pool is None:
            return []
        finished = self._pool.finished(set(asked))
        return [self._receive(message_id, reply, context) for message_id, reply, context in finished]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages and return all replies, or those that came within ``timeout`` seconds."""
        outstanding = deque(self.push_messages(messages))
        deadline = None if timeout is None else monotonic() + timeout
        replies: list[Message] = []
        while outstanding and (deadline is None or monotonic() < deadline):
            replies.extend(self.pull_messages(outstanding))
            outstanding = deque(message_id for message_id in outstanding if message_id in self._waiting)
        return replies

    def close(self) -> None:
        """End the worker processes; may be called twice."""
        if self._pool:
            self._pool.close()

    def __enter__(self) -> "LocalGrid":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _context(self, message: Message) -> Context:
        node_id = message.metadata.dst_node_id
        place = {"partition-id": node_id - 1, "num-partitions": self._num_clients}
        state = self._states.get(node_id) or RecordDict()
        return Context(
            run_id=self._run.run_id,
            node_id=node_id,
            node_config={**self._node_config, **place},
            state=state,
            run_config=self._run_config,
        )

    def _answer(self, call: Call, message_id: str) -> Message:
        message = self._waiting[message_id]
        context = self._context(message)
        return self._receive(message_id, answer(call, message, context), context)

    def _receive(self, message_id: str, reply: Message, context: Context) -> Message:
        self._waiting.pop(message_id)
        if context.state:  # a client that keeps nothing costs nothing
            self._states[context.node_id] = context.state
        else:
            self._states.pop(context.node_id, None)
        reply.metadata.__dict__["_message_id"] = f"reply-{message_id}"
        return reply
