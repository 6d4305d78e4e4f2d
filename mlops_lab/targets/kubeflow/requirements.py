"""What a step's container has to have installed: what the notebook imports and what the runtime needs, as pinned here.

Data comes from the plan and from the environment of the notebook's kernel.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from mlops_lab.errors import MlopsLabError
from mlops_lab.magic_effects import run_files
from mlops_lab.notebook import Notebook, read
from mlops_lab.packages import imported_roots
from mlops_lab.plan import Plan
from mlops_lab.syntax import line_magic, parse
from mlops_lab.targets.kubeflow import installed

RUNTIME = ("cloudpickle", "ipykernel", "nbclient", "nbconvert", "papermill")
# What pandas and others only import once it is asked for: called name, or text, in the code -> module.
_ASKED_FOR = {
    "plot": "matplotlib", "hist": "matplotlib", "boxplot": "matplotlib", "background_gradient": "matplotlib",
    "read_sql": "sqlalchemy", "read_sql_query": "sqlalchemy", "read_sql_table": "sqlalchemy", "to_sql": "sqlalchemy",
    "spearman": "scipy", "kendall": "scipy", "read_xml": "lxml", "to_xarray": "xarray", "read_orc": "pyarrow",
    "read_parquet": "pyarrow", "to_parquet": "pyarrow", "read_feather": "pyarrow", "to_feather": "pyarrow",
    "read_excel": "openpyxl", "to_excel": "openpyxl", "read_html": "lxml", "to_markdown": "tabulate", "read_hdf": "tables",
    "to_hdf": "tables",
}  # fmt: skip
_ADDRESSES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
}
# What a module takes where it is installed, so that its results, to their types or their last digits, depend on it.
_TAKEN_IF_THERE = {"pandas": ("bottleneck", "numexpr", "pyarrow"), "xarray": ("bottleneck", "dask")}


def normalised(requirement: str) -> str:
    """The distribution's name of a requirement, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[=<>!~;@]", requirement.strip(), maxsplit=1)[0]).lower()


def local_modules(notebook: Notebook, trees: Iterable[ast.AST]) -> dict[str, Path]:
    """Relative path -> file of the modules beside the notebook that some code imports, and of those that they import.

    So are modules in a folder below the notebook which the code puts into `sys.path`, and what it runs by `%run`.
    """
    found: dict[str, Path] = {}
    todo = list(trees)
    folders = [notebook.folder, *_folders_of_modules(notebook.folder, todo)]
    while todo:
        tree = todo.pop()
        scripts = [path for path in _scripts(notebook.folder, tree) if path.is_file()]
        folders += [path.parent for path in scripts if path.parent not in folders]  # where their own modules lie
        modules = [next(filter(None, (_files_of(folder, name) for folder in folders)), []) for name in sorted(needed([tree]))]
        for path in (*scripts, *(path for files in modules for path in files)):
            relative = path.relative_to(notebook.folder).as_posix()
            if relative not in found:
                found[relative] = path
                todo += _parsed(path)
    return found


def needed(trees: Iterable[ast.AST]) -> frozenset[str]:
    """The modules at the top that code imports, by statements, by calls that name them, and as extensions of IPython."""
    trees = list(trees)
    named = {name.partition(".")[0] for tree in trees for node in ast.walk(tree) if (name := _named_import(node))}
    return imported_roots(trees) | {name for name in named if name not in sys.stdlib_module_names}


def _named_import(node: ast.AST) -> str:
    """The module that a call imports by its name: `import_module("a.b")`, `%load_ext a`, `%run -m a`."""
    if magic := line_magic(node):
        name, text = magic
        words = text.split()
        if name == "load_ext" and len(words) == 1:
            return words[0] if words[0] not in _EXTENSIONS else ""
        module = re.search(r"(?<!\S)-m\s*([\w.]+)", text) if name == "run" else None
        return module[1] if module else ""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = node.args[0].value
        if called in {"import_module", "__import__"} and isinstance(given, str) and re.fullmatch(r"\w+(\.\w+)*", given):
            return given
    return ""


_EXTENSIONS = {"autoreload", "storemagic", "mlops_lab"}  # IPython's own, and ours


