"""Proposes tags for a notebook that has none: its steps, its parameters, and what is no part of a pipeline.

Data comes from a `notebook.Notebook`; `suggest` gives tags by cell, `apply` puts them into a copy of its node. Steps come
from the author's headings, else from what the cells do (load, split, train, ...), else from where few variables cross. No
cut is made where a value would have to pass that can't (an open file, a figure, a connection): parity before beauty. What
a value is, is guessed from names: a wrong guess merges two steps, or ends in the error that names the variable.
"""

from __future__ import annotations

import ast
import builtins
import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_lab.effects import Effects, Survey, effects_of, survey
from mlops_lab.mutation import own_nodes, roots
from mlops_lab.notebook import Cell, Notebook
from mlops_lab.parameters import is_static, parameters_in
from mlops_lab.pipeline import IMPLICIT
from mlops_lab.prelude import import_names, is_replayable, items_in
from mlops_lab.roles import Role, slug
from mlops_lab.scopes import bound_by, module_names
from mlops_lab.syntax import ipython_call

if TYPE_CHECKING:
    from nbformat import NotebookNode

_LONGEST_NAME = 32
_MOST_STEPS = 12
_EXPENSIVE = 5.0  # seconds; a cell that takes as long, and a fifth of the notebook's time, gets a step of its own


@dataclass(frozen=True)
class Suggestion:
    """Tags to add and the reason for them, by the cell's index in the notebook; `steps` are their names in order."""

    tags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Heading:
    level: int
    text: str


@dataclass(frozen=True)
class _Look:
    """One cell that will be part of a step. `headings` stand between the code cell above and this one.

    An `idle` cell only imports, defines and configures; a `light` one, at most, makes some objects or shows some.
    """

    cell: Cell
    effects: Effects
    headings: tuple[_Heading, ...]
    seconds: float
    idle: bool
    light: bool
    phase: str


@dataclass(frozen=True)
class _Part:
    """Looks `first` to `end` (exclusive), to be one step, named after `title`.

    `titles` are the headings that it was merged from; `depth` counts those of its first look's headings that are its own
    or its parents': what follows them divides it.
    """

    first: int
    end: int
    title: str = ""
    why: str = ""
    titles: tuple[str, ...] = ()
    depth: int = 0


def suggest(notebook: Notebook) -> Suggestion:
    """Propose tags. A notebook with step tags gets none, and the reason at the first cell that has one."""
    tagged = next((cell for cell in notebook.cells if cell.has(Role.STEP)), None)
    if tagged:
        return Suggestion(reasons={tagged.index: "The notebook has step: tags already; nothing is added to its author's cut."})
    skipped = _skippable(notebook.cells)
    cells = [cell for cell in notebook.cells if cell.in_pipeline and cell.index not in skipped]
    known = survey([cell.tree for cell in cells])
    looks = _look_at(notebook, cells, known)
    setup = _setup_cells(looks)
    looks = [look for look in looks if look.cell.index not in setup]
    glued = _glued(looks, known)
    start = next((k for k, look in enumerate(looks) if not look.idle), 0)
    while start in glued:
        start -= 1
    parts = _cut(looks, start, glued, import_names(cells))
    names = _names(looks, parts)
    tags = dict.fromkeys(skipped, ("skip",)) | dict.fromkeys(setup, ("setup",))
    reasons = {**skipped, **setup}
    for index, reason in _parameters_cell(cells, looks, start).items():
        tags[index], reasons[index] = ("parameters",), reason
    for part, name in zip(parts, names, strict=True):
        index = looks[part.first].cell.index
        tags[index], reasons[index] = (f"step:{name}",), _reason(part, glued, alone=len(parts) == 1)
    return Suggestion(dict(sorted(tags.items())), dict(sorted(reasons.items())), tuple(names))


def apply(notebook: Notebook, suggestion: Suggestion) -> NotebookNode:
    """A copy of the notebook's node with the suggested tags added; everything else is kept."""
    node = copy.deepcopy(notebook.node)
    for index, tags in suggestion.tags.items():
        metadata = node.cells[index].metadata
        present = list(metadata.get("tags", ()))
        metadata["tags"] = present + [tag for tag in tags if tag not in present]
    return node


def _reason(part: _Part, glued: Mapping[int, str], alone: bool) -> str:
    kept = next((glued[k] for k in range(part.first + 1, part.end) if k in glued), "")
    why = "nothing divides it well" if alone else part.why
    return (f"kept together: {kept}" if alone else f"{why}; kept together: {kept}") if kept else why


# -- what the cells are ------------------------------------------------------------------------------------------


