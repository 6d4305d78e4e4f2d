"""A step's component as Python source that people read: its cells as they stand, a short main part, the packed runtime.

The runtime and the packed files travel in one component only, the first one to run; it hands them on with its state. So a
pipeline stays small enough for the cluster's limits however many steps it has.
"""

from __future__ import annotations

import base64
import json
import lzma
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlops_lab._version import __version__
from mlops_lab.targets.kubeflow.interface import Interface

_RUNTIME = Path(__file__).parents[2] / "runtime"
_STAYS = {"compare.py", "ends.py", "warm.py", "load.py"}  # what only runs beside the engine

Cell = tuple[dict[str, Any], str]  # metadata, source
_IMPORTS = "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n"

_MAIN = '''
def {function}(
{arguments}
):
    """{summary}"""
    _run(locals())


def _run(arguments):
    """Put the runtime in place, which came {whence}, and have it run the step."""
    import base64, json, lzma, os, sys, tempfile, zipfile, zlib

    folder = tempfile.mkdtemp()
    os.mkdir(os.path.join(folder, "mlops_lab_runtime"))
{unpack}
    for name, text in files.items():
        with open(os.path.join(folder, "mlops_lab_runtime", name), "w", encoding="utf-8") as file:
            file.write(text)
    sys.path.insert(0, folder)
    from mlops_lab_runtime import remote

    carried = {carried}
    order = json.loads(zlib.decompress(base64.b85decode(ORDER)))
    remote.main(order, [(metadata, source[1:]) for metadata, source in CELLS], arguments, carried)
'''

_FROM_HERE = "    files = json.loads(lzma.decompress(base64.b85decode(RUNTIME)))"
_FROM_STATE = """\
    with zipfile.ZipFile(arguments[{state!r}].path) as state:
        names = [name for name in state.namelist() if name.startswith("runtime/")]
        files = {{name.partition("/")[2]: state.read(name).decode() for name in names}}"""


def component_source(function: str, summary: list[str], interface: Interface, step: Mapping[str, Any], cells: list[Cell],
                     files: Mapping[str, tuple[int, bytes]] | None) -> str:  # fmt: skip
    """The source of a step's component. `files`: what travels in it, besides the runtime; None: a state brings both."""
    parts = ["".join(f"# {line}\n" for line in summary), _IMPORTS]
    parts.append(f"\nORDER = {packed(step)!r}\n")
    if files is not None:
        parts.append(f"RUNTIME = {runtime()!r}\n")
        if files:
            parts.append(f"FILES = {_packed_files(files)!r}\n")
    parts.append("\nCELLS = [\n" + "".join(_cell(metadata, source) for metadata, source in cells) + "]\n\n")
    unpack = _FROM_HERE if files is not None else _FROM_STATE.format(state=next(iter(interface.states.values())))
    carried = "{}"
    if files:
        carried = (
            '{"files": {path: (mode, text.encode("latin-1")) for path, (mode, text) in '
            "json.loads(lzma.decompress(base64.b85decode(FILES))).items()}}"
        )
    parts.append(
        _MAIN.format(
            function=function,
            arguments="\n".join(f"    {line}," for line in signature(interface)),
            summary=summary[0].replace("\\", "\\\\").replace('"', '\\"'),
            whence="with this component" if files is not None else "with the state of a step above",
            unpack=unpack,
            carried=carried,
        )
    )
    return "".join(parts)


def packed(content: Any) -> str:
    """JSON, compressed, as text."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return base64.b85encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 9)).decode()


@cache
def runtime() -> str:
    """The runtime's modules, compressed, as text."""
    modules = {path.name: path.read_text(encoding="utf-8") for path in sorted(_RUNTIME.glob("*.py")) if path.name not in _STAYS}
    modules["__init__.py"] += f"\nVERSION = {__version__!r}\n"
    return _compressed(modules)


def _packed_files(files: Mapping[str, tuple[int, bytes]]) -> str:
    return _compressed({path: [mode, data.decode("latin-1")] for path, (mode, data) in sorted(files.items())})


def _compressed(content: Any) -> str:
    return base64.b85encode(lzma.compress(json.dumps(content).encode(), preset=9 | lzma.PRESET_EXTREME)).decode()


def signature(interface: Interface) -> list[str]:
    """The component's arguments with their types, as in a function definition."""
    lines = [f"{v.argument}: {'str' if v.is_json else v.native}" for v in interface.values]
    lines += [f"{port.argument}: Input[{port.type}]" for port in interface.inputs]
    lines += [f"{argument}: Input[Artifact]" for argument in interface.states.values()]
    lines += [f"{port.argument}: Output[{port.type}]" for port in interface.outputs]
    lines += [f"{interface.metrics}: Output[Metrics]"] if interface.metrics else []
    lines += [f"{interface.page}: Output[HTML]"] if interface.page else []
    lines += [f"{argument}: Output[Artifact]" for argument in (interface.executed, interface.state) if argument]
    return lines


def _cell(metadata: dict[str, Any], source: str) -> str:
    return f"    ({metadata!r}, {_literal(source)}),\n"


def _literal(source: str) -> str:
    """A Python literal of a line break and the source, as plain text where that can be."""
    if not source:
        return "''"
    if "\r" not in source and "\0" not in source and not source.endswith("\\"):
        for quotes in ("'''", '"""'):
            if quotes not in source and not source.endswith(quotes[0]):
                return f"r{quotes}\n{source}{quotes}"
    return repr("\n" + source)
