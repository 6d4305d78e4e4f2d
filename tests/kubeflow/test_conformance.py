"""Compiled pipelines, run by KFP's own `kfp.local` where MLOps Lab can't be imported, give what the notebooks give.

Every example and every notebook of the parity table is run: examples and rows that stand alone by one process that forks their
tasks, with kernels that are forked as those of local runs are, all others as SubprocessRunner runs them.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import notebook_node
from parity.everyday import EVERYDAY
from parity.test_elsewhere import ROWS as ELSEWHERE
from parity.test_table import MISSING, ROWS, batches, cells_of, clean, outputs, straight, write

import mlops_lab
from mlops_lab.errors import UsageError
from mlops_lab.executed import assemble
from mlops_lab.learn import learn
from mlops_lab.runtime import remote
from mlops_lab.targets import Options, check
from mlops_lab.targets.kubeflow.compile import compile_pipeline

from .conftest import run_all
from .rules import hold

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAPS = 4
REFUSED = re.compile(r"\bML2\d\d: ")


def groups():
    """The rows of each group that a pipeline gives as the notebook does, all in one notebook."""
    found = {}
    for row in (*ROWS, *EVERYDAY):
        usual = row.expect == "equal" and row.group != "alone"
        if usual and not any(MISSING.search(source) for _, source in row.cells):
            found.setdefault(row.group, []).append(row)
    return list(found.values())


def shown(cell, folder):
    """What a cell shows, without paths of the places where it ran."""
    found = outputs(cell, folder)
    return clean(found, Path("/")) if not found else [_without_places(part, str(folder.parent)) for part in found]


def _without_places(value, above):
    if isinstance(value, list):
        return [_without_places(v, above) for v in value]
    if isinstance(value, dict):
        return {k: _without_places(v, above) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    value = re.sub(rf"{re.escape(above)}(?![\w/-])", "<above>", value)
    value = re.sub(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "<time>", value)
    value = re.sub(r"/[\w/.-]*/lib/python3", "<packages>", value)
    return re.sub(r"/[\w/.-]*/mlops-lab/[\w-]+(/notebook)?", lambda found: "<folder>" if found[1] else "<above>", value)


def executed(run, pipeline):
    """The notebook with the outputs of all steps; those of one that failed are in its log only."""
    interfaces = run.compiled.interfaces
    found = {step: run.artifact(step, interfaces[step].executed) for step in run.compiled.steps if run.has(step)}
    for step in run.compiled.steps:
        if step not in found and (notebook := run.pod_log(step).notebook):
            found[step] = run.root / f"{step}-failed.ipynb"
            found[step].write_bytes(notebook)
    return assemble(pipeline.plan.pipeline, found)


@pytest.mark.parametrize("rows", groups(), ids=lambda rows: rows[0].group)
def test_rows_of_the_parity_table_give_what_the_notebook_gives(rows, run_locally, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cells = cells_of(rows)
    path = write(cells, tmp_path / "pipeline")
    pipeline = mlops_lab.load(path)
    run = run_locally(compile_pipeline(pipeline.plan, install=False))
    got, expected = executed(run, pipeline), straight(write(cells, tmp_path / "straight"))
    kept = [cell for cell in got.cells if "skip" not in cell.metadata.get("tags", ())]
    for (tags, source, row), want, have in zip(cells, expected.cells, kept, strict=True):
        assert shown(have, tmp_path / "pipeline") == shown(want, tmp_path / "straight"), (
            f"{row.name}: {tags} {source}\n{run.log[-3000:]}"
        )
        if any(output[0] == "error" for output in outputs(want, tmp_path)):
            break


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.ipynb")))
def test_an_example_gives_what_a_local_run_gives(name, run_all_locally, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    # As where MLflow is imported by who starts the tasks; in a task it takes this away, which is no change of the notebook's.
    monkeypatch.setenv("_MLFLOW_TELEMETRY_SESSION_ID", "0123456789abcdef")
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns(".*"))
    pipeline = mlops_lab.load(tmp_path / "examples" / f"{name}.ipynb")
    (run,) = run_all_locally([pipeline.plan])
    assert all(run.has(step) for step in run.compiled.steps), run.log[-3000:]
    local = pipeline.run(tracking=False)
    for have, want in zip(executed(run, pipeline).cells, local.notebook().cells, strict=True):
        if want.cell_type == "code":
            assert shown(have, tmp_path) == shown(want, tmp_path), want.source


def standing_alone():
    """Rows that are a notebook of their own, those that may be refused among them, in heaps for one process each."""
    rows = [rows[0] for rows in batches() if len(rows) == 1 and rows[0].expect in ("equal", "either")]
    rows += [row for row in ELSEWHERE if row.expect == "equal"]
    return [rows[start::HEAPS] for start in range(HEAPS)]


@pytest.mark.parametrize("rows", standing_alone(), ids=lambda rows: f"{len(rows)} from {rows[0].name}")
def test_notebooks_that_stand_alone_agree_or_are_refused(rows, run_all_locally, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setenv("NO_COLOR", "1")  # as their tasks have it
    pipelines = {}
    for number, row in enumerate(rows):
        pipeline = mlops_lab.load(write(cells_of([row]), tmp_path / f"pipeline-{number}"))
        if any(found.severity == "error" for found in pipeline.diagnostics):
            assert row.expect == "either", f"{row.name}: {pipeline.diagnostics}"
        else:
            pipelines[number] = pipeline
    runs = run_all_locally([pipeline.plan for pipeline in pipelines.values()])
    wrong, refused = [], []
    for (number, pipeline), run in zip(pipelines.items(), runs, strict=True):
        row = rows[number]
        if REFUSED.search(run.log):  # by the guard: the local engine would have run a step again
            refused.append(row.name)
            continue
        expected = straight(write(cells_of([row]), tmp_path / f"straight-{number}"))
        if different := difference(executed(run, pipeline), expected, tmp_path, number):
            wrong.append(f"{row.name}: {different}\n{run.log[-2000:]}")
    assert not wrong, "\n".join(wrong)
    assert len({row.name for row in rows if row.expect == "equal"} & set(refused)) < len(rows) / 2, refused


def test_what_setup_cells_give_and_read_otherwise_is_refused(run_all_locally, notebook):
    draws = [("setup", "import uuid\nname = uuid.uuid4()"), ("step:a", "mine = name"), ("step:b", "print(mine == name)")]
    reads = [
        ("step:first", "open('limit.txt', 'w').write('1')"),
        ("setup", "limit = open('limit.txt').read()"),
        ("step:raise", "x = limit\nopen('limit.txt', 'w').write('2')"),
        ("step:use", "print(limit, x)"),
    ]
    runs = run_all_locally([mlops_lab.load(notebook(cells)).plan for cells in (draws, reads)])
    assert "ML208: 'name' is another value in step 'b' than in step 'a'" in runs[0].log
    assert "ML207: cell 2 is run again in step 'use' and reads limit.txt, which step 'raise' has changed" in runs[1].log


def difference(got, expected, folder, number):
    """The first cell that does not show what it shows in a straight run."""
    kept = [cell for cell in got.cells if "skip" not in cell.metadata.get("tags", ())]
    for want, have in zip(expected.cells, kept, strict=True):
        if shown(have, folder / f"pipeline-{number}") != shown(want, folder / f"straight-{number}"):
            return f"{want.source}\n{have.get('outputs')}\n{want.get('outputs')}"
        if any(output[0] == "error" for output in outputs(want, folder)):
            return ""
    return ""


def test_what_only_a_compiled_pipeline_has_to_carry_is_carried(run_locally, tmp_path, monkeypatch):
    """Parameters, modules and data beside the notebook, files of steps, the environment, deleted names, random draws, large data."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cells = [
        ("", "import os, random\nimport numpy as np\nfrom pathlib import Path\nfrom helpers import Counter, total\nrandom.seed(7)"),
        ("parameters", "rate: float = 0.5\nsizes = [1, 2]\nname: str | None = None"),
        ("setup", "LIMIT = 3\ndef scaled(x):\n    return x * rate"),
        ("step:load", "rows = [int(n) for n in open('data/rows.txt')]\nbig = np.arange(500_000)\nview = big[10:]\nold = 1\n"
         "Path('out').mkdir()\nPath('out/a.txt').write_text('a')\nget = os.environ\nget.update(MODE='fast')"),
        ("step:change", "del old\nview[0] = -1\ntotal(rows)\nPath('out/b.txt').write_text(name or 'none')\nos.remove('data/rows.txt')\n"
         "def late():\n    return LIMIT + len(sizes)"),
        ("step:show", "print(rate, sizes, name, scaled(2), late(), rows, big[10], np.shares_memory(view, big), Counter.count)\n"
         "print(sorted(p.name for p in Path('out').iterdir()), Path('data/rows.txt').exists(), 'old' in globals(), os.environ['MODE'])\n"
         "print(random.random())"),
    ]  # fmt: skip
    given = {"rate": 0.25, "sizes": [4, 5, 6], "name": "x"}

    def made(folder):
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "rows.txt").write_text("1\n2\n")
        (folder / "helpers.py").write_text(
            "class Counter:\n    count = 0\n\ndef total(rows):\n    Counter.count += 1\n    rows.append(sum(rows))\n"
        )
        nbformat.write(notebook_node(cells), folder / "nb.ipynb")
        return mlops_lab.load(folder / "nb.ipynb")

    pipeline = made(tmp_path / "remote")
    compiled = compile_pipeline(pipeline.plan, install=False)
    run = run_locally(compiled, **compiled.arguments(given))
    local = made(tmp_path / "local").run(given, tracking=False, fixed_graph=True)
    assert local.status == "done"
    last = executed(run, pipeline).cells[-1].outputs
    assert [output.text for output in last] == [output.text for output in local.notebook().cells[-1].outputs]
    assert "0.25 [4, 5, 6] x 0.5 6 [1, 2, 3] -1 True 1" in last[0].text
    assert run.value("change", "rows") == [1, 2, 3]