def _look_at(notebook: Notebook, cells: Sequence[Cell], known: Survey) -> list[_Look]:
    looks, above = [], 0
    for cell in cells:
        if any(cell.has(role) for role in (Role.PARAMETERS, Role.SETUP, Role.IMPORTS)):
            continue
        between = notebook.node.cells[above : cell.index]
        headings = tuple(h for raw in between if raw.cell_type == "markdown" for h in _headings(raw.source))
        above = cell.index
        seconds = _seconds(notebook.node.cells[cell.index].metadata)
        configuring = {item.code for item in items_in(cell)}
        idle = not (cell.syntax_issue or cell.roles) and all(_is_idle(s, configuring) for s in cell.tree.body)
        light = seconds < 1 and all(_is_idle(s, configuring) or _is_light(s) for s in cell.tree.body)
        effects = effects_of(cell.tree.body, known)
        looks.append(_Look(cell, effects, headings, seconds, idle, light, "" if idle else _phase_of(cell)))
    return looks


_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_HTML = re.compile(r"<h([1-6])\b[^>]*>(.*?)</h\1>", re.IGNORECASE | re.DOTALL)
_NO_PARAGRAPH = re.compile(r"\s*$|\s*([-*+>|#]|\d+[.)])(\s|$)|.*\|")


def _headings(markdown: str) -> Iterator[_Heading]:
    """The headings of a Markdown cell: `# like this`, underlined ones, and HTML's."""
    if found := _HTML.findall(markdown):
        yield from (_Heading(int(level), text) for level, text in found)
        return
    fence, before, last = "", "", ""
    for line in markdown.splitlines():
        opening = re.match(r" {0,3}(```|~~~)", line)
        if opening and (not fence or fence == opening[1]):
            fence = "" if fence else opening[1]
        elif fence:
            pass
        elif match := _ATX.fullmatch(line):
            yield _Heading(len(match[1]), match[2])
            line = ""
        elif (match := _SETEXT.fullmatch(line)) and not before.strip() and not _NO_PARAGRAPH.match(last):
            yield _Heading(1 if match[1][0] == "=" else 2, last)
            line = ""
        before, last = last, line


def _seconds(metadata: Mapping[str, Any]) -> float:
    """How long the cell ran when it was last executed, as JupyterLab or Papermill wrote it down; 0 if unknown."""
    duration = metadata.get("papermill", {}).get("duration")
    if isinstance(duration, (int, float)):
        return float(duration)
    times = metadata.get("execution", {})
    try:
        begun, ended = (times[key] for key in ("iopub.execute_input", "shell.execute_reply"))
        return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0


# Calls that a cell may make and still do no work worth a step.
_IDLE_CALLS = frozenset(
    "Path PurePath join seed manual_seed seed_everything set_seed default_rng RandomState Random Generator check_random_state "
    "print getenv get device now today is_available namedtuple TypeVar getLogger dict list tuple set frozenset range len str "
    "int float bool format abspath dirname expanduser getcwd cwd time perf_counter cpu_count get_cmap ListedColormap "
    "color_palette timedelta datetime Timestamp literal_eval".split()
)
_LOOKING_CALLS = frozenset(
    "head tail describe info display value_counts sample unique nunique isnull isna sum mean get_params keys items shape "
    "memory_usage sort_values round min max".split()
)


def _is_idle(statement: ast.stmt, configuring: set[str]) -> bool:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Pass() | ast.Expr(ast.Constant()):
            return True
        case ast.Assign() | ast.AnnAssign() | ast.Expr(ast.Call()) if _calls_only(statement.value, _IDLE_CALLS):
            return True
    return _process_setting(statement) or (bool(configuring) and ast.unparse(statement) in configuring)


def _is_light(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value):
            return _calls_only(value, _LOOKING_CALLS | _IDLE_CALLS)
        case ast.Assign([ast.Name()], value):
            return _calls_only(value, _IDLE_CALLS, makers=True)
    return False


def _calls_only(value: ast.AST | None, names: frozenset[str], makers: bool = False) -> bool:
    """True if the expression calls nothing but these (with `makers`, also classes: `Ridge(alpha=1)`)."""
    for node in ast.walk(value) if value else ():
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp, ast.Await, ast.Yield)):
            return False
        if isinstance(node, ast.Call) and (name := _called(node)) not in names:
            made = name[:1].isupper() or name in {"make_pipeline", "make_column_transformer"}
            if not (makers and made):
                return False
    return True


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


