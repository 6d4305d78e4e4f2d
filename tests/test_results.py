"""When the result of an earlier run still counts, and why not when it doesn't."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops_lab.results import Recipe, Result, ResultStore, apply_outputs, stale_input
from mlops_lab.runtime.filestates import file_digest, state_of

RECIPE = Recipe(
    cells={3: "code of 3", 4: "code of 4"}, prelude="import m", parameters={"lr": "0.1"}, packages={"numpy": "2.0"},
    reads=["x"], interpreter="3.11", seeded=False,
)  # fmt: skip


def result(**fields: Any) -> Result:
    base = {"step": "a", "run": "r1", "attempt": 1, "status": "done", "seconds": 1.0, "inputs": {}, "recipe": RECIPE}
    return Result(**{**base, **fields})


def v(bundle: str, content: str) -> list[str]:
    return [bundle, content]


STALE = [
    ("the same versions", {"inputs": {"x": v("b", "1")}}, {"x": v("b", "1")}, None),
    ("another value", {"inputs": {"x": v("b", "1")}}, {"x": v("c", "2")}, "x"),
    ("the same value in another bundle", {"inputs": {"x": v("b", "1")}}, {"x": v("c", "1")}, None),
    ("the same value in another bundle, changed by the step", {"inputs": {"x": v("b", "1")}, "outputs": {"x": {"version": v("d", "3")}}},
     {"x": v("c", "1")}, "x"),
    ("two values that no longer share", {"inputs": {"x": v("b", "1"), "y": v("b", "2")}}, {"x": v("b", "1"), "y": v("c", "2")}, "y"),
    ("two values that share now", {"inputs": {"x": v("b", "1"), "y": v("c", "2")}}, {"x": v("d", "1"), "y": v("d", "2")}, "x"),
    ("two values that share in another bundle", {"inputs": {"x": v("b", "1"), "y": v("b", "2")}}, {"x": v("c", "1"), "y": v("c", "2")}, None),
    ("an input that is deleted now", {"inputs": {"x": v("b", "1")}}, {}, "x"),
    ("an input that was not there and is not", {"inputs": {"x": None}}, {}, None),
    ("an input that was not there and now is", {"inputs": {"x": None}}, {"x": v("b", "1")}, "x"),
    ("a variable that it didn't read", {"inputs": {}}, {"y": v("b", "1")}, None),
    ("the same state", {"states": {"figures": "1"}}, {"figures": v("b", "1")}, None),
    ("another state", {"states": {"figures": "1"}}, {"figures": v("b", "2")}, "figures"),
    ("a state that nobody set", {"states": {"figures": "1"}}, {}, None),
    ("another random state, not drawn from", {"states": {"numpy.random": "1"}}, {"numpy.random": v("b", "2")}, None),
    ("another random state, drawn from", {"states": {"numpy.random": "1"}, "outputs": {"numpy.random": {"version": v("c", "3")}}},
     {"numpy.random": v("b", "2")}, "numpy.random"),
    ("a random state that it began afresh, drawn from",
     {"late_states": ["numpy.random"], "outputs": {"numpy.random": {"version": v("c", "3")}}}, {"numpy.random": v("b", "2")},
     "numpy.random"),
    ("a random state that it began afresh, not drawn from", {"late_states": ["numpy.random"]}, {"numpy.random": v("b", "2")}, None),
    ("another state that it began afresh", {"late_states": ["pandas"]}, {"pandas": v("b", "2")}, "pandas"),
    ("a state that it began afresh and nobody set", {"late_states": ["pandas"]}, {}, None),
    ("the same file", {"files_read": {"a.csv": "1"}}, {"file:a.csv": v("1", "1")}, None),
    ("another file", {"files_read": {"a.csv": "1"}}, {"file:a.csv": v("2", "2")}, "file a.csv"),
    ("a file that no step writes", {"files_read": {"a.csv": "1"}}, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "current", "expected"), [pytest.param(*rest, id=n) for n, *rest in STALE])
def test_a_result_counts_while_what_it_read_is_current(
    fields: dict[str, Any], current: dict[str, Any], expected: str | None
) -> None:
    assert stale_input(result(**fields), current) == expected


def test_outputs_deletions_and_files_advance_the_versions() -> None:
    current = {"x": v("b", "1"), "y": v("b", "2"), "z": v("c", "3")}
    outputs = {"x": {"version": v("d", "4")}, "y": None, "z": {"version": v("e", "5"), "unread": True}, "never": None}
    apply_outputs(current, result(outputs=outputs, files_written={"a.csv": "9"}))
    assert current == {"x": v("d", "4"), "z": v("c", "3"), "file:a.csv": v("9", "9")}


def changed(**fields: Any) -> Recipe:
    return msgspec.structs.replace(RECIPE, **fields)


RECIPES = [
    ("other cell numbers", {"cells": {7: "code of 3", 9: "code of 4"}}, True),
    ("other code", {"cells": {3: "other", 4: "code of 4"}}, False),
    ("cells in another order", {"cells": {3: "code of 4", 4: "code of 3"}}, False),
    ("another prelude", {"prelude": ""}, False),
    ("another parameter", {"parameters": {"lr": "0.2"}}, False),
    ("another package", {"packages": {"numpy": "2.1"}}, False),
    ("other reads", {"reads": None}, False),
    ("another Python", {"interpreter": "3.12"}, False),
    ("seeded", {"seeded": True}, False),
    ("other settings", {"settings": {"env": "A"}}, False),
    ("another format", {"format": 99}, False),
]


@pytest.mark.parametrize(("fields", "equal"), [pytest.param(*rest, id=n) for n, *rest in RECIPES])
def test_a_recipe_s_digest_counts_all_but_cell_numbers(fields: dict[str, Any], equal: bool) -> None:
    assert (changed(**fields).digest == RECIPE.digest) is equal


def test_the_order_of_parameters_and_packages_does_not_count() -> None:
    one, two = changed(parameters={"a": "1", "b": "2"}), changed(parameters={"b": "2", "a": "1"})
    assert one.digest == two.digest


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., ResultStore]:
    """A store with one result in it, whose notebook, bundles and files exist."""

    def make(bundles: bool = True, **fields: Any) -> ResultStore:
        store = ResultStore(tmp_path / "results", tmp_path, lambda bundle: bundles)
        (tmp_path / "a.ipynb").write_text("{}")
        base = {"inputs": {"x": v("b", "1")}, "outputs": {"y": {"version": v("c", "2")}}, "keep": ["y"],
                "notebook": str(tmp_path / "a.ipynb")}  # fmt: skip
        store.save(result(**{**base, **fields}), "nb")
        return store

    return make


X = {"x": v("b", "1")}


def test_a_result_is_found_for_the_same_recipe_and_versions(stored: Callable[..., ResultStore]) -> None:
    found = stored().find(RECIPE, X, ["y"])
    assert found is not None
    assert (found.run, found.outputs) == ("r1", {"y": {"version": v("c", "2")}})


def test_a_result_is_found_among_those_of_some_runs_only(stored: Callable[..., ResultStore]) -> None:
    store = stored()
    assert store.find(RECIPE, X, ["y"], of_runs=["r0"]) is None
    assert store.find(RECIPE, X, ["y"], of_runs=["r0", "r1"]) is not None


def test_of_two_results_the_one_for_these_versions_is_taken(stored: Callable[..., ResultStore]) -> None:
    stored()
    store = stored(run="r2", inputs={"x": v("q", "9")})
    for current, run in ((X, "r1"), ({"x": v("q", "9")}, "r2")):
        found = store.find(RECIPE, current, ["y"])
        assert found is not None and found.run == run


def test_a_damaged_result_is_a_miss(stored: Callable[..., ResultStore]) -> None:
    store = stored()
    for path in store.folder.rglob("*.json"):
        path.write_text("{")
    assert store.find(RECIPE, X, ["y"]) is None
    assert store.why("nb", "a", RECIPE, X, ["y"]) == "never run"


@pytest.mark.parametrize(
    ("kept", "wanted", "found"),
    [
        (["y"], ["y"], True),
        (["y"], [], True),
        (["y"], ["y", "z"], False),
        (["y"], None, False),
        (None, ["z"], True),
        (None, None, True),
    ],
)
def test_a_result_must_have_kept_what_is_wanted_now(
    stored: Callable[..., ResultStore], kept: Any, wanted: Any, found: bool
) -> None:
    assert (stored(keep=kept).find(RECIPE, X, wanted) is not None) is found


def test_files_that_a_step_read_or_wrote_must_be_as_they_were(stored: Callable[..., ResultStore], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("1")
    (tmp_path / "out.csv").write_text("2")
    files = {"files_read": {"in.csv": state_of(str(tmp_path / "in.csv"))},
             "files_written": {"out.csv": state_of(str(tmp_path / "out.csv"))}}  # fmt: skip
    store = stored(**files)
    assert store.find(RECIPE, X, ["y"]) is not None
    (tmp_path / "out.csv").unlink()
    assert store.find(RECIPE, X, ["y"]) is None
    (tmp_path / "out.csv").write_text("2")
    (tmp_path / "in.csv").write_text("changed")
    assert store.find(RECIPE, X, ["y"]) is None
    assert store.why("nb", "a", RECIPE, X, ["y"]) == "file in.csv changed"


WHY = [
    ("the code of a cell", {"cells": {3: "code of 3", 4: "other"}}, X, ["y"], "the code of cell 4 changed"),
    ("a cell that is gone", {"cells": {3: "code of 3"}}, X, ["y"], "its cells were removed or moved"),
    ("the prelude", {"prelude": "import n"}, X, ["y"], "the imports or the setup it needs changed"),
    ("a parameter", {"parameters": {"lr": "0.2"}}, X, ["y"], "parameter lr: 0.1 -> 0.2"),
    ("a new parameter", {"parameters": {"lr": "0.1", "n": "1"}}, X, ["y"], "parameter n: none -> 1"),
    ("a package", {"packages": {"numpy": "2.1"}}, X, ["y"], "numpy 2.0 -> 2.1"),
    ("a new package", {"packages": {"numpy": "2.0", "pandas": "3"}}, X, ["y"], "pandas not there -> 3"),
    ("Python", {"interpreter": "3.12"}, X, ["y"], "Python 3.11 -> 3.12"),
    ("settings", {"settings": {"env": "A"}}, X, ["y"], "its settings, or what the analysis says it reads, changed"),
    ("an input", {}, {"x": v("c", "2")}, ["y"], "input x changed"),
    ("more to keep", {}, X, ["y", "z"], "a later step now reads more of what it leaves"),
    ("nothing but what was thrown away", {}, X, ["y"], "its stored results are gone"),
    ("other numbers", {"cells": {8: "code of 3", 9: "code of 4"}}, {"x": v("c", "2")}, ["y"], "input x changed"),
]


@pytest.mark.parametrize(("fields", "current", "keep", "why"), [pytest.param(*rest, id=n) for n, *rest in WHY])
def test_a_miss_says_what_changed(
    stored: Callable[..., ResultStore], fields: dict[str, Any], current: dict[str, Any], keep: list[str], why: str
) -> None:
    store = stored(bundles=False)
    assert store.find(changed(**fields), current, keep) is None
    assert store.why("nb", "a", changed(**fields), current, keep) == why


def test_a_step_that_never_ran_says_so(stored: Callable[..., ResultStore]) -> None:
    assert stored().why("nb", "b", RECIPE, X, ["y"]) == "never run"
    assert stored().why("other", "a", RECIPE, X, ["y"]) == "never run"


def test_a_file_s_digest_is_of_its_bytes_and_a_folder_s_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert file_digest(str(tmp_path / "a")) == file_digest(str(tmp_path / "b"))
    assert file_digest(str(tmp_path / "none")) == "absent"
    before = file_digest(str(tmp_path))
    (tmp_path / "c").write_text("1")
    assert file_digest(str(tmp_path)) != before
