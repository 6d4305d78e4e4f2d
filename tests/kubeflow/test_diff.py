"""`mlops-lab diff`: what changed between two notebooks, two compiled pipelines, or one of each."""

import json

import nbformat as nbf
import pytest
from conftest import notebook_node
from typer.testing import CliRunner

from mlops_lab import cli, load
from mlops_lab.diff import Difference, differences, picture
from mlops_lab.errors import UsageError
from mlops_lab.targets.kubeflow.compile import compile_pipeline

BASE = [
    ("parameters", "rate: float = 0.5"),
    ("step:load", "rows = [1, 2, 3]"),
    ("step:train", "model = sum(rows) * rate"),
    ("step:report", "print(model)"),
]
SETTINGS = {"mlops_lab": {"steps": {"train": {"memory": "2Gi"}}}}


def write(folder, name, cells=BASE, metadata=None, compiled=False):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbf.write(notebook_node(cells, metadata), path)
    if compiled:
        path.with_suffix(".yaml").write_text(compile_pipeline(load(path).plan).yaml)
        return path.with_suffix(".yaml")
    return path


def replaced(number, tags, source):
    return [(tags, source) if i == number else cell for i, cell in enumerate(BASE)]


def found(one, other):
    return [(d.step, d.kind) for d in differences(picture(one), picture(other))]


@pytest.mark.parametrize("compiled", [False, True], ids=["notebooks", "compiled"])
@pytest.mark.parametrize(
    ("cells", "metadata", "expected"),
    [
        (BASE, None, []),
        ([*BASE, ("md", "# notes")], None, []),
        (replaced(2, "step:train", "model = max(rows) * rate"), None, [("train", "code")]),
        (replaced(2, "step:fit", BASE[2][1]), None, [("fit", "renamed")]),
        ([*BASE, ("step:more", "print(rows)")], None, [("more", "added")]),
        (BASE[:3], None, [("report", "removed")]),
        (BASE, SETTINGS, [("train", "memory")]),
        ([BASE[0], BASE[1], ("step:other", "1"), *BASE[2:]], None, [("other", "added")]),
    ],
)  # fmt: skip
def test_each_kind_of_change_is_told_once_with_its_step(tmp_path, cells, metadata, expected, compiled):
    one = write(tmp_path / "one", "nb", compiled=compiled)
    other = write(tmp_path / "other", "nb", cells, metadata, compiled=compiled)
    assert [row for row in found(one, other) if row[0]] == expected


def test_a_notebook_and_the_pipeline_made_from_it_are_equal(tmp_path):
    (tmp_path / "helpers.py").write_text("x = 1\n")
    cells = [*BASE, ("step:more", "import helpers\nprint(helpers.x)")]
    compiled = write(tmp_path, "nb", cells, SETTINGS, compiled=True)
    assert found(tmp_path / "nb.ipynb", compiled) == []
    (tmp_path / "helpers.py").write_text("x = 2\n")
    assert found(compiled, tmp_path / "nb.ipynb") == [("", "file helpers.py")]


def test_a_changed_parameter_is_told_with_both_values(tmp_path):
    one = write(tmp_path, "nb")
    other = write(tmp_path / "other", "nb", replaced(0, "parameters", "rate: float = 0.7"))
    (first, *_) = differences(picture(one), picture(other))
    assert first == Difference("", "parameter rate: defaultValue", "0.5", "0.7")


def test_the_command_shows_lines_and_ends_with_1(tmp_path):
    one = write(tmp_path, "one")
    other = write(tmp_path, "two", [*replaced(2, "step:train", "model = max(rows) * rate")], {"mlops_lab": {"name": "one"}})
    done = CliRunner().invoke(cli.app, ["diff", str(one), str(other)])
    assert done.exit_code == 1
    assert "step train" in done.output and "-model = sum(rows) * rate" in done.output
    assert "+model = max(rows) * rate" in done.output
    rows = json.loads(CliRunner().invoke(cli.app, ["diff", str(one), str(other), "--json"]).stdout)
    assert [(row["step"], row["kind"], row["after"]) for row in rows] == [("train", "code", "model = max(rows) * rate")]
    same = CliRunner().invoke(cli.app, ["diff", str(one), str(one)])
    assert (same.exit_code, same.output) == (0, "no difference\n")


def test_a_pipeline_of_somebody_else_is_compared_by_its_code(tmp_path):
    from kfp import compiler, dsl

    texts = []
    for number in (1, 2):

        @dsl.component(base_image="python:3.11")
        def say(word: str):
            print(word)

        say.component_spec.implementation.container.command[-1] += f"# {number}\n"

        @dsl.pipeline(name="other")
        def pipeline():
            say(word="x")

        compiler.Compiler().compile(pipeline, str(tmp_path / f"{number}.yaml"))
        texts.append(tmp_path / f"{number}.yaml")
    assert found(*texts) == [("say", "code")]


@pytest.mark.parametrize(("name", "text"), [("x.yaml", "a: [1"), ("y.yaml", "a: 1"), ("z.yaml", ""), ("missing.yaml", None)])
def test_what_is_neither_notebook_nor_pipeline_is_refused(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        picture(tmp_path / name)
