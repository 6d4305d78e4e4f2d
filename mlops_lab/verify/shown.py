"""What a cell shows, made comparable: without what is accidental, pictures as pixels, widgets as their state."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from mlops_lab.runtime.outputs import LIMIT, note

_VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
# What names a place in memory, a process or a counter of one, and not a value.
_ACCIDENTAL = [
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "0x"),
    (re.compile(r"ipykernel_\d+/\d+\.py"), "ipykernel.py"),
    (re.compile(r"sk-(container|estimator)-id-\d+"), "sk-id"),
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
]
# The file of a cell, by its path; looked for in words that may have it, as a picture inside of HTML is one word of millions.
_FILE_OF_CELL = re.compile(r"^.*(?:[/\\]\.ipykernel[/\\][\d-]+|ipykernel)\.py", re.DOTALL)
# How long something took: two straight runs may agree on it by chance, as it is rounded.
_DURATION = re.compile(
    r"(?<!\d)\d+(?::\d\d(?::\d\d)?"
    r"|(?:\.\d+)?(?:e-?\d+)?\s?(?:ns|µs|μs|us|ms|msec|s|secs?|seconds?|min|mins|minutes?|it/s|s/it)\b)"
)


def shown(node: Any, index: int) -> list[Any]:
    """The outputs of a cell of an executed notebook, as plain values that are equal where the outputs mean the same."""
    widgets = node.metadata.get("widgets", {}).get(_STATE, {}).get("state", {})
    found: list[Any] = []
    for is_stream, outputs in itertools.groupby(node.cells[index].outputs, lambda output: output.output_type == "stream"):
        if is_stream:
            texts: dict[str, str] = {}
            for output in outputs:  # how the two streams were interleaved is accidental
                texts[output.name] = texts.get(output.name, "") + output.text
            found += [("stream", name, _cut(texts[name])) for name in sorted(texts)]
        else:
            found += [one for output in outputs for one in _rich(output, widgets)]
    return [tuple(plain(part) if isinstance(part, str) else part for part in one) for one in found]


def _cut(text: str) -> str:
    """A text as the executed notebook of a step keeps it, without where the rest is."""
    known = text.find("\n[", LIMIT)
    if known == LIMIT and "more characters, SHA-256" in text[known:]:
        return text[: text.index(", are in ", known) + 2]
    if len(text) <= LIMIT:
        return text
    rest = text[LIMIT:]
    digest = hashlib.sha256(rest.encode("utf-8", "surrogatepass")).hexdigest()
    return text[:LIMIT] + note(len(rest), digest)


def without_durations(outputs: list[Any]) -> list[Any]:
    """The same without what says how long something took."""
    return [tuple(_DURATION.sub("...", part) if isinstance(part, str) else part for part in one) for one in outputs]


def text(outputs: list[Any]) -> str:
    """A text for people; a picture is a digest of its pixels."""
    return "\n".join(f"[{kind} {name}] {_readable(name, content)}" for kind, name, content in outputs)


def _readable(mime: str, content: Any) -> str:
    if mime.startswith("image/"):
        digest = hashlib.sha256(repr(content).encode()).hexdigest()[:8]
        size = f" of {content[0][0]} x {content[0][1]}" if isinstance(content, tuple) else ""
        return f"(picture{size}, {digest})"
    return content if isinstance(content, str) else json.dumps(content, default=str)


def _rich(output: Any, widgets: Mapping[str, Any]) -> list[Any]:
    kind = output.output_type
    if kind == "error":
        return [("error", output.ename, output.evalue)]
    found = []
    for mime, data in sorted(output.data.items()):
        if mime == _VIEW:
            state = _widget(data.get("model_id", ""), widgets, ())
            found.append((kind, mime, json.dumps(state, sort_keys=True, default=str)))
        elif mime == "text/plain" and _VIEW in output.data:
            continue  # the widget's own id, or its fields
        elif mime.startswith("image/") and "svg" not in mime:
            found.append((kind, mime, _pixels(data)))
        else:
            found.append((kind, mime, data))
    return found


def _widget(model: str, widgets: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    """A widget's state with the widgets that it refers to in place of their ids."""
    if model not in widgets or model in above:
        return "widget"

    def resolved(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("IPY_MODEL_"):
            return _widget(value.removeprefix("IPY_MODEL_"), widgets, (*above, model))
        if isinstance(value, Mapping):
            return {key: resolved(item) for key, item in value.items() if key != "msg_id"}
        return [resolved(item) for item in value] if isinstance(value, (list, tuple)) else value

    known = widgets[model]
    return {"model": known.get("model_name"), "state": resolved(known.get("state", {})), "buffers": known.get("buffers", [])}


def plain(text: str) -> str:
    """A text without what names a place or a process."""
    for pattern, replacement in _ACCIDENTAL:
        text = pattern.sub(replacement, text)
    if "ipykernel" in text:
        words = re.split(r"(\s+)", text)
        text = "".join(_FILE_OF_CELL.sub("ipykernel.py", word) if "ipykernel" in word else word for word in words)
    return re.sub(r"mlops-lab-verify-\w+/(straight|again|pipeline)", "folder", text)


def _pixels(data: str) -> Any:
    """A picture as its pixels, where something is there to decode it: its file may hold a date."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            return (picture.size, picture.convert("RGBA").tobytes())
    except Exception:
        return data
