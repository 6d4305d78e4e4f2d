"""Gather public notebooks, written by others, on which to judge the compiler.

    python benchmarks/public_notebooks.py DEST [--limit N] [--cache FOLDER]

Downloads pinned source distributions with pip, takes the notebooks and the
sphinx-gallery example scripts that lie in them (the scripts turned into notebooks
the way sphinx-gallery does it: text blocks become Markdown cells), and writes
DEST/<distribution>/<name>.ipynb with the small data files named in its code, plus
DEST/index.json, which says where each came from. The result depends only on SOURCES.

Kept are notebooks with at least MIN_CODE_CELLS cells of code which, as far as their
text shows, neither reach the network nor want a person or a screen, and which import
only the standard library and KNOWN_MODULES, so that they have a chance to run
straight. Whether they do is for whoever executes them to see: that needs ipykernel
and the distributions of SOURCES installed, and for a few notebooks cvxpy, emcee, pytest
and rich too.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

# ------------------------------------------------------------------ what is gathered


@dataclass(frozen=True)
class Source:
    """A distribution, pinned, and the globs of its notebooks and example scripts."""

    distribution: str
    version: str
    globs: tuple[str, ...]


SOURCES = (
    Source("scikit-learn", "1.9.1", ("examples/**/plot_*.py",)),
    Source("statsmodels", "0.15.0", ("examples/notebooks/*.ipynb",)),
    Source(
        "matplotlib",
        "3.11.2",
        (
            "galleries/tutorials/*.py",
            "galleries/users_explain/**/*.py",
            "galleries/examples/**/*.py",
        ),
    ),
    Source("scikit-image", "0.26.0", ("doc/examples/**/plot_*.py",)),
    Source("imbalanced-learn", "0.14.2", ("examples/**/plot_*.py",)),
    Source("mapie", "1.6.0", ("examples/**/plot_*.py", "notebooks/**/*.ipynb")),
    Source("skrub", "0.11.0", ("skrub/_docs/examples/*.py", "skrub/_docs/examples/0*/*.py")),
    Source("lmfit", "1.3.4", ("examples/*.py", "examples/*.ipynb")),
    Source("seaborn", "0.13.2", ("doc/_tutorial/*.ipynb", "doc/_docstrings/*.ipynb")),
    Source("networkx", "3.6.1", ("examples/**/plot_*.py",)),
    Source("hmmlearn", "0.3.3", ("examples/plot_*.py",)),
    Source("tsfresh", "0.21.2", ("notebooks/**/*.ipynb",)),
    Source("river", "0.26.1", ("docs/**/*.ipynb",)),
    Source("sktime", "1.2.0", ("examples/**/*.ipynb",)),
    Source("dowhy", "0.14", ("docs/source/example_notebooks/**/*.ipynb",)),
    Source("hdbscan", "0.8.44", ("notebooks/*.ipynb", "examples/*.py")),
    Source("holoviews", "1.23.2", ("holoviews/examples/**/*.ipynb",)),
    Source("nilearn", "0.14.1", ("examples/**/plot_*.py",)),
    Source("xarray", "2026.9.0", ("doc/examples/*.ipynb", "doc/gallery/*.py")),
    Source("yellowbrick", "1.5", ("examples/*.ipynb",)),
    Source("arch", "8.0.0", ("examples/*.ipynb",)),
    Source("linearmodels", "7.1", ("examples/*.ipynb",)),
    Source("iminuit", "2.33.0", ("doc/notebooks/*.ipynb",)),
    Source("hist", "2.12.1", ("docs/**/*.ipynb",)),
    Source("scikit-survival", "0.28.0", ("doc/user_guide/*.ipynb",)),
    Source("mapclassify", "2.10.0", ("notebooks/*.ipynb",)),
    Source("libpysal", "4.14.1", ("docs/user-guide/**/*.ipynb",)),
    Source("pointpats", "2.5.5", ("notebooks/*.ipynb",)),
    Source("spreg", "1.9.0", ("notebooks/*.ipynb",)),
)

MIN_CODE_CELLS = 3
MAX_DATA_BYTES = 1_000_000
DATA_SUFFIXES = {".csv", ".dat", ".json", ".npy", ".npz", ".tsv", ".txt", ".xlsx"}

KNOWN_MODULES = {
    "IPython",
    "arch",
    "bokeh",
    "boost_histogram",
    "colorcet",
    "dask",
    "dowhy",
    "econml",
    "geopandas",
    "hdbscan",
    "hist",
    "hmmlearn",
    "holoviews",
    "hvplot",
    "imblearn",
    "iminuit",
    "joblib",
    "libpysal",
    "lightgbm",
    "linearmodels",
    "lmfit",
    "mapclassify",
    "mapie",
    "matplotlib",
    "mpl_toolkits",
    "networkx",
    "nilearn",
    "numba",
    "numba_stats",
    "numpy",
    "packaging",
    "pandas",
    "panel",
    "param",
    "patsy",
    "plotly",
    "pointpats",
    "river",
    "scipy",
    "seaborn",
    "shapely",
    "skimage",
    "sklearn",
    "skrub",
    "sksurv",
    "sktime",
    "spreg",
    "statsmodels",
    "sympy",
    "tqdm",
    "tsfresh",
    "xarray",
    "xgboost",
    "yellowbrick",
}

# Code that matches one of these asks for the network, a person, or a window.
UNFIT = re.compile(
    r"""
    \bfetch_\w+ | \bload_dataset\b | \bget_rdataset\b | \bget_dataset_names\b
    | \burllib\b | \brequests\b | \bhttp\b | ["']https?:// | \bdownload_\w+
    | ^[ \t]*[!%]{1,2}(?:pip|conda|wget|curl)\b
    | \binput\( | \bget_ipython\( | \bginput\( | \bmpl_connect\(
    | scipy\.datasets | matplotlib\.widgets | matplotlib\.use\(
    # scikit-image's pictures that are not in its wheel
    | \b(?:data\.|import\ )(?:brain|cells3d|eagle|human_mitosis|kidney|lily
        |nickel_solidification|palisades_of_vogt|protein_transport|skin
        |stereo_motorcycle|vortex|lfw_subset)\b
    """,
    re.VERBOSE | re.MULTILINE,
)


# ------------------------------------------------------------------ getting the source


def unpacked(source: Source, cache: Path) -> Path:
    """The folder with the distribution's unpacked source, downloaded if need be."""
    home = cache / f"{source.distribution}-{source.version}"
    tree = home / "tree"
    if not tree.is_dir():
        shutil.rmtree(home, ignore_errors=True)
        scratch = home / "scratch"
        scratch.mkdir(parents=True)
        shutil.move(_download(source, scratch), tree)
        shutil.rmtree(scratch)
    return tree


def _download(source: Source, scratch: Path) -> Path:
    """Let pip fetch the sdist and return the folder it was unpacked into.

    pip wants to build the metadata of what it downloads, which is slow or fails where
    a compiler or a build backend is missing. The source is all that is needed here, so
    pip builds without isolation and is told to leave its folders behind (--no-clean):
    if it gives up, the source lies unpacked in its temporary folder all the same.
    """
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--no-clean", "--no-binary", source.distribution),
        *("--dest", str(scratch), f"{source.distribution}=={source.version}"),
    ]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    for archive in scratch.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(scratch / "sdist", filter="data")
    for found in (*scratch.glob("sdist/*/PKG-INFO"), *scratch.glob("pip-*/*/PKG-INFO")):
        return found.parent
    raise RuntimeError(f"pip gave no source of {source.distribution}:\n{done.stderr}")


# ------------------------------------------------------------------ scripts to notebooks

_BLOCK_START = re.compile(r"^(?:#{20,}|# ?%%(?P<title>.*))\s*$")
_GALLERY_OPTION = re.compile(r"^\s*# sphinx_gallery_\w+.*\n?", re.MULTILINE)


def notebook_from_script(text: str) -> nbformat.NotebookNode:
    """A sphinx-gallery script as a notebook; raises ValueError if it is none."""
    module = ast.parse(text)
    docstring = ast.get_docstring(module)
    if docstring is None:
        raise ValueError("no docstring")
    to_markdown = markdown_converter()
    cells = [new_markdown_cell(to_markdown(docstring))]
    rest = text.splitlines()[module.body[0].end_lineno :]
    for is_text, lines in _blocks(rest):
        if is_text:
            body = to_markdown("\n".join(lines))
            if body:
                cells.append(new_markdown_cell(body))
        else:
            body = _GALLERY_OPTION.sub("", "\n".join(lines)).strip()
            if body:
                cells.append(new_code_cell(body))
    return new_notebook(cells=cells)


def _blocks(lines: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """The script's blocks in order, as (is it text, its lines)."""
    code: list[str] = []
    position = 0
    while position < len(lines):
        start = _BLOCK_START.match(lines[position])
        position += 1
        if start is None:
            code.append(lines[position - 1])
            continue
        yield False, code
        code = []
        words = [(start["title"] or "").strip()]
        while position < len(lines) and lines[position].startswith("#"):
            if _BLOCK_START.match(lines[position]):
                break
            words.append(re.sub(r"^# ?", "", lines[position]))
            position += 1
        yield True, words
    yield False, code


_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_DROPPED_DIRECTIVE = re.compile(
    r"^\.\. (?:_[^:]*:|contents::|currentmodule::|redirect-from::|tags::|only::|rubric::"
    r"|[^:]*\|)"
)
_INLINE = (
    (re.compile(r":math:`([^`]+)`"), r"$\1$"),
    (re.compile(r":[\w:+-]+:`([^`<]+?)\s*<[^`>]+>`"), r"`\1`"),
    (re.compile(r":[\w:+-]+:`[~!]?([^`]+)`"), r"`\1`"),
    (re.compile(r"`([^`<]+?)\s*<(https?://[^`>]+)>`__?"), r"[\1](\2)"),
    (re.compile(r"``([^`]+)``"), r"`\1`"),
    (re.compile(r"`([^`]+)`__?"), r"\1"),
)


def markdown_converter() -> Callable[[str], str]:
    """A function from ReST to Markdown, good enough for the text of examples.

    It remembers which underlines it met: their order tells a heading's level.
    """
    styles: list[str] = []

    def heading(title: str, style: str) -> str:
        if style not in styles:
            styles.append(style)
        return "#" * min(styles.index(style) + 1, 6) + " " + title.strip()

    def convert(text: str) -> str:
        lines = text.strip("\n").splitlines()
        result: list[str] = []
        position = 0
        while position < len(lines):
            line, after = lines[position], lines[position + 1 : position + 3]
            over = _UNDERLINE.match(line)
            under = _UNDERLINE.match(after[0]) if after else None
            if over and len(after) == 2 and after[0].strip() and after[1].strip() == line.strip():
                result += [heading(after[0], over[1] + " over"), ""]
                position += 3
            elif line.strip() and not over and under and not line.startswith((" ", "..")):
                result += [heading(line, under[1]), ""]
                position += 2
            elif line.startswith(".. math::"):
                formula, position = _indented(lines, position + 1)
                result += ["$$", line[len(".. math::") :].strip(), *formula, "$$", ""]
            elif _DROPPED_DIRECTIVE.match(line):
                _, position = _indented(lines, position + 1)
            else:
                result.append(line)
                position += 1
        body = "\n".join(result)
        for pattern, replacement in _INLINE:
            body = pattern.sub(replacement, body)
        return re.sub(r"\n{3,}", "\n\n", body).strip()

    return convert


def _indented(lines: list[str], start: int) -> tuple[list[str], int]:
    """The indented or blank lines from `start` on, stripped, and where they end."""
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    return [line.strip() for line in lines[start:end] if line.strip()], end


# ------------------------------------------------------------------ choosing


def code_cells(notebook: nbformat.NotebookNode) -> list[str]:
    """The sources of the notebook's code cells, in order."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def without_comments(code: str) -> str:
    """The code less its comments; as it is where it cannot be tokenized (magics)."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return code
    lines = code.splitlines()
    for token in tokens:
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(lines)


def imported_modules(cell: str) -> set[str]:
    """The top-level modules that a cell imports, wherever it does so.

    A cell in another language (%%javascript) imports none. Otherwise lines with a magic,
    a shell command or a question count as absent; what is still not Python without them
    raises SyntaxError.
    """
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        if re.match(r"\s*%%(?!time|timeit|capture)", cell):
            return set()
        tree = ast.parse(re.sub(r"^\s*(?:[%!?].*|.*\?)$", "", cell, flags=re.MULTILINE))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def is_fit(notebook: nbformat.NotebookNode) -> bool:
    """Whether it has enough cells and nothing in it that cannot run here."""
    cells = [without_comments(cell) for cell in code_cells(notebook)]
    try:
        modules = {name for cell in cells for name in imported_modules(cell)}
    except SyntaxError:
        return False
    return (
        sum(bool(cell.strip()) for cell in cells) >= MIN_CODE_CELLS
        and not UNFIT.search("\n".join(cells))
        and modules <= KNOWN_MODULES | sys.stdlib_module_names
    )


# ------------------------------------------------------------------ writing


def load(path: Path) -> nbformat.NotebookNode | None:
    """The notebook at or made from `path`, without outputs; None if it is none."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            notebook = notebook_from_script(text)
        else:
            notebook = nbformat.from_dict(json.loads(text))
    except (ValueError, SyntaxError):
        return None
    if notebook.get("nbformat") != 4:
        return None
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.source = "".join(cell.source)  # a string, or a list of lines
        cell.id = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def candidates(source: Source, tree: Path) -> Iterator[Path]:
    """The files that the source's globs match, each once, in a fixed order."""
    for glob in source.globs:
        # "sgskip" marks what its authors do not have the gallery run
        yield from sorted(p for p in tree.glob(glob) if "sgskip" not in p.name)


def gather(source: Source, tree: Path, target: Path, limit: int | None) -> list[dict[str, object]]:
    """Write the source's fit notebooks below `target`; return their index entries."""
    entries: list[dict[str, object]] = []
    taken: set[str] = set()
    seen: set[str] = set()
    for path in candidates(source, tree):
        if limit is not None and len(entries) >= limit:
            break
        notebook = load(path)
        if notebook is None or not is_fit(notebook):
            continue
        code = "\n".join(code_cells(notebook))
        if code in seen:
            continue
        name = path.stem if path.stem not in taken else f"{path.parent.name}_{path.stem}"
        seen.add(code)
        taken.add(name)
        target.mkdir(parents=True, exist_ok=True)
        written = target / f"{name}.ipynb"
        nbformat.write(notebook, written)
        for data in sorted(path.parent.iterdir()):
            if data.suffix in DATA_SUFFIXES and data.name in code and data.stat().st_size <= MAX_DATA_BYTES:
                shutil.copy(data, target)
        kinds = Counter(cell.cell_type for cell in notebook.cells)
        entries.append(
            {
                "path": f"{source.distribution}/{written.name}",
                "version": source.version,
                "origin": path.relative_to(tree).as_posix(),
                "code_cells": kinds["code"],
                "markdown_cells": kinds["markdown"],
                "headings": sum(
                    len(re.findall(r"^#{1,6} ", cell.source, re.MULTILINE))
                    for cell in notebook.cells
                    if cell.cell_type == "markdown"
                ),
            }
        )
    return entries


def main() -> int:
    """Gather the notebooks of every source; return 1 if some source was not had."""
    default_cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    parser = argparse.ArgumentParser(description="Gather public notebooks to compile.")
    parser.add_argument("dest", type=Path, help="folder to write them to")
    parser.add_argument("--limit", type=int, help="at most so many of each distribution")
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache / "mlops-lab" / "public-notebooks",
        help="folder to keep the unpacked sources in (default: %(default)s)",
    )
    options = parser.parse_args()
    index: list[dict[str, object]] = []
    missing = 0
    for source in SOURCES:
        try:
            tree = unpacked(source, options.cache)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            missing += 1
            continue
        entries = gather(source, tree, options.dest / source.distribution, options.limit)
        print(f"{source.distribution:18} {len(entries):4} notebooks")
        index += entries
    options.dest.mkdir(parents=True, exist_ok=True)
    (options.dest / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    print(f"{'in all':18} {len(index):4} notebooks")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
