"""Keeps an executed notebook readable however much its cells put out: what is too much goes to a file beside it.

Of each stream of a cell the notebook keeps the first `LIMIT` characters, and a note with the length and the digest of the
rest; the whole text is in `cell-NUMBER-STREAM.txt`. Rich outputs beyond `LIMIT` characters go to `cell-NUMBER-outputs.jsonl`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import IO, Any

LIMIT = 10_000_000  # characters
_FIELDS = 200  # characters of JSON around an output


def note(count: int, digest: str) -> str:
    """What stands in place of the rest of a text."""
    return f"\n[{count:,} more characters, SHA-256 {digest[:16]}, "


class Cap:
    """The outputs of one cell as they come; `folder` is where the executed notebook is."""

    def __init__(self, folder: str, number: int) -> None:
        self.folder, self.number = folder, number
        self.clear()

    def clear(self) -> None:
        """The cell clears what it has put out."""
        for file in getattr(self, "files", {}).values():
            file.close()
        self.files: dict[str, IO[str]] = {}
        self.length: dict[str, int] = {}
        self.rest: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.size = self.dropped = 0

    def take(self, outputs: list[Any], output: Any) -> None:
        """Look at an output that has just been appended."""
        if output.output_type == "stream":
            self._stream(outputs, output)
            return
        size = _FIELDS + sum(len(v) for v in output.get("data", {}).values() if isinstance(v, str))
        self.size += size
        if self.size > LIMIT and output.output_type != "error":
            file = self._open("outputs.jsonl")
            file.write(json.dumps(output) + "\n")
            outputs.remove(output)
            self.dropped += 1

    def _stream(self, outputs: list[Any], output: Any) -> None:
        name, text = output.name, output.text
        before = self.length.get(name, 0)
        self.length[name] = before + len(text)
        if self.length[name] <= LIMIT:
            self.last[name] = output
            return
        file = self._open(f"{name}.txt")
        if name not in self.rest:
            self.rest[name] = hashlib.sha256()
            for known in outputs:
                if known is not output and known.output_type == "stream" and known.name == name:
                    file.write(known.text)
        file.write(text)
        kept = max(LIMIT - before, 0)
        self.rest[name].update(text[kept:].encode("utf-8", "surrogatepass"))
        if kept or name not in self.last:
            output.text = text[:kept]
            self.last[name] = output
        else:
            outputs.pop()

    def end(self, outputs: list[Any]) -> None:
        """The cell is done: say what was left out, and where it is."""
        for name, digest in self.rest.items():
            path = self._path(f"{name}.txt")
            self.last[name].text += (
                note(self.length[name] - LIMIT, digest.hexdigest()) + f"are in {path} with all the others]\n"
            )
        if self.dropped:
            from nbformat.v4 import new_output

            text = f"[{self.dropped:,} more outputs are in {self._path('outputs.jsonl')}]\n"
            outputs.append(new_output("stream", name="stderr", text=text))
        for file in self.files.values():
            file.close()

    def _path(self, end: str) -> str:
        return os.path.join(self.folder, f"cell-{self.number}-{end}")

    def _open(self, end: str) -> IO[str]:
        if end not in self.files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(end))
            self.files[end] = open(self._path(end), "w", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115
        return self.files[end]
