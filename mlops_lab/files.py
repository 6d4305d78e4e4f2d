"""Files that code reads or writes by a path that is known without running it. Standard library only.

Paths are folded from literals: strings, f-strings, `Path(...) / "x"`, `os.path.join`, and names bound once to such a
value. A part that can't be folded becomes `*`, which stands for any text, folders included; a path of which nothing is
known is `UNKNOWN`. This makes edges early; what a step really opened is recorded when it runs (`runtime/ambient.py`).
"""

from __future__ import annotations

import ast
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

UNKNOWN = "?"
_LONGEST = 4096  # characters; texts put together from each other could grow without end

# Functions and methods that read or write the file in their first argument (or the one given), also of unknown path.
_READERS = dict.fromkeys(
    "read_csv read_parquet read_excel read_json read_table read_pickle read_feather read_hdf read_orc read_stata "
    "read_sas read_spss read_xml read_fwf scan_csv scan_parquet scan_ndjson scan_ipc read_ipc read_ndjson read_avro loadtxt "
    "genfromtxt fromfile memmap imread imread_collection mimread loadmat read_file load_npz open_dataset open_zarr "
    "read_image read_video load_workbook".split(), 0
)  # fmt: skip
_WRITERS = {
    **dict.fromkeys(
        "to_csv to_parquet to_excel to_json to_pickle to_feather to_hdf to_html to_latex to_markdown to_stata to_orc to_xml "
        "to_netcdf to_zarr to_file write_csv write_parquet write_json write_ndjson write_ipc write_avro write_excel "
        "sink_csv sink_parquet savez savez_compressed savetxt savemat tofile savefig save_model save_npz "
        "write_html write_image imwrite imsave mimwrite mimsave makedirs rmtree ExcelWriter PdfPages".split(), 0),
    "write_table": 1, "write_feather": 1, "dump_svmlight_file": 2,
}  # fmt: skip
# Common words: they open files only as functions of these modules, or with a text that looks like a path.
_MODULES = frozenset(
    "np numpy joblib os shutil glob io plt cv2 torch torchaudio imageio iio skimage pickle dill json yaml toml".split()
)
_COMMON = {
    **dict.fromkeys("load listdir scandir walk getsize getmtime stat unpack_archive glob iglob".split(), "read"),
    **dict.fromkeys("save dump mkdir remove unlink rmdir make_archive".split(), "write"),
}
_LISTINGS = frozenset({"listdir", "scandir"})  # without a path, of the working folder
_FROM_TO = frozenset("copy copyfile copy2 copytree move rename replace link symlink renames".split())
_MOVES = frozenset("move rename replace renames".split())
# Classes and functions that take (path, mode) as `open` does.
_WITH_MODE = frozenset("File ZipFile TarFile HDFStore ZstdFile GzipFile BZ2File LZMAFile Dataset VideoWriter".split())
_BOOKS = frozenset({"shelve", "dbm"})  # whose `open` takes (path, flag); with most flags it reads and writes
_PATH_READ = frozenset({"read_text", "read_bytes"})
_PATH_WRITE = frozenset({"write_text", "write_bytes"})
_PATH_METHODS = {**dict.fromkeys("iterdir glob rglob exists is_file is_dir stat".split(), "read"),
                 **dict.fromkeys("touch mkdir unlink rmdir".split(), "write")}  # fmt: skip
_PATH_CLASSES = frozenset({"Path", "PurePath", "PosixPath"})
_HERE = _PATH_CLASSES | {"cwd", "getcwd"}  # without arguments, the working folder
_FOLDED_CALLS = _HERE | {"join", "joinpath", "str", "fspath", "abspath"}
_MAKE_PATHS = frozenset("join joinpath append replace split endswith startswith format str fspath abspath print".split())
_PATH_KEYWORDS = frozenset("path fname filepath_or_buffer path_or_buf filename file filepath filepath_or_buf f fp where uri "
                           "excel_writer path_or_buffer database name source sink".split())  # fmt: skip
# Verbs at the beginning of a name that say what a call does with a path that it is given.
_READ_VERBS = frozenset("read load open scan parse import".split())
_WRITE_VERBS = frozenset("save write to export dump store sink".split())
_LOOKS_LIKE_FILE = re.compile(r"[^\s:?\"<>|][^:?\"<>|\n]*\.[A-Za-z][A-Za-z0-9]{0,7}")
_MODE = re.compile(r"[rwxabtU+]{1,4}")
_ADDRESS = re.compile(r"\w+:/")


def constants(found: Iterable[tuple[str, ast.AST]], bound: Iterable[Mapping[str, int]]) -> dict[str, str]:
    """Names bound exactly once, at top level, to a path that can be folded.

    `found` are the (name, value) of the notebook that `may_fold`, in order; `bound` how often each cell binds a name.
    """
    texts: dict[str, str] = {}
    for name, value in found:
        text = fold(value, texts)
        if text is not None:
            texts[name] = text
    counts = dict.fromkeys(texts, 0)
    for of_cell in bound:
        for name in of_cell.keys() & texts.keys():
            counts[name] += of_cell[name]
    return {name: text for name, text in texts.items() if counts[name] == 1}


