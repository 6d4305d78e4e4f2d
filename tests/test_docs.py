"""The documentation against the code: nothing public undocumented, nothing documented that isn't there, examples that run."""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path

import msgspec
import nbformat as nbf
import pytest
import typer
from conftest import notebook_node

import mlops_lab
from mlops_lab import checks, cli, errors, events
from mlops_lab.checks import check
from mlops_lab.notebook import Settings, StepSettings, from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.roles import RULES
from mlops_lab.targets.kubeflow import checks as kubeflow_checks

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TARGET_CODES = {re.match(r"(ML\d+):", one.__doc__)[1] for one in kubeflow_checks.CHECKS}
STATIC_CODES = {re.match(r"(ML\d+):", one.__doc__)[1] for one in checks.CHECKS}


def text(name):
    return (DOCS / name).read_text(encoding="utf-8")


def fences(markdown, language):
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```$", markdown, re.M | re.S)


def without_fences(markdown):
    return re.sub(r"^```.*?^```$", "", markdown, flags=re.M | re.S)


def code_spans(markdown):
    """Every word-like piece of what is set as code, in the text or in a fence."""
    spans = re.findall(r"`([^`\n]+)`", without_fences(markdown)) + fences(markdown, "")
    return {word for span in spans for word in re.findall(r"[\w-]+:?", span)}


# Diagnostics


def sections():
    """Code -> its part of the page."""
    parts = re.split(r"^## (ML\d+)\b", text("diagnostics.md"), flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def cells_of(source):
    """`# %% [tags]` separators -> (tags, source) of each cell."""
    parts = re.split(r"^# %%(?: \[([^\]]*)\])?\n", source, flags=re.M)
    assert not parts[0].strip(), "an example begins with `# %%`"
    return [(tags or "", code.strip()) for tags, code in zip(parts[1::2], parts[2::2], strict=True)]


def example(section, label):
    """The notebook node of the section's `Example:` or `Fixed:`."""
    start = section.index(f"\n{label}:\n")
    ends = [end for other in ("Example", "Fixed") if (end := section.find(f"\n{other}:\n", start + 1)) > 0]
    part = section[start : min(ends, default=None)]
    metadata = [json.loads(found) for found in fences(part, "json")]
    return notebook_node(cells_of(fences(part, "python")[0]), metadata[0] if metadata else None)


def findings(node):
    return {d.code: d for d in check(make_plan(build(from_node(node, "example.ipynb"))))}


def test_every_diagnostic_is_documented_and_every_documented_one_exists():
    assert set(sections()) == STATIC_CODES | set(checks.RUNTIME_CODES) | TARGET_CODES
    assert list(sections()) == sorted(sections())


@pytest.mark.parametrize("code", sorted(STATIC_CODES))
def test_the_example_of_a_diagnostic_gives_it_with_the_severity_told(code):
    section = sections()[code]
    found = findings(example(section, "Example"))
    assert code in found
    assert re.search(rf"^Severity: {found[code].severity}\b", section, re.M)


@pytest.mark.parametrize("code", sorted(STATIC_CODES))
def test_the_fixed_example_of_a_diagnostic_gives_none(code):
    assert not findings(example(sections()[code], "Fixed"))


@pytest.mark.parametrize("code", sorted(checks.RUNTIME_CODES))
def test_the_example_of_a_runtime_code_gives_it_and_the_fixed_one_runs(code, tmp_path):
    for label in ("Example", "Fixed"):
        path = tmp_path / f"{label}.ipynb"
        nbf.write(example(sections()[code], label), path)
        run = mlops_lab.load(path).run(tracking=False, fixed_graph="ML203" <= code <= "ML205")
        codes = {step.state.failure.code for step in run.steps.values() if step.state.failure}
        assert codes == ({code} if label == "Example" else set())
        assert run.status == ("failed" if label == "Example" else "done")


# Tags and settings


def test_every_tag_has_its_place_on_the_page_about_tags():
    page = text("tagging.md")
    for rule in RULES:
        heading = re.search(rf"^### `{re.escape(rule.tag)}`$", page, re.M)
        row = re.search(rf"^\| `{re.escape(rule.tag)}` \|", page, re.M)
        assert heading or (rule.kale and row), f"{rule.tag} is not described"


def test_every_setting_has_a_row_and_the_example_uses_all_of_them():
    page = text("tagging.md")
    for struct in (Settings, StepSettings):
        for key in struct.__struct_fields__:
            assert re.search(rf"^\| `{key}` \|", page, re.M), f"the setting {key} is not described"
    (metadata,) = (json.loads(found) for found in fences(page, "json"))
    settings = from_node(notebook_node([("step:train", "model = 1")], metadata), "nb.ipynb").settings
    assert set(metadata["mlops_lab"]) == set(Settings.__struct_fields__)
    assert set(metadata["mlops_lab"]["steps"]["train"]) == set(StepSettings.__struct_fields__)
    assert settings.steps["train"].timeout == 600


@pytest.mark.parametrize("number", range(len(fences(text("tagging.md"), "python"))))
def test_the_examples_on_the_page_about_tags_use_tags_that_exist(number):
    source = fences(text("tagging.md"), "python")[number]
    found = findings(notebook_node(cells_of(source)))
    assert not set(found) - {"ML104", "ML112", "ML113"}, "examples are fragments, but their tags must be right"


# Command line


def commands():
    return typer.main.get_command(cli.app).commands


def section_of(page, heading):
    match = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert match, f"there is no heading {heading!r}"
    return match[1]


def test_every_command_has_a_section_and_every_section_a_command():
    headings = set(re.findall(r"^## mlops-lab (.+)$", text("cli.md"), re.M))
    assert headings == set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_of_a_command_is_described_and_no_other(name):
    section = section_of(text("cli.md"), f"mlops-lab {name}")
    options = {o for p in commands()[name].params for o in p.opts if o.startswith("-")} - {"--help"}
    rows = "\n".join(line for line in section.splitlines() if line.startswith("| `-"))
    described = set(re.findall(r"(?<![\w-])--?\w[\w-]*", " ".join(re.findall(r"^\| (.*?) \|", rows, re.M))))
    assert described == options


def test_global_options_and_exit_codes_are_described():
    page = text("cli.md")
    for parameter in typer.main.get_command(cli.app).params:
        for option in parameter.opts:
            assert f"`{option}`" in page
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)} == codes


def test_the_json_of_show_and_check_is_as_described(tmp_path):
    from mlops_lab.display import model

    page = text("cli.md")
    cells = [("parameters", "n = 1"), ("step:a", "x = n"), ("step:b", "print(x, unknown)")]
    found = model(make_plan(build(from_node(notebook_node(cells), tmp_path / "nb.ipynb"))))
    show = section_of(page, "mlops-lab show")
    for key, value in found.items():
        assert f"`{key}`" in show
        if isinstance(value, list) and key != "diagnostics":
            shape = re.search(rf"`{key}`: a list of `\{{(.*?)\}}`", show)[1]
            assert shape.split(", ") == list(value[0])
    shape = re.search(r"list of `\{(.*?)\}`", section_of(page, "mlops-lab check"))[1]
    assert shape.split(", ") == list(found["diagnostics"][0])


# Python interface


def test_every_public_name_and_every_member_is_described():
    page = text("python-api.md")
    assert set(re.findall(r"^## `mlops_lab\.(\w+)`$", page, re.M)) == set(mlops_lab.__all__)
    for public in (mlops_lab.Pipeline, mlops_lab.Run):
        members = {n for n in vars(public) if not n.startswith("_")}
        described = set(re.findall(r"^\| `(\w+)", section_of(page, f"`mlops_lab.{public.__name__}`"), re.M))
        assert members <= described
    tree = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.MlopsLabError)]
    for error in tree:
        assert f"`{error.__name__}`" in page or error is errors.MlopsLabError


