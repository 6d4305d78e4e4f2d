"""What a step replays of the cells above it: imports, configuration, setup cells.

Modules are never passed between steps as values; the statement that imported them runs again where they are needed.
Configuration that lives outside variables (plot styles, display options, warnings) is replayed too when its text needs
nothing but imports and literals; any other is carried by the runtime (`runtime/ambient.py`).
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from mlops_lab.facts import facts_of
from mlops_lab.notebook import Cell
from mlops_lab.roles import Role
from mlops_lab.scopes import kinds, once, statement_names
from mlops_lab.syntax import ipython_call

# Calls that only configure, by the end of their dotted name. Seeds are not here: the state of the generators is passed
# on by the runtime, since replaying a seed would repeat draws.
_CONFIGURES = frozenset((
    "style.use", "rcParams.update", "plt.rc", "matplotlib.rc", "mpl.rc", "rcdefaults", "matplotlib.use", "mpl.use",
    "set_matplotlib_formats", "sns.set", "seaborn.set", "set_theme", "set_style", "set_context", "set_palette",
    "set_option", "reset_option", "set_printoptions", "np.seterr", "filterwarnings", "simplefilter",
    "logging.basicConfig", "setLevel", "logging.disable", "environ.update", "environ.setdefault", "environ.pop",
    "path.append", "path.insert", "path.extend", "set_default_dtype", "set_num_threads", "set_config", "setlocale",
    "register_matplotlib_converters", "init_notebook_mode", "tqdm.pandas", "pandarallel.initialize",
    "data_transformers.enable",
    "data_transformers.disable_max_rows", "renderers.enable", "set_loglevel", "enable_notebook", "use_deterministic_algorithms",
    "set_tbl_rows", "set_verbosity", "set_verbosity_error", "disable_warnings", "set_float_precision", "patch_sklearn",
    "init_printing", "init_vprinting", "mechanics_printing", "init_session", "colormaps.register", "register_cmap",
    # What makes libraries show their objects in a notebook, and how.
    "hv.extension", "holoviews.extension", "hv.notebook_extension", "hv.output", "hvplot.extension", "gv.extension",
    "pn.extension", "panel.extension", "opts.defaults", "output_notebook", "theme.enable", "themes.enable", "initjs",
    "set_embed_options", "go_offline", "setup_html", "set_jupyter_backend", "set_plot_theme", "xr.set_options",
    "xarray.set_options", "dask.config.set", "config.update", "nest_asyncio.apply", "disable_progress_bar",
    "set_host_device_count", "enable_x64", "pretty.install", "traceback.install",
    "set_enabled_equivalencies", "add_enabled_equivalencies", "set_enabled_units", "add_enabled_units", "default_cosmology.set",
    "ct.set_defaults", "control.set_defaults", "use_fbs_defaults", "use_matlab_defaults", "use_numpy_matrix",
    "mlflow.set_tracking_uri", "mlflow.set_registry_uri", "mlflow.set_experiment", "autolog",
))  # fmt: skip
_OF_STARS = frozenset(name for name in _CONFIGURES if name.isidentifier())
_CHANGE_LISTS = frozenset({"append", "insert", "extend", "remove", "pop", "clear"})
_LONGEST = max(name.count(".") + 1 for name in _CONFIGURES)
_CONFIGURING_MAGICS = frozenset(
    "matplotlib config load_ext reload_ext autoreload precision pylab xmode colors env set_env".split()
)


@dataclass(frozen=True)
class Item:
    """A statement to replay: where it stands, its code, the names it binds (`*` for a star import) and needs.

    `roots` are the top-level modules that an import statement names.
    """

    cell: Cell
    code: str
    binds: frozenset[str]
    needs: frozenset[str]
    is_import: bool
    roots: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Candidate:
    """What an `Item` is made of, whatever its cell is called; kept on the cell's tree."""

    statement: ast.stmt
    binds: frozenset[str]
    needs: frozenset[str]
    is_import: bool


def items_in(cell: Cell) -> list[Item]:
    """The statements of one cell that later steps replay."""
    return [_item(cell, found) for found in _candidates(cell.tree)]


def replayable_in(cell: Cell, imported: frozenset[str]) -> list[Item]:
    """Those of them that need nothing but imported names (and builtins), so that they mean the same anywhere."""
    return [_item(cell, found) for found in _candidates(cell.tree) if is_replayable(found, imported)]


def moves_path(cell: Cell, imported: frozenset[str]) -> bool:
    """True if it may change where modules are looked for by other means than a statement that is replayed."""
    if "sys" not in facts_of(cell.tree).words:
        return False
    replayed = {id(found.statement) for found in _candidates(cell.tree) if is_replayable(found, imported)}
    return any(id(statement) not in replayed and _moves_path(statement) for statement in cell.tree.body)


