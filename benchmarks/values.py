"""What storing and loading large values costs, as ratios to a plain write of the same bytes, to pickle and to joblib.

    python benchmarks/values.py [--megabytes 1024] [--rounds 5] [--folder PLACE] [--kale PYTHON]

A frame of floats and an Arrow table are stored as a step does it (packed, digested, written, synced), and loaded in a fresh
process. All ways of one kind run in turn, so that the machine's moods hit each; the medians are shown, and the quickest
rounds, since a disk stalls now and then. `--kale` names a Python that has kubeflow-kale: its own marshalling is then one of
the ways (its files are synced, too). Then the question that a
step's end asks of each input: has it changed? Of a large one that nobody wrote to, and of many small objects.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa

from mlops_lab.runtime.load import runtime_module

packing, storing = runtime_module("pack"), runtime_module("store")

_LOAD = """
import sys, time, pickle
import joblib, numpy, pandas, pyarrow
from mlops_lab.runtime.load import runtime_module
packing, storing = runtime_module("pack"), runtime_module("store")
way, place, kale = sys.argv[1:]
started = time.perf_counter()
if way == "store":
    folder, _, name = place.rpartition("/")
    store = storing.Store(folder)
    bundle = store.open(name)
    value = packing.unpack(bundle.part(bundle.header.stream), bundle.buffers(), None)["x"]
elif way == "pickle":
    with open(place, "rb") as file:
        value = pickle.load(file)
elif way == "joblib":
    value = joblib.load(place)
elif way == "kale":
    sys.path.append(kale)
    from kale import marshal
    marshal.set_data_dir(place.rpartition("/")[0])
    started = time.perf_counter()
    value = marshal.load("x")
else:
    with open(place, "rb") as file:
        value = file.read()
print(time.perf_counter() - started)
if way == "store":
    space = packing.Space({"x": value}, "s")
    started = time.perf_counter()
    store.digest_of(packing.pack(space, ["x"]))
    print(time.perf_counter() - started)
"""


def frame(megabytes: int) -> pd.DataFrame:
    """Ten columns of floats."""
    rows = megabytes * 2**20 // 80
    return pd.DataFrame(np.random.default_rng(0).random((rows, 10)), columns=list("abcdefghij"))


def table(megabytes: int) -> pa.Table:
    """Ten columns of floats and one of strings."""
    rows = megabytes * 2**20 // 96
    columns = {c: np.random.default_rng(0).random(rows) for c in "abcdefghij"}
    return pa.table({**columns, "s": pa.array(np.arange(rows) % 1000).cast(pa.string())})


def synced(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file as the store does: it is on the disk when this returns."""
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def compare(name: str, value: Any, folder: Path, rounds: int, kale: str) -> None:
    """Store and load one value in every way; print ratios of medians, and of the quickest."""
    space = packing.Space({"x": value}, "s")
    stored = ""

    def store() -> None:
        nonlocal stored
        place = storing.Store(folder / "store")
        packed = packing.pack(space, ["x"])
        place.digest_of(packed)
        stored, _ = place.save(["x"], packed.stream, packed.buffers)

    packed = packing.pack(space, ["x"])
    size = sum(b.nbytes for b in packed.buffers) + len(packed.stream)

    def plain(file: Any) -> None:
        file.write(packed.stream)
        for buffer in packed.buffers:
            file.write(buffer)

    ways: dict[str, tuple[Callable[[], object], Callable[[], str]]] = {
        "plain": (lambda: synced(folder / "plain", plain), lambda: str(folder / "plain")),
        "store": (store, lambda: str(folder / "store" / stored)),
        "pickle": (lambda: synced(folder / "pickle", lambda f: pickle.dump(value, f, 5)), lambda: str(folder / "pickle")),
        "joblib": (lambda: synced(folder / "joblib", lambda f: joblib.dump(value, f)), lambda: str(folder / "joblib")),
    }
    if kale:
        from kale import marshal  # type: ignore[import-not-found]

        marshal.set_data_dir(str(folder / "kale"))

        def save_as_kale() -> None:
            marshal.save(value, "x")
            os.sync()

        ways["kale"] = save_as_kale, lambda: str(folder / "kale" / "x")
    saves: dict[str, list[float]] = {way: [] for way in ways}
    loads: dict[str, list[float]] = {way: [] for way in ways}
    checks: list[float] = []
    for _ in range(rounds):
        for way, (save, where) in ways.items():
            os.sync()
            saves[way].append(seconds(save))
            call = [sys.executable, "-c", _LOAD, way, where(), kale]
            times = [float(t) for t in subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()]
            loads[way].append(times[0])
            checks += times[1:]
            for path in folder.rglob("*"):
                if path.is_file():
                    path.unlink()
    median, quickest = statistics.median, min
    print(f"{name}, {size / 2**20:.0f} MiB; a plain synced write takes {median(saves['plain']):.2f} s, ", end="")
    print(f"a plain read {median(loads['plain']):.2f} s")
    for way in ways:
        usual, best = (of(saves["plain"]) / of(saves[way]) for of in (median, quickest))
        print(f"  {way:7} save at {usual:5.2f} of the plain speed, {best:5.2f} at its quickest; ", end="")
        print(f"load {median(loads[way]) * 1000:8.1f} ms")
    print(f"  is it unchanged? {statistics.median(checks) * 1000:.1f} ms")


def small_objects(rounds: int) -> None:
    """The same question of 10,000 small objects."""
    value = [{"id": i, "name": f"n{i}", "at": (i, i / 3)} for i in range(10_000)]
    space = packing.Space({"x": value}, "s")
    place = storing.Store("unused")
    times = [seconds(lambda: place.digest_of(packing.pack(space, ["x"]))) for _ in range(rounds)]
    plain = [seconds(lambda: pickle.dumps(value, 5)) for _ in range(rounds)]
    print(f"10,000 small objects, unchanged? {statistics.median(times) * 1000:.1f} ms, ", end="")
    print(f"{statistics.median(times) / statistics.median(plain):.1f} times pickle.dumps")


def _packages(python: str) -> str:
    call = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Print the comparison of both kinds of value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    parser.add_argument("--kale", metavar="PYTHON", help="a Python that has kubeflow-kale")
    options = parser.parse_args()
    kale = _packages(options.kale) if options.kale else ""
    sys.path += [kale] if kale else []  # at the end: pandas and all the rest are ours
    for name, make in (("a frame of floats", frame), ("an Arrow table", table)):
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            compare(name, make(options.megabytes), Path(place), options.rounds, kale)
    small_objects(options.rounds + 4)


if __name__ == "__main__":
    main()