# Phase -> (the calls that tell it, what to say of a cell that makes one), in order of precedence: a cell that fits and plots
# trains. `fit` of what prepares data is told apart by its receiver.
_PHASES = {
    "tune": (r"\w+SearchCV|create_study|optimize", "it searches for good settings"),
    "train": (r"fit(_(?!transform)\w+)?|partial_fit|train(_(?!test)\w+)?|backward|minimize|leastsq", "it fits a model"),
    "load": (
        r"read_\w+|load_(?!state_dict|model|ext)\w+|fetch_\w+|loadtxt|genfromtxt|imread|loadmat|open_dataset|get_data\w*|"
        r"get_rdataset|download\w*|urlretrieve|make_(blobs|classification|regression|moons|circles|friedman\d|\w*data\w*)",
        "it loads data",
    ),
    "split": (r"train_test_split|train_\w*split|random_split", "it splits the data"),
    "evaluate": (
        r"score|\w+_score|cross_val\w*|classification_report|\w*confusion_matrix|\w+_error|roc_\w+|auc|evaluate\w*|"
        r"permutation_importance",
        "it measures a model",
    ),
    "save": (r"to_(csv|parquet|pickle|excel|feather|sql)|dump|savez?|save_\w+|log_model|register_model", "it writes results"),
    "plot": (
        r"plot\w*|\w+plot|subplots|figure|scatter\w*|hist\w*|imshow|heatmap|barh?|pie|contourf?|show\w*|draw\w*|errorbar|"
        r"FacetGrid|PairGrid|visuali\w+|from_(estimator|predictions)",
        "it plots",
    ),
    "predict": (r"predict\w*|forecast\w*|inference\w*", "it predicts"),
    "prepare": (
        r"dropna|fillna|get_dummies|merge|fit_transform|transform|astype|drop|rename|pivot\w*|concat|normali[sz]e\w*|"
        r"preprocess\w*|clean\w*|prepare\w*|tokeni[sz]e\w*|resample|apply",
        "it prepares data",
    ),
    "": (r"", "it makes what the cells below need"),
}
_CALLS = {phase: re.compile(calls) for phase, (calls, _) in _PHASES.items()}
_PREPARERS = re.compile(r"scal|encod|vector|imput|binariz|transform|normaliz|tokeni|pca", re.IGNORECASE)


def _phase_of(cell: Cell) -> str:
    """What a cell does, by the calls that it makes; an empty text if they don't tell."""
    found = set()
    for node in own_nodes(cell.tree):
        if isinstance(node, ast.Call):
            name = _called(node)
            if name == "fit" and isinstance(node.func, ast.Attribute) and _PREPARERS.search(ast.unparse(node.func.value)):
                name = "fit_transform"
            found |= {phase for phase, calls in _CALLS.items() if name and calls.fullmatch(name)}
    return _foremost(found)


def _foremost(phases: Iterable[str]) -> str:
    phases = set(phases)
    return next((phase for phase in _PHASES if phase in phases), "")


# -- cells that are no part of a step ----------------------------------------------------------------------------

_INSTALL = re.compile(
    r"\s*(sudo\s+)?(-\S+\s+)*(\S*python[\d.]*\s+-m\s+|\{sys\.executable\}\s+-m\s+)?"
    r"((uv\s+)?pip[\d.]*|conda|mamba|apt|apt-get|uv)\s+(-\S+\s+)*"
    r"(install|uninstall|list|show|check|update|upgrade|add)\b[^;|&`]*(2?>\s*/dev/null\s*|2>&1\s*)*"
)
_MANAGERS = frozenset("pip conda mamba uv".split())
_DOCS = frozenset("pinfo pinfo2 psource pdoc pfile pdef quickref".split())
_EXTENSIONS = frozenset("autoreload nb_black lab_black jupyter_black blackcellmagic pycodestyle_magic".split())


def _skippable(cells: Sequence[Cell]) -> dict[int, str]:
    """Index -> reason, of the cells that manage packages, help with editing, look up documentation, or hold no code."""
    found: dict[int, str] = {}
    for cell in cells:
        if cell.in_pipeline and not cell.syntax_issue and not cell.roles:
            why = {_inert(s) for s in cell.tree.body if not isinstance(s, ast.Import)}
            if None not in why and (why or not cell.tree.body):
                found[cell.index] = " and ".join(sorted(w for w in why if w)) or "it holds comments only"
    # `import sys` before `!{sys.executable} -m pip` may be for other cells too, and so may an extension's magics.
    used = frozenset().union(*(module_names(cell.tree.body)[0] for cell in cells if cell.index not in found))
    found = {c.index: found[c.index] for c in cells if c.index in found and not module_names(c.tree.body)[1] & used}
    kept = [cell.source for cell in cells if cell.index not in found]
    reloading = any(re.search(r"%a(utoreload|import)\b", source) for source in kept)
    return {c.index: found[c.index] for c in cells if c.index in found and not (reloading and "load_ext" in c.source)}


