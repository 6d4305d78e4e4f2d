"""`compare`, `params` and `runs --where` as a user calls them."""

from __future__ import annotations

import json

import nbformat as nbf
import pytest
from conftest import notebook_node
from typer.testing import CliRunner

import mlops_lab
from mlops_lab.cli import app


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder with two runs, between which a parameter and the code of one step changed."""
    folder = tmp_path_factory.mktemp("compared")
    node = notebook_node([("parameters", "many: int = 2  # how many"), ("step:a", "x = many"), ("step:b", "y = x + 1")])
    nbf.write(node, folder / "nb.ipynb")
    first = mlops_lab.load(folder / "nb.ipynb").run(tracking=False)
    node.cells[2].source = "y = x + 2"
    nbf.write(node, folder / "nb.ipynb")
    return folder, first, mlops_lab.load(folder / "nb.ipynb").run(tracking=False, many=5)


def test_runs_are_put_side_by_side_with_what_changed(ran):
    folder, first, second = ran
    code, out, _ = call("compare", first.id, second.id, "-C", folder)
    assert code == 0
    assert "parameter many" in out
    assert "-y = x + 1" in out and "+y = x + 2" in out
    table = json.loads(call("compare", first.id, second.id, "-C", folder, "--json")[1])
    assert table["parameters"] == [{"name": "many", "values": [2, 5], "same": False}]
    assert [each["changed"] for each in table["steps"]] == [False, True]


@pytest.mark.parametrize(("names", "message"), [(["nothing"], "no run 'nothing'"), (["last"], "two to ten")])
def test_what_cannot_be_compared_is_told(ran, names, message):
    code, _, err = call("compare", *names, "-C", ran[0])
    assert code == 2
    assert message in " ".join(err.split())


def test_parameters_are_listed_with_what_they_are_for(ran, notebook):
    code, out, _ = call("params", ran[0] / "nb.ipynb")
    assert code == 0
    assert "many" in out and "int" in out and "how many" in out
    assert json.loads(call("params", ran[0] / "nb.ipynb", "--json")[1])[0]["default"] == 2
    assert "has no parameters" in " ".join(call("params", notebook([("step:a", "x = 1")]))[1].split())


def test_a_search_without_a_hit_says_so(ran):
    code, out, _ = call("runs", ran[0], "--where", "params.many = '77'")
    assert code == 0
    assert "for which params.many = '77'" in out
