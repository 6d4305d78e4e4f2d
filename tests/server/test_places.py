"""Paths and runs as the outside names them: nothing outside of the server's root is ever given."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from mlops_lab.events import RunFinished, RunStarted
from mlops_lab.server.errors import Forbidden, NotFound
from mlops_lab.server.places import Places


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub" / ".secret").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for file in ("nb.ipynb", "sub/nb.ipynb", "sub/.secret/nb.ipynb", "../outside/nb.ipynb", "data.csv"):
        (root / file).write_text("{}")
    (root / "linked").symlink_to("../outside")
    (root / "linked.ipynb").symlink_to("../outside/nb.ipynb")
    (root / "inside.ipynb").symlink_to("sub/nb.ipynb")
    (root / "folder.ipynb").mkdir()
    return root


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("nb.ipynb", "nb.ipynb"),
        ("/nb.ipynb", "nb.ipynb"),
        ("sub/nb.ipynb", "sub/nb.ipynb"),
        ("./sub//nb.ipynb", "sub/nb.ipynb"),
        ("inside.ipynb", "inside.ipynb"),
        ("../outside/nb.ipynb", Forbidden),
        ("sub/../nb.ipynb", Forbidden),
        ("sub/../../outside/nb.ipynb", Forbidden),
        ("linked/nb.ipynb", Forbidden),
        ("linked.ipynb", Forbidden),
        ("sub/.secret/nb.ipynb", NotFound),
        (".mlops_lab/x.ipynb", NotFound),
        ("data.csv", NotFound),
        ("folder.ipynb", NotFound),
        ("missing.ipynb", NotFound),
        ("a\0b.ipynb", NotFound),
        ("\ud800.ipynb", NotFound),
        ("x" * 300 + ".ipynb", NotFound),
        ("", NotFound),
        ("x/" * 3000 + "nb.ipynb", NotFound),
    ],
)
def test_a_path_leads_to_a_notebook_below_the_root_or_nowhere(root, path, found):
    places = Places(root)
    if isinstance(found, str):
        assert places.notebook(path) == root / found
    else:
        with pytest.raises(found):
            places.notebook(path)


def test_hidden_files_are_found_where_the_server_allows_them(root):
    assert Places(root, allow_hidden=True).notebook("sub/.secret/nb.ipynb").is_file()


def run_of(notebook: Path, name: str, home: Path | None = None) -> Path:
    folder = (home or notebook.parent / ".mlops_lab") / "runs" / name
    folder.mkdir(parents=True)
    events = [
        RunStarted(run=name, notebook=str(notebook), digest="", pipeline="p", steps=["a"], seq=1, time=time.time()),
        RunFinished(status="done", seconds=1.0, seq=2, time=time.time()),
    ]
    (folder / "events.jsonl").write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    return folder


def test_a_run_is_found_wherever_below_the_root_its_notebook_lies(root):
    deep = root / "a/b/c/d"
    deep.mkdir(parents=True)
    run_of(deep / "nb.ipynb", "20260101-000000-aaaa")
    folder, path = Places(root).run("20260101-000000-aaaa")
    assert (folder.path.parent.parent.parent, path) == (deep, "a/b/c/d/nb.ipynb")


def test_a_run_that_began_after_the_last_search_is_found(root):
    places = Places(root)
    run_of(root / "nb.ipynb", "20260101-000000-aaaa")
    places.run("20260101-000000-aaaa")
    (root / "new").mkdir()
    run_of(root / "new/nb.ipynb", "20260101-000000-bbbb")
    places._searched -= 2
    assert places.run("20260101-000000-bbbb")[1] == "new/nb.ipynb"


def test_runs_of_notebooks_outside_the_root_are_not_shown(root, monkeypatch):
    outside = root.parent / "outside"
    run_of(outside / "nb.ipynb", "20260101-000000-aaaa")
    run_of(outside / "nb.ipynb", "20260101-000000-bbbb", home=root / "elsewhere" / ".mlops_lab")
    for name in ("20260101-000000-aaaa", "20260101-000000-bbbb", "../20260101-000000-aaaa", "..", ".", "a/b"):
        with pytest.raises(NotFound):
            Places(root).run(name)
    # Where one place holds the runs of all notebooks, too.
    run_of(root / "nb.ipynb", "20260101-000000-cccc", home=outside / ".mlops_lab")
    monkeypatch.setenv("MLOPS_LAB_DIR", str(outside / ".mlops_lab"))
    assert Places(root).run("20260101-000000-cccc")[1] == "nb.ipynb"
    with pytest.raises(NotFound):
        Places(root).run("20260101-000000-aaaa")


def test_a_run_folder_that_is_a_link_is_not_followed(root):
    kept = run_of(root.parent / "outside/nb.ipynb", "20260101-000000-aaaa")
    runs = root / ".mlops_lab/runs"
    runs.mkdir(parents=True)
    (runs / "20260101-000000-dddd").symlink_to(kept)
    with pytest.raises(NotFound):
        Places(root).run("20260101-000000-dddd")


def test_a_root_that_is_a_link_shows_the_notebooks_by_both_names(root):
    link = root.parent / "link"
    link.symlink_to(root)
    run_of(root / "nb.ipynb", "20260101-000000-aaaa")
    run_of(link / "sub/nb.ipynb", "20260101-000000-bbbb")
    for at in (root, link):
        assert Places(at).run("20260101-000000-aaaa")[1] == "nb.ipynb"
        assert Places(at).run("20260101-000000-bbbb")[1] == "sub/nb.ipynb"


def test_folders_that_cannot_be_read_are_passed_over(root):
    closed = root / "closed"
    closed.mkdir()
    run_of(root / "nb.ipynb", "20260101-000000-aaaa")
    os.chmod(closed, 0)
    try:
        assert Places(root).run("20260101-000000-aaaa")
    finally:
        os.chmod(closed, 0o755)
