"""What every store of client states keeps: states that say which save they belong to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from fedcomp.state import ClientState
from hardships import killed_while

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
    opened: list[Store] = []

    def save(number: int) -> None:
        if not opened:
            opened.append(open_store(path))
        opened[0].save("client", generation(number))

    return killed_while(save, seconds, first)