@once
def _moves_path(tree: ast.AST) -> bool:
    found = kinds(tree)
    for node in found.get(ast.Attribute, ()):
        is_loaded = isinstance(node.ctx, ast.Load)
        if (is_loaded and node.attr in _CHANGE_LISTS and _is_path(node.value)) or (not is_loaded and _is_path(node)):
            return True
    return any(_is_path(node.value) and not isinstance(node.ctx, ast.Load) for node in found.get(ast.Subscript, ()))


def _is_path(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute) and node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys"
    )


@once
def _candidates(tree: ast.AST) -> list[_Candidate]:
    found = []
    for statement in tree.body:  # type: ignore[attr-defined]
        imports = _is_import(statement)
        if imports or _is_configuration(statement):
            loads, stores = statement_names(statement)
            if any(alias.name == "*" for n in kinds(statement).get(ast.ImportFrom, ()) for alias in n.names):
                stores = stores | {"*"}
            found.append(_Candidate(statement, frozenset(stores), frozenset(loads - stores), imports))
    return found


def _item(cell: Cell, found: _Candidate) -> Item:
    kept: Item | None = found.__dict__.get("_item")
    if kept and kept.cell is cell:
        return kept
    item = Item(cell, _code(found.statement), found.binds, found.needs, found.is_import, roots_in(found.statement))
    found.__dict__["_item"] = item
    return item


@once
def _code(statement: ast.AST) -> str:
    return ast.unparse(statement)


def imports_in(cells: Iterable[Cell]) -> dict[str, list[str]]:
    """Name -> the import statements in these cells that bind it."""
    found: dict[str, list[str]] = {}
    for item in (item for cell in cells for item in items_in(cell) if item.is_import):
        for name in item.binds - {"*"}:
            found.setdefault(name, []).append(item.code)
    return found


def import_names(cells: Iterable[Cell]) -> frozenset[str]:
    """Names that only import statements bind, anywhere in these cells: they are replayed and never passed as values."""
    found = [_bound_in(cell.tree) for cell in cells]
    return frozenset().union(*(imported for imported, _ in found)).difference(*(otherwise for _, otherwise in found))


@once
def _bound_in(tree: ast.AST) -> tuple[frozenset[str], frozenset[str]]:
    """The names that import statements bind, and those that anything else does."""
    imported: set[str] = set()
    otherwise: set[str] = set()
    for statement in tree.body:  # type: ignore[attr-defined]
        if _is_import(statement):
            imported |= statement_names(statement)[1]
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                imported |= _OF_STARS  # one of these that nothing else binds has come with it
        else:
            otherwise |= statement_names(statement)[1]
            otherwise |= {name for n in kinds(statement).get(ast.Global, ()) for name in n.names}
    return frozenset(imported), frozenset(otherwise)


def replay(items: Iterable[Item], needed: frozenset[str], read_anywhere: frozenset[str], own: Iterable[Cell]) -> list[Item]:
    """Those of the earlier items that a step needs, in notebook order; `own` are the step's cells.

    An import that binds a name which nothing in the notebook reads is there for its effect, and always replayed.
    """
    items = list(items)
    chosen: set[int] = set()
    wanted = set(needed)
    root_of = {name: item.roots for item in items for name in item.binds}
    modules = set().union(*(roots_in(cell.tree) for cell in own))
    while items:
        before = len(chosen)
        for position, item in enumerate(items):
            if position in chosen:
                continue
            if item.is_import:
                take = bool(item.binds & (wanted | {"*"})) or not (item.binds & read_anywhere)
            else:
                # Configuration follows the modules that it configures: nobody imports matplotlib to set its style.
                configured = _configured(item, {root for name in item.needs for root in root_of.get(name, ())})
                cheap = configured <= _FOR_ALL  # `warnings`, `logging`, `os`, ...
                take = cheap or bool(_family(configured) & modules) or bool(item.needs & wanted & root_of.keys())
            if take:
                chosen.add(position)
                wanted |= item.needs
                modules |= item.roots
        if len(chosen) == before:
            break
    return [items[position] for position in sorted(chosen)]


def left_over(items: Iterable[Item], chosen: Iterable[Item]) -> list[tuple[list[str], str]]:
    """(modules, code) of the configuration that a step does not replay by itself, as its text names no such module.

    It is run after all where one of the modules turns out to be loaded; the code brings its own imports.
    """
    items = list(items)
    taken = {id(item) for item in chosen}
    found = []
    for item in items:
        if item.is_import or id(item) in taken:
            continue
        imports = [i for i in items if i.is_import and i.binds & item.needs]
        roots = _family(_configured(item, {root for i in imports for root in i.roots}))
        found.append((sorted(roots), "\n".join([*(i.code for i in imports), item.code])))
    return found


