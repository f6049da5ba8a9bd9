"""Other libraries' log lines, kept off a user's terminal where they say nothing that the user could act on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quieter(name: str, least: int) -> Iterator[None]:
    """Let only lines of level ``least`` and above of the logger ``name`` through, for as long as this lasts."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(least)
    try:
        yield
    finally:
        logger.setLevel(level)
