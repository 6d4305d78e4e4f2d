"""Where to cut: at headings, else at phases, else where few variables cross; never through what `ties.py` holds together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mlops_lab.roles import Role
from mlops_lab.suggest.looks import PHASES, Look, foremost, plain_words

_MOST_STEPS = 12

_EXPENSIVE = 5.0  # seconds; a cell that takes as long, and a fifth of the notebook's time, gets a step of its own


@dataclass(frozen=True)
class Part:
    """Looks `first` to `end` (exclusive), to be one step, named after `title`.

    `titles` are the headings that it was merged from; `depth` counts those of its first look's headings that are its own
    or its parents': what follows them divides it.
    """

    first: int
    end: int
    title: str = ""
    why: str = ""
    titles: tuple[str, ...] = ()
    depth: int = 0


def cut_up(looks: Sequence[Look], start: int, glued: Mapping[int, str], imported: frozenset[str]) -> list[Part]:
    """The steps, from the look `start` on."""
    if not looks:
        return []
    crossing = _crossing(looks, imported)
    busy = _busy(looks, 0, len(looks))
    parts = [replace(part, first=max(part.first, start)) for part in _by_headings(looks) if part.end > start]
    titled = sum(bool(part.title) and _busy(looks, part.first, part.end) > 0 for part in parts)
    if titled < 2:
        parts = [Part(start, len(looks))]
    found: list[Part] = []
    for part in parts:
        size = _busy(looks, part.first, part.end)
        if part.title and (size <= 12 or titled > 2):
            found.append(part)
        else:
            found += _by_phase(looks, part, 3 if titled > 1 and not part.title else max(5, _wanted(size)), glued, crossing)
    found = _joined(looks, found, lambda a, b: b.first in glued)
    found = _absorbed(looks, found)
    found = _joined(looks, found, lambda a, b: _opaque(looks, a) and _opaque(looks, b))
    found = _fewer(looks, found, _MOST_STEPS if busy <= 60 else _MOST_STEPS + 4, crossing)
    return [piece for part in found for piece in _isolated(looks, part, glued)]


def _wanted(busy: int) -> int:
    """About how many steps so many working cells should make."""
    return max(2, min(_MOST_STEPS, round(1.5 * math.sqrt(busy))))


def _busy(looks: Sequence[Look], first: int, end: int) -> int:
    return sum(not look.idle for look in looks[first:end])


def _opaque(looks: Sequence[Look], part: Part) -> bool:
    return any(look.effects.opaque for look in looks[part.first : part.end])


def _crossing(looks: Sequence[Look], imported: frozenset[str]) -> list[frozenset[str]]:
    """For each look, the variables that cells from it on need from cells above it."""
    live: frozenset[str] = frozenset()
    needed: list[frozenset[str]] = []
    for look in reversed(looks):
        live = look.effects.reads | (live - look.effects.binds)
        needed.append(live - imported)
    bound: set[str] = set()
    found = []
    for look, names in zip(looks, reversed(needed), strict=True):
        found.append(names & bound)
        bound |= look.effects.may_bind
    return found


def _by_headings(looks: Sequence[Look]) -> list[Part]:
    """Sections, of the level that gives a good number of steps; a large section may be divided further."""
    parts = [Part(0, len(looks))]
    total = _busy(looks, 0, len(looks))
    while True:
        sizes = [_busy(looks, part.first, part.end) for part in parts]
        count = sum(size > 0 for size in sizes)
        options = []
        for i, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            pieces = _sections(looks, part)
            gain = sum(_busy(looks, p.first, p.end) > 0 for p in pieces) - 1
            if count <= 1 and gain >= 0:
                # All the code stands under one heading: the notebook's title, which is no step's name.
                options.append((size, -i, [replace(p, title="", why="", titles=()) if p.depth < 0 else p for p in pieces]))
            elif gain > 0 and (count < 3 or size > max(2, 1.5 * total / _wanted(total))) and count + gain <= _MOST_STEPS:
                options.append((size, -i, pieces))
        if not options:
            return parts
        _, i, pieces = max(options, key=lambda option: option[:2])
        parts[-i : 1 - i] = pieces


def _sections(looks: Sequence[Look], part: Part) -> list[Part]:
    """A part divided at its highest headings; nothing if there are none. What stands above them has the depth -1."""
    if part.depth < 0:
        return []
    inner = [
        (k, i, heading)
        for k in range(part.first, part.end)
        for i, heading in enumerate(looks[k].headings)
        if k > part.first or i >= part.depth
    ]
    if not inner:
        return []
    level = min(heading.level for _, _, heading in inner)
    last = {k: (i, heading) for k, i, heading in inner if heading.level == level}
    starts = sorted(last)
    pieces = [replace(part, end=starts[0], depth=-1)] if starts[0] > part.first else []
    for k, end in zip(starts, [*starts[1:], part.end], strict=True):
        text = plain_words(last[k][1].text)
        pieces.append(Part(k, end, text, f'under the heading "{text}"', (text,), last[k][0] + 1))
    return pieces


def _by_phase(looks: Sequence[Look], part: Part, limit: int, glued: Mapping[int, str],
              crossing: Sequence[frozenset[str]]) -> list[Part]:  # fmt: skip
    """A part divided by what its cells do, each step with the idle cells above it; else where few variables cross."""
    groups: list[tuple[int, str]] = []
    begin = part.first
    for k in range(part.first, part.end):
        look = looks[k]
        if look.idle:
            continue
        if not groups:
            groups.append((begin, look.phase))
        elif begin in glued:
            groups[-1] = (groups[-1][0], foremost([groups[-1][1], look.phase]))
        elif look.phase not in ("", groups[-1][1]) and not look.light:
            groups.append((begin, look.phase))
        begin = k + 1
    if len(groups) < 2:
        return _by_flow(looks, part, limit, crossing)
    trains = next((i for i, (_, phase) in enumerate(groups) if phase in {"tune", "train"}), 0)
    parts = []
    for i, (first, phase) in enumerate(groups):
        end = groups[i + 1][0] if i + 1 < len(groups) else part.end
        title = "explore" if phase == "plot" and i < trains else phase or "prepare"
        parts.append(Part(first, end, title, PHASES[phase][1]))
    return _joined(looks, _fewer(looks, parts, limit, crossing), lambda a, b: a.title == b.title)


def _by_flow(looks: Sequence[Look], part: Part, limit: int, crossing: Sequence[frozenset[str]]) -> list[Part]:
    """A part divided where fewest variables cross, if it is long."""
    busy = [k for k in range(part.first, part.end) if not looks[k].idle]
    phase = phase_in(looks, part.first, part.end)
    if len(busy) < 8:
        return [replace(part, title=phase or "prepare", why=PHASES[phase][1])]
    limit = max(2, min(limit, len(busy) // 5))
    apart = max(2, len(busy) // (2 * limit))
    chosen = [0]
    for i in sorted(range(apart, len(busy) - apart + 1), key=lambda i: (len(crossing[busy[i]]), i)):
        if len(chosen) < limit and all(abs(i - other) >= apart for other in chosen):
            chosen.append(i)
    starts = [busy[i - 1] + 1 if i else part.first for i in sorted(chosen)]
    pieces = []
    for first, end in zip(starts, [*starts[1:], part.end], strict=True):
        names = ", ".join(sorted(crossing[first])[:4])
        why = f"few variables cross into it: {names}" if names else "no variable crosses into it"
        pieces.append(Part(first, end, phase, why))
    return pieces


def _fewer(looks: Sequence[Look], parts: list[Part], limit: int, crossing: Sequence[frozenset[str]]) -> list[Part]:
    """At most so many parts: neighbours are merged that are small, alike, and share many variables."""
    while len(parts) > limit:
        costs = [_cost(looks, a, b, crossing) for a, b in zip(parts, parts[1:], strict=False)]
        parts = _merge_at(looks, parts, costs.index(min(costs)) + 1)
    return parts


def _cost(looks: Sequence[Look], a: Part, b: Part, crossing: Sequence[frozenset[str]]) -> tuple[float, int]:
    """What merging two neighbours costs: less for small ones, less where much crosses from one to the other."""
    size = float(_busy(looks, a.first, a.end) + _busy(looks, b.first, b.end))
    size += 20 * any(look.seconds >= _EXPENSIVE for look in looks[a.first : b.end])
    alike = (a.title == b.title) * 2 + (b.title in {"plot", "evaluate", "explore"})
    return size - alike, -len(crossing[b.first])


def _merge_at(looks: Sequence[Look], parts: list[Part], i: int) -> list[Part]:
    """The parts with the i-th merged into the one above it."""
    a, b = parts[i - 1], parts[i]

    def weight(part: Part) -> tuple[float, int]:
        own = looks[part.first : part.end]
        return sum(look.seconds for look in own), sum(not look.light for look in own)

    heavier = b if weight(b) > weight(a) else a
    if bool(a.titles) != bool(b.titles):
        heavier = a if a.titles else b  # the author's words before ours
    elif {a.title, b.title} <= PHASES.keys():
        heavier = a if foremost([a.title, b.title]) == a.title else b
    merged = replace(heavier, first=a.first, end=b.end, titles=a.titles + b.titles)
    return [*parts[: i - 1], merged, *parts[i + 1 :]]


def _joined(looks: Sequence[Look], parts: list[Part], together: Callable[[Part, Part], object]) -> list[Part]:
    """The parts with all neighbours merged that belong together."""
    i = 1
    while i < len(parts):
        if together(parts[i - 1], parts[i]):
            parts = _merge_at(looks, parts, i)
        else:
            i += 1
    return parts


def _absorbed(looks: Sequence[Look], parts: list[Part]) -> list[Part]:
    """The parts without those that do too little for a step: they join the one that needs them, else the one above."""
    i = 0
    while i < len(parts) and len(parts) > 1:
        own = looks[parts[i].first : parts[i].end]
        if not all(look.light and look.seconds < 1 for look in own):
            i += 1
            continue
        makes = frozenset().union(*(look.effects.writes for look in own))
        below = looks[parts[i + 1].first : parts[i + 1].end] if i + 1 < len(parts) else []
        needed = all(look.idle for look in own) or any(makes & look.effects.reads for look in below)
        if i == 0 or (below and needed):
            parts[i : i + 2] = [replace(parts[i + 1], first=parts[i].first)]
        else:
            parts[i - 1 : i + 1] = [replace(parts[i - 1], end=parts[i].end)]
    return parts


def _isolated(looks: Sequence[Look], part: Part, glued: Mapping[int, str]) -> list[Part]:
    """A part with its expensive cells and its gates in steps of their own.

    So a change around an expensive cell doesn't run it again, and a gate is not mistaken for the work that it checks.
    """
    dear = max(_EXPENSIVE, 0.2 * sum(look.seconds for look in looks))
    span = range(part.first, part.end)
    first = next((k for k in span if looks[k].seconds >= dear or looks[k].cell.has(Role.GATE)), None)
    if first is None:
        return [part]
    gate = looks[first].seconds < dear
    end = first + 1
    while first > part.first and (looks[first - 1].idle or first in glued):
        first -= 1
    while end < part.end and end in glued:
        end += 1
    if all(look.light for look in looks[part.first : first]):
        first = part.first
    if all(look.light for look in looks[end : part.end]):
        end = part.end
    what = "it is a gate" if gate else "it takes long"
    own = replace(part, first=first, end=end, why=f"{part.why}; {what}" if part.why else what)
    if first == part.first:
        pieces = [own]
    elif gate:
        pieces = [replace(part, end=first), replace(own, title="check", titles=(), why=what)]
    else:
        title = phase_in(looks, part.first, first) or f"prepare {part.title}"
        pieces = [Part(part.first, first, title, "what follows takes long"), own]
    if end < part.end:
        title = phase_in(looks, end, part.end) or f"{part.title} results"
        why = "what it follows is a gate" if gate else "what it follows takes long"
        pieces += _isolated(looks, Part(end, part.end, title, why), glued)
    return pieces


def phase_in(looks: Sequence[Look], first: int, end: int) -> str:
    """The foremost phase of these looks."""
    return foremost(look.phase for look in looks[first:end])
