"""Who is told how a run goes."""

from collections.abc import Mapping
from typing import Any


class Observer:
    """Is told how a run goes; this one does nothing with it."""

    def round_done(self, row: Mapping[str, Any]) -> None:
        """Take a round's row of ``metrics.jsonl``."""

    def phase(self, name: str) -> None:
        """Take the name of what follows the rounds, as it begins."""
