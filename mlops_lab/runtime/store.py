"""Bundles on disk: one file each, named by the digest of its content, memory-mapped copy-on-write when it is loaded.

A file holds the buffers of a pickle (large ones from the start of a page on), the pickle itself, the pickled skeletons of
definitions, and at its end a JSON header with their places. Files are written without a name, or beside their place, and
synced before they get it: a crash leaves no half artifact. Large buffers are written while they are digested.
"""

from __future__ import annotations

import contextlib
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
from typing import Any, BinaryIO

from .pack import Packed

xxhash: Any
try:
    import xxhash
except ImportError:  # the kernel's environment need not have it
    xxhash = None

_MAGIC = b"mlops-lab bundle 2\n"
_ALIGN = 64
_PAGE = mmap.PAGESIZE
_LARGE = 2**16  # bytes; buffers from this size on start at a page
_DRAFTED = 2**25  # bytes; buffers from this size on are written while they are digested
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

    def part(self, place: list[Any]) -> memoryview:
        return memoryview(self.mapping)[place[0] : place[0] + place[1]]

    def buffers(self) -> list[memoryview]:
        return [self.part(b).toreadonly() if b[2] else self.part(b) for b in self.header.buffers]


class Store:
    """A folder of bundles."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._mapped: list[tuple[int, int, str]] = []  # address, length, digest of each buffer mapped from a bundle
        self._draft: _Draft | None = None
        self._digests: dict[int, tuple[weakref.ref[memoryview], str]] = {}  # by the id of a view: what is stored was digested

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def __contains__(self, name: str) -> bool:
        return self.path(name).exists()

    def open(self, name: str) -> Bundle:
        """Map a bundle. Raises `FileNotFoundError` when the store doesn't have it."""
        try:
            with open(self.path(name), "rb") as file:
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            if mapping[: len(_MAGIC)] != _MAGIC:
                raise ValueError("not a bundle")
            length = int.from_bytes(mapping[-8:], "little")
            bundle = Bundle(name, Header(**json.loads(mapping[-8 - length : -8])), mapping)
        except (ValueError, TypeError):
            raise ValueError(f"{self.path(name)} is damaged: delete it, and the step that made it will run again") from None
        for place, view in zip(bundle.header.buffers, bundle.buffers(), strict=True):
            address = _address(view)
            if address:
                self._mapped.append((address, view.nbytes, place[3]))
        return bundle

    def buffer_digest(self, view: memoryview) -> str:
        """The digest of a buffer; known without reading it where it lies in pages that were never written to.

        It is remembered for this very view, so that a packed content is digested once between its packing and its storing.
        """
        known = self._known_digest(view)
        if known is None:
            known = _digest_in_blocks(view)
            self._digests[id(view)] = (weakref.ref(view), known)
        return known

    def _known_digest(self, view: memoryview) -> str | None:
        if self._mapped and view.nbytes >= _PAGE:
            address = _address(view)
            for start, length, known in self._mapped:
                if start == address and length == view.nbytes and _untouched(address, length):
                    return known
        if view.nbytes < _BLOCK:
            return digest(view)
        remembered = self._digests.get(id(view))
        return remembered[1] if remembered is not None and remembered[0]() is view else None

    def digest_of(self, packed: Packed) -> str:
        """The digest of a packed content: equal for equal bytes."""
        if any(b.nbytes >= _DRAFTED and self._known_digest(b) is None for b in packed.buffers):
            self._write_and_digest(packed.buffers)
        parts = [packed.stream]
        parts += [self.buffer_digest(b).encode() + (b"r" if b.readonly else b"w") for b in packed.buffers]
        return digest(*parts)

    def _write_and_digest(self, contents: list[memoryview]) -> None:
        """Digest buffers, and write them for a bundle that will most likely be saved next."""
        self._drop_draft()
        with ThreadPoolExecutor(1) as pool:
            digests = pool.map(self.buffer_digest, contents)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._draft = _Draft(_nameless(self.folder), contents)
                os.fsync(self._draft.file.fileno())
            except OSError:  # no room, or no nameless files here: `save` will see
                self._drop_draft()
            list(digests)

    def _drop_draft(self) -> None:
        if self._draft is not None:
            self._draft.close()
            self._draft = None

    def save(self, members: list[str], stream: bytes, contents: list[memoryview], *,
             skeletons: dict[str, bytes] | None = None, needs: Iterable[str] = (), references: Iterable[str] = (),
             bound: dict[str, list[str]] | None = None) -> tuple[str, int]:  # fmt: skip
        """Store a bundle; its name and its size in bytes. Raises `OSError` when it can't be written."""
        layout = _Layout()
        buffers = [[*layout.place(b), b.readonly, self.buffer_digest(b)] for b in contents]
        stream_place = layout.place(memoryview(stream))
        skeleton_places = {key: layout.place(memoryview(data)) for key, data in sorted((skeletons or {}).items())}
        header = Header(members, sorted(needs), sorted(references), bound or {}, skeleton_places, stream_place, buffers)
        text = json.dumps(header.__dict__, sort_keys=True).encode()
        rest = [stream, *(data for _, data in sorted((skeletons or {}).items()))]
        name = digest(text, *rest)
        path = self.path(name)
        try:
            if path.exists():
                return name, layout.end
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._draft is None or not self._draft.is_of(contents):
                self._drop_draft()
                self._draft = _Draft(_nameless(path.parent), contents)
            self._draft.finish(rest, text)
            if _give_name(self._draft.file, path):
                return name, layout.end
        except OSError:  # no room, or no nameless files here
            pass
        finally:
            self._drop_draft()
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                _Draft(file, contents).finish(rest, text)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        return name, layout.end


