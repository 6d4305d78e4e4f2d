"""A step's component as Python source that people read: its cells as they stand, a short main part, the packed runtime.

The runtime and the packed files travel in the components that are the first to run; these hand them on with their states. So
a pipeline stays small enough for the cluster's limits however many steps it has (docs/decisions/002).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_lab.targets.kubeflow.interface import Interface
from mlops_lab.targets.kubeflow.packing import SAFE, UNSAFE, in_python, is_replaced, packed, packed_files, runtime

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
    import base64, bz2, json, os, sys, tempfile, zipfile, zlib

    if sys.version_info < (3, 11):
        found = "%d.%d" % sys.version_info[:2]
        sys.exit("This image has Python " + found + ", and steps need 3.11 or newer: name another image (mlops_lab.image).")
    folder = tempfile.mkdtemp()
    os.mkdir(os.path.join(folder, "mlops_lab_runtime"))
{unpack}
    for name, text in files.items():
        with open(os.path.join(folder, "mlops_lab_runtime", name), "w", encoding="utf-8") as file:
            file.write(text)
    sys.path.insert(0, folder)
    from mlops_lab_runtime import remote

    carried = {carried}
    order = json.loads(zlib.decompress(base64.b64decode(ORDER)))
    remote.main(order, [(metadata, source[1:]) for metadata, source in CELLS], arguments, carried)
'''

_FROM_HERE = f"""\
    signs = str.maketrans({SAFE!r}, {UNSAFE!r})
    files = json.loads(bz2.decompress(base64.b85decode(RUNTIME.translate(signs))))"""
_FROM_STATE = """\
    with zipfile.ZipFile(arguments[{state!r}].path) as state:
        names = [name for name in state.namelist() if name.startswith("runtime/")]
        files = {{name.partition("/")[2]: state.read(name).decode() for name in names}}"""


def component_source(function: str, summary: list[str], interface: Interface, step: Mapping[str, Any], cells: list[Cell],
                     files: Mapping[str, tuple[int, bytes]] | None) -> str:  # fmt: skip
    """The source of a step's component. `files`: what travels in it, besides the runtime; None: a state brings both."""
    summary = [in_python(line.replace("\\", "\\\\").replace('"', '\\"')) for line in summary]
    parts = ["".join(f"# {line}\n" for line in summary), _IMPORTS]
    parts.append(f"\nORDER = {packed(step)!r}\n")
    if files is not None:
        parts.append(f"RUNTIME = {runtime()!r}\n")
        if files:
            parts.append(f"FILES = {packed_files(files)!r}\n")
    parts.append("\nCELLS = [\n" + "".join(_cell(metadata, source) for metadata, source in cells) + "]\n\n")
    unpack = _FROM_HERE if files is not None else _FROM_STATE.format(state=next(iter(interface.states.values())))
    carried = "{}"
    if files:
        carried = (
            '{"files": {path: (mode, text.encode("latin-1")) for path, (mode, text) in '
            "json.loads(bz2.decompress(base64.b85decode(FILES.translate(signs)))).items()}}"
        )
    parts.append(
        _MAIN.format(
            function=function,
            arguments="\n".join(f"    {line}," for line in signature(interface)),
            summary=summary[0],
            whence="with this component" if files is not None else "with the state of a step above",
            unpack=unpack,
            carried=carried,
        )
    )
    return "".join(parts)


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
    return f"    ({in_python(repr(metadata))}, {_literal(source)}),\n"


def _literal(source: str) -> str:
    """A Python literal of a line break and the source, as plain text where that can be."""
    if not source:
        return "''"
    raw = not is_replaced(source)
    if "\r" not in source and "\0" not in source and not (raw and source.endswith("\\")):
        text = source if raw else in_python(source.replace("\\", "\\\\"))
        for quotes in ("'''", '"""'):
            if quotes not in source and not source.endswith(quotes[0]):
                return f"{'r' if raw else ''}{quotes}\n{text}{quotes}"
    return in_python(repr("\n" + source))
