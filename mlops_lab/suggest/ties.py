"""Cells that must stay in one step, because what passes between them can't pass between processes.

What a value is, is guessed from how it is made: an open file, a figure, a connection, a generator.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlops_lab.effects import Survey
from mlops_lab.mutation import own_nodes, roots
from mlops_lab.prelude import is_replayable, items_in
from mlops_lab.scopes import bound_by, module_names
from mlops_lab.suggest.looks import PROCESS_SETTING, Look, called

_FILE, _ITERATOR, _FIGURE, _SESSION, _COROUTINE = "an open file", "an iterator", "a figure", "a session", "a coroutine"

_MAKERS: dict[str, str] = {
    name: kind
    for kind, names in {
        _FILE: "open fdopen popen NamedTemporaryFile TemporaryFile TemporaryDirectory ZipFile TarFile File "
        "HDFStore memmap mmap memoryview DictReader DictWriter ExcelWriter SummaryWriter PdfPages VideoCapture",
        _ITERATOR: "iterrows itertuples iteritems items keys values rglob iterdir scandir iglob finditer nditer ndenumerate "
        "ndindex as_numpy_iterator",
        "a connection": "connect create_engine cursor execute sessionmaker MongoClient Redis socket create_connection urlopen",
        "a lock or a thread": "Lock RLock Semaphore BoundedSemaphore Event Condition Barrier Thread Timer Queue SimpleQueue "
        "LifoQueue PriorityQueue Manager Process Popen Pool ThreadPool ThreadPoolExecutor ProcessPoolExecutor submit map_async "
        "apply_async create_task ensure_future get_event_loop new_event_loop LocalCluster",
        "a progress bar": "tqdm trange tqdm_notebook Progress",
        _FIGURE: "subplots subplot subplot_mosaic gca gcf add_subplot add_axes twinx twiny FacetGrid PairGrid JointGrid "
        "relplot catplot displot lmplot pairplot jointplot clustermap colorbar",
        _SESSION: "getOrCreate SparkContext get_ipython start_session Session InteractiveSession",
        "a TensorFlow dataset": "from_tensor_slices prefetch image_dataset_from_directory text_dataset_from_directory",
        "a C function": "CFUNCTYPE PYFUNCTYPE CDLL PyDLL LoadLibrary",
        "a module": "import_module __import__ reload",
    }.items()
    for name in names.split()
}  # fmt: skip

# These mean something else as methods (`df.map`, `df.filter`, `s.groupby`).
_BARE_MAKERS = dict.fromkeys(
    "iter map filter zip enumerate reversed cycle count chain product combinations permutations islice groupby repeat starmap "
    "tee zip_longest accumulate takewhile dropwhile pairwise batched".split(),
    _ITERATOR,
)

_DERIVED = frozenset({_SESSION, "a TensorFlow dataset", "a widget"})  # what is got from one of these is one, too

_AXES = re.compile(r"(fig|ax)(s|es|ure|\d+|_\w+)?|axs")

_BEFORE_A_CALL = frozenset({"lru_cache", "cache"})

_REMEMBERING = dict.fromkeys(_BEFORE_A_CALL, "remembers its calls") | {
    "singledispatch": "keeps a table of types",
    "singledispatchmethod": "keeps a table of types",
    "cached_property": "holds a lock",
    "function": "holds a TensorFlow graph",
}

_NOT_INLINE = re.compile(r"%matplotlib\s+(?!inline|agg\b)[\w-]+|%pylab\s+(?!inline)\w+|close_figures\s*=\s*False")

_CARRIED = re.compile(
    r"os\.environ|sys\.path|(\w+\.)*rcParams|pd\.(options|set_option)|np\.(random|seterr)|(random|warnings)\."
)

_CHANGING = frozenset("update append extend insert clear reset pop setdefault register add remove addHandler".split())


@dataclass
class _Ties:
    """Spans of looks that must stay in one step, each with its reason."""

    reach: dict[int, tuple[int, str]] = field(default_factory=dict)

    def add(self, first: int, last: int, reason: str) -> None:
        if first < last and self.reach.get(first, (first, ""))[0] < last:
            self.reach[first] = (last, reason)

    def glued(self) -> dict[int, str]:
        """Position -> why no step can begin there."""
        found: dict[int, str] = {}
        end, reason = 0, ""
        for k in range(max((last for last, _ in self.reach.values()), default=0)):
            if k in self.reach and self.reach[k][0] > end:
                end, reason = self.reach[k]
            if end > k:
                found[k + 1] = reason
        return found


def glued_cells(looks: Sequence[Look], known: Survey) -> dict[int, str]:
    """Where no step can begin, because a value that can't be passed, or a state of the process, would have to cross."""
    ties = _Ties()
    makers = _makers(looks)
    held: dict[str, str] = {}
    since: dict[str, int] = {}
    for k, look in enumerate(looks):
        effects = look.effects
        for name in effects.reads & held.keys():
            ties.add(since[name], k, f"{name!r}, {held[name]}, can't be passed between processes")
        if effects.opaque and held:
            # Its step loads every variable there is, also those that can't be.
            name = min(held, key=lambda n: since[n])
            ties.add(since[name], k, f"{effects.opaque[0].reason} may read {name!r}, {held[name]}")
        fresh = _hold(look.cell.tree.body, held, makers)
        for name in effects.binds - fresh:
            held.pop(name, None)
        since |= {name: k for name in fresh if name in effects.binds or name not in since}
        since = {name: since[name] for name in held}
    _tie_functions(looks, known, ties)
    _tie_process(looks, known, ties)
    _tie_history(looks, ties)
    return ties.glued()