def _inert(statement: ast.stmt) -> str | None:
    """Why a statement is no part of a pipeline, or None if it is."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return None
    call = statement.value
    if isinstance(call.func, ast.Name) and call.func.id == "help":
        simple = not call.keywords and all(
            isinstance(n, (ast.Name, ast.Attribute, ast.expr_context)) for a in call.args for n in ast.walk(a)
        )
        return "it looks up documentation" if simple else None
    magic = ipython_call(call)
    if not magic or None in magic[1]:
        return None
    method, arguments = magic[0], [text or "" for text in magic[1]]
    managing = "it manages installed packages, which is not a pipeline's work"
    if method in {"system", "getoutput"}:
        return managing if _INSTALL.fullmatch(arguments[0]) else None
    if method == "run_cell_magic" and arguments[0] in {"bash", "sh", "capture"}:
        lines = [line for line in arguments[-1].splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return managing if lines and all(_INSTALL.fullmatch(line) for line in lines) else None
    if method == "run_line_magic" and arguments:
        if arguments[0] in _MANAGERS and _INSTALL.fullmatch(" ".join(arguments)):
            return managing
        if arguments[0] in _DOCS:
            return "it looks up documentation"
        if arguments[0] == "autoreload" or (arguments[0] == "load_ext" and arguments[-1] in _EXTENSIONS):
            return "it helps with editing only"
    return None


_PROCESS_SETTING = re.compile(
    r"(.*\.)?output_notebook|(hv|pn|gv|holoviews|panel|geoviews)\.extension|mlflow\.(set_experiment|set_tracking_uri|(\w+\.)?autolog)|"
    r"nest_asyncio\.apply|logging\.config\.dictConfig|sys\.setrecursionlimit"
)


def _process_setting(statement: ast.stmt) -> bool:
    """True for a call that sets up its process and that steps do not replay by themselves."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and bool(_PROCESS_SETTING.fullmatch(ast.unparse(call.func)))


def _setup_cells(looks: Sequence[_Look]) -> dict[int, str]:
    """Index -> reason, of the cells above all work that have to hold in every process and need no other cell."""
    found: dict[int, str] = {}
    for look in looks:
        if not look.idle:
            break
        if any(map(_process_setting, look.cell.tree.body)) and all(hasattr(builtins, name) for name in look.effects.reads):
            found[look.cell.index] = "it sets up the process that it runs in, so that every step needs it"
    return found


def _parameters_cell(cells: Sequence[Cell], looks: Sequence[_Look], start: int) -> dict[int, str]:
    """Index -> reason, of the cell above the first step that holds most settings as literals which nothing changes."""
    if any(cell.has(Role.PARAMETERS) for cell in cells):
        return {}
    names_in = {cell.index: module_names(cell.tree.body) for cell in cells}
    best, most = -1, 0
    for look in looks[:start]:
        cell, body = look.cell, look.cell.tree.body
        # Such a cell isn't run: what an expression shows, or a cell magic, would be lost.
        if not all(isinstance(s, (ast.Assign, ast.AnnAssign)) for s in body) or cell.source.lstrip().startswith("%"):
            continue
        if not is_static(cell) or len(cell.source) > 4000:
            continue
        found = parameters_in(cell)
        names = {p.name for p in found}
        mutable = {p.name for p in found if not isinstance(p.default, (bool, int, float, str, type(None)))}
        settings = [p for p in found if isinstance(p.default, (bool, int, float, str)) and not p.name.startswith("_")]
        others = [(c.number < cell.number, *names_in[c.index]) for c in cells if c is not cell]
        free = not any(names & stores or (above and names & loads) for above, loads, stores in others)
        if free and len(settings) > most:
            below = [other.effects for other in looks if other is not look]
            if not any(names & effects.may_bind or mutable & effects.touches for effects in below):
                best, most = cell.index, len(settings)
    return {best: "settings written as literals, which nothing changes: a run can be given others"} if most else {}


# -- what can't be passed from one step to the next --------------------------------------------------------------

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


