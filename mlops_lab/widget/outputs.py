"""The outputs of one step, read from a run's log as it grows, and never more of them than a page can take."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

from mlops_lab import events as ev

MOST, TEXT, PICTURE = 200, 20_000, 2_000_000  # outputs, characters of a text, characters of a picture
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")


class StepOutputs:
    """What the cells of a step's last attempt put out: the last outputs whole, of long texts the end."""

    def __init__(self, log: Path, step: str) -> None:
        self.step, self.attempt, self.cut = step, 0, 0
        self._tail = ev.Tail(log)
        self._outputs: deque[dict[str, Any]] = deque()

    def advance(self) -> bool:
        """Take in what the log has more; true if that changed anything."""
        changed = False
        for event in self._tail.news():
            if getattr(event, "step", None) != self.step:
                continue
            match event:
                case ev.StepStarted():
                    self.attempt, self.cut, changed = event.attempt, 0, True
                    self._outputs.clear()
                case ev.StepCached():
                    self._take_notebook(Path(event.notebook))
                    changed = True
                case ev.CellOutput() if event.attempt == self.attempt:
                    self._add(event.cell, event.output)
                    changed = True
        return changed

    def shown(self) -> dict[str, Any]:
        """The outputs as plain data; a copy, since what was shown before is compared with it."""
        return {
            "step": self.step,
            "attempt": self.attempt,
            "cut": self.cut,
            "outputs": [dict(output) for output in self._outputs],
        }

    def _take_notebook(self, path: Path) -> None:
        """A step from the cache put its outputs out in the run that made it."""
        self._outputs.clear()
        try:
            cells = json.loads(path.read_bytes())["cells"]
        except (OSError, ValueError, KeyError):
            return
        for cell in cells:
            number = cell.get("metadata", {}).get("mlops_lab", {}).get("cell")
            for output in cell.get("outputs", ()) if number else ():
                self._add(number, output)

    def _add(self, cell: int, output: dict[str, Any]) -> None:
        made = {"cell": cell, **_plain(output)}
        last = self._outputs[-1] if self._outputs else None
        if last and made["kind"] == "stream" and all(last.get(key) == made[key] for key in ("kind", "cell", "name")):
            last["text"] = _end(last["text"] + made["text"])
            return
        self._outputs.append(made)
        if len(self._outputs) > MOST:
            self._outputs.popleft()
            self.cut += 1


def _plain(output: dict[str, Any]) -> dict[str, Any]:
    kind = output.get("output_type")
    if kind == "stream":
        return {"kind": "stream", "name": output.get("name", "stdout"), "text": _end(_text(output.get("text", "")))}
    if kind == "error":
        trace = _text(output.get("traceback", []), "\n") or f"{output.get('ename')}: {output.get('evalue')}"
        return {"kind": "error", "text": _end(trace)}
    data = output.get("data", {})
    for mime in _PICTURES:
        if (picture := _text(data.get(mime, ""))) and len(picture) <= PICTURE:
            return {"kind": "picture", "mime": mime, "data": picture, "text": _end(_text(data.get("text/plain", "")))}
    html = _text(data.get("text/html", ""))
    return {"kind": "data", "html": html if len(html) <= 10 * TEXT else "", "text": _end(_text(data.get("text/plain", "")))}


def _text(value: Any, joint: str = "") -> str:
    return joint.join(value) if isinstance(value, list) else str(value)


def _end(text: str) -> str:
    """The end of a long text, without the lines that a progress bar has written over."""
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return text if len(text) <= TEXT else "…" + text[-TEXT:]