def _hold(body: Iterable[ast.stmt], held: dict[str, str], makers: Mapping[str, str]) -> set[str]:
    """Note in `held` the names that statements bind to what can't be passed, and return them."""
    fresh: dict[str, str] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name) and not dict(_held_by(statement, held, makers)):
                    held.pop(target.id, None)
                    fresh.pop(target.id, None)
        for node in own_nodes(ast.Module([statement], [])):
            fresh.update(_held_by(node, held, makers))
            held.update(fresh)
    return set(fresh)


def _held_by(node: ast.AST, held: Mapping[str, str], makers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, kind) of what one assignment, `with` or `append` makes a name hold."""
    pairs: list[tuple[ast.AST, ast.expr]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value:
        pairs = [(node.target, node.value)]
    elif isinstance(node, ast.withitem) and node.optional_vars:
        pairs = [(node.optional_vars, node.context_expr)]
    elif (
        isinstance(node, ast.Call)
        and called(node) in {"append", "add", "insert", "setdefault"}
        and isinstance(node.func, ast.Attribute)
    ):
        pairs = [(node.func.value, argument) for argument in node.args]
    elif isinstance(node, ast.Call) and called(node) == "addHandler" and isinstance(node.func, ast.Attribute):
        yield from ((name, "a logger with a handler") for name in roots(node.func.value))
    for target, value in pairs:
        kind = _kind(value, held, makers)
        names = roots(target)
        if not kind and isinstance(value, ast.Call) and _first_name(value) not in {"px", "go", "ff", "alt", "np", "pd"}:
            names = {name for name in names if _AXES.fullmatch(name)}
            kind = _FIGURE if names else None
        if kind and not (kind == _ITERATOR and isinstance(target, (ast.Tuple, ast.List))):  # unpacking uses it up
            yield from ((name, kind) for name in names if name != "_")


def _kind(value: ast.AST | None, held: Mapping[str, str], makers: Mapping[str, str]) -> str | None:
    """Why the value of an expression can't be passed, or None if it probably can."""
    inner: list[ast.AST | None] = []
    match value:
        case ast.Name(name):
            return held.get(name)
        case ast.GeneratorExp():
            return _ITERATOR
        case ast.Attribute(attr="flat"):
            return _ITERATOR
        case ast.Attribute() | ast.Subscript():
            kind = held.get(_first_name(value))
            return kind if kind in _DERIVED else None
        case ast.Await(part):
            kind = _kind(part, held, makers)
            return kind if kind != _COROUTINE else None
        case ast.Starred(part) | ast.NamedExpr(_, part):
            inner = [part]
        case ast.List(parts) | ast.Tuple(parts) | ast.Set(parts) | ast.BoolOp(_, parts):
            inner = [*parts]
        case ast.Dict(_, parts):
            inner = [*parts]
        case ast.IfExp(_, one, other):
            inner = [one, other]
        case ast.ListComp(part) | ast.SetComp(part) | ast.DictComp(_, part):
            inner = [part]
        case ast.Call():
            return _made(value, held, makers)
    return next((kind for part in inner if (kind := _kind(part, held, makers))), None)


