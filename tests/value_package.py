"""Classes as packages have them that plain pickle doesn't bring back; `value_rows.py` has values made of them."""

from __future__ import annotations

from typing import Any


class Ratio:
    """Its `__new__` asks for what its pickling doesn't give, as mpmath's rational numbers do."""

    __slots__ = ("pair",)
    pair: tuple[int, int]

    def __new__(cls, top: int, bottom: int = 1) -> Ratio:
        made = object.__new__(cls)
        made.pair = (top, bottom)
        return made

    def __getstate__(self) -> tuple[int, int]:
        return self.pair

    def __setstate__(self, state: tuple[int, int]) -> None:
        self.pair = state


class Number:
    """What a context makes its numbers of."""

    context: Context

    def __init__(self, value: float) -> None:
        self.value = value


class Context:
    """One that makes a class for itself and holds what has no pickle, as mpmath's do."""

    def __init__(self) -> None:
        self.digits = 15
        self.number = type("number", (Number,), {"context": self})
        self.half = Ratio(1, 2)
        self.table = {"half": self.half, "write": [].append}


context = Context()
_other = Context()


class Field:
    """What works with a context of its own, as sympy's `RR` does."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, value: float) -> Any:
        return self._context.number(value)


field = Field(_other)


class Asked:
    """Its `__getattr__` needs attributes that a new instance doesn't have, as tinydb's queries do."""

    def __init__(self, *path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Asked:
        return Asked(*self._path, name)


class Unloadable:
    """It takes back nothing of what it gives."""

    def __setstate__(self, state: Any) -> None:
        raise KeyError("nothing")


class Estimator:
    """What a constructor below has as a default."""

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate


class Model:
    """Its instances hold the defaults of its constructor, as those of mapie's do."""

    def __init__(self, estimator: Any = Estimator(2), steps: list[int] = [], *, missing: Any = object()) -> None:
        self.estimator, self.steps, self.missing = estimator, steps, missing
