"""How code and data get to a container unchanged, and small: packed text, and text without what is replaced on the way.

What a component is made of passes through three programs that put values in: Argo and KFP replace `{{...}}`, and Kubernetes
makes `$` of `$$` and replaces `$(NAME)`, in every argument of a program. Nobody asks whether that was meant, so none of these
may stand in what we send. Python's base85 has such signs, and three that Go's JSON writes as six others: in their places are
others here.
"""

from __future__ import annotations

import ast
import base64
import bz2
import io
import json
import tokenize
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlops_lab._version import __version__

_RUNTIME = Path(__file__).parents[2] / "runtime"
_STAYS = {"compare.py", "ends.py", "journal.py", "load.py", "warm.py"}  # what only runs beside the engine
REPLACED = ("{{", "$$", "$(")  # on the way to a container
UNSAFE, SAFE = "${}&<>", ",./:[]"  # signs of base85, and signs that it has not


def is_replaced(text: str) -> bool:
    """True for a text that would not arrive as it is."""
    return any(sign in text for sign in REPLACED)


def in_python(literal: str) -> str:
    """A Python literal (not a raw one) that means the same, and arrives as it is."""
    return literal.replace("{{", r"{\x7b").replace("$$", r"$\x24").replace("$(", r"\x24(")


def in_json(text: str) -> str:
    """JSON that means the same, and arrives as it is: these signs stand in its texts only."""
    return text.replace("{{", r"{\u007b").replace("$$", r"$\u0024").replace("$(", r"\u0024(")


def in_words(text: str) -> str:
    """A text for people that arrives; two braces are parted."""
    return text.replace("{{", "{ {").replace("$$", "$ $").replace("$(", "$ (")


def packed(content: Any) -> str:
    """JSON, compressed, as text: what the compiler tells the runtime of a step."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 9)).decode()


@cache
def runtime() -> str:
    """The runtime's modules without their comments and the types of their functions, compressed, as text."""
    modules = {
        path.name: bare(unannotated(path.read_text("utf-8")))
        for path in sorted(_RUNTIME.glob("*.py"))
        if path.name not in _STAYS
    }
    modules["__init__.py"] += f"\nVERSION = {__version__!r}\n"
    return _compressed(modules)


def packed_files(files: Mapping[str, tuple[int, bytes]]) -> str:
    """Files with their modes, compressed, as text."""
    return _compressed({path: [mode, data.decode("latin-1")] for path, (mode, data) in sorted(files.items())})


def unpacked_files(text: str) -> dict[str, bytes]:
    """The contents of packed files."""
    return {path: data.encode("latin-1") for path, (_, data) in unpacked(text).items()}


def unpacked(text: str) -> Any:
    """What a packed text holds, as the component unpacks it."""
    return json.loads(bz2.decompress(base64.b85decode(text.translate(str.maketrans(SAFE, UNSAFE)))))


def compressed_size(content: bytes) -> int:
    """About how many bytes a file has once it is packed."""
    return len(bz2.compress(content))


def _compressed(content: Any) -> str:
    text = base64.b85encode(bz2.compress(json.dumps(content).encode())).decode()
    return text.translate(str.maketrans(UNSAFE, SAFE))


def unannotated(source: str) -> str:
    """Python code without the annotations of its functions, which are for who reads and checks it; all else as it stands."""
    text = source.encode()
    starts = [0]
    for row in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))
    spans = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.arg) and node.annotation is not None:
            begin, end = starts[node.lineno - 1] + node.col_offset + len(node.arg.encode()), node.annotation
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
            begin, end = starts[node.returns.lineno - 1] + node.returns.col_offset, node.returns
            begin = len(text[: text.rindex(b"->", 0, begin)].rstrip())
        else:
            continue
        spans.append((begin, starts[(end.end_lineno or 0) - 1] + (end.end_col_offset or 0)))
    for begin, stop in sorted(spans, reverse=True):
        text = text[:begin] + text[stop:]
    return text.decode()


def bare(source: str) -> str:
    """Python code without its comments, docstrings and empty lines; all else as it stands."""
    rows = io.StringIO(source).readlines()
    kept = [bool(row.strip()) for row in rows]
    begins = True  # a statement begins with the next token
    for token in tokenize.generate_tokens(iter(rows).__next__):
        (first, column), (last, end) = token.start, token.end
        if token.type == tokenize.COMMENT:
            rows[first - 1] = rows[first - 1][:column].rstrip() + "\n"
            kept[first - 1] = bool(rows[first - 1].strip())
        elif begins and token.type == tokenize.STRING:
            rows[first - 1] = rows[first - 1][:column] + "''" + rows[last - 1][end:]
            kept[first:last] = [False] * (last - first)
        elif first != last:  # a text of several lines keeps its empty ones
            kept[first - 1 : last] = [True] * (last - first + 1)
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            begins = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return "".join(row for row, keep in zip(rows, kept, strict=True) if keep)