def _scripts(folder: Path, tree: ast.AST) -> Iterator[Path]:
    """What code runs by `%run`, where it lies below a folder."""
    for magic in filter(None, map(line_magic, ast.walk(tree))):
        for text in run_files(magic[1]) if magic[0] == "run" else ():
            path = Path(os.path.normpath(folder / text))
            if path.is_relative_to(folder):
                yield path


def named_by_modules(folder: Path, modules: Iterable[Path]) -> dict[str, Path]:
    """Relative path -> file below a folder, of the files whose relative path stands as a text in one of these modules."""
    texts = {
        node.value
        for module in modules
        for tree in _parsed(module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[^\n*/~][^\n*]{0,199}", node.value)
    }
    paths = {os.path.normpath(text): folder / os.path.normpath(text) for text in texts}
    return {name: path for name, path in sorted(paths.items()) if not name.startswith("..") and path.is_file()}


def _folders_of_modules(folder: Path, trees: Iterable[ast.AST]) -> list[Path]:
    """The folders below the notebook's that some text of the code names, where it touches `sys.path`."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    if not any(isinstance(n, ast.Attribute) and n.attr == "path" and isinstance(n.value, ast.Name) and n.value.id == "sys"
               for n in nodes):  # fmt: skip
        return []
    texts = {
        node.value.removeprefix("./").rstrip("/")
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = sorted(
        text for text in texts if text not in {"", "."} and "\n" not in text and not text.startswith(("/", "..", "~"))
    )
    return [folder / text for text in named if len(text) < 200 and (folder / text).is_dir()]


def _files_of(folder: Path, name: str) -> list[Path]:
    if (folder / f"{name}.py").is_file():
        return [folder / f"{name}.py"]
    package = folder / name
    if not package.is_dir() or name.startswith("."):
        return []
    return sorted(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc")


def _parsed(path: Path) -> list[ast.AST]:
    """The code of a module, or of a script or a notebook that is run."""
    try:
        if path.suffix == ".py":
            return [ast.parse(path.read_text(encoding="utf-8"))]
        if path.suffix == ".ipy":
            return [parse(path.read_text(encoding="utf-8"))[0]]
        return [cell.tree for cell in read(path).cells] if path.suffix == ".ipynb" else []
    except (OSError, SyntaxError, ValueError, MlopsLabError):
        return []


def requirements(plan: Plan) -> tuple[str, ...]:
    """The pinned requirements, sorted; what the notebook's settings ask for takes the place of a pin."""
    trees = pipeline_trees(plan)
    trees += [tree for path in local_modules(plan.pipeline.notebook, trees).values() for tree in _parsed(path)]
    roots = needed(trees)
    found = installed.of_kernel(plan.pipeline.notebook.kernel_name, roots | _asked_for(trees, roots) | frozenset(RUNTIME))
    pins = {normalised(module.distribution): module.pin for module in found.values() if module.distribution}
    for name in RUNTIME:
        pins.setdefault(name, f"{name}=={metadata.version(name)}")
    pins |= {normalised(text): text for text in plan.pipeline.notebook.settings.requirements}
    pins.pop("kfp", None)  # KFP's own command installs it
    return tuple(pins[name] for name in sorted(pins))


def pipeline_trees(plan: Plan) -> list[ast.AST]:
    """The code of all cells that are part of the pipeline."""
    return [cell.tree for cell in plan.cells]


def _asked_for(trees: Iterable[ast.AST], roots: Collection[str]) -> frozenset[str]:
    """What imported modules may import themselves for what the code asks of them."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute)} | texts
    wanted = {module for name, module in _ASKED_FOR.items() if name in asked} if roots else set()
    wanted |= {_ADDRESSES[scheme] for text in texts if (scheme := text.partition("://")[0]) != text and scheme in _ADDRESSES}
    wanted.update(*(_TAKEN_IF_THERE.get(root, ()) for root in roots))
    return frozenset(wanted)


@lru_cache
def python_version(kernel: str) -> str:
    """`3.11`: the version of the kernel's interpreter, which cloudpickle needs to be the same in every step."""
    python = installed.python_of(kernel)
    if python != sys.executable:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    return f"{sys.version_info.major}.{sys.version_info.minor}"
