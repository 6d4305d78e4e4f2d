"""What `check --on kubeflow` finds, held to the page that documents it."""

from __future__ import annotations

import json
import random
import re
import string
from pathlib import Path

import nbformat as nbf
import pytest
from conftest import notebook_node
from test_docs import TARGET_CODES, example, sections
from typer.testing import CliRunner

from mlops_lab import cli
from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.targets import check

EXAMPLES = Path(__file__).parents[2] / "examples"


def findings(node, folder):
    for cell in node.cells:
        noise = "".join(random.Random(0).choices(string.ascii_letters, k=200_000))
        cell.source = cell.source.replace("NOISE", noise)
    return {d.code: d for d in check(make_plan(build(from_node(node, folder / "example.ipynb"))), "kubeflow")}


@pytest.mark.parametrize("code", sorted(TARGET_CODES))
def test_the_example_of_a_code_gives_it_and_the_fixed_one_nothing(code, tmp_path):
    (tmp_path / "scans.bin").write_bytes(random.Random(0).randbytes(2_000_000))
    section = sections()[code]
    found = findings(example(section, "Example"), tmp_path)
    assert set(found) == {code}
    assert re.search(rf"^Severity: {found[code].severity}\b", section, re.M)
    assert found[code].fix
    assert not findings(example(section, "Fixed"), tmp_path)


@pytest.mark.parametrize("name", ["heart-disease", "temperature-anomalies"])
def test_the_examples_travel_as_they_are(name, monkeypatch):
    from mlops_lab import load

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")
    assert check(load(EXAMPLES / f"{name}.ipynb").plan, "kubeflow") == ()


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("http://localhost:5000", ["ML307"]),
        ("sqlite:///mlflow.db", ["ML307"]),
        ("", ["ML307"]),
        ("https://me:secret@mlflow.example.com", []),
    ],
)
def test_a_tracking_server_that_no_container_reaches_is_told_where_cells_log_to_it(tmp_path, monkeypatch, uri, found):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    logs = notebook_node([("step:a", "x = 1"), ("step:b", "import mlflow\nmlflow.log_metric('x', x)")])
    rows = check(make_plan(build(from_node(logs, tmp_path / "nb.ipynb"))), "kubeflow")
    assert [(row.code, row.name, row.cell) for row in rows] == [(code, "MLFLOW_TRACKING_URI", 2) for code in found]
    silent = notebook_node([("step:a", "x = 1"), ("step:b", "print(x)")])
    assert check(make_plan(build(from_node(silent, tmp_path / "nb.ipynb"))), "kubeflow") == ()


def test_the_command_lists_what_will_not_work_and_ends_with_2(tmp_path):
    path = tmp_path / "nb.ipynb"
    nbf.write(notebook_node([("step:load", "text = open('/srv/data.txt').read()"), ("step:use", "print(text)")]), path)
    done = CliRunner().invoke(cli.app, ["check", str(path), "--on", "kubeflow", "--json"])
    assert done.exit_code == 2
    assert [(row["code"], row["cell"], row["name"]) for row in json.loads(done.stdout)] == [("ML301", 1, "/srv/data.txt")]
    assert CliRunner().invoke(cli.app, ["check", str(path)]).exit_code == 0
    unknown = CliRunner().invoke(cli.app, ["check", str(path), "--on", "kubflow"])
    assert unknown.exit_code == 2
    assert "did you mean 'kubeflow'" in unknown.output


def test_nothing_is_compiled_with_errors_about_the_target(tmp_path):
    path = tmp_path / "nb.ipynb"
    nbf.write(notebook_node([("step:load", "text = open('../data.txt').read()")]), path)
    done = CliRunner().invoke(cli.app, ["compile", str(path)])
    assert done.exit_code == 2
    assert "ML302" in done.output
    assert not path.with_suffix(".yaml").exists()
