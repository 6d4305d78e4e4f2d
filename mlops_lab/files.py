"""Files that code reads or writes by a path that is known without running it. Standard library only.

Paths are folded from literals: strings, f-strings, `Path(...) / "x"`, `os.path.join`, and names bound once to such a
value. A path that can't be folded is reported as `UNKNOWN`. This makes edges early; what a step really opened is
recorded when it runs (`runtime/ambient.py`).
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping

UNKNOWN = "?"

# function or method name -> index of the argument that holds the path
_READERS = {
    **dict.fromkeys(
        "read_csv read_parquet read_excel read_json read_table read_pickle read_feather read_hdf read_orc read_stata "
        "read_sas read_spss read_xml read_fwf scan_csv scan_parquet read_ipc loadtxt genfromtxt fromfile memmap imread "
        "loadmat read_table read_file load_npz".split(), 0),
    "load": 0,
}  # fmt: skip
_WRITERS = {
    **dict.fromkeys(
        "to_csv to_parquet to_excel to_json to_pickle to_feather to_hdf to_html to_latex to_markdown to_stata to_orc "
        "write_csv write_parquet write_json write_ipc save savez savez_compressed savetxt tofile savefig save_model "
        "write_html write_image makedirs mkdir remove unlink rmtree".split(), 0),
    "dump": 1, "imwrite": 0, "imsave": 0, "copy": 1, "copyfile": 1, "copy2": 1, "copytree": 1, "move": 1, "rename": 1,
    "replace": 1,
}  # fmt: skip
_PATH_METHODS_READ = {"read_text", "read_bytes", "iterdir", "glob", "rglob"}
_PATH_METHODS_WRITE = {"write_text", "write_bytes", "touch", "mkdir", "unlink", "rmdir"}
_MODULES_WITH_PATHS = {"np", "numpy", "joblib", "os", "shutil", "plt", "cv2", "torch", "imageio", "pickle", "json"}


def constants(trees: Iterator[ast.Module] | list[ast.Module]) -> dict[str, str]:
    """Names bound exactly once, at top level, to a path that can be folded."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                counts[node.id] = counts.get(node.id, 0) + 1
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target = statement.targets[0]
                value = fold(statement.value, found)
                if isinstance(target, ast.Name) and value is not None:
                    found[target.id] = value
    return {name: value for name, value in found.items() if counts.get(name) == 1}


def fold(node: ast.AST, known: Mapping[str, str]) -> str | None:
    """The path that an expression gives, if it is made of literals and known names only."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int)) and not isinstance(node.value, bool):
        return str(node.value)
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.JoinedStr):
        parts = [fold(p.value if isinstance(p, ast.FormattedValue) else p, known) for p in node.values]
        return "".join(parts) if all(p is not None for p in parts) else None  # type: ignore[arg-type]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        left, right = fold(node.left, known), fold(node.right, known)
        if left is None or right is None:
            return None
        return os.path.join(left, right) if isinstance(node.op, ast.Div) else left + right
    if isinstance(node, ast.Call) and not node.keywords:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        parts = [fold(a, known) for a in node.args]
        if name in {"Path", "PurePath", "join", "joinpath", "str", "fspath", "abspath"} and all(parts):
            if name == "joinpath" and isinstance(node.func, ast.Attribute):
                parts.insert(0, fold(node.func.value, known))
            return os.path.join(*parts) if parts and all(parts) else None  # type: ignore[arg-type]
    return None


def touched_by(call: ast.Call, known: Mapping[str, str]) -> tuple[str, str] | None:
    """("read" or "write", normalised path or UNKNOWN) if the call opens a file; None otherwise."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    if name == "open":
        # `open(path, mode)` and `path.open(mode)`
        own = receiver is not None and not (isinstance(receiver, ast.Name) and receiver.id in {"io", "gzip", "bz2", "lzma"})
        path = receiver if own else _argument(call, 0, ("file", "filename"))
        mode = _argument(call, 0 if own else 1, ("mode",))
        text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else "r"
        return ("write" if set(text) & set("wax+") else "read"), _path(path, known)
    if receiver is not None and name in _PATH_METHODS_READ | _PATH_METHODS_WRITE and fold(receiver, known):
        return ("read" if name in _PATH_METHODS_READ else "write"), _path(receiver, known)
    for kind, table in (("read", _READERS), ("write", _WRITERS)):
        if name in table:
            path = _argument(call, table[name], ("path", "fname", "filepath_or_buffer", "path_or_buf", "filename", "file"))
            folded = _path(path, known)
            common = name in {"load", "save", "dump", "copy", "replace", "rename", "remove", "move", "mkdir", "unlink"}
            if common and not (isinstance(receiver, ast.Name) and receiver.id in _MODULES_WITH_PATHS):
                return None  # list.copy, str.replace, json.dump to an open file, ...
            if path is None or (common and folded == UNKNOWN):
                return None
            return None if re.match(r"\w+:/", folded) else (kind, folded)
    return None


def _argument(call: ast.Call, index: int, keywords: tuple[str, ...]) -> ast.AST | None:
    if len(call.args) > index:
        return call.args[index]
    return next((k.value for k in call.keywords if k.arg in keywords), None)


def _path(node: ast.AST | None, known: Mapping[str, str]) -> str:
    value = fold(node, known) if node is not None else None
    return os.path.normpath(value) if value else UNKNOWN
