"""Options of a stage: declared once as dataclass fields, checked, and listed for the command line."""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Option:
    """What an option may be.

    ``kind`` is ``number``, ``integer``, ``boolean`` or ``choice``; ``expected`` says the range in words; ``default`` is
    None if the option must be given, or if ``optional`` says that it may be left out; ``example`` is a value that is
    allowed, None if leaving it out is.
    """

    name: str
    kind: str
    expected: str
    default: float | int | bool | str | None
    example: float | int | bool | str | None
    low: float = 0.0
    high: float = 1.0
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False

    def check(self, value: object) -> float | int | bool | str | None:
        """Return the value in its own type (1 becomes 1.0 for a number); raises ``ValueError`` that says it all."""
        if value is None and self.optional:
            return None
        if self.kind == "boolean":
            if isinstance(value, bool):
                return value
        elif self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            inside = (self.low < value if self.open_low else self.low <= value) and (
                value < self.high if self.open_high else value <= self.high
            )
            if inside and self.kind == "number":
                return float(value)
            if inside and isinstance(value, int):
                return value
        raise ValueError(f"{self.name}: expected {self.expected}, got {value!r}")


def number(
    example: float,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
    default: float | None = None,
) -> Any:
    """Declare an option that is a number between ``low`` and ``high``; it must be given if it has no default."""
    expected = f"a number in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    return _field("number", expected, default, example, low=low, high=high, open_low=open_low, open_high=open_high)


def integer(example: int, low: int, high: int, *, default: int | None = None) -> Any:
    """Declare an option that is a whole number between ``low`` and ``high``; it must be given if it has no default."""
    return _field("integer", f"an integer in [{low}, {high}]", default, example, low=low, high=high)


def optional_number(example: float | None, low: float, high: float, *, open_low: bool = False) -> Any:
    """Declare an option that is a number up to ``high`` or left out; left out is its example if that is None."""
    expected = f"a number in {'(' if open_low else '['}{low:g}, {high:g}], or left out"
    return _field("number", expected, None, example, low=low, high=high, open_low=open_low, optional=True)


def optional_integer(example: int | None, low: int, high: int) -> Any:
    """Declare an option that is a whole number between ``low`` and ``high``, or left out."""
    return _field(
        "integer", f"an integer in [{low}, {high}], or left out", None, example, low=low, high=high, optional=True
    )


def flag(default: bool) -> Any:
    """Declare an option that is true or false."""
    return _field("boolean", "true or false", default, default)


def choice(default: str, *others: str) -> Any:
    """Declare an option that is one of a few words."""
    words = (default, *others)
    return _field("choice", f"one of {', '.join(words)}", default, default, choices=words)


def options_of(stage: Any) -> tuple[Option, ...]:
    """Return the options of a stage or a class of stages, in order."""
    return tuple(Option(item.name, **item.metadata) for item in fields(stage))


def check_options(stage: Any) -> None:
    """Check every option of a frozen dataclass and store it in its own type; raises ``ValueError`` by name."""
    for option in options_of(stage):
        object.__setattr__(stage, option.name, option.check(getattr(stage, option.name)))


def _field(kind: str, expected: str, default: Any, example: Any, **limits: Any) -> Any:
    metadata = {"kind": kind, "expected": expected, "default": default, "example": example, **limits}
    needed = default is None and not limits.get("optional", False)
    return field(default=MISSING if needed else default, metadata=metadata)
