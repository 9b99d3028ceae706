"""What all frozen values of the package share: equality, hash, pickling and JSON-ready dicts.

A value is a frozen dataclass (``eq=False``) whose fields are plain Python values, NumPy arrays or
other values. A field annotated ``Array`` becomes a read-only float64 array when the value is made.
"""

from __future__ import annotations

import copyreg
import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np

from collapse_theory.display import Shown
from collapse_theory.errors import CollapseError

Reader = TypeVar("Reader", bound=Callable[[dict[str, Any]], Any])
Array: TypeAlias = np.ndarray  # as a field of a value: read-only float64
_REGISTRY: dict[str, type[Value]] = {}
_READERS: dict[str, Callable[[dict[str, Any]], Value]] = {}


def frozen_array(values: Any) -> np.ndarray:
    """Return a read-only float64 copy of `values`."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def shown_by_repr(self: Any, printer: Any, cycle: bool) -> None:
    """Write the repr where IPython and Hypothesis would write the fields: as `_repr_pretty_`."""
    printer.text(repr(self))


def type_name(kind: type) -> str:
    """Return what dicts call a class of values: one of the package's by its name alone.

    A user's own has its module before it, so that it never stands for one of the package's.
    """
    own = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    return kind.__name__ if own else f"{kind.__module__}.{kind.__qualname__}"


def registered(name: Any) -> type[Value]:
    """Return the class of values that `to_dict` wrote as `name`."""
    kind = _REGISTRY.get(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(sorted(_REGISTRY))
        raise CollapseError(f"unknown type {name!r} in the dict; known types: {known}")
    return kind


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say of a broken dict what is wrong with it, whatever goes wrong as it is read."""
    try:
        yield
    except CollapseError:
        raise
    except KeyError as fault:
        raise CollapseError(f"the dict of a {what} lacks {fault}") from fault
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as fault:
        raise CollapseError(f"the dict of a {what} can't be read: {fault}") from fault


def reads(name: str) -> Callable[[Reader], Reader]:
    """Make a function the reader of the dicts of type `name`, which aren't written by fields."""

    def register(reader: Reader) -> Reader:
        _READERS[name] = reader
        return reader

    return register


@cache
def names(kind: Any) -> list[str]:
    """Return the fields that a class of values is made from."""
    if not dataclasses.is_dataclass(kind):
        raise CollapseError(f"{kind.__name__} needs @dataclass(frozen=True, eq=False) for that")
    return [f.name for f in dataclasses.fields(kind) if f.init]


@cache
def _needed(kind: Any) -> list[str]:
    free = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(kind) if f.init and f.default is free]


@cache
def _array_fields(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind) if f.type in ("Array", "Array | None"))


class Value(Shown):
    """Mixin of frozen dataclasses (``eq=False``): equality, hash, pickle, copy, dicts.

    A ``__post_init__`` of a subclass begins with ``super().__post_init__()``, and stores what it
    computes with ``self._set(name=value)``.
    """

    def __post_init__(self) -> None:
        for name in _array_fields(type(self)):
            if vars(self)[name] is not None:
                self._set(**{name: frozen_array(vars(self)[name])})

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            _REGISTRY[type_name(cls)] = cls

    def _key(self) -> tuple[Any, ...]:
        if not dataclasses.is_dataclass(self):
            return (id(self),)  # a class of one's own without fields: what it holds isn't known
        return tuple(_hashable(vars(self)[name]) for name in names(type(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(other) is not type(self):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))

    def __reduce__(self) -> tuple[Any, ...]:
        if not dataclasses.is_dataclass(self):
            return copyreg.__newobj__, (type(self),), vars(self)  # pyright: ignore
        # By the constructor, so that arrays come back read-only and checked.
        state = {name: vars(self)[name] for name in names(type(self))}
        return type(self)._from_fields, (state,)

    @classmethod
    def _from_fields(cls, state: dict[str, Any]) -> Self:
        return cls(**state)

    def to_dict(self) -> dict[str, Any]:
        """Return the value as a dict that JSON can hold (NaN and infinities as text)."""
        content = {name: encoded(vars(self)[name]) for name in names(type(self))}
        return {"type": type_name(type(self)), **content}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the value that `to_dict` wrote."""
        if not isinstance(data, dict):
            raise CollapseError(f"a dict as to_dict writes it was needed, got {data!r}")
        kind = registered(data.get("type", ""))
        with reading(kind.__name__):
            reader = _READERS.get(data["type"])
            if reader is None and not issubclass(kind, cls):
                raise CollapseError(f"the dict holds a {kind.__name__}, not a {cls.__name__}")
            found = reader(data) if reader else kind(**kind._decoded(data))
        if not isinstance(found, cls):
            raise CollapseError(f"the dict holds {found}, not a {cls.__name__}")
        return found

    @classmethod
    def _decoded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a dict holds, none of them missing or unknown."""
        known = names(cls)
        for name in _needed(cls):
            if name not in data:
                raise KeyError(name)
        extra = set(data) - set(known) - {"type"}
        if extra:
            raise CollapseError(f"unknown fields {sorted(map(str, extra))} for a {cls.__name__}")
        return {name: _decode(data[name]) for name in known if name in data}


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # + 0.0 makes -0.0 and 0.0 one value, as they compare equal.
        return value.shape, (value if value.dtype == np.uint64 else value + 0.0).tobytes()
    if isinstance(value, tuple):
        return tuple(_hashable(v) for v in value)
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return value


def encoded(value: Any) -> Any:
    """Return a value, or a part of one, as JSON can hold it."""
    if isinstance(value, Value):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        data = [encoded(v) for v in value.ravel().tolist()]
        return {"type": "array", "shape": list(value.shape), "data": data}
    if isinstance(value, tuple):
        return {"type": "tuple", "items": [encoded(v) for v in value]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"type": "float", "text": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"can't write a {type(value).__name__} as JSON: {value!r}")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind == "array":
        data = [_decode(v) for v in value["data"]]
        hashes = all(type(one) is int for one in data) and max(data, default=0) > 2**53
        return np.array(data, np.uint64 if hashes else np.float64).reshape(value["shape"])
    if kind == "tuple":
        return tuple(_decode(v) for v in value["items"])
    if kind == "float":
        return float(value["text"])
    return Value.from_dict(value)
