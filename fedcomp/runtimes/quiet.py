"""Silence for exporters: they warn of their own future and log their progress, and neither concerns the caller."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def quiet(loggers: Sequence[str]) -> Iterator[None]:
    """Silence warnings, and these loggers below CRITICAL; filters and levels come back at the end."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
