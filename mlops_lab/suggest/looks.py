"""What each cell is to a proposal: its effects, the headings above it, its cost, its phase (load, split, train, ...)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops_lab.effects import Effects, Survey, effects_of
from mlops_lab.mutation import own_nodes
from mlops_lab.notebook import Cell, Notebook
from mlops_lab.prelude import items_in
from mlops_lab.roles import Role


@dataclass(frozen=True)
class Heading:
    """A heading of a Markdown cell; `level` 1 is the highest."""

    level: int
    text: str


@dataclass(frozen=True)
class Look:
    """One cell that will be part of a step. `headings` stand between the code cell above and this one.

    An `idle` cell only imports, defines and configures; a `light` one, at most, makes some objects or shows some.
    """

    cell: Cell
    effects: Effects
    headings: tuple[Heading, ...]
    seconds: float
    idle: bool
    light: bool
    phase: str


def look_at(notebook: Notebook, cells: Sequence[Cell], known: Survey) -> list[Look]:
    """The looks of these cells, in notebook order."""
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
        looks.append(Look(cell, effects, headings, seconds, idle, light, "" if idle else _phase_of(cell)))
    return looks


_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*")

_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*")

_HTML = re.compile(r"<h([1-6])\b[^>]*>(.*?)</h\1>", re.IGNORECASE | re.DOTALL)

_NO_PARAGRAPH = re.compile(r"\s*$|\s*([-*+>|#]|\d+[.)])(\s|$)|.*\|")


def _headings(markdown: str) -> Iterator[Heading]:
    """The headings of a Markdown cell: `# like this`, underlined ones, and HTML's."""
    if found := _HTML.findall(markdown):
        yield from (Heading(int(level), text) for level, text in found)
        return
    fence, before, last = "", "", ""
    for line in markdown.splitlines():
        opening = re.match(r" {0,3}(```|~~~)", line)
        if opening and (not fence or fence == opening[1]):
            fence = "" if fence else opening[1]
        elif fence:
            pass
        elif match := _ATX.fullmatch(line):
            yield Heading(len(match[1]), match[2])
            line = ""
        elif (match := _SETEXT.fullmatch(line)) and not before.strip() and not _NO_PARAGRAPH.match(last):
            yield Heading(1 if match[1][0] == "=" else 2, last)
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
    return process_setting(statement) or (bool(configuring) and ast.unparse(statement) in configuring)


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
        if isinstance(node, ast.Call) and (name := called(node)) not in names:
            made = name[:1].isupper() or name in {"make_pipeline", "make_column_transformer"}
            if not (makers and made):
                return False
    return True


def called(call: ast.Call) -> str:
    """The last part of the name of what a call calls."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


# Phase -> (the calls that tell it, what to say of a cell that makes one), in order of precedence: a cell that fits and plots
# trains. `fit` of what prepares data is told apart by its receiver.
PHASES = {
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

_CALLS = {phase: re.compile(calls) for phase, (calls, _) in PHASES.items()}

_PREPARERS = re.compile(r"scal|encod|vector|imput|binariz|transform|normaliz|tokeni|pca", re.IGNORECASE)


def _phase_of(cell: Cell) -> str:
    """What a cell does, by the calls that it makes; an empty text if they don't tell."""
    found = set()
    for node in own_nodes(cell.tree):
        if isinstance(node, ast.Call):
            name = called(node)
            if name == "fit" and isinstance(node.func, ast.Attribute) and _PREPARERS.search(ast.unparse(node.func.value)):
                name = "fit_transform"
            found |= {phase for phase, calls in _CALLS.items() if name and calls.fullmatch(name)}
    return foremost(found)


def foremost(phases: Iterable[str]) -> str:
    """The phase among these that says most of what a step does."""
    phases = set(phases)
    return next((phase for phase in PHASES if phase in phases), "")


PROCESS_SETTING = re.compile(
    r"(.*\.)?output_notebook|(hv|pn|gv|holoviews|panel|geoviews)\.extension|mlflow\.(set_experiment|set_tracking_uri|(\w+\.)?autolog)|"
    r"nest_asyncio\.apply|logging\.config\.dictConfig|sys\.setrecursionlimit"
)


def process_setting(statement: ast.stmt) -> bool:
    """True for a call that sets up its process and that steps do not replay by themselves."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and bool(PROCESS_SETTING.fullmatch(ast.unparse(call.func)))


_MARKUP = re.compile(r"<[^>]*>|!\[[^\]]*\]\([^)]*\)|\[([^\]]*)\]\([^)]*\)|\$[^$]*\$|[`*¶'’]|&\w+;|(?<!\w)_|_(?!\w)")


def plain_words(text: str) -> str:
    """A heading's text without markup."""
    return re.sub(r"\s+", " ", _MARKUP.sub(lambda m: m[1] or "", text)).strip()
