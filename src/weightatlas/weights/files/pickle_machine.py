"""Read the structure of a pickle without calling, importing or building anything it names.

`pickletools` splits the stream into instructions; this machine follows them, but where Python's
unpickler would import a name or call it, a `Named` or a `Call` record is written down instead. What the
records mean is decided elsewhere, from a fixed list; there is no instruction that runs code.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, cast

from weightatlas.weights.files.bounded import Bounded

MOST_STEPS = 2_000_000
"""More instructions than this are refused: memory grows by about 200 bytes with each."""

LONGEST_NAME = 1000
"""Longer names are refused: one text in a file can stand in a million places."""

MOST_NAMES = 20_000
"""More different imports than this are refused: they are put together of parts that stand in a file once."""

_HASHED = 1 << 60  # whole numbers below it hash to themselves; larger ones can be made to collide
_MOST_MEMO = 1 << 32


class PickleDamage(ValueError):
    """A pickle that ends early or contradicts itself."""


@dataclass(frozen=True)
class Named:
    """A class or function that a pickle names; it is not imported."""

    name: str


@dataclass(frozen=True)
class Persistent:
    """A reference to data outside the pickle, such as a storage of torch."""

    key: Any


@dataclass(eq=False)
class Call:
    """An object that a pickle would make by a call; the call is not made.

    Args:
        function: What would be called.
        arguments: Its arguments.
        state: What would be given to the object afterwards.
        items: What would be appended to the object; pairs if it is a mapping.
    """

    function: Named
    arguments: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


_MARK = object()
_PLAIN_WORDS = """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES
    BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
    "MARK": lambda: _MARK,
}


