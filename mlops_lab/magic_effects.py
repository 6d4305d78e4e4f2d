"""What IPython's magics and shell commands do to the namespace and to files, as far as their text says.

Those that run Python were opened up by `syntax.py`; `effects.py` asks here about all others. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlops_lab.files import UNKNOWN, tidy
from mlops_lab.texts import IDENTIFIER

_CONFIGURES = frozenset(
    "matplotlib config load_ext reload_ext autoreload precision env set_env pdb xmode colors autosave cd pylab "
    "config_inline alias_magic unload_ext gui automagic pprint".split()
)
_LOOKS = frozenset(
    "pinfo pinfo2 who whos who_ls psource pdoc pfile pdef lsmagic ls pwd magic history hist html svg latex markdown "
    "javascript js quickref page psearch dhist notebook HTML SVG".split()
)
_HISTORY = frozenset("history hist macro recall rep rerun save pastebin notebook".split())  # they take the text of cells
_SHELL = frozenset("bash sh script sx system ! perl ruby python python3 python2 pypy cmd pip conda mamba uv".split())
_EXPANDED = re.compile(r"\{([^{}]+)\}")
_LISTS_IMPORTS = re.compile(r"(?<!\S)(-iv|--iversions)(?!\S)")  # of all that the namespace holds
_DOLLAR = re.compile(r"\$\{?([^\W\d]\w*)")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|\$\{?\w+\}?")


@dataclass(frozen=True)
class Magic:
    """Names it loads (and may call), names it only uses, names it binds, its files; `opaque` says why it can't be known,
    `history` that it takes the text of cells that ran before."""

    loads: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    reads_files: frozenset[str] = frozenset()
    writes_files: frozenset[str] = frozenset()
    opaque: str = ""
    history: bool = False


def run_files(text: str) -> list[str]:
    """The files that `%run` may take for its arguments: IPython puts `.py` behind a name that has it not and is no file."""
    words = iter(text.split())
    for word in words:
        if word.startswith("-m"):  # a module, which is imported
            return []
        if not word.startswith("-"):
            path = word.strip("\"'")
            return [path] if path.endswith((".py", ".ipy", ".ipynb")) else [path, f"{path}.py"]
        if word in {"-N", "-T", "-b", "-l"}:
            next(words, None)
    return []


def of_magic(method: str, arguments: Sequence[str | None]) -> Magic:
    """The effects of `get_ipython().method(*arguments)`; an argument that is no constant text is None."""
    name = arguments[0] if arguments else None
    rest = " ".join(a or "" for a in arguments[1:])
    # IPython expands {expression} and $name in what it hands to a magic or to the shell.
    expanded = " ".join(a or "" for a in (arguments[:2] if method == "run_cell_magic" else arguments))
    loads = frozenset(used for part in _EXPANDED.findall(expanded) for used in IDENTIFIER.findall(part))
    uses = frozenset(_DOLLAR.findall(expanded))
    if method in {"system", "getoutput", "getoutput_detail"} or name in _SHELL:
        kept = re.search(r"--out[ =]([^\W\d]\w*)", rest)
        anything = frozenset({UNKNOWN})
        return Magic(loads, uses, frozenset([kept[1]] if kept else []), anything, anything)
    if name in {"writefile", "file"}:
        words = [word for word in (arguments[1] or "").split() if not word.startswith("-")] if arguments[1:] else []
        path = tidy(_PLACEHOLDER.sub("*", words[0])) if words else UNKNOWN
        return Magic(loads, uses, writes_files=frozenset({path}))
    if name in {"run", "load", "pycat"} and method == "run_line_magic":
        found = run_files(rest) if name == "run" else [word for word in rest.split() if not word.startswith("-")][-1:]
        paths = frozenset(tidy(_PLACEHOLDER.sub("*", path)) for path in found if "://" not in path)
        return Magic(loads, uses, reads_files=paths, opaque="%run" if name == "run" else "")
    if name in _LOOKS:
        asked = IDENTIFIER.findall(rest) if name in {"pinfo", "pinfo2", "psource", "pdoc"} else []
        opaque = f"%{name}" if name in {"who", "whos", "who_ls"} else ""
        return Magic(loads, uses.union(asked), opaque=opaque, history=name in _HISTORY)
    if name in _CONFIGURES or (name == "watermark" and not _LISTS_IMPORTS.search(rest)):
        return Magic(loads, uses)
    what = f"%{name}" if method != "run_cell_magic" else f"%%{name}"
    return Magic(loads, uses, opaque=what if name else f"get_ipython().{method}()", history=name in _HISTORY)
