"""Bundles on disk: one file each, named by the digest of its content, memory-mapped copy-on-write when it is loaded.

A file is a JSON header, then the pickled skeletons of definitions, the pickle, and its buffers, each at a multiple of
64 bytes. Files are written beside their place, synced, and renamed: a crash leaves no half artifact.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import tempfile
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .pack import Packed

_MAGIC = b"mlops-lab bundle 1\n"
_ALIGN = 64
_PAGE = mmap.PAGESIZE
_BLOCK = 2**23  # bytes that are hashed at a time; blocks of a large buffer are hashed by several threads


def digest(*parts: Any) -> str:
    """A digest of bytes-like parts."""
    sink = hashlib.sha256()
    for part in parts:
        sink.update(part)
    return sink.hexdigest()[:40]


@dataclass(frozen=True)
class Header:
    """What is known of a bundle without unpickling it."""

    members: list[str]  # names, and `def:KEY` for definitions
    needs: list[str]  # global names that its functions may read when they are called
    references: list[str]  # keys of the definitions that it refers to
    bound: dict[str, list[str]]  # definition -> the names that it had when it was stored
    skeletons: dict[str, list[int]]  # definition -> [offset, length]
    stream: list[int]
    buffers: list[list[Any]]  # [offset, length, read-only, digest]


@dataclass
class Bundle:
    """An opened bundle: its header, and its bytes as a private mapping."""

    name: str
    header: Header
    mapping: mmap.mmap = field(repr=False)
    base: int

    def part(self, place: list[Any]) -> memoryview:
        start = self.base + place[0]
        return memoryview(self.mapping)[start : start + place[1]]

    def buffers(self) -> list[memoryview]:
        return [self.part(b).toreadonly() if b[2] else self.part(b) for b in self.header.buffers]


class Store:
    """A folder of bundles."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._mapped: list[tuple[int, int, str]] = []  # address, length, digest of each buffer mapped from a bundle
        self._digests: dict[int, tuple[weakref.ref[memoryview], str]] = {}  # by the id of a view: what is stored was digested

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def __contains__(self, name: str) -> bool:
        return self.path(name).exists()

    def open(self, name: str) -> Bundle:
        """Map a bundle. Raises `FileNotFoundError` when the store doesn't have it."""
        with open(self.path(name), "rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if mapping[: len(_MAGIC)] != _MAGIC:
            raise ValueError(f"{self.path(name)} is damaged: delete it, and the step that made it will run again")
        start = len(_MAGIC) + 8
        length = int.from_bytes(mapping[len(_MAGIC) : start], "little")
        bundle = Bundle(name, Header(**json.loads(mapping[start : start + length])), mapping, _aligned(start + length))
        for place, view in zip(bundle.header.buffers, bundle.buffers(), strict=True):
            address = _address(view)
            if address:
                self._mapped.append((address, view.nbytes, place[3]))
        return bundle

    def buffer_digest(self, view: memoryview) -> str:
        """The digest of a buffer; known without reading it where it lies in pages that were never written to.

        It is remembered for this very view, so that a packed content is digested once between its packing and its storing.
        """
        if self._mapped and view.nbytes >= _PAGE:
            address = _address(view)
            for start, length, known in self._mapped:
                if start == address and length == view.nbytes and _untouched(address, length):
                    return known
        if view.nbytes < _BLOCK:
            return digest(view)
        remembered = self._digests.get(id(view))
        if remembered is None or remembered[0]() is not view:
            remembered = self._digests[id(view)] = (weakref.ref(view), _digest_in_blocks(view))
        return remembered[1]

    def digest_of(self, packed: Packed) -> str:
        """The digest of a packed content: equal for equal bytes."""
        parts = [packed.stream]
        parts += [self.buffer_digest(b).encode() + (b"r" if b.readonly else b"w") for b in packed.buffers]
        return digest(*parts)

    def save(self, members: list[str], stream: bytes, contents: list[memoryview], *,
             skeletons: dict[str, bytes] | None = None, needs: Iterable[str] = (), references: Iterable[str] = (),
             bound: dict[str, list[str]] | None = None) -> tuple[str, int]:  # fmt: skip
        """Store a bundle; its name and its size in bytes. Raises `OSError` when it can't be written."""
        offset = 0
        places: list[tuple[int, Any]] = []

        def place(data: Any) -> list[Any]:
            nonlocal offset
            here = [offset, memoryview(data).nbytes]
            places.append((offset, data))
            offset = _aligned(offset + here[1])
            return here

        skeleton_places = {key: place(data) for key, data in sorted((skeletons or {}).items())}
        stream_place = place(stream)
        buffers = [[*place(b), b.readonly, self.buffer_digest(b)] for b in contents]
        header = Header(members, sorted(needs), sorted(references), bound or {}, skeleton_places, stream_place, buffers)
        text = json.dumps(header.__dict__, sort_keys=True).encode()
        name = digest(text, *(data for _, data in places[: len(skeleton_places) + 1]))
        path = self.path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            base = _aligned(len(_MAGIC) + 8 + len(text))
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + len(text).to_bytes(8, "little") + text)
                    for position, data in places:
                        file.seek(base + position)
                        file.write(data)
                    file.truncate(base + offset)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        return name, offset


def _digest_in_blocks(view: memoryview) -> str:
    """The digest of the digests of its blocks: hashing lets go of the interpreter's lock, so that all processors can work."""
    flat = view.cast("B")
    blocks = [flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK)]
    with ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1)) as pool:
        return digest(*pool.map(lambda block: hashlib.sha256(block).digest(), blocks))


def _aligned(position: int) -> int:
    return -(-position // _ALIGN) * _ALIGN


def _address(view: memoryview) -> int:
    numpy = sys.modules.get("numpy")
    if numpy is None or not view.nbytes:
        return 0
    return int(numpy.frombuffer(view, dtype=numpy.uint8).__array_interface__["data"][0])


def _untouched(address: int, length: int) -> bool:
    """True if no page of a private file mapping was written to (Linux; elsewhere nothing is claimed).

    A page that was written to is no longer the file's: bit 61 of its pagemap entry is clear and it is present (63) or
    swapped out (62). See the kernel's Documentation/admin-guide/mm/pagemap.rst.
    """
    first, last = address // _PAGE, (address + length - 1) // _PAGE
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            file.seek(first * 8)
            data = file.read((last - first + 1) * 8)
    except OSError:
        return False
    if len(data) != (last - first + 1) * 8:
        return False
    numpy = sys.modules["numpy"]
    entries = numpy.frombuffer(data, dtype="<u8")
    present = (entries >> numpy.uint64(62)) != 0
    of_file = (entries >> numpy.uint64(61)) & numpy.uint64(1)
    return not bool((present & (of_file == 0)).any())
