"""The files of a run, read and checked before anything is drawn from them."""

import itertools
import json
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fedcomp.errors import RunError
from fedcomp.report.curve import Curve
from fedcomp.report.schema import Audit, Bytes, RoundRow, Statement, Summary

_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True)
class RunFiles:
    """A run directory in memory.

    ``config`` is the text of ``config.toml`` and ``settings`` what it says; ``rounds`` has strictly rising numbers;
    ``torn`` tells that the last line of ``metrics.jsonl`` was cut off (a kill) and left out; ``audit`` is ``None``
    if the run was not audited, ``bytes`` if it kept no payload to break down, ``statement`` if it has none,
    ``curve`` if no small model was sought.
    """

    path: Path
    config: str
    settings: Mapping[str, Any]
    rounds: tuple[RoundRow, ...]
    summary: Summary
    audit: Audit | None = None
    bytes: Bytes | None = None
    statement: Statement | None = None
    curve: Curve | None = None
    torn: bool = False

    @property
    def claims(self) -> tuple[Any, ...]:
        """The claims of the newest audit."""
        return self.audit.claims if self.audit and self.audit.claims else self.summary.claims

    @property
    def target_epsilon(self) -> float | None:
        """The budget that the config sets, if it sets one."""
        target = _section(self.settings, "privacy").get("target_epsilon")
        return float(target) if isinstance(target, int | float) else None

    @property
    def sealed(self) -> bool:
        """Whether every payload travelled in an encrypted envelope (the default)."""
        return _section(self.settings, "envelope").get("enabled", True) is True


def load_run(path: str | Path) -> RunFiles:
    """Read ``config.toml``, ``metrics.jsonl``, ``summary.json`` and, where they exist, ``audit.json``, ``bytes.json``,
    ``statement.json``, ``curve.json``.

    Raises:
        RunError: for a file that is missing or damaged; names the file, what was expected and what came.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"{path}: expected the directory of a run, found {'a file' if path.exists() else 'nothing'}")
    config = _text(path / "config.toml")
    rounds, torn = _rounds(path / "metrics.jsonl")
    return RunFiles(
        path=path,
        config=config,
        settings=_settings(path / "config.toml", config),
        rounds=rounds,
        summary=_parse(Summary, _read(path / "summary.json"), str(path / "summary.json")),
        audit=_optional(Audit, path / "audit.json"),
        bytes=_optional(Bytes, path / "bytes.json"),
        statement=_optional(Statement, path / "statement.json"),
        curve=_optional(Curve, path / "curve.json"),
        torn=torn,
    )


def read_summary(summary: Mapping[str, Any], source: str = "summary") -> Summary:
    """Return the typed form of what ``summary.json`` holds.

    Raises:
        RunError: names the key, what was expected and what came.
    """
    try:
        return _parse(Summary, json.dumps(summary).encode(), source)
    except TypeError as error:
        raise RunError(f"{source}: expected what JSON can hold, got: {error}") from error


def _rounds(path: Path) -> tuple[tuple[RoundRow, ...], bool]:
    *whole, tail = _read(path).split(b"\n")
    rows = [_parse(RoundRow, line, f"{path} line {n}") for n, line in enumerate(whole, 1) if line.strip()]
    torn = False
    if tail.strip():
        # A line is written with its newline in one call: a tail without one is a write that a kill cut short.
        try:
            rows.append(_parse(RoundRow, tail, str(path)))
        except RunError:
            torn = True
    for before, row in itertools.pairwise(rows):
        if row.round <= before.round:
            raise RunError(f"{path}: expected a round after {before.round}, got {row.round}: bytes would count twice")
    return tuple(rows), torn


def _optional(record: type[_Record], path: Path) -> _Record | None:
    return _parse(record, _read(path), str(path)) if path.exists() else None


def _parse(record: type[_Record], content: bytes, source: str) -> _Record:
    try:
        return record.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(_problem(item) for item in error.errors())
        raise RunError(f"{source}: {problems}") from None


def _problem(item: Any) -> str:
    if item["type"] == "json_invalid":
        return f"expected JSON, got {reprlib.repr(item['input'])} ({item['ctx']['error']})"
    key = ".".join(str(part) for part in item["loc"]) or "content"
    if item["type"] == "missing":
        return f"{key}: expected a value, got none"
    return f"{key}: expected {item['msg'].removeprefix('Input should be ')}, got {reprlib.repr(item['input'])}"


def _settings(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path}: expected TOML, got {reprlib.repr(text)} ({error})") from error


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = settings.get(name, {})
    return section if isinstance(section, Mapping) else {}


def _text(path: Path) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: expected a file of a finished run, got: {error.strerror}") from error
