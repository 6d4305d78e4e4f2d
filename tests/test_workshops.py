"""The workshops: who does what the page says passes the checks; who has done nothing is told, check by check, what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

WORKSHOPS = Path(__file__).parent.parent / "workshops"
LAB = (sys.executable, "-m", "mlops_lab.cli")
RUN = (*LAB, "run", "solution.ipynb")
QUICK = (*RUN, "--no-tracking")
STORE = {"MLFLOW_TRACKING_URI": "sqlite:///.mlops_lab/mlflow.db"}  # of cells that log without a run: a new store takes seconds

# What a learner does with the solved notebook: workshop -> commands with their exit codes, and how many checks it has.
DONE: dict[str, tuple[list[tuple[tuple[str, ...], int]], int]] = {
    "01-from-notebook-to-pipeline": ([(QUICK, 0), ((*QUICK, "-p", "window=14"), 0)], 6),
    "02-experiments-you-can-trust": (
        [
            (RUN, 0),
            ((*RUN, "-p", "rate=0.05"), 0),
            ((*RUN, "-p", "rate=0.2"), 0),
            ((*QUICK, "-p", "rate=0.05", "--no-cache"), 0),
        ],
        4,
    ),
    "03-anomaly-detection": (
        [((*QUICK, "-p", "broken=true"), 3), (QUICK, 0), ((*QUICK, "-p", "contamination=0.02"), 0)],
        7,
    ),
    "04-to-kubeflow": (
        [
            ((*LAB, "compile", "solution.ipynb", "--no-install", "-o", "pipeline.yaml"), 0),
            ((sys.executable, "run_locally.py", "threshold=20.0"), 0),
        ],
        4,
    ),
}

# Where a learner who is stuck goes on: the notebook after a part of the page -> how many checks are right before anything is run.
CHECKPOINTS = {
    "01-from-notebook-to-pipeline/after-tag-it": 3,
    "02-experiments-you-can-trust/after-parameters": 1,
    "03-anomaly-detection/after-the-parameter": 3,
    "03-anomaly-detection/after-the-gate": 4,
    "04-to-kubeflow/after-the-question": 1,
}


def every(name: str) -> list[Path]:
    return sorted(WORKSHOPS.glob(f"*/{name}"))


@pytest.fixture
def workshop(tmp_path):
    """Copies of the workshops, as a learner has them."""
    shutil.copytree(WORKSHOPS, tmp_path / "workshops", ignore=shutil.ignore_patterns(".mlops_lab", "__pycache__", "kfp-*"))
    return lambda name: tmp_path / "workshops" / name


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    more = STORE if "--no-tracking" in command else {}
    return subprocess.run(command, cwd=folder, env=environment | more, capture_output=True, text=True, timeout=600)


def test_each_workshop_is_listed_with_an_exercise_a_solution_a_page_and_checks():
    folders = sorted(path.name for path in WORKSHOPS.iterdir() if re.match(r"\d\d-", path.name))
    assert folders == sorted(DONE)
    page = (WORKSHOPS / "README.md").read_text()
    for name in folders:
        assert f"({name}/README.md)" in page
        assert all((WORKSHOPS / name / part).exists() for part in ("exercise.ipynb", "solution.ipynb", "README.md", "check.py"))


@pytest.mark.parametrize("name", DONE)
def test_who_does_what_the_page_says_passes_all_checks_where_they_stand_in_the_notebook(name, workshop):
    folder, (commands, checks) = workshop(name), DONE[name]
    for command, code in commands:
        done = call(folder, *command)
        assert done.returncode == code, (command, done.stdout + done.stderr)
    # The solved notebook runs from top to bottom, and its last cell checks it.
    notebook = nbformat.read(folder / "solution.ipynb", as_version=4)
    environment = {**os.environ, **STORE, "JPY_SESSION_NAME": str(folder / "solution.ipynb")}  # as Jupyter's servers tell it
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, timeout=300).execute(env=environment)
    said = "".join(output.text for output in notebook.cells[-1].outputs if output.get("name") == "stdout")
    assert said.count("✓") == checks and "All is right" in said, said
    assert not [output for output in notebook.cells[-1].outputs if output.output_type == "error"]


@pytest.mark.parametrize("name", DONE)
def test_an_untouched_exercise_is_told_what_to_do_and_who_is_stuck_goes_on_after_the_part(name, workshop):
    folder = workshop(name)
    told = call(folder, sys.executable, "check.py", "exercise.ipynb")
    assert told.returncode == 1, told.stdout + told.stderr
    lines = told.stdout.splitlines()
    wrong = [number for number, line in enumerate(lines) if line.startswith("✗")]
    assert len(wrong) >= DONE[name][1] // 2
    assert all(lines[number + 1].startswith("    ") and lines[number + 1].strip() for number in wrong)
    assert "Traceback" not in told.stderr
    right = told.stdout.count("✓")
    for part, then in CHECKPOINTS.items():
        if part.startswith(f"{name}/"):
            shutil.copy(folder / f"{Path(part).name}.ipynb", folder / "exercise.ipynb")  # as the page says
            told = call(folder, sys.executable, "check.py", "exercise.ipynb")
            assert told.stdout.count("✓") == then > right, part + told.stdout + told.stderr
            assert call(folder, *LAB, "check", "exercise.ipynb").returncode == 0


def test_the_pages_name_each_checkpoint_and_each_is_a_step_from_the_exercise_to_the_solution():
    kept = {f"{path.parent.name}/{path.stem}" for path in every("after-*.ipynb")}
    assert kept == set(CHECKPOINTS)
    for name in CHECKPOINTS:
        folder = WORKSHOPS / Path(name).parent
        assert f"`cp {Path(name).name}.ipynb exercise.ipynb`" in (folder / "README.md").read_text()
        assert "`cp solution.ipynb exercise.ipynb`" in (folder / "README.md").read_text()
        first, last, made = (
            nbformat.read(folder / f"{each}.ipynb", as_version=4) for each in ("exercise", "solution", Path(name).name)
        )
        assert [cell.id for cell in first.cells] == [cell.id for cell in made.cells] == [cell.id for cell in last.cells]
        for cells in zip(first.cells, made.cells, last.cells, strict=True):
            for part in ("source", "metadata"):
                before, now, after = (cell[part] for cell in cells)
                assert now in (before, after), f"{name}, {cells[1].id}: {part} is neither the exercise's nor the solution's"
        assert made.cells != first.cells and made != last


def test_the_diagnostic_of_the_first_workshop_is_the_one_that_its_page_describes(workshop):
    folder = workshop("01-from-notebook-to-pipeline")
    solved = nbformat.read(folder / "solution.ipynb", as_version=4)
    untouched = nbformat.read(folder / "exercise.ipynb", as_version=4)
    report = next(cell.source for cell in untouched.cells if cell.source.startswith('print(f"The best weekday'))
    next(cell for cell in solved.cells if cell.metadata.get("tags") == ["step:report"]).source = report
    nbformat.write(solved, folder / "broken.ipynb")
    found = json.loads(call(folder, *LAB, "check", "broken.ipynb", "--json").stdout)
    (code,) = {each["code"] for each in found if each["severity"] == "error"}
    assert code in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "path",
    [*every("exercise.ipynb"), *every("after-*.ipynb"), *every("solution.ipynb")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_the_notebooks_are_kept_without_outputs_and_end_with_their_checks(path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    assert notebook.cells[-1].source == "%run check.py"
    assert notebook.cells[-1].metadata.tags == ["skip"]
