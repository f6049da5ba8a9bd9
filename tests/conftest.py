"""What every test shares."""

import pytest
from hypothesis import settings

collect_ignore = ["fuzz"]  # a program that needs a fuzzer; `make fuzz` installs it

# The same examples in every run: whether a commit passes must not hang on luck. `make test-slow` draws new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore")
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden payloads instead of checking them")


_LONG = ("test_deployment", "tests/flower/", "test_cli", "test_readme", "tests/run_audit/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, and what waits for real processes before all: last, one worker waits alone."""
    items.sort(key=lambda item: next((place for place, name in enumerate(_LONG) if name in item.nodeid), len(_LONG)))


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