def _glued(looks: Sequence[_Look], known: Survey) -> dict[int, str]:
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
        and _called(node) in {"append", "add", "insert", "setdefault"}
        and isinstance(node.func, ast.Attribute)
    ):
        pairs = [(node.func.value, argument) for argument in node.args]
    elif isinstance(node, ast.Call) and _called(node) == "addHandler" and isinstance(node.func, ast.Attribute):
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
    name, bare, first = _called(call), isinstance(call.func, ast.Name), _first_name(call)
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


def _makers(looks: Sequence[_Look]) -> dict[str, str]:
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


def _tie_functions(looks: Sequence[_Look], known: Survey, ties: _Ties) -> None:
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


def _tie_process(looks: Sequence[_Look], known: Survey, ties: _Ties) -> None:
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


def _process_changes(look: _Look, known: Survey) -> Iterator[tuple[str, str]]:
    """(imported name, reason) where a cell changes what belongs to a module; the name `*` is for all cells below."""
    replayed = {item.code for item in items_in(look.cell) if is_replayable(item, known.modules)}
    for node in own_nodes(look.cell.tree):
        for decorator in getattr(node, "decorator_list", ()):
            name = _first_name(decorator)
            if name in known.modules and isinstance(decorator, ast.Call) and _called(decorator).startswith("register"):
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
            elif isinstance(node, ast.Expr) and _PROCESS_SETTING.fullmatch(function):
                yield function.partition(".")[0] if "." in function else "*", f"{function}() holds in its process only"
            elif isinstance(node, ast.Expr) and _called(call) in _CHANGING and re.fullmatch(r"\w+(\.\w+){2,}", function):
                targets = [call.func]
        for target in targets:
            name = _first_name(target)
            if name in known.modules and not isinstance(target, ast.Name) and not _CARRIED.match(ast.unparse(target)):
                yield name, f"a cell changes {name!r} itself, which holds in its process only"


def _tie_history(looks: Sequence[_Look], ties: _Ties) -> None:
    """Cells that read `_` or `Out[3]` stay with the cells whose results these are."""
    position = {look.cell.number: k for k, look in enumerate(looks)}
    for k, look in enumerate(looks):
        for _, name in look.effects.history:
            numbers = [int(n) for n in re.findall(r"\d+", name)]
            if name in {"Out", "In", "_oh", "_ih"}:
                numbers = [int(n) for n in re.findall(rf"\b{name}\[(\d+)\]", look.cell.source)] or [0]
            first = min((position.get(n, 0) for n in numbers), default=k)
            for _ in range(0 if numbers else name.count("_") if set(name) == {"_"} else 3):
                first = next((j for j in range(first - 1, -1, -1) if _shows(looks[j], name)), 0)
            ties.add(first, k, f"{name} is the result of a cell above")


def _shows(look: _Look, name: str) -> bool:
    """True if the cell surely sets `_`: its last line is an expression that isn't a call (which might give None)."""
    last = look.cell.tree.body[-1] if look.cell.tree.body else None
    shown = isinstance(last, ast.Expr) and not isinstance(last.value, (ast.Call, ast.Await))
    return name in look.effects.may_bind or (shown and not look.cell.source.rstrip().endswith(";"))


# -- where to cut ------------------------------------------------------------------------------------------------


def _cut(looks: Sequence[_Look], start: int, glued: Mapping[int, str], imported: frozenset[str]) -> list[_Part]:
    """The steps, from the look `start` on."""
    if not looks:
        return []
    crossing = _crossing(looks, imported)
    busy = _busy(looks, 0, len(looks))
    parts = [replace(part, first=max(part.first, start)) for part in _by_headings(looks) if part.end > start]
    titled = sum(bool(part.title) and _busy(looks, part.first, part.end) > 0 for part in parts)
    if titled < 2:
        parts = [_Part(start, len(looks))]
    found: list[_Part] = []
    for part in parts:
        size = _busy(looks, part.first, part.end)
        if part.title and (size <= 12 or titled > 2):
            found.append(part)
        else:
            found += _by_phase(looks, part, 3 if titled > 1 and not part.title else max(5, _wanted(size)), glued, crossing)
    found = _joined(looks, found, lambda a, b: b.first in glued)
    found = _absorbed(looks, found)
    found = _joined(looks, found, lambda a, b: _opaque(looks, a) and _opaque(looks, b))
    found = _fewer(looks, found, _MOST_STEPS if busy <= 60 else _MOST_STEPS + 4, crossing)
    return [piece for part in found for piece in _isolated(looks, part, glued)]


def _wanted(busy: int) -> int:
    """About how many steps so many working cells should make."""
    return max(2, min(_MOST_STEPS, round(1.5 * math.sqrt(busy))))


def _busy(looks: Sequence[_Look], first: int, end: int) -> int:
    return sum(not look.idle for look in looks[first:end])