class _Machine:
    """The stack and memory of one pickle; one method for each kind of instruction."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[str, Named] = {}
        self.references: list[Persistent] = []
        self.called: set[str] = set()

    def marked(self) -> list[Any]:
        """Take everything above the last mark off the stack."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise PickleDamage("A mark is missing.")
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleDamage("It imports something that has no name.")
        if len(module) + len(name) > LONGEST_NAME:
            raise PickleDamage("It imports something with a name too long to be one.")
        text = f"{module}.{name}"
        self.stack.append(self.names.setdefault(text, Named(text)))
        if len(self.names) > MOST_NAMES:
            raise PickleDamage(f"It imports more than {MOST_NAMES:,} things.")

    def call(self, function: Any, arguments: Any, new: bool = False) -> None:
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise PickleDamage("It calls something that is no function.")
        self.stack.append(Call(function, arguments))
        if not new:  # A new object without a call: only a class can be meant.
            self.called.add(function.name)

    def refer(self, key: Any) -> None:
        if isinstance(key, tuple) and len(key) > 1 and key[0] == "module" and isinstance(key[1], Named):
            self.stack.append(key[1])  # Old files keep the source text of a class beside its name.
            return
        self.references.append(Persistent(key))
        self.stack.append(self.references[-1])

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list | Call):
            raise PickleDamage("It appends to something that is no list.")
        (target.items if isinstance(target, Call) else target).extend(items)

    def put_pairs(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Call) or len(items) % 2:
            raise PickleDamage("It sets items of something that is no mapping.")
        pairs = [(_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]
        target.pairs.extend(pairs) if isinstance(target, Call) else target.update(pairs)

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if not isinstance(target, Call):
            raise PickleDamage("It sets the state of something that has none.")
        target.state = state

    def step(self, code: str, value: Any) -> None:
        """Follow one instruction that is neither a number nor a fresh container."""
        if not (self.remember(code, value) or self.collect(code) or self.make(code, value)):
            raise PickleDamage(f"The instruction {code} is not known.")

    def remember(self, code: str, value: Any) -> bool:
        """Instructions that only move what is there."""
        stack = self.stack
        match code:
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[value])
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                if not 0 <= value < _MOST_MEMO:
                    raise PickleDamage(f"It remembers something under the number {value!r}.")
                self.memo[value] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.marked()
            case "DUP":
                stack.append(stack[-1])
            case "PROTO" | "FRAME":
                pass
            case _:
                return False
        return True

    def collect(self, code: str) -> bool:
        """Instructions that fill containers."""
        stack = self.stack
        match code:
            case "TUPLE":
                stack.append(tuple(self.marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(code[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "LIST" | "FROZENSET":
                stack.append(self.marked())
            case "DICT":
                items = self.marked()
                stack.append({})
                self.put_pairs(items)
            case "APPEND":
                self.append([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self.append(self.marked())
            case "SETITEM":
                self.put_pairs([stack.pop(-2), stack.pop()])
            case "SETITEMS":
                self.put_pairs(self.marked())
            case _:
                return False
        return True

    def make(self, code: str, value: Any) -> bool:
        """Instructions that name, call or build; here they only leave a record."""
        stack = self.stack
        match code:
            case "GLOBAL":
                self.named(*value.split(" ", 1))
            case "STACK_GLOBAL":
                self.named(stack.pop(-2), stack.pop())
            case "REDUCE" | "NEWOBJ":
                self.call(stack.pop(-2), stack.pop(), new=code == "NEWOBJ")
            case "NEWOBJ_EX":
                stack.pop()
                self.call(stack.pop(-2), stack.pop(), new=True)
            case "INST":
                self.named(*value.split(" ", 1))
                self.call(stack.pop(), tuple(self.marked()))
            case "OBJ":
                function, *arguments = self.marked()
                self.call(function, tuple(arguments))
            case "BUILD":
                self.build(stack.pop())
            case "BINPERSID":
                self.refer(stack.pop())
            case "PERSID":
                self.refer(value)
            case _:
                return False
        return True


@dataclass(frozen=True, eq=False)
class Pickle:
    """What one pickle holds.

    Args:
        value: Containers, numbers and texts as they are, everything else as `Named`, `Call` or `Persistent`.
        names: The names of everything the pickle would import.
        references: All references to data outside the pickle.
        called: Those of the names that it would call.
    """

    value: Any
    names: frozenset[str]
    references: tuple[Persistent, ...]
    called: frozenset[str] = frozenset()


def read_pickle(file: BufferedIOBase, most: int = MOST_STEPS) -> Pickle:
    """Follow one pickle to its end.

    Example:
        >>> from io import BufferedIOBase, BytesIO
        >>> read_pickle(BytesIO(b"\\x80\\x02cposix\\nsystem\\nU\\x02ls\\x85R.")).names
        frozenset({'posix.system'})

    Args:
        file: Open at the first byte of the pickle; afterwards it stands behind its last.
        most: More instructions than this are refused.

    Raises:
        PickleDamage: It ends early, contradicts itself, or has too many instructions.
    """
    machine = _Machine()
    stack = machine.stack
    try:
        for count, (operation, value, _) in enumerate(pickletools.genops(cast(Any, Bounded(file)))):
            code = operation.name
            if code in _FRESH:
                stack.append(_FRESH[code]())
            elif code in _PLAIN:
                stack.append(value)
            elif code == "STOP":
                names = frozenset(machine.names), tuple(machine.references), frozenset(machine.called)
                return Pickle(stack.pop(), *names)
            else:
                machine.step(code, value)
            if count > most:
                raise PickleDamage(f"It has more than {most:,} instructions.")
    except PickleDamage:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError) as error:
        raise PickleDamage(str(error) or "It ends early.") from None
    raise PickleDamage("It ends early.")


def _key(key: Any) -> Any:
    """Use a key of a mapping as it is where that is safe, otherwise its kind."""
    if isinstance(key, str | bytes):
        if len(key) > LONGEST_NAME:
            raise PickleDamage(f"A key has {len(key):,} characters.")
        return key
    if isinstance(key, float):
        return repr(key)
    if key is None or (isinstance(key, int) and abs(key) < _HASHED):
        return key
    return f"<{type(key).__name__}>"
