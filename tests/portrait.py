"""Describes a value in lines of text, as exactly as it can be told apart: types, bits, order, sharing, strides, attributes.

Two processes that describe their values with the same lines have the same values. Nothing of pickle's is asked where an object
shows its parts in another way, so that what pickle leaves out is seen.
"""

from __future__ import annotations

import collections
import enum
import re
import struct
import sys
import traceback
import types
from typing import Any

_PLAIN = (type(None), bool, int, type(...), type(NotImplemented), range, slice, re.Pattern)
_CACHES = {
    "_cache",
    "_item_cache",
    "lock",
    "_abc_impl",
    "_engine",
    "_typ",
    "_id",
    "_levels",
    "_references",
}  # made again when they are asked for


def portrait(value: Any) -> list[str]:
    """The lines that describe a value."""
    painter = _Painter()
    painter.paint("", value)
    return painter.lines + painter.memory()


class _Painter:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []
        self.pieces: list[tuple[int, int, str]] = []

    def say(self, path: str, text: str) -> None:
        self.lines.append(f"{path}: {re.sub(r'0x[0-9a-f]{6,}', '0x#', text)}")

    def paint(self, path: str, value: Any) -> None:
        kind = type(value)
        if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
            return self.say(path, f"{kind.__name__} {value!r}")
        if kind in (str, bytes):
            return self.say(path, f"{kind.__name__} {value!a}")
        if kind is float:
            return self.say(path, f"float {struct.pack('>d', value).hex()} {value!r}")
        if kind is complex:
            return self.say(path, f"complex {struct.pack('>dd', value.real, value.imag).hex()}")
        if isinstance(
            value, (getattr(sys.modules.get("numpy"), "generic", ()), getattr(sys.modules.get("numpy"), "dtype", ()))
        ):
            return self.say(
                path, f"{kind.__name__} {value!r} {'' if kind.__name__.endswith('DType') else value.tobytes().hex()}"
            )
        if isinstance(value, (types.ModuleType, types.BuiltinFunctionType, types.MethodWrapperType)):
            return self.say(path, f"{kind.__name__} {value.__name__} of {getattr(value, '__self__', None)!r}")
        if isinstance(value, type) and value.__module__ != "__main__":
            return self.say(path, f"class {value.__module__}.{value.__qualname__}")
        if id(value) in self.numbers:
            return self.say(path, f"-> #{self.numbers[id(value)]}")
        number = self.numbers[id(value)] = len(self.numbers)
        self.kept.append(value)
        self.say(path, f"#{number} {kind.__module__}.{kind.__qualname__}")
        self.parts(path, value)
        return None

    def parts(self, path: str, value: Any) -> None:
        if isinstance(value, (list, tuple, collections.deque)):
            for i, item in enumerate(list(value)):
                self.paint(f"{path}[{i}]", item)
        elif isinstance(value, (set, frozenset)):
            self.say(path, f"{sys.getsizeof(value)} bytes" if type(value) is set else "")
            for i, item in enumerate(list(value)):
                self.paint(f"{path}{{{i}}}", item)
        elif isinstance(value, dict):
            items = dict.items(value) if type(value).__module__ == "__main__" else value.items()
            for i, (key, item) in enumerate(list(items)):
                self.paint(f"{path}<key {i}>", key)
                self.paint(f"{path}[{ascii(key)[:30] if isinstance(key, (str, int)) else i}]", item)
        elif type(value).__name__.endswith("BlockManager"):
            self.paint(f"{path}.axes", value.axes)
            for i, block in enumerate(value.blocks):
                self.paint(f"{path}.blocks[{i}]", [block.values, block.mgr_locs.as_array.tolist(), block.ndim])
        elif self.array(path, value):
            pass
        elif isinstance(value, types.FunctionType):
            self.function(path, value)
        elif isinstance(value, types.CellType):
            self.paint(f"{path}.cell_contents", value.cell_contents)
        elif isinstance(value, types.MethodType):
            self.paint(f"{path}.__self__", value.__self__)
            self.paint(f"{path}.__func__", value.__func__)
        elif isinstance(value, BaseException):
            self.say(path, "".join(traceback.format_exception(value)))
            self.paint(f"{path}.args", value.args)
            self.paint(f"{path}.links", (value.__cause__, value.__context__, value.__suppress_context__))
        elif isinstance(value, types.CodeType):
            self.say(path, f"{value.co_name} {value.co_code.hex()} {list(value.co_positions())}")
        elif self.tensor(path, value) or self.columns(path, value):
            pass
        elif not hasattr(value, "__dict__") and not isinstance(value, type):
            self.opaque(path, value)
        self.attributes(path, value)

    def attributes(self, path: str, value: Any) -> None:
        attributes = list(getattr(value, "__dict__", {}).items())
        if type(value).__module__ != "__main__":  # nobody looks at the order of a package's own attributes
            attributes.sort(key=lambda pair: str(pair[0]))
        for name, item in attributes:
            if name not in _CACHES and not isinstance(item, (types.GetSetDescriptorType, types.MemberDescriptorType)):
                self.paint(f"{path}.{name}", item)
        for owner in type(value).__mro__:
            slots = owner.__dict__.get("__slots__", ())
            for name in [slots] if isinstance(slots, str) else slots:
                if name not in _CACHES and not name.startswith("__") and hasattr(value, name):
                    self.paint(f"{path}.{name}", getattr(value, name))

    def function(self, path: str, value: types.FunctionType) -> None:
        self.say(path, f"{value.__module__} {value.__qualname__} {value.__doc__!r} {value.__annotations__}")
        for name in ("__defaults__", "__kwdefaults__", "__closure__", "__code__") if value.__module__ == "__main__" else ():
            self.paint(f"{path}.{name}", getattr(value, name))

    def array(self, path: str, value: Any) -> bool:
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray):
            return False
        from numpy.lib.array_utils import byte_bounds

        flags = value.flags
        steps = [stride for stride, count in zip(value.strides, value.shape, strict=True) if count > 1 and value.size]
        self.say(path, f"{value.dtype!r} {value.shape} {steps} {flags.c_contiguous} {flags.f_contiguous} {flags.writeable}")
        if value.nbytes < 60_000 and "._" not in path and type(value) is numpy.ndarray:
            self.say(path, f"owns {flags.owndata}")
        if value.dtype.hasobject:
            self.paint(f"{path}.tolist()", value.tolist())
        else:
            self.say(path, value.tobytes().hex() if value.nbytes < 4000 else str(hash(value.tobytes())))
            if value.size:
                self.pieces.append((*byte_bounds(value), path))
        return True

    def tensor(self, path: str, value: Any) -> bool:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.Tensor):
            return False
        self.say(path, f"{value.dtype} {value.shape} {value.layout} {value.device} {value.requires_grad} {value.is_leaf}")
        if value.layout is torch.strided:
            self.say(path, f"{value.stride()} {value.storage_offset()} {value.is_conj()} {value.is_neg()}")
            start = value.untyped_storage().data_ptr()
            self.pieces.append((start, start + value.untyped_storage().nbytes(), path))
        self.say(path, str(value.detach().tolist() if value.layout is torch.strided else value))
        self.paint(f"{path}.grad", value.grad)
        return True

    def columns(self, path: str, value: Any) -> bool:
        module = type(value).__module__
        if module.startswith("pyarrow") and hasattr(value, "to_pylist"):
            self.say(path, f"{getattr(value, 'schema', None) or value.type} {value.to_pylist()}")
            return True
        if module.startswith("polars") and hasattr(value, "to_arrow"):
            self.say(path, f"{getattr(value, 'schema', None) or value.dtype} {value.to_arrow().to_pylist()} {value!r}")
            return True
        return False

    def opaque(self, path: str, value: Any) -> None:
        self.say(path, repr(value))
        try:
            parts = value.__reduce_ex__(4)
        except TypeError:
            return
        if isinstance(parts, tuple) and type(value).__module__ not in ("polars", "pyarrow.lib"):
            self.paint(f"{path}<parts>", [list(p) if hasattr(p, "__next__") else p for p in parts[1:]])

    def memory(self) -> list[str]:
        """Which of the pieces of memory overlap, and how."""
        found, reach, first = [], 0, (0, "")
        for low, high, path in sorted(self.pieces):
            if low < reach and "._" in path and "._" in first[1]:
                continue  # pandas sees to it that nobody can tell
            if low < reach:
                found.append(f"{path} shows the memory of {first[1]} at {low - first[0]}")
            else:
                first = (low, path)
            reach = max(reach, high)
        return sorted(found)