def _opaque(looks: Sequence[_Look], part: _Part) -> bool:
    return any(look.effects.opaque for look in looks[part.first : part.end])


def _crossing(looks: Sequence[_Look], imported: frozenset[str]) -> list[frozenset[str]]:
    """For each look, the variables that cells from it on need from cells above it."""
    live: frozenset[str] = frozenset()
    needed: list[frozenset[str]] = []
    for look in reversed(looks):
        live = look.effects.reads | (live - look.effects.binds)
        needed.append(live - imported)
    bound: set[str] = set()
    found = []
    for look, names in zip(looks, reversed(needed), strict=True):
        found.append(names & bound)
        bound |= look.effects.may_bind
    return found


def _by_headings(looks: Sequence[_Look]) -> list[_Part]:
    """Sections, of the level that gives a good number of steps; a large section may be divided further."""
    parts = [_Part(0, len(looks))]
    total = _busy(looks, 0, len(looks))
    while True:
        sizes = [_busy(looks, part.first, part.end) for part in parts]
        count = sum(size > 0 for size in sizes)
        options = []
        for i, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            pieces = _sections(looks, part)
            gain = sum(_busy(looks, p.first, p.end) > 0 for p in pieces) - 1
            if count <= 1 and gain >= 0:
                # All the code stands under one heading: the notebook's title, which is no step's name.
                options.append((size, -i, [replace(p, title="", why="", titles=()) if p.depth < 0 else p for p in pieces]))
            elif gain > 0 and (count < 3 or size > max(2, 1.5 * total / _wanted(total))) and count + gain <= _MOST_STEPS:
                options.append((size, -i, pieces))
        if not options:
            return parts
        _, i, pieces = max(options, key=lambda option: option[:2])
        parts[-i : 1 - i] = pieces


def _sections(looks: Sequence[_Look], part: _Part) -> list[_Part]:
    """A part divided at its highest headings; nothing if there are none. What stands above them has the depth -1."""
    if part.depth < 0:
        return []
    inner = [
        (k, i, heading)
        for k in range(part.first, part.end)
        for i, heading in enumerate(looks[k].headings)
        if k > part.first or i >= part.depth
    ]
    if not inner:
        return []
    level = min(heading.level for _, _, heading in inner)
    last = {k: (i, heading) for k, i, heading in inner if heading.level == level}
    starts = sorted(last)
    pieces = [replace(part, end=starts[0], depth=-1)] if starts[0] > part.first else []
    for k, end in zip(starts, [*starts[1:], part.end], strict=True):
        text = _plain(last[k][1].text)
        pieces.append(_Part(k, end, text, f'under the heading "{text}"', (text,), last[k][0] + 1))
    return pieces


def _by_phase(looks: Sequence[_Look], part: _Part, limit: int, glued: Mapping[int, str],
              crossing: Sequence[frozenset[str]]) -> list[_Part]:  # fmt: skip
    """A part divided by what its cells do, each step with the idle cells above it; else where few variables cross."""
    groups: list[tuple[int, str]] = []
    begin = part.first
    for k in range(part.first, part.end):
        look = looks[k]
        if look.idle:
            continue
        if not groups:
            groups.append((begin, look.phase))
        elif begin in glued:
            groups[-1] = (groups[-1][0], _foremost([groups[-1][1], look.phase]))
        elif look.phase not in ("", groups[-1][1]) and not look.light:
            groups.append((begin, look.phase))
        begin = k + 1
    if len(groups) < 2:
        return _by_flow(looks, part, limit, crossing)
    trains = next((i for i, (_, phase) in enumerate(groups) if phase in {"tune", "train"}), 0)
    parts = []
    for i, (first, phase) in enumerate(groups):
        end = groups[i + 1][0] if i + 1 < len(groups) else part.end
        title = "explore" if phase == "plot" and i < trains else phase or "prepare"
        parts.append(_Part(first, end, title, _PHASES[phase][1]))
    return _joined(looks, _fewer(looks, parts, limit, crossing), lambda a, b: a.title == b.title)