def _made(call: ast.Call, held: Mapping[str, str], makers: Mapping[str, str]) -> str | None:
    name, bare, first = called(call), isinstance(call.func, ast.Name), _first_name(call)
    keywords = {k.arg for k in call.keywords}
    if keywords & {"chunksize", "iterator"} and name.startswith("read_"):
        return _ITERATOR
    if name == "display" and "display_id" in keywords:
        return "a handle of what is displayed"
    if first in {"widgets", "ipywidgets"}:
        return "a widget"
    if name in makers and (bare or first == "itertools" or (name in _MAKERS and first not in {"Image", "px", "go"})):
        return makers[name]
    kind = held.get(first)
    return kind if kind in _DERIVED and not bare and not name.startswith(("get_", "to", "collect")) else None


def _first_name(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _makers(looks: Sequence[Look]) -> dict[str, str]:
    """Function -> what that can't be passed it gives, also for the notebook's own functions."""
    makers = {**_MAKERS, **_BARE_MAKERS}
    for look in looks:
        for node in own_nodes(look.cell.tree):
            if isinstance(node, ast.ClassDef):
                makers.pop(node.name, None)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                makers.pop(node.name, None)
                held: dict[str, str] = {}
                _hold(node.body, held, makers)
                inner = own_nodes(node)
                kinds = [_kind(n.value, held, makers) for n in inner if isinstance(n, ast.Return)]
                if any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in inner):
                    kinds = [_ITERATOR]
                elif isinstance(node, ast.AsyncFunctionDef):
                    kinds = [_COROUTINE]
                makers |= dict.fromkeys([node.name], next((kind for kind in kinds if kind), "")) if any(kinds) else {}
    return makers


def _tie_functions(looks: Sequence[Look], known: Survey, ties: _Ties) -> None:
    """A function that remembers its calls can be passed on only before the first of them; some others never."""
    remembering: dict[str, str] = {}
    called_in: dict[str, int] = {}
    for k, look in enumerate(looks):
        nodes = own_nodes(look.cell.tree)
        here = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        used = look.effects.reads | here | {late for name in here & known.late.keys() for late in known.late[name].loads}
        for node in nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = node.body if isinstance(node, ast.ClassDef) else [node]
                decorators = [d for n in inner for d in getattr(n, "decorator_list", ())]
                for word in {ast.unparse(d).partition("(")[0].rpartition(".")[2] for d in decorators} & _REMEMBERING.keys():
                    remembering[node.name] = _REMEMBERING[word]
                    if word not in _BEFORE_A_CALL:
                        called_in.setdefault(node.name, k)
        for name in called_in if look.effects.opaque else used & remembering.keys():
            reason = f"{name!r} {remembering[name]}, which can't be passed between processes"
            ties.add(called_in.setdefault(name, k), k, reason)


