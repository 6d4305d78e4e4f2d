"""Bundles on disk: what is stored is found under its digest, mapped when it is loaded, and never half there."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_lab.runtime import store as store_module
from mlops_lab.runtime.pack import Packed, Space, pack, unpack
from mlops_lab.runtime.store import Store

LARGE = np.arange(5_000_000.0)  # 40 MB: written while it is digested


def packed(value: object) -> Packed:
    return pack(Space({"x": value}, "s"), ["x"])


def saved(store: Store, value: object, digested: bool = True) -> str:
    content = packed(value)
    if digested:
        store.digest_of(content)
    return store.save(["x"], content.stream, content.buffers)[0]


def loaded(store: Store, name: str) -> object:
    bundle = store.open(name)
    return unpack(bundle.part(bundle.header.stream), bundle.buffers(), None)["x"]


@pytest.mark.parametrize("value", [np.arange(10), np.arange(100_000), LARGE, [LARGE, LARGE[::-1].copy(), b"1" * 10**6], "text"])
def test_a_bundle_is_the_same_file_whether_it_was_digested_before_or_not(tmp_path: Path, value: object) -> None:
    name = saved(Store(tmp_path / "one"), value)
    assert name == saved(Store(tmp_path / "two"), value, digested=False)
    assert Store(tmp_path / "one").path(name).read_bytes() == Store(tmp_path / "two").path(name).read_bytes()
    assert pickle.dumps(loaded(Store(tmp_path / "one"), name)) == pickle.dumps(value)


def test_equal_values_are_stored_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert saved(Store(tmp_path), LARGE) == saved(Store(tmp_path), LARGE.copy())
    Store(tmp_path).digest_of(packed(LARGE + 1))  # digested, never saved
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_dates_that_were_only_looked_at_are_stored_as_before(tmp_path: Path) -> None:
    """What pandas computes of an array of dates and keeps there (a plot asks for it) is no change of the frame."""
    store, value = Store(tmp_path), pd.DataFrame({"x": [1.0, 2.0]}, index=pd.DatetimeIndex(["1959-03-31", "1959-06-30"]))
    name = saved(store, value)
    assert value.index._data._creso and "_cache" in vars(value.index._data), "else there is nothing to leave out"
    assert saved(store, value) == name
    pd.testing.assert_frame_equal(loaded(store, name), value)  # type: ignore[arg-type]


def test_a_store_without_nameless_files_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    name = saved(Store(tmp_path), LARGE)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]
    assert np.array_equal(loaded(Store(tmp_path), name), LARGE)  # type: ignore[arg-type]


def test_a_value_that_changed_after_its_digest_was_taken_is_digested_again(tmp_path: Path) -> None:
    store, value = Store(tmp_path), LARGE.copy()
    before = store.digest_of(packed(value))
    value[-1] = -1
    assert store.digest_of(packed(value)) != before
    assert loaded(store, saved(store, value))[-1] == -1  # type: ignore[index]


def test_an_input_nobody_wrote_to_is_not_read_to_tell_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    value = loaded(store, saved(store, LARGE))
    before = store.digest_of(packed(value))

    def read(view: memoryview) -> str:
        raise AssertionError("it was read")

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "_digest_in_blocks", read)
        assert store.digest_of(packed(value)) == before
    value[7] = -1  # type: ignore[index]
    assert store.digest_of(packed(value)) != before
    assert LARGE[7] == 7 and np.array_equal(loaded(store, saved(store, LARGE)), LARGE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:50], lambda data: data[:-1], lambda data: b"x" + data[1:]]
)
def test_a_damaged_bundle_says_what_to_do(tmp_path: Path, damage: object) -> None:
    store = Store(tmp_path)
    path = store.path(saved(store, np.arange(100_000)))
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ValueError, match="damaged: delete it"):
        store.open(path.name)