def _by_flow(looks: Sequence[_Look], part: _Part, limit: int, crossing: Sequence[frozenset[str]]) -> list[_Part]:
    """A part divided where fewest variables cross, if it is long."""
    busy = [k for k in range(part.first, part.end) if not looks[k].idle]
    phase = _phase_in(looks, part.first, part.end)
    if len(busy) < 8:
        return [replace(part, title=phase or "prepare", why=_PHASES[phase][1])]
    limit = max(2, min(limit, len(busy) // 5))
    apart = max(2, len(busy) // (2 * limit))
    chosen = [0]
    for i in sorted(range(apart, len(busy) - apart + 1), key=lambda i: (len(crossing[busy[i]]), i)):
        if len(chosen) < limit and all(abs(i - other) >= apart for other in chosen):
            chosen.append(i)
    starts = [busy[i - 1] + 1 if i else part.first for i in sorted(chosen)]
    pieces = []
    for first, end in zip(starts, [*starts[1:], part.end], strict=True):
        names = ", ".join(sorted(crossing[first])[:4])
        why = f"few variables cross into it: {names}" if names else "no variable crosses into it"
        pieces.append(_Part(first, end, phase, why))
    return pieces


def _fewer(looks: Sequence[_Look], parts: list[_Part], limit: int, crossing: Sequence[frozenset[str]]) -> list[_Part]:
    """At most so many parts: neighbours are merged that are small, alike, and share many variables."""
    while len(parts) > limit:
        costs = [_cost(looks, a, b, crossing) for a, b in zip(parts, parts[1:], strict=False)]
        parts = _merge_at(looks, parts, costs.index(min(costs)) + 1)
    return parts


def _cost(looks: Sequence[_Look], a: _Part, b: _Part, crossing: Sequence[frozenset[str]]) -> tuple[float, int]:
    """What merging two neighbours costs: less for small ones, less where much crosses from one to the other."""
    size = float(_busy(looks, a.first, a.end) + _busy(looks, b.first, b.end))
    size += 20 * any(look.seconds >= _EXPENSIVE for look in looks[a.first : b.end])
    alike = (a.title == b.title) * 2 + (b.title in {"plot", "evaluate", "explore"})
    return size - alike, -len(crossing[b.first])


def _merge_at(looks: Sequence[_Look], parts: list[_Part], i: int) -> list[_Part]:
    """The parts with the i-th merged into the one above it."""
    a, b = parts[i - 1], parts[i]

    def weight(part: _Part) -> tuple[float, int]:
        own = looks[part.first : part.end]
        return sum(look.seconds for look in own), sum(not look.light for look in own)

    heavier = b if weight(b) > weight(a) else a
    if bool(a.titles) != bool(b.titles):
        heavier = a if a.titles else b  # the author's words before ours
    elif {a.title, b.title} <= _PHASES.keys():
        heavier = a if _foremost([a.title, b.title]) == a.title else b
    merged = replace(heavier, first=a.first, end=b.end, titles=a.titles + b.titles)
    return [*parts[: i - 1], merged, *parts[i + 1 :]]


def _joined(looks: Sequence[_Look], parts: list[_Part], together: Callable[[_Part, _Part], object]) -> list[_Part]:
    """The parts with all neighbours merged that belong together."""
    i = 1
    while i < len(parts):
        if together(parts[i - 1], parts[i]):
            parts = _merge_at(looks, parts, i)
        else:
            i += 1
    return parts


def _absorbed(looks: Sequence[_Look], parts: list[_Part]) -> list[_Part]:
    """The parts without those that do too little for a step: they join the one that needs them, else the one above."""
    i = 0
    while i < len(parts) and len(parts) > 1:
        own = looks[parts[i].first : parts[i].end]
        if not all(look.light and look.seconds < 1 for look in own):
            i += 1
            continue
        makes = frozenset().union(*(look.effects.writes for look in own))
        below = looks[parts[i + 1].first : parts[i + 1].end] if i + 1 < len(parts) else []
        needed = all(look.idle for look in own) or any(makes & look.effects.reads for look in below)
        if i == 0 or (below and needed):
            parts[i : i + 2] = [replace(parts[i + 1], first=parts[i].first)]
        else:
            parts[i - 1 : i + 1] = [replace(parts[i - 1], end=parts[i].end)]
    return parts


def _isolated(looks: Sequence[_Look], part: _Part, glued: Mapping[int, str]) -> list[_Part]:
    """A part with its expensive cells and its gates in steps of their own.

    So a change around an expensive cell doesn't run it again, and a gate is not mistaken for the work that it checks.
    """
    dear = max(_EXPENSIVE, 0.2 * sum(look.seconds for look in looks))
    span = range(part.first, part.end)
    first = next((k for k in span if looks[k].seconds >= dear or looks[k].cell.has(Role.GATE)), None)
    if first is None:
        return [part]
    gate = looks[first].seconds < dear
    end = first + 1
    while first > part.first and (looks[first - 1].idle or first in glued):
        first -= 1
    while end < part.end and end in glued:
        end += 1
    if all(look.light for look in looks[part.first : first]):
        first = part.first
    if all(look.light for look in looks[end : part.end]):
        end = part.end
    what = "it is a gate" if gate else "it takes long"
    own = replace(part, first=first, end=end, why=f"{part.why}; {what}" if part.why else what)
    if first == part.first:
        pieces = [own]
    elif gate:
        pieces = [replace(part, end=first), replace(own, title="check", titles=(), why=what)]
    else:
        title = _phase_in(looks, part.first, first) or f"prepare {part.title}"
        pieces = [_Part(part.first, first, title, "what follows takes long"), own]
    if end < part.end:
        title = _phase_in(looks, end, part.end) or f"{part.title} results"
        why = "what it follows is a gate" if gate else "what it follows takes long"
        pieces += _isolated(looks, _Part(end, part.end, title, why), glued)
    return pieces


def _phase_in(looks: Sequence[_Look], first: int, end: int) -> str:
    return _foremost(look.phase for look in looks[first:end])


# -- names -------------------------------------------------------------------------------------------------------

_MARKUP = re.compile(r"<[^>]*>|!\[[^\]]*\]\([^)]*\)|\[([^\]]*)\]\([^)]*\)|\$[^$]*\$|[`*¶'’]|&\w+;|(?<!\w)_|_(?!\w)")
_NUMBERING = re.compile(
    r"\s*((step|part|section|chapter|task|stage)\s+)?(\d+(\.\d+)+\.?[):]?|\d+[.):]|\d+(?=\s)|[IVX]+[.)]|[A-Za-z][.)])(\s+[-–—:]|[:])?\s+"
    r"|(step|part|section|chapter|task|stage)\s+(\d+|[IVX]+)\s*[-–—:.]\s*",
    re.IGNORECASE,
)
_ARTICLES = frozenset("a an the".split())
_TRAILING = _ARTICLES | frozenset("and as at by for from in into is of on or our this to using via vs with".split())


def _plain(text: str) -> str:
    """A heading's text without markup."""
    return re.sub(r"\s+", " ", _MARKUP.sub(lambda m: m[1] or "", text)).strip()


def _name_of(title: str) -> str:
    """A valid step name made from a heading, or nothing if no letter of it can be part of one."""
    number = _NUMBERING.match(title)
    text = title[number.end() :].strip() or title if number else title
    text = re.sub(r"\b\w{12,}\b", lambda word: re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", word[0]), text)
    if len(slug(text)) > _LONGEST_NAME:
        clause = re.split(r"[:;(?!—–]| - ", text, maxsplit=1)[0].strip()
        text = clause if len(clause) > 7 else text
    name = slug(f"step {text}" if text[:1].isdigit() else text.replace("&", " and "))
    if name == "step" and "step" not in text.lower():
        return ""
    words = name.split("-")
    if len(name) > _LONGEST_NAME:
        words = [word for word in words if word not in _ARTICLES] or words
    while len("-".join(words)) > _LONGEST_NAME and len(words) > 1:
        words.pop()
    while len(words) > 1 and words[-1] in _TRAILING:
        words.pop()
    return "-".join(words)[:_LONGEST_NAME].strip("-")


def _names(looks: Sequence[_Look], parts: Sequence[_Part]) -> list[str]:
    """A name for each part, no two alike: one name in two places would be one step."""
    if len(parts) == 1:
        return ["main"]
    taken = {IMPLICIT}
    found = []
    for number, part in enumerate(parts, 1):
        own = [look for look in looks[part.first : part.end] if not look.idle]
        titles = [_name_of(title) for title in part.titles]
        base = _name_of(part.title) or _phase_in(looks, part.first, part.end) or f"step-{number}"
        if len(titles) == 2 and all(titles) and titles[0] != titles[1] and len("-and-".join(titles)) <= _LONGEST_NAME:
            base = "-and-".join(titles)
        if base in taken:
            base = next((name for look in own if (name := _comment(look.cell)) and name not in taken), base)
        name, count = base, 2
        while name in taken:
            name, count = f"{base}-{count}", count + 1
        taken.add(name)
        found.append(name)
    return found


def _comment(cell: Cell) -> str:
    """A name made from the comment that a cell begins with, if it reads like a title."""
    match = re.match(r"\s*#+\s*([A-Z][\w ,'&/-]{3,40}?)[.:\s-]*(\n|$)", cell.source)
    words = match[1].split() if match else []
    return (
        _name_of(match[1])
        if match and len(words) <= 6 and words[0] not in {"Author", "Authors", "License", "Copyright"}
        else ""
    )
