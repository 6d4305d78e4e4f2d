"""However much a cell puts out, the executed notebook stays readable, and nothing of it is lost."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_output

import mlops_lab
from mlops_lab.runtime import outputs as module
from mlops_lab.runtime.outputs import Cap

verify_shown = importlib.import_module("mlops_lab.verify.shown")  # the package has a function of that name


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "LIMIT", 1000)
    monkeypatch.setattr(verify_shown, "LIMIT", 1000)
    return 1000


def put(folder: Path, texts: list[tuple[str, str]]) -> list[Any]:
    cap, outputs = Cap(str(folder), 7), []
    for name, text in texts:
        outputs.append(new_output("stream", name=name, text=text))
        cap.take(outputs, outputs[-1])
    cap.end(outputs)
    return outputs


def shown_text(outputs: list[Any], name: str) -> str:
    return "".join(o.text for o in outputs if o.name == name)


@pytest.mark.parametrize("sizes", [[300, 300, 300, 300, 300], [5000], [1000, 1], [999, 3000, 2], [1, 1, 4000]])
def test_the_notebook_keeps_the_beginning_and_the_file_everything(tmp_path: Path, small: int, sizes: list[int]) -> None:
    texts = [chr(97 + i) * size for i, size in enumerate(sizes)]
    outputs = put(tmp_path, [("stdout", text) for text in texts])
    whole = "".join(texts)
    seen = shown_text(outputs, "stdout")
    assert seen.startswith(whole[:small] + "\n[") and f"{len(whole) - small:,} more characters" in seen
    assert len(seen) < small + 300
    assert (tmp_path / "cell-7-stdout.txt").read_text() == whole
    assert verify_shown._cut(seen) == verify_shown._cut(whole), "verify sees the same text"
    assert verify_shown._cut(seen) != verify_shown._cut(whole[:-1] + "?"), "and sees a difference in what was cut"


def test_the_streams_of_a_cell_are_counted_apart(tmp_path: Path, small: int) -> None:
    outputs = put(tmp_path, [("stdout", "a" * 900), ("stderr", "b" * 900), ("stdout", "c" * 900)])
    assert shown_text(outputs, "stderr") == "b" * 900
    assert not (tmp_path / "cell-7-stderr.txt").exists()
    assert (tmp_path / "cell-7-stdout.txt").read_text() == "a" * 900 + "c" * 900


def test_what_is_short_stays_as_it_is(tmp_path: Path, small: int) -> None:
    outputs = put(tmp_path, [("stdout", "a" * 500), ("stdout", "b" * 500)])
    assert shown_text(outputs, "stdout") == "a" * 500 + "b" * 500
    assert list(tmp_path.iterdir()) == []


def test_pictures_beyond_the_limit_are_kept_in_a_file(tmp_path: Path, small: int) -> None:
    cap, outputs = Cap(str(tmp_path), 3), []
    for i in range(5):
        outputs.append(new_output("display_data", data={"text/html": str(i) * 300}))
        cap.take(outputs, outputs[-1])
    cap.end(outputs)
    assert [o.output_type for o in outputs] == ["display_data", "display_data", "stream"]
    assert "3 more outputs" in outputs[-1].text
    lines = (tmp_path / "cell-3-outputs.jsonl").read_text().splitlines()
    assert [json.loads(line)["data"]["text/html"][0] for line in lines] == ["2", "3", "4"]


def test_a_flood_of_a_real_cell_is_cut_in_the_notebook_and_whole_beside_it(notebook: Callable[..., Path]) -> None:
    size = module.LIMIT + 2_000_000
    run = mlops_lab.load(notebook([("step:a", f"print('x' * {size})\ny = 1")])).run(tracking=False)
    assert run.status == "done", run.steps["a"].state.failure
    executed = Path(run.steps["a"].state.notebook)
    assert executed.stat().st_size < module.LIMIT + 100_000
    assert (executed.parent / "cell-1-stdout.txt").stat().st_size == size + 1
    assert run.folder.log.stat().st_size < 200_000
