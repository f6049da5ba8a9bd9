"""Pickled data read without unpickling: what a stream would build, as a tree of plain values.

A pickle is a program that may call anything. Here nothing is called and nothing is imported: where a stream names a
function or a class and calls it, the tree holds a ``Made`` with that name and what it would have been called with. What
to do with one is for the reader of that one data set to say.
"""

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fedcomp.errors import DataError

_T = TypeVar("_T")


@dataclass(eq=False)
class Made:
    """What a call in a pickle would have made: the ``name`` that it calls, its ``arguments``, the ``state`` set later.

    ``name`` is the module's and the object's, with a dot between them; one that only names has no arguments.
    """

    name: str
    arguments: tuple[Any, ...] | None = field(default=None, repr=False)  # may be megabytes
    state: Any = field(default=None, repr=False)


def pickle_tree(data: bytes) -> Any:
    """Return what the stream holds: numbers, text, bytes, tuples, lists, dicts and ``Made``.

    Raises:
        DataError: for a stream that is cut off or wrong, or that does what tables and arrays do not need.
    """
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name == "STOP":
                (value,) = machine.stack
                return value
            machine.run(operation.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"expected a pickle of tables or arrays, got one that cannot be read: {error}") from error
    raise DataError("expected a pickle with an end, got one that is cut off")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PASSED_OVER = {"PROTO", "FRAME"}


@dataclass
class _Machine:
    """The stack and the memory that a stream works on."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    """Heights of the stack at which a group of values begins."""
    memory: dict[int, Any] = field(default_factory=dict)

    def run(self, name: str, argument: Any) -> None:
        """Carry out one operation."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(len(self.stack) - _TUPLES[name])))
        elif name not in _PASSED_OVER:
            _rule(name)(self, argument)

    def _take(self, height: int) -> list[Any]:
        """Take what lies above ``height`` off the stack."""
        if height < 0:
            raise ValueError("a value is missing")
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def _group(self) -> list[Any]:
        return self._take(self.marks.pop())

    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._group()))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self._last(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._group()
        self._last(list).extend(values)

    def _set_item(self, _: Any) -> None:
        key, value = self._take(len(self.stack) - 2)
        self._last(dict)[key] = value

    def _set_items(self, _: Any) -> None:
        values = self._group()
        self._last(dict).update(_pairs(values))

    def _remember(self, place: int | None) -> None:
        self.memory[len(self.memory) if place is None else place] = self.stack[-1]

    def _recall(self, place: int) -> None:
        self.stack.append(self.memory[place])

    def _name(self, words: str) -> None:
        self.stack.append(Made(words.replace(" ", ".")))

    def _name_of_stack(self, _: Any) -> None:
        module, name = self._take(len(self.stack) - 2)
        self.stack.append(Made(f"{module}.{name}"))

    def _call(self, _: Any) -> None:
        called, arguments = self._take(len(self.stack) - 2)
        if not isinstance(called, Made) or not isinstance(arguments, tuple):
            raise TypeError(f"a call of {type(called).__name__} with {type(arguments).__name__}")
        self.stack.append(Made(called.name, arguments))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        self._last(Made).state = state

    def _last(self, kind: type[_T]) -> _T:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__} to fill, got {type(value).__name__}")
        return value


_RULES: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark,
    "TUPLE": _Machine._tuple,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "MEMOIZE": _Machine._remember,
    "BINPUT": _Machine._remember,
    "LONG_BINPUT": _Machine._remember,
    "BINGET": _Machine._recall,
    "LONG_BINGET": _Machine._recall,
    "GLOBAL": _Machine._name,
    "STACK_GLOBAL": _Machine._name_of_stack,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "BUILD": _Machine._build,
}


def _rule(name: str) -> Callable[[_Machine, Any], None]:
    if name not in _RULES:
        raise ValueError(f"{name} is not for tables and arrays")
    return _RULES[name]


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return zip(values[::2], values[1::2], strict=True)
