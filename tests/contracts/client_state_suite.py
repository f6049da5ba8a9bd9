"""What every store of client states keeps, and the helpers that kill it while it saves."""

import contextlib
import os
import signal
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from fedcomp.state import ClientState

NAMES = ("about", "model", "reply")


class Store(ClientState, Protocol):
    """A store that can be closed."""

    def close(self) -> None:
        """Let go of its files."""
        ...


Opener = Callable[[Path], Store]


def generation(number: int) -> dict[str, bytes]:
    """Return a state in which every entry says which save it belongs to."""
    return {name: bytes([number % 251]) * (4000 + 1000 * index) for index, name in enumerate(NAMES)}


def whole_generation(state: Mapping[str, bytes]) -> int | None:
    """Return which save (modulo 251) a state comes from; None if it is a mixture or lacks something."""
    if tuple(sorted(state)) != NAMES or not state["about"]:
        return None
    number = state["about"][0]
    return number if dict(state) == generation(number) else None


def killed_while_saving(open_store: Opener, path: Path, first: int, seconds: float) -> int:
    """Save generation after generation in a child, kill it, and return the last one whose ``save`` had returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            store, number = open_store(path), first
            while True:
                store.save("client", generation(number))
                os.write(writing, struct.pack("<I", number))
                number += 1
        os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        raise AssertionError("the child failed before it was killed")
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    return struct.unpack_from("<I", told, len(told) - 4)[0] if told else first - 1


def in_children(*works: Callable[[], object]) -> None:
    """Run all the works at the same time, each in a process of its own; a failure of one is raised."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                work()
                status = 0
            os._exit(status)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    if failed:
        raise AssertionError(f"{len(failed)} of {len(works)} processes failed")