def may_fold(value: ast.AST) -> bool:
    """False for an expression of which `fold` makes nothing, whatever names are known."""
    if isinstance(value, ast.Call):
        return not value.keywords and _called(value)[0] in _FOLDED_CALLS
    return value.__class__ in _FOLDED


_FOLDED = frozenset({ast.Constant, ast.Name, ast.JoinedStr, ast.BinOp, ast.Call})


def fold(node: ast.AST, known: Mapping[str, str], gap: str | None = None) -> str | None:
    """The path that an expression gives, if it is made of literals and known names only; `gap` stands for other parts."""
    if isinstance(node, ast.Name):
        return known.get(node.id, gap)
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int)) and not isinstance(node.value, bool):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return _joined([fold(p.value if isinstance(p, ast.FormattedValue) else p, known, gap) for p in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        left, right = fold(node.left, known, gap), fold(node.right, known, gap)
        if left is None or right is None or len(left) + len(right) > _LONGEST:
            return None
        if isinstance(node.op, ast.Div):
            return os.path.join(left, right)
        return left + right if not (left.isdigit() or right.isdigit()) else None  # a sum of numbers is no path
    if isinstance(node, ast.Call) and not node.keywords:
        name, receiver = _called(node)
        if name in _FOLDED_CALLS:
            parts = [fold(a, known, gap) for a in node.args] or ["."] * (name in _HERE)
            if name == "joinpath" and receiver is not None:
                parts.insert(0, fold(receiver, known, gap))
            if parts and all(parts):
                return os.path.join(*parts)  # type: ignore[arg-type]
    return gap


def _joined(parts: list[str | None]) -> str | None:
    texts = [part for part in parts if part is not None]
    return "".join(texts) if len(texts) == len(parts) and sum(map(len, texts)) <= _LONGEST else None


def opened_by(call: ast.Call, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """(kind, path) of the files that a call uses: `read`, `write`, or `mention` for a path given to who knows what.

    Paths are normalised, with `*` for what can't be known.
    """
    found = []
    for kind, node in _opened(call, known) if _called(call)[0] in _OPENS else _given(call, known):
        path = _path(node, known)
        if not _ADDRESS.match(path) and not (kind == "mention" and not _is_file(path)):
            found.append((kind, path))
    return found


# What `_opened` knows by name.
_OPENS = frozenset({
    "open", "connect", *_PATH_READ, *_PATH_WRITE, *_PATH_METHODS, *_READERS, *_WRITERS, *_FROM_TO, *_WITH_MODE, *_LISTINGS,
    *_COMMON,
})  # fmt: skip


def _opened(call: ast.Call, known: Mapping[str, str]) -> Iterator[tuple[str, ast.AST | None]]:
    name, receiver = _called(call)
    first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg in _PATH_KEYWORDS), None)
    of_module = isinstance(receiver, ast.Name) and receiver.id in _MODULES
    if name == "open" and isinstance(receiver, ast.Name) and receiver.id in _BOOKS:
        if first is not None:
            flag = _argument(call, 1, "flag")
            reads = fold(flag, known) == "r" if flag is not None else receiver.id == "dbm"
            yield ("read" if reads else "write"), first
    elif name == "open" and receiver is not None and (first is None or _MODE.fullmatch(fold(first, known) or "")):
        yield _by_mode(_argument(call, 0, "mode")), receiver  # `path.open("w")`
    elif name == "open":
        yield _by_mode(_argument(call, 1, "mode")), first
    elif receiver is not None and (name in _PATH_READ or name in _PATH_WRITE):
        if _path(receiver, known) != UNKNOWN:
            yield ("read" if name in _PATH_READ else "write"), receiver
    elif name in _PATH_METHODS and receiver is not None and fold(receiver, known):
        yield _PATH_METHODS[name], receiver
    elif name in _READERS:
        if first is not None:
            yield "read", first
    elif name in _WRITERS:
        target = _argument(call, _WRITERS[name], *_PATH_KEYWORDS)
        if target is not None:
            yield "write", target
    elif name in _FROM_TO and (of_module or (receiver is not None and name in _MOVES and _is_path(receiver, known))):
        source, target = (first, _argument(call, 1, "dst")) if of_module else (receiver, first)
        yield ("write" if name in _MOVES else "read"), source
        yield "write", target
    elif name in _WITH_MODE and first is not None and fold(first, known):
        yield _by_mode(_argument(call, 1, "mode")), first
    elif name == "connect" and first is not None and fold(first, known) not in {None, ":memory:"}:
        if _is_file(_path(first, known)):
            yield "write", first  # a database: the connection may do both
    elif of_module and name in _LISTINGS and not call.args and not call.keywords:
        yield "read", ast.Constant(".")
    elif (of_module and name in _COMMON) or (receiver is None and name in {"glob", "iglob"}):
        # `np.save(path, x)`, `torch.save(x, path)`; `json.dump(x, file)` is given an open file
        candidates = [first, *call.args[1:2], _argument(call, 2, *_PATH_KEYWORDS)]
        target = next((c for c in candidates if c is not None and fold(c, known)), None)
        if target is not None:
            yield _COMMON[name], target
    else:
        yield from _given(call, known)


def _given(call: ast.Call, known: Mapping[str, str]) -> list[tuple[str, ast.AST | None]]:
    """The paths among the arguments of a call of which only the name may say what it does."""
    found: list[tuple[str, ast.AST | None]] = []
    for argument in (*call.args, *(k.value for k in call.keywords)):
        kind = argument.__class__
        if kind not in _FOLDED or (kind is ast.Name and not known):
            continue
        path = fold(argument, known)
        if path and "." in path and _is_file(path):
            name = _called(call)[0]
            if name in _MAKE_PATHS:
                break
            verb = re.split(r"_|(?<=[a-z])(?=[A-Z])", name, maxsplit=1)[0].lower()
            found.append(("read" if verb in _READ_VERBS else "write" if verb in _WRITE_VERBS else "mention", argument))
    return found


def _by_mode(mode: ast.AST | None) -> str:
    text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else "r"
    return "write" if set(text) & set("wax+") else "read"


def _called(call: ast.Call) -> tuple[str, ast.AST | None]:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr, call.func.value
    return getattr(call.func, "id", ""), None


def _argument(call: ast.Call, index: int, *keywords: str) -> ast.AST | None:
    if len(call.args) > index:
        return call.args[index]
    return next((k.value for k in call.keywords if k.arg in keywords), None)


def _is_path(node: ast.AST, known: Mapping[str, str]) -> bool:
    """True for `Path(...)` and what is made of it with `/`, which text is not."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div)
    return isinstance(node, ast.Call) and _called(node)[0] in _PATH_CLASSES


def _is_file(path: str) -> bool:
    return bool(_LOOKS_LIKE_FILE.fullmatch(path))


def _path(node: ast.AST | None, known: Mapping[str, str]) -> str:
    value = fold(node, known, "*") if node is not None else None
    return tidy(value) if value else UNKNOWN


def tidy(path: str) -> str:
    """A path in its normal form; what may be a folder or nothing at all (`*/a.csv`) may also be part of the name."""
    path = os.path.normpath(re.sub(r"\*+", "*", re.sub(r"(^|/)\*+/", r"\1*", path)))
    return UNKNOWN if not path.strip("*/.") else path


def is_vague(path: str) -> bool:
    """True for a path that may stand for several files."""
    return path == UNKNOWN or "*" in path


def overlap(one: str, other: str) -> bool:
    """True if two paths may name one file, or one of them a folder around the other."""
    if UNKNOWN in (one, other) or one == other or one.startswith(other + "/") or other.startswith(one + "/"):
        return True
    if is_vague(one) and is_vague(other):
        (a, b), (y, z) = (one.partition("*")[0], one.rpartition("*")[2]), (other.partition("*")[0], other.rpartition("*")[2])
        return (a.startswith(y) or y.startswith(a)) and (b.endswith(z) or z.endswith(b))
    pattern, path = (one, other) if is_vague(one) else (other, one)
    return is_vague(pattern) and (fnmatchcase(path, pattern.replace("[", "[[]")) or fnmatchcase(path + "/", pattern + "/*"))


class Paths:
    """The paths that steps use, so that those overlapping with another are found without looking at each."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = {}
        self._inside: dict[str, list[tuple[int, str]]] = {}  # folder -> what is used anywhere below it
        self._vague: list[tuple[int, str]] = []
        self._plain: list[tuple[int, str]] = []
        self._mentioned: dict[str, list[int]] = {}

    def add(self, user: int, paths: Iterable[str], sure: bool = True) -> None:
        """Note the paths of a user. Where it is not `sure` that they are opened, only that very path overlaps."""
        for path in paths:
            if not sure:
                self._mentioned.setdefault(path, []).append(user)
            elif is_vague(path):
                self._vague.append((user, path))
            else:
                self._plain.append((user, path))
                self._exact.setdefault(path, []).append(user)
                for folder in _folders(path):
                    self._inside.setdefault(folder, []).append((user, path))

    def overlapping(self, path: str, sure: bool = True) -> Iterator[tuple[int, str]]:
        """(user, its path) of all paths that may name what this one names."""
        if is_vague(path):
            yield from ((user, other) for user, other in (*self._vague, *self._plain) if overlap(path, other))
            return
        yield from ((user, path) for user in self._exact.get(path, ()))
        yield from ((user, path) for user in self._mentioned.get(path, ()))
        if sure:
            yield from ((user, folder) for folder in _folders(path) for user in self._exact.get(folder, ()))
            yield from self._inside.get(path, ())
            yield from ((user, other) for user, other in self._vague if overlap(path, other))


@functools.lru_cache(maxsize=4096)
def _folders(path: str) -> tuple[str, ...]:
    return tuple(path[: match.start()] for match in re.finditer("/", path) if match.start())