REPLACED = "costs $$5, $(KFP_POD_NAME), ${x}, {{$}}, {{workflow.name}}, {{=1}}, {{{{, $$$, $$(x), \\{{n}}"


def test_what_kubernetes_and_argo_would_replace_arrives_as_it_stands(run_all_locally, notebook, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cells = [
        ("parameters", f"text = {REPLACED!r}\nname = 'plain'  # with {{{{it}}}}"),
        ("step:raw", f"one = r'''{REPLACED}'''\nlines = ['{{{{a}}}}\\n']"),
        ("step:quoted", f"two = {REPLACED!r} + \"'''\" + '\"\"\"'\nmodel = {{'a': {{{{'b'}}: 1}} if False else {{}}}}"),
        ("step:show", "print(one, two, text, name, lines, sep='|')"),
    ]
    pipeline = mlops_lab.load(notebook(cells))
    compiled = compile_pipeline(pipeline.plan, install=False)
    hold(compiled.yaml)
    (run,) = run_all_locally([pipeline.plan])
    assert run.has("show"), run.log[-3000:]
    (output,) = executed(run, pipeline).cells[-1].outputs
    assert output.text.startswith(f"{REPLACED}|{REPLACED}")
    assert f"|{REPLACED}|plain|['{{{{a}}}}\\n']" in output.text
    assert run.value("raw", "one") == REPLACED
    with pytest.raises(UsageError, match=r"The parameter name is 'a\$\$'. On the way to a step"):
        compiled.arguments({"name": "a$$"})
    assert json.loads(compiled.arguments({"text": "a$$(b){{"})["text"]) == "a$$(b){{"


def test_a_part_of_a_pipeline_runs_with_what_it_needs_and_nothing_else(run_all_locally, notebook):
    cells = [("step:a", "x = 1\nprint('a')"), ("step:b", "y = x + 1"), ("step:c", "z = x + 2"), ("step:d", "print(y + z)")]
    plan = mlops_lab.load(notebook(cells)).plan
    (run,) = run_all_locally([plan], options=Options(only=("b", "c")))
    assert run.compiled.tasks == ("a", "b", "c", "finish")
    assert "Task 'finish' finished with status SUCCESS" in re.sub(r"\x1b\[\d+m", "", run.log)
    assert (run.value("b", "y"), run.value("c", "z")) == (2, 3)


def test_a_gate_ends_the_run_before_the_steps_that_depend_on_it_and_tells_that_it_did(run_locally, notebook):
    path = notebook(
        [("step:train", "accuracy = 0.4"), ("step:check gate", "assert accuracy > 0.5, 'too low'"), ("step:use", "print(1)")]
    )
    run = run_locally(compile_pipeline(mlops_lab.load(path).plan, install=False))
    assert run.has("train") and not run.has("check") and not run.has("use")
    (line,) = [line for line in run.log.splitlines() if '"step_finished"' in line and '"check"' in line]
    event = json.loads(line.partition(remote.EVENT)[2])
    assert event["status"] == "rejected"
    assert event["failure"]["message"] == "AssertionError: too low"
    assert "rejected: AssertionError: too low" in run.log


BEHIND_THE_GRAPH = {
    "ML203": [("step:a", "box = [1]\nchange = {'f': lambda: box.append(2)}"), ("step:b", "change['f']()"), ("step:c", "print(box)")],
    "ML204": [
        ("step:a", "import builtins, random\ndraw = getattr(builtins, 'ev' + 'al')('lambda: random.random()')\nrandom.seed(3)"),
        ("step:b", "x = draw()"),
        ("step:c", "y = draw()\nprint(y)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(BEHIND_THE_GRAPH))
def test_what_happens_behind_the_graph_is_refused_with_its_code_until_a_run_here_has_learnt_it(code, run_all_locally, notebook):
    path = notebook(BEHIND_THE_GRAPH[code])
    wrong = mlops_lab.load(path).plan
    local = mlops_lab.load(path).run(tracking=False)
    told = check(wrong, "kubeflow")
    assert {row.code for row in told} == {code} and local.id in told[0].message and "--learn" in told[0].fix
    assert learn(path, local.folder)
    right = mlops_lab.load(path)
    assert not check(right.plan, "kubeflow")
    refused, run = run_all_locally([wrong, right.plan])
    ended = [step for step in refused.compiled.steps if not refused.has(step)]
    result = refused.pod_log(ended[0]).result
    assert result["status"] == "failed" and result["failure"]["code"] == code, refused.log[-3000:]
    assert "after:" in result["failure"]["message"]
    assert all(run.has(step) for step in right.steps), run.log[-3000:]
    shown_here = [cell.get("outputs") for cell in local.notebook().cells]
    assert [cell.get("outputs") for cell in executed(run, right).cells] == shown_here


def docker_answers():
    """True where a Docker daemon answers, on DOCKER_HOST or on its usual socket."""
    import docker

    try:
        return bool(docker.from_env(timeout=5).ping())
    except (docker.errors.DockerException, OSError):
        return False


@pytest.mark.skipif(not docker_answers(), reason="no Docker daemon answers on DOCKER_HOST or /var/run/docker.sock")
def test_a_pipeline_runs_in_containers_as_a_cluster_would_run_it(bare_python, tmp_path, notebook):
    """With nothing but a plain Python image: each step installs what it needs."""
    cells = [
        ("", "import numpy as np"),
        ("step:load", "numbers = np.arange(5)\nprint(numbers)"),
        ("step:total", "total = int(numbers.sum())\nprint(total)"),
    ]
    pipeline = mlops_lab.load(notebook(cells))
    run = run_all(bare_python, tmp_path / "kfp", [(compile_pipeline(pipeline.plan), {})], runner="docker")[0]
    assert run.has("total"), run.log[-3000:]
    local = pipeline.run(tracking=False)
    assert [c.get("outputs") for c in executed(run, pipeline).cells] == [c.get("outputs") for c in local.notebook().cells]


def test_unrelated_steps_that_use_one_file_are_refused_by_the_first_step_after_both(run_locally, notebook):
    code = "import subprocess, sys\ndone = subprocess.run([sys.executable, '-c', f'open({name!r}, \"w\")']).returncode"
    cells = [("step:start", "name = 'x.txt'"), ("step:write", code), ("step:read", "import os\nprint(os.path.exists(name))")]
    plan = mlops_lab.load(notebook(cells)).plan
    assert "write" not in plan.sources["read"], "else there is nothing to find out"
    run = run_locally(compile_pipeline(plan, install=False))
    assert run.has("write") and run.has("read")
    assert "ML202: step 'write' writes the file x.txt, and step 'read', which stands below it, uses it too" in run.log