@once
def roots_in(code: ast.AST) -> frozenset[str]:
    """The top-level modules that a cell or a statement imports, or would import if the functions in it are called."""
    if isinstance(code, ast.Module):
        may = code.body
        if _IMPORTERS.isdisjoint(facts_of(code).words):
            may = [statement for statement in may if not _IMPORTS.isdisjoint(kinds(statement))]
        return frozenset().union(*map(roots_in, may))
    nodes = kinds(code)
    found = {alias.name.partition(".")[0] for node in nodes.get(ast.Import, ()) for alias in node.names}
    found |= {node.module.partition(".")[0] for node in nodes.get(ast.ImportFrom, ()) if node.module}
    for node in nodes.get(ast.Call, ()):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if (
            called in _IMPORTERS
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            found.add(node.args[0].value.partition(".")[0])
    return frozenset(found - {""}) if found else _NONE


_IMPORTS = frozenset({ast.Import, ast.ImportFrom})
_NONE: frozenset[str] = frozenset()
# Modules whose settings matter to code that doesn't name them: Python's own, and those that change Python or IPython.
_FOR_ALL = sys.stdlib_module_names | {"rich", "nest_asyncio"}
_IMPORTERS = frozenset({"import_module", "__import__"})
_PLOTTING = frozenset({"matplotlib", "seaborn", "pylab", "mpl_toolkits"})  # they share matplotlib's settings


_LOGGED = frozenset("sklearn xgboost lightgbm catboost keras tensorflow torch lightning pytorch_lightning statsmodels fastai "
                    "prophet paddle pyspark transformers openai langchain anthropic dspy llama_index".split())  # fmt: skip


# What some calls configure besides the module that they name: they put methods into it, or replace its classes.
_CONFIGURED_BY = {
    "autolog(": _LOGGED, ".pandas(": {"pandas"}, "pandarallel.initialize(": {"pandas"}, "patch_sklearn(": {"sklearn"},
    "init_notebook_mode(": {"pandas", "polars"}, "register_matplotlib_converters(": {"matplotlib"},
}  # fmt: skip


def _configured(item: Item, roots: set[str]) -> set[str]:
    """The modules that a statement configures: those that it names, and those that it is known to change."""
    return roots.union(*(others for call, others in _CONFIGURED_BY.items() if call in item.code))


def _family(roots: set[str]) -> set[str]:
    return roots | _PLOTTING if roots & _PLOTTING else roots


def _is_import(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, ast.Try):
        # `try: import ujson as json / except ImportError: import json`
        inner = [*statement.body, *statement.orelse, *statement.finalbody, *(s for h in statement.handlers for s in h.body)]
        return any(_is_import(s) for s in statement.body) and all(
            _is_import(s)
            or isinstance(s, ast.Pass)
            or (isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant) and isinstance(s.targets[0], ast.Name))
            for s in inner
        )
    return False


def _is_configuration(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        magic = ipython_call(statement.value)
        if magic:
            return magic[0] == "run_line_magic" and bool(magic[1]) and magic[1][0] in _CONFIGURING_MAGICS
        name = _dotted(statement.value.func)
        if name.endswith("basicConfig") and {k.arg for k in statement.value.keywords} & {"filename", "handlers"}:
            return False  # again, it would begin the log file anew; the runtime passes the handlers on
        words = name.split(".")
        return any(".".join(words[-count:]) in _CONFIGURES for count in range(1, _LONGEST + 1))
    if isinstance(statement, ast.Assign):
        # `plt.rcParams["figure.dpi"] = 120`, `pd.options.display.max_rows = 8`, `os.environ["X"] = "1"`
        return all(isinstance(t, (ast.Attribute, ast.Subscript)) and _dotted(t) not in _STREAMS for t in statement.targets)
    return False


_STREAMS = {"sys.stdin", "sys.stdout", "sys.stderr"}  # what is put in their place comes from somewhere, and is taken away again


def _dotted(node: ast.AST) -> str:
    """The end of a called name, as far as it is made of attributes: `plt.style.use`."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "", *names])


def is_replayable(item: Item | _Candidate, imported: frozenset[str]) -> bool:
    """True if the statement needs nothing but imported names (and builtins), so that it means the same anywhere."""
    return all(name in imported or hasattr(builtins, name) or name == "get_ipython" for name in item.needs) and (
        item.is_import or "get_ipython" in item.needs or bool(item.needs & imported)
    )


def setup_before(cells: Iterable[Cell], number: int) -> list[Cell]:
    """The setup cells that stand above a cell."""
    return [c for c in cells if c.number < number and (c.has(Role.SETUP) or c.has(Role.IMPORTS))]
