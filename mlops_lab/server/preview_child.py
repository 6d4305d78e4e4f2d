"""Loads values and describes them: a script that the interpreter of the notebook's kernel runs, in a process of its own.

Loading a value runs code (it is pickle) and may take any time and memory, so the server doesn't. The standard input says
what to load; each value's description is one line of JSON on the standard output, so that what was done before a time
limit counts. Only the standard library is imported: the kernel's environment need not have MLOps Lab.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import reprlib
import sys
from typing import Any

ROWS, COLUMNS, TEXT, CELL = 20, 200, 4000, 200


def describe(value: Any) -> dict[str, Any]:
    """What people want to see of a value, by what it looks like and not by its class: pandas, polars, Arrow, NumPy, ..."""
    kind = type(value)
    found: dict[str, Any] = {"text": _cut(_repr(value), TEXT)}
    root = kind.__module__.partition(".")[0]
    if hasattr(kind, "shape") and not isinstance(value, type):
        shape = _quietly(lambda: [int(n) for n in value.shape])
        if shape is not None:
            found["shape"] = shape
    elif isinstance(value, (list, tuple, dict, set, frozenset, str, bytes)):
        found["shape"] = [len(value)]
    image = _quietly(lambda: _image(value, root))
    if image:
        found["image"] = image
    for table in (_pandas, _polars, _arrow, _numpy, _container):
        more = _quietly(lambda table=table: table(value, root))
        if more:
            found.update(more)
            break
    return found


def _pandas(value: Any, root: str) -> dict[str, Any] | None:
    if root != "pandas":
        return None
    if type(value).__name__ == "Series":
        head = value.head(ROWS)
        return {"schema": [{"name": str(value.name), "type": str(value.dtype), "nulls": int(value.isna().sum())}],
                "head": [_plain(v) for v in head.tolist()]}  # fmt: skip
    if type(value).__name__ != "DataFrame":
        return None
    names = _unique([str(c) for c in value.columns[:COLUMNS]])
    nulls = value.iloc[:, :COLUMNS].isna().sum().tolist()
    types = [str(t) for t in value.dtypes.tolist()[:COLUMNS]]
    head = value.iloc[:ROWS, :COLUMNS]
    rows = zip(*[head.iloc[:, i].tolist() for i in range(head.shape[1])], strict=False) if head.shape[1] else []
    return {
        "schema": [{"name": n, "type": t, "nulls": int(k)} for n, t, k in zip(names, types, nulls, strict=False)],
        "head": [dict(zip(names, map(_plain, row), strict=False)) for row in rows],
        "index": [_plain(label) for label in head.index.tolist()],
    }


def _polars(value: Any, root: str) -> dict[str, Any] | None:
    if root != "polars":
        return None
    if type(value).__name__ == "Series":
        schema = [{"name": value.name, "type": str(value.dtype), "nulls": value.null_count()}]
        return {"schema": schema, "head": [_plain(v) for v in value.head(ROWS).to_list()]}
    if type(value).__name__ != "DataFrame":
        return None
    kept = value[:, :COLUMNS]
    schema = [{"name": s.name, "type": str(s.dtype), "nulls": s.null_count()} for s in kept.get_columns()]
    return {"schema": schema, "head": [{k: _plain(v) for k, v in row.items()} for row in kept.head(ROWS).to_dicts()]}


def _arrow(value: Any, root: str) -> dict[str, Any] | None:
    if root != "pyarrow" or not hasattr(value, "schema") or not hasattr(value, "slice"):
        return None
    names = _unique([str(n) for n in value.schema.names[:COLUMNS]])
    columns = [value.column(i) for i in range(len(names))]
    schema = [{"name": n, "type": str(c.type), "nulls": c.null_count} for n, c in zip(names, columns, strict=False)]
    rows = zip(*[c.slice(0, ROWS).to_pylist() for c in columns], strict=False)
    return {"schema": schema, "head": [dict(zip(names, map(_plain, row), strict=False)) for row in rows]}


def _numpy(value: Any, root: str) -> dict[str, Any] | None:
    if root != "numpy" or not hasattr(value, "dtype") or not hasattr(value, "ndim") or value.ndim == 0:
        return None
    head = value[:ROWS]
    for _ in range(value.ndim - 1):
        head = head[:, :ROWS] if head.ndim > 1 else head
    # Of what has more dimensions the text shows enough.
    rows = [_plain(v) for v in (head[:, :ROWS] if head.ndim == 2 else head).tolist()] if value.ndim <= 2 else []
    schema = [{"name": "", "type": str(value.dtype)}]
    return {"schema": schema, "head": rows} if rows else {"schema": schema}


def _container(value: Any, root: str) -> dict[str, Any] | None:
    if type(value) in (list, tuple):
        return {"head": [_plain(v) for v in value[:ROWS]]}
    if type(value) is dict:
        return {"head": [{"key": _plain(k), "value": _plain(v)} for k, v in list(value.items())[:ROWS]]}
    return None


def _image(value: Any, root: str) -> str | None:
    buffer = io.BytesIO()
    if root == "matplotlib" and type(value).__name__ == "Figure":
        value.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    elif root == "PIL":
        small = value.convert("RGBA")
        small.thumbnail((640, 640))
        small.save(buffer, format="PNG")
    else:
        return None
    data = buffer.getvalue()
    return base64.b64encode(data).decode() if len(data) < 2**21 else None


def _plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it; what it hasn't becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return float(value) if value == value and abs(value) != float("inf") else None if value != value else str(value)
    if isinstance(value, str):
        return _cut(value, CELL)
    if isinstance(value, (list, tuple)) and depth < 3:
        return [_plain(v, depth + 1) for v in value[:ROWS]]
    text = _cut(_repr(value) if isinstance(value, (dict, set, bytes)) else _quietly(lambda: str(value)) or _repr(value), CELL)
    return None if text in ("NaT", "<NA>") else text


def _unique(names: list[str]) -> list[str]:
    """Columns may have one name several times; records can't."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _repr(value: Any) -> str:
    if isinstance(value, (list, tuple, dict, set, frozenset, str, bytes)):
        short = reprlib.Repr()
        short.maxlist = short.maxtuple = short.maxdict = short.maxset = short.maxfrozenset = 30
        short.maxstring = short.maxother = 300
        return short.repr(value)
    try:
        return repr(value)
    except Exception as error:  # the user's own code
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _cut(text: str, most: int) -> str:
    text = text.encode("utf-8", "replace").decode()  # halves of surrogate pairs are no text
    return text if len(text) <= most else text[: most - 1] + "…"