def _tie_process(looks: Sequence[Look], known: Survey, ties: _Ties) -> None:
    """State of the process that steps neither replay nor hand on: changed modules, a logged run, an open canvas."""
    changed: dict[str, tuple[int, str]] = {}
    moved: int | None = None
    written: dict[str, int] = {}
    drawn: int | None = None
    interactive = any(_NOT_INLINE.search(look.cell.source) for look in looks)
    for k, look in enumerate(looks):
        body = look.cell.tree.body
        loads = module_names(body)[0] | look.effects.reads
        text = look.cell.source
        for name, (first, reason) in changed.items():
            if name in loads or name == "*":
                ties.add(first, k, reason)
        changed.update({name: (changed.get(name, (k, ""))[0], reason) for name, reason in _process_changes(look, known)})
        if re.search(r"\b(mlflow\.end_run|wandb\.finish)\(", text):
            changed = {name: found for name, found in changed.items() if name not in {"mlflow", "wandb"}}
        if re.search(r"^\s*%cd\b|\bos\.chdir\(", text, re.MULTILINE):
            if moved is not None:
                ties.add(moved, k, "the working folder is changed for a while")
            moved = k
        for path in look.effects.writes_files:
            if path.endswith(".py"):
                written[path.rpartition("/")[2][:-3]] = k
        for node in ast.walk(look.cell.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                paths = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                for module in {path.partition(".")[0] for path in paths} & written.keys():
                    reason = f"a cell writes the module {module!r}"
                    ties.add(written[module], k, reason)
                    changed |= dict.fromkeys(bound_by(node), (written[module], reason))
        if interactive and loads & {"plt", "sns"}:
            if drawn is not None and not re.search(r"\bplt\.(figure|subplots)\(", text):
                ties.add(drawn, k, "they may draw on one figure")
            drawn = k


def _process_changes(look: Look, known: Survey) -> Iterator[tuple[str, str]]:
    """(imported name, reason) where a cell changes what belongs to a module; the name `*` is for all cells below."""
    replayed = {item.code for item in items_in(look.cell) if is_replayable(item, known.modules)}
    for node in own_nodes(look.cell.tree):
        for decorator in getattr(node, "decorator_list", ()):
            name = _first_name(decorator)
            if name in known.modules and isinstance(decorator, ast.Call) and called(decorator).startswith("register"):
                yield name, f"a cell registers something with {name!r}"
        if not isinstance(node, ast.stmt) or isinstance(node, (ast.FunctionDef, ast.ClassDef)) or ast.unparse(node) in replayed:
            continue
        targets: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        call = getattr(node, "value", None)
        if isinstance(call, ast.Call):
            function = ast.unparse(call.func)
            if function in {"mlflow.start_run", "wandb.init"}:
                yield function.partition(".")[0], "one run is logged to from several cells"
            elif isinstance(node, ast.Expr) and PROCESS_SETTING.fullmatch(function):
                yield function.partition(".")[0] if "." in function else "*", f"{function}() holds in its process only"
            elif isinstance(node, ast.Expr) and called(call) in _CHANGING and re.fullmatch(r"\w+(\.\w+){2,}", function):
                targets = [call.func]
        for target in targets:
            name = _first_name(target)
            if name in known.modules and not isinstance(target, ast.Name) and not _CARRIED.match(ast.unparse(target)):
                yield name, f"a cell changes {name!r} itself, which holds in its process only"


def _tie_history(looks: Sequence[Look], ties: _Ties) -> None:
    """Cells that read `_` or `Out[3]` stay with the cells whose results these are."""
    position = {look.cell.number: k for k, look in enumerate(looks)}
    for k, look in enumerate(looks):
        for _, name in look.effects.history:
            numbers = [int(n) for n in re.findall(r"\d+", name)]
            if name[0] == "%":
                numbers = [0]
            elif name in {"Out", "In", "_oh", "_ih"}:
                numbers = [int(n) for n in re.findall(rf"\b{name}\[(\d+)\]", look.cell.source)] or [0]
            first = min((position.get(n, 0) for n in numbers), default=k)
            for _ in range(0 if numbers else name.count("_") if set(name) == {"_"} else 3):
                first = next((j for j in range(first - 1, -1, -1) if _shows(looks[j], name)), 0)
            ties.add(first, k, f"{name} is the text or the result of a cell above")


def _shows(look: Look, name: str) -> bool:
    """True if the cell surely sets `_`: its last line is an expression that isn't a call (which might give None)."""
    last = look.cell.tree.body[-1] if look.cell.tree.body else None
    shown = isinstance(last, ast.Expr) and not isinstance(last.value, (ast.Call, ast.Await))
    return name in look.effects.may_bind or (shown and not look.cell.source.rstrip().endswith(";"))