class _Layout:
    """Where the parts of a bundle lie in its file."""

    def __init__(self) -> None:
        self.end = len(_MAGIC)

    def place(self, data: memoryview) -> list[Any]:
        step = _PAGE if data.nbytes >= _LARGE else _ALIGN
        start = -(-self.end // step) * step
        self.end = start + data.nbytes
        return [start, data.nbytes]


class _Draft:
    """A bundle's file that has its buffers, and gets the rest when it is finished."""

    def __init__(self, file: BinaryIO, contents: list[memoryview]) -> None:
        self.file, self.layout = file, _Layout()
        self.contents = [weakref.ref(content) for content in contents]  # a draft that comes to nothing keeps no memory
        file.write(_MAGIC)
        try:
            for content in contents:
                self._write(content)
            file.flush()
        except OSError:
            self.close()  # its room is needed now, and the traceback would keep it open
            raise

    def close(self) -> None:
        """Let go of the file: without a name it is gone."""
        with contextlib.suppress(OSError):  # no room for what is still to be written
            self.file.close()

    def _write(self, data: memoryview) -> None:
        self.file.seek(self.layout.place(data)[0])
        self.file.write(data)

    def is_of(self, contents: list[memoryview]) -> bool:
        return len(contents) == len(self.contents) and all(
            known() is content for known, content in zip(self.contents, contents, strict=True)
        )

    def finish(self, rest: list[bytes], header: bytes) -> None:
        for data in rest:
            self._write(memoryview(data))
        self.file.seek(self.layout.end)
        self.file.write(header + len(header).to_bytes(8, "little"))
        self.file.flush()
        os.fsync(self.file.fileno())


def _nameless(folder: Path) -> BinaryIO:
    """A new file that is gone with its last handle unless it is given a name (Linux)."""
    if not hasattr(os, "O_TMPFILE"):
        raise OSError("no files without a name here")
    return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "wb")


def _give_name(file: BinaryIO, path: Path) -> bool:
    """True if the file is there under its name now, also if another step was quicker."""
    descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(str(file.fileno()), path, src_dir_fd=descriptors, follow_symlinks=True)
    except FileExistsError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptors)
    return True


def _digest_in_blocks(view: memoryview) -> str:
    """The digest of a large buffer: by XXH3 where its package is there, since SHA-256 is slower than the disk.

    Else the digest of the digests of its blocks: hashing lets go of the interpreter's lock, so that all processors can work.
    Nobody but chance makes two values collide: whoever can write here can run code in any case. With 128 bits it won't.
    """
    flat = view.cast("B")
    if xxhash is not None:
        return f"xxh3:{xxhash.xxh3_128_hexdigest(flat)}"
    blocks = [flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK)]
    with ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1)) as pool:
        return digest(*pool.map(lambda block: hashlib.sha256(block).digest(), blocks))


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
