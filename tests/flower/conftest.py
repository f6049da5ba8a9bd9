"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flower_processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Flower's processes on loopback; all of them are ended after the test, whatever came of it."""
    started = Processes(tmp_path)
    try:
        yield started
    finally:
        started.end()