def _quietly(work: Any) -> Any:
    try:
        return work()
    except Exception:
        return None


def _limit(memory: int) -> None:
    try:
        import resource

        # What may be written: memory that is only reserved, or mapped to be read, costs nothing.
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # not on this system


def main() -> None:
    """Describe what the standard input asks for."""
    order = json.loads(sys.stdin.buffer.read())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the values' code prints is no answer
    _limit(order["memory"])
    if os.path.isdir(order["folder"]):  # modules beside the notebook, relative paths
        os.chdir(order["folder"])
        sys.path.insert(0, order["folder"])
    if importlib.util.find_spec("cloudpickle") is None:
        sys.path.append(order["cloudpickle"])
    spec = importlib.util.spec_from_file_location("mlops_lab_load", order["load"])
    assert spec is not None and spec.loader is not None
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    for asked in order["values"]:
        try:
            found = describe(load.value(asked["name"], asked["current"], order["store"], order["imports"]))
        except MemoryError:
            found = {"error": f"loading it takes more than {order['memory'] / 2**30:.1f} GB of memory"}
        except BaseException as error:
            found = {"error": _cut(f"{type(error).__name__}: {error}", TEXT)}
        out.write(json.dumps({"key": asked["key"], "found": found}) + "\n")
        out.flush()
    os._exit(0)  # threads that a value has started are not waited for


if __name__ == "__main__":
    main()