def test_every_argument_of_run_is_described():
    import inspect

    section = section_of(text("python-api.md"), "`mlops_lab.Pipeline`")
    names = {n for line in re.findall(r"^\| ([^|]*) \|", section, re.M) for n in re.findall(r"`(\w+)`", line)}
    for name, parameter in inspect.signature(mlops_lab.Pipeline.run).parameters.items():
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
            assert name in names, f"the argument {name} is not described"


def test_the_examples_of_the_python_interface_run(tmp_path, monkeypatch):
    import doctest

    page = text("python-api.md")
    nbf.write(notebook_node(cells_of(fences(page, "python")[0])), tmp_path / "primes.ipynb")
    monkeypatch.chdir(tmp_path)
    examples = "\n".join(fences(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(examples, {}, "python-api.md", "python-api.md", 0)
    report = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)


# Events


def event_types():
    return list(typing.get_args(events.AnyEvent))


def test_every_event_has_a_section_that_names_all_its_fields_and_no_other_is_described():
    page = text("events.md")
    known = {msgspec.inspect.type_info(event).tag: event for event in event_types()}
    assert set(re.findall(r"^### `(\w+)`$", page, re.M)) == set(known)
    for tag, event in known.items():
        section = re.search(rf"^### `{tag}`$(.*?)(?=^##|\Z)", page, re.M | re.S)[1]
        for field in event.__struct_fields__:
            if field not in ("seq", "time"):
                assert f"`{field}`" in section, f"{tag}.{field} is not described"
    finished = re.search(r"^### `step_finished`$(.*?)(?=^##|\Z)", page, re.M | re.S)[1]
    for struct in (events.Failure, events.Output):
        for field in struct.__struct_fields__:
            assert f"`{field}`" in finished
    assert f"version {events.SCHEMA_VERSION}" in page


def test_the_log_shown_is_one_that_can_be_read(tmp_path):
    (log,) = fences(text("events.md"), "json")
    (tmp_path / "events.jsonl").write_text(log)
    found = list(events.read_events(tmp_path / "events.jsonl"))
    assert len(found) == len(log.splitlines())
    assert [event.seq for event in found] == list(range(1, len(found) + 1))


# How it works


def test_the_example_of_an_overtaken_step_is_overtaken_and_ends_right(tmp_path):
    cells = cells_of(fences(text("how-it-works.md"), "python")[0])
    nbf.write(notebook_node(cells), tmp_path / "overtaken.ipynb")
    run = mlops_lab.load(tmp_path / "overtaken.ipynb").run(tracking=False, workers=2)
    assert run.status == "done"
    assert run.steps["c"].state.overtaken == 1
    assert run.notebook().cells[2].outputs[0].text == "[99]\n"


# Links and words


def slug_of(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path):
    return {slug_of(h) for h in re.findall(r"^#+ (.+)$", without_fences(path.read_text(encoding="utf-8")), re.M)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages_hold_no_path_of_the_machine_they_were_written_on(page):
    assert not re.search(r"/(tmp|work|root)/", page.read_text(encoding="utf-8"))
