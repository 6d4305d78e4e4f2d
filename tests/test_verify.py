"""`verify` finds what differs at the cells and at the end, leaves out what is not stable, and says where it looked."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nbformat as nbf
import pytest
from conftest import notebook_node

from mlops_lab import plan
from mlops_lab import verify as package
from mlops_lab.errors import CheckError, UsageError
from mlops_lab.notebook import from_node, read
from mlops_lab.runtime.compare import Comparison, Unknown
from mlops_lab.verify import copies, judging, verify
from mlops_lab.verify.copies import Original
from mlops_lab.verify.shown import plain, shown, without_durations
from mlops_lab.verify.straight import End


def write(tmp_path: Path, cells):
    path = tmp_path / "nb.ipynb"
    nbf.write(notebook_node(cells), path)
    return path


def statuses(verdict):
    return {variable.name: variable.status for variable in verdict.variables}


def test_an_equal_notebook_is_equal_cell_by_cell_and_at_the_end(tmp_path):
    cells = [
        ("step:a", "import numpy as np\nx = np.arange(4.0)\ndef f(v):\n    return v + 1\nclass C:\n    n = 1\nc = C()"),
        ("step:b", "x[0] = np.nan\nd = {'x': x, 'c': c}\nc.v = [1, 2]\nprint(f(1))"),
        ("step:c", "import time, uuid\nstamp = time.time()\nname = str(uuid.uuid4())\nprint(f'{stamp}')\ng = (i for i in x)"),
    ]
    verdict = verify(write(tmp_path, cells))
    assert verdict.status == "equal", (verdict.message, verdict.differences, verdict.different_variables)
    found = statuses(verdict)
    assert {name: found[name] for name in ("x", "d", "c", "f", "C")} == dict.fromkeys(("x", "d", "c", "f", "C"), "equal")
    assert found["stamp"] == found["name"] == "unstable"
    assert [cell.status for cell in verdict.cells] == ["equal", "equal", "unstable"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nb.ipynb"], "nothing is left beside the notebook"


def test_a_difference_is_found_and_named(tmp_path, monkeypatch):
    # The pipeline is made to run another notebook, which is as wrong as a pipeline can be.
    path = write(tmp_path, [("step:a", "x = [1, {'k': 2.0}]\nprint('one')"), ("step:b", "y = x[1]")])
    real = package.from_node

    def wrong(node, at):
        if "pipeline" in str(at):
            node = nbf.from_dict(json.loads(json.dumps(node).replace("2.0", "2.5").replace("'one'", "'two'")))
        return real(node, at)

    monkeypatch.setattr(package, "from_node", wrong)
    verdict = verify(path)
    assert (verdict.status, verdict.straight_runs) == ("different", 3)
    assert [(cell.cell, cell.status) for cell in verdict.cells] == [(1, "different"), (2, "equal")]
    assert "one" in verdict.cells[0].straight and "two" in verdict.cells[0].pipeline
    assert {v.name: v.why for v in verdict.different_variables}["x"] == "x[1]['k']: 2.0 != 2.5"


def test_what_two_straight_runs_agree_on_by_chance_is_left_out_after_a_third(tmp_path):
    # A coin: it falls alike in the first two straight runs, otherwise in the pipeline between them and in the third.
    counter = tmp_path / "counter.txt"
    counter.write_text("0")
    coin = f"n = open({str(counter)!r}).read()\nopen({str(counter)!r}, 'a').write('1')\nside = 'htht'[len(n) - 1]\nprint(side)"
    (tmp_path / "folder").mkdir()
    told: list[str] = []
    path = write(tmp_path / "folder", [("step:a", coin + "\ndel n\nx = [1.5]"), ("step:b", "print(x)")])
    verdict = verify(path, told=told.append)
    assert (verdict.status, verdict.straight_runs) == ("equal", 3), verdict.differences
    assert told[-1] == "something differs; running the notebook a third time, to see what is stable"
    assert [cell.status for cell in verdict.cells] == ["unstable", "equal"]
    assert statuses(verdict) == {"side": "unstable", "x": "equal"}


def test_the_command_prints_the_verdict_and_its_exit_code_tells_it(tmp_path):
    path = write(
        tmp_path, [("step:a", "x = 1"), ("step:b", "import threading\nlock = threading.Lock()"), ("step:c", "print(lock)")]
    )
    command = [sys.executable, "-m", "mlops_lab.cli", "verify", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["status"] == "refused" and "ML201" in found["message"]
    assert set(found) == {"status", "cells", "message", "overtaken", "variables", "straight_runs"}


def test_a_notebook_that_fails_by_itself_is_told_apart(tmp_path):
    verdict = verify(write(tmp_path, [("step:a", "x = 1\nprint(x)"), ("step:b", "1 / 0")]))
    assert verdict.status == "failed"
    assert "ZeroDivisionError" in verdict.message and "so does the pipeline" in verdict.message
    assert not verdict.differences


def test_a_kernel_that_dies_dies_in_both_and_what_is_below_is_not_compared(tmp_path):
    cells = [("step:a", "print('before')"), ("step:b", "import os\nos.kill(os.getpid(), 9)"), ("step:c", "print('after')")]
    verdict = verify(write(tmp_path, cells))
    assert (verdict.status, verdict.differences) == ("failed", ())
    assert "in cell 2: its kernel died; so does the pipeline" in verdict.message
    assert [cell.cell for cell in verdict.cells] == [1, 2]


def test_a_notebook_without_cells_is_refused(tmp_path):
    with pytest.raises(CheckError, match="ML113"):
        verify(write(tmp_path, []))


def test_a_kernel_that_is_not_installed_is_said_so(tmp_path):
    node = notebook_node([("step:a", "x = 1")], {"kernelspec": {"name": "nowhere", "display_name": "", "language": "python"}})
    nbf.write(node, tmp_path / "nb.ipynb")
    with pytest.raises(UsageError, match="'nowhere' is not installed"):
        verify(tmp_path / "nb.ipynb")


def test_a_name_with_spaces_files_above_the_folder_and_links_are_found_and_left_as_they_are(tmp_path):
    home = tmp_path / "my project"
    (home / "note books").mkdir(parents=True)
    (home / "data").mkdir()
    (home / "data" / "x.txt").write_text("1")
    (tmp_path / "elsewhere.txt").write_text("2")
    (home / "note books" / ".env").write_text("3")
    (home / "note books" / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    code = (
        "from pathlib import Path\n"
        "names = ['../data/x.txt', 'link.txt', '.env']\n"
        "print([Path(n).read_text() for n in names], sorted(p.name for p in Path().iterdir()))\n"
        "for n in names: Path(n).write_text('changed')"
    )
    path = write(home / "note books", [("step:a", code), ("step:b", "print([Path(n).read_text() for n in names])")])
    verdict = verify(path)
    assert (verdict.status, verdict.message, verdict.differences) == ("equal", "", ())
    assert (home / "data" / "x.txt").read_text() == "1", "a copy was written to"
    assert (tmp_path / "elsewhere.txt").read_text() == "2", "links out of the folder are followed by a copy"


def test_a_folder_that_has_no_room_for_copies_is_said_so(tmp_path, monkeypatch):
    path = write(tmp_path, [("step:a", "x = 1")])
    (tmp_path / "big.bin").write_bytes(bytes(2**20))
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda place: SimpleNamespace(free=2**20))
    monkeypatch.setattr(copies, "_clone", lambda source, to: False)
    with pytest.raises(UsageError, match=r"the largest file is big\.bin, 1\.0 MB"):
        verify(path)


def test_links_to_folders_above_end(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "out").mkdir()
    path = write(tmp_path / "out", [("step:a", "x = 1")])
    (tmp_path / "out" / "back").symlink_to(tmp_path)
    folder = Original(read(path)).copy(tmp_path / "copy")
    assert (folder / "nb.ipynb").exists()
    assert (folder / "back" / "out" / "nb.ipynb").exists()
    assert (folder / "back" / "out").resolve() == folder.resolve(), "one folder stays one"


def test_both_runs_at_once_give_the_same_verdict(tmp_path):
    verdict = verify(write(tmp_path, [("step:a", "x = [1]\ny = x"), ("step:b", "y.append(2)\nprint(x)")]), at_once=True)
    assert (verdict.status, statuses(verdict)) == ("equal", {"x": "equal", "y": "equal"})


def test_what_nothing_reads_later_is_not_compared_once_a_step_has_changed_a_part_of_it(tmp_path):
    path = write(
        tmp_path,
        [
            ("step:a", "part = [1]\nwhole, other = {'part': part}, [2]\nkept = [other]"),
            ("step:b", "part.append(3)\nprint(other)"),
        ],
    )
    verdict = verify(path)
    assert (verdict.status, statuses(verdict)) == (
        "equal",
        {"part": "equal", "whole": "incomparable", "other": "equal", "kept": "equal"},
    )


def test_a_variable_that_the_plan_forgets_to_pass_on_is_missed_as_in_a_run(tmp_path, monkeypatch):
    path = write(tmp_path, [("step:a", "x = 1\ny = 2"), ("step:b", "print('x' in dir())")])
    assert statuses(verify(path)) == {"x": "equal", "y": "equal"}
    kept = plan._kept
    monkeypatch.setattr(plan, "_kept", lambda *known: {step: frozenset() for step in kept(*known)})
    verdict = verify(path)
    assert (verdict.status, statuses(verdict)) == ("different", {"x": "equal", "y": "equal"})


def test_a_variable_that_only_one_run_has_is_a_difference(tmp_path, monkeypatch):
    path = write(tmp_path, [("step:a", "x = 1\nz = 1"), ("step:b", "y = x")])
    real = package.from_node

    def wrong(node, at):
        if "pipeline" in str(at):
            node = nbf.from_dict(json.loads(json.dumps(node).replace("z = 1", "w = 1")))
        return real(node, at)

    monkeypatch.setattr(package, "from_node", wrong)
    found = {v.name: v.why for v in verify(path).different_variables}
    assert found == {"z": "z: only the straight run has it at the end", "w": "w: only the pipeline has it at the end"}


def test_a_value_that_takes_the_comparison_down_leaves_the_others_compared(tmp_path):
    code = (
        "import os\nclass Deadly:\n    def __init__(self): self.v = 1\n"
        "    def __getstate__(self):\n        if os.environ.get('MPLBACKEND') == 'agg': os._exit(1)\n        return {'v': 1}\n"
        "a, b, c = 1, Deadly(), 3"
    )
    verdict = verify(write(tmp_path, [("step:a", code), ("step:b", "d = a + c")]))
    found = statuses(verdict)
    assert {name: found[name] for name in "abcd"} == {"a": "equal", "b": "incomparable", "c": "equal", "d": "equal"}


def test_durations_are_left_out_and_other_numbers_are_not():
    def of(text):
        return [("stream", "stdout", text)]

    assert without_durations(of("took 0.06s, 12 ms, 1.2e-05 seconds, 01:02<00:03, 12.5it/s")) == without_durations(
        of("took 0.10s, 7 ms, 3.1e-04 seconds, 00:09<00:01, 99.1it/s")
    )
    assert without_durations(of("auc 0.81, 3 samples")) != without_durations(of("auc 0.82, 3 samples"))


def test_what_differs_by_chance_is_still_held_to_its_kinds():
    def end(*outputs):
        code = nbf.v4.new_code_cell("show()", outputs=list(outputs))
        return End(nbf.v4.new_notebook(cells=[code]))

    def rich(text, **more):
        return nbf.v4.new_output("display_data", {"text/plain": "Plot", **({"text/html": text} if text else {}), **more})

    one, again, other, plain = (end(rich(text)) for text in ("<a 1>", "<a 2>", "<a 3>", ""))
    cell = from_node(one.node, Path("nb.ipynb")).cells[0]
    pairs = [(shown(one.node, 0), shown(pipeline.node, 0)) for pipeline in (other, plain)]
    assert judging._is_unstable(cell, pairs[0], [again], set())
    assert not judging._is_unstable(cell, pairs[1], [again], {"show"}), "the HTML is missing, whatever it says"
    assert judging._is_unstable(cell, pairs[1], [again, plain], set()), "it is missing in a straight run, too"


def test_widgets_are_compared_by_their_state():
    def notebook(prefix, value):
        state = {
            f"{prefix}1": {"model_name": "IntSliderModel", "state": {"value": value, "layout": f"IPY_MODEL_{prefix}2"}},
            f"{prefix}2": {"model_name": "LayoutModel", "state": {}},
        }
        view = {"application/vnd.jupyter.widget-view+json": {"model_id": f"{prefix}1"}, "text/plain": f"IntSlider({prefix})"}
        cell = nbf.v4.new_code_cell("s", outputs=[nbf.v4.new_output("display_data", data=view)])
        widgets = {"application/vnd.jupyter.widget-state+json": {"state": state}}
        return nbf.v4.new_notebook(cells=[cell], metadata={"widgets": widgets})

    assert shown(notebook("a", 1), 0) == shown(notebook("b", 1), 0)
    assert shown(notebook("a", 1), 0) != shown(notebook("b", 2), 0)


def test_widgets_that_kernels_show_are_compared_by_their_state(tmp_path):
    pytest.importorskip("ipywidgets")
    cells = [
        ("step:a", "import ipywidgets as w\nn = 3"),
        ("step:b", "w.HBox([w.IntSlider(value=n), w.Label('text')])"),
        ("step:c", "import os\nw.Text(value=str(n) if 'MLOPS_LAB_ORDER' not in os.environ else 'other')"),
    ]
    verdict = verify(write(tmp_path, cells))
    assert [cell.status for cell in verdict.cells] == ["equal", "equal", "different"]
    assert '"value": "other"' in verdict.cells[2].pipeline


class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


def recursive():
    value = [1]
    value.append(value)
    return value


def shares():
    inner = [1]
    return [inner, inner]


np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


def made(body, arguments=""):
    names = {"__name__": "__main__"}
    exec(f"def f({arguments}): {body}", names)
    return names["f"]


def kind(body):
    return type("K", (), {"f": made(body, "self"), "__module__": "__main__"})


def views(one):
    array = np.arange(3)
    return [array, array[:2] if one else array[:2].copy()]


def frame(values=(1.0,), index=None, **attributes):
    value = pd.DataFrame({"a": pd.Series(list(values), dtype=object)})
    value.index.name = index
    value.attrs = attributes
    return value


@dataclass(frozen=True)
class Once:
    number: int


ONCE = Once(1)

PAIRS = {
    "an int and a bool": (1, True, "v: int != bool"),
    "minus zero": (0.0, -0.0, "v: 0.0 != -0.0"),
    "not a number": (float("nan"), float("nan"), ""),
    "the order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "v.keys()[0]: 'a' != 'b'"),
    "a list inside": ({"k": [1, 2]}, {"k": [1, 3]}, "v['k'][1]: 2 != 3"),
    "an attribute": (Plain(a=1), Plain(a=2), "v.a: 1 != 2"),
    "a missing attribute": (Plain(a=1, b=1), Plain(b=1), "v: attributes ['a'] in one run only"),
    "itself inside": (recursive(), recursive(), ""),
    "sharing": (shares(), [[1], [1]], "v[1]: in one run only it is the same object, or the same memory, as v[0]"),
    "sharing what can't be changed": ([ONCE, ONCE], [Once(1), Once(1)], ""),
    "an array": (np.arange(3), np.array([0, 5, 2]), "v[1]: 1 != 5 (1 of 3 differ)"),
    "an array's type": (np.arange(3), np.arange(3.0), "v: int64 of shape (3,) != float64 of shape (3,)"),
    "an array with nan": (np.array([np.nan]), np.array([np.nan]), ""),
    "frames": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}), ""),
    "a set": ({"a", "b"}, {"b", "a"}, ""),
    "a constant of a function": (made("return 1"), made("return 2"), "v.__code__.co_consts[1]: 1 != 2"),
    "a default of a function": (made("return 1", "a=1"), made("return 1", "a=2"), "v.__defaults__[0]: 1 != 2"),
    "a method": (kind("return 1"), kind("return 2"), "v.f.__code__.co_consts[1]: 1 != 2"),
    "an instance of another class": (kind("return 1")(), kind("return 2")(), "v[1][0].f.__code__.co_consts[1]: 1 != 2"),
    "nan in a complex number": (complex("nan"), complex("nan"), ""),
    "minus zero in an array": (np.array([1, 0.0]), np.array([1, -0.0]), "v[1]: 0.0 != -0.0 (1 of 2 differ)"),
    "another nan": (np.array([np.nan]), -np.array([np.nan]), ""),
    "records": (np.zeros(2, "i4,f8"), np.zeros(2, "i4,f8"), ""),
    "two names of one array": (
        views(True),
        views(False),
        "v[1]: in one run only it is the same object, or the same memory, as v[0]",
    ),
    "memory order": (np.ones((2, 2)), np.ones((2, 2), order="F"), "v: its flag C_CONTIGUOUS is True != False"),
    "a range and its numbers": (pd.Index(range(2)), pd.Index([0, 1]), "v: RangeIndex != Index"),
    "the name of an index": (frame(index="i"), frame(index="j"), "v.index[0][0]: 'i' != 'j'"),
    "the attributes of a frame": (frame(note=1), frame(note=2), "v.attrs['note']: 1 != 2"),
    "none and nan in a column": (frame([None, 1]), frame([np.nan, 1]), "v['a'][0]: NoneType != float"),
    "categories": (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["a", "c"]), "v: category != category"),
    "times": (pd.to_datetime(["2024-01-01"]), pd.to_datetime(["2024-01-02"]), "v: other times"),
    "missing text": (pd.Series(["a", None]), pd.Series(["a", None]), ""),
    "bound methods": ([1].append, [2].append, "v[1][0]: 1 != 2"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_are_compared_exactly(name):
    one, other, expected = PAIRS[name]
    assert Comparison().variable(one, other, "v") == expected


def test_a_frame_that_differs_is_told_by_its_column():
    assert "a" in Comparison().variable(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}), "v")


def test_what_cannot_be_compared_is_not_called_equal():
    with pytest.raises(Unknown):
        Comparison().variable((i for i in ()), (i for i in ()), "v")


def test_a_set_of_objects_that_cannot_be_told_apart_is_not_called_equal():
    with pytest.raises(Unknown):
        Comparison().variable({object()}, {object()}, "v")


def test_what_one_variable_leaves_undecided_stays_so_in_the_next():
    comparison = Comparison()
    one, other = [(i for i in ())], [(i for i in ())]
    for name in ("first", "second"):
        with pytest.raises(Unknown):
            comparison.variable(one, other, name)
    one, other = [1, [2]], [1, [3]]
    assert [comparison.variable(one, other, name) for name in "ab"] == ["a[1][0]: 2 != 3", "b[1][0]: 2 != 3"]


def test_variables_that_share_an_object_in_one_run_only_differ():
    comparison = Comparison()
    inner = [1]
    assert comparison.variable([inner], [inner], "a") == ""
    assert "the same object, or the same memory, as a[0]" in comparison.variable(inner, [1], "b")


@pytest.mark.parametrize(
    ("text", "plainly"),
    [
        ("a\n b  /x/ipykernel_1/2.py:3\t c", "a\n b  ipykernel.py:3\t c"),
        ("<a href='/x/.ipykernel/1/command-2.py'>", "<a href='/x/.ipykernel/1/command-2.py'>"),
        ("/x/.ipykernel/2-3.py at 0x7f00aabbcc", "ipykernel.py at 0x"),
        (
            "A" * 3_000_000 + " ipykernel_1/2.py",
            "A" * 3_000_000 + " ipykernel.py",
        ),  # would take hours, looked for at each letter
    ],
)
def test_what_names_a_process_is_left_out_of_texts_of_any_length(text, plainly):
    assert plain(text) == plainly
