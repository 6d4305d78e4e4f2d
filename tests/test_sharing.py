"""Which variables travel together: those that share what can change, and no others, since each would change with the others."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

from mlops_lab.runtime.load import runtime_module

pack, sharing = runtime_module("pack"), runtime_module("sharing")
pack.numpy_atoms()


def groups(names: dict[str, Any]) -> list[tuple[str, ...]]:
    space = pack.Space(names, "s")
    return sorted(sharing.partition({name: pack.pack(space, [name]) for name in names}))


def frames() -> dict[str, Any]:
    import pandas as pd

    def frame(*names: str) -> Any:
        return pd.DataFrame({name: [1.0, np.nan, 3.0] for name in names} | {"text": ["x", "y", None]})

    return {"one": frame("a", "b"), "other": frame("b"), "column": pd.Series([1, 2]), "third": pd.Series(["x", np.nan])}


def models() -> dict[str, Any]:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]])
    return {name: make_pipeline(SimpleImputer(), StandardScaler()).fit(values) for name in ("one", "other")} | {
        "values": values
    }


@pytest.mark.parametrize(
    "make",
    [
        frames,
        models,
        lambda: {
            "one": [np.nan, np.inf],
            "other": {"x": np.nan, "y": np.inf, "f": np.log1p, "g": np.mean},
            "third": [np.mean, np.log1p],
        },
    ],
)
def test_what_shares_only_constants_and_functions_of_packages_travels_alone(make: Any) -> None:
    names = make()
    assert groups(names) == sorted((name,) for name in names)


def test_what_shares_a_list_or_a_number_equal_to_nothing_travels_together() -> None:
    shared, odd = [1], float("nan")
    names = {"one": [shared], "other": {"x": shared}, "third": [odd], "fourth": (odd, 1), "fifth": [1]}
    assert groups(names) == [("fifth",), ("fourth", "third"), ("one", "other")]


def test_what_a_cython_cell_has_made_is_found_again_in_another_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled = tmp_path / "ipython" / "cython" / "_cython_magic_1f.py"  # as Cython's magic places what it compiles
    compiled.parent.mkdir(parents=True)
    compiled.write_text("class Made:\n    pass\n")
    stored = b"c_cython_magic_1f\nMade\n."  # a reference, as pickle writes it
    try:
        assert pickle.loads(stored).__name__ == "Made"
    finally:
        sys.modules.pop("_cython_magic_1f", None)
