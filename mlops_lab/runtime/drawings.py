"""Figures of plotly: its own pickling turns arrays into text, puts settings in another order, and parts traces from figures."""

from __future__ import annotations

import copy
import operator
import sys
from typing import Any

_NONE: Any = ()


def reduce(value: Any) -> Any:
    """A figure, or a part of one; `NotImplemented` for anything else of plotly, and for widgets."""
    kinds: Any = sys.modules.get("plotly.basedatatypes")
    if isinstance(value, getattr(kinds, "BaseFigure", _NONE)) and type(value).__name__ != "FigureWidget":
        content = {"data": value._data, "layout": value._layout, "frames": [frame._props for frame in value._frame_objs]}
        return _make_figure, (type(value), content, {"_grid_str": value._grid_str, "_grid_ref": value._grid_ref})
    if not isinstance(value, getattr(kinds, "BasePlotlyType", _NONE)):
        return NotImplemented
    whole = value.parent
    if whole is None:
        return _make_part, (type(value), value._props)
    if isinstance(whole, kinds.BaseFigure):
        inside = [("layout", whole.layout)] + [(place, held) for place in ("data", "frames") for held in whole[place]]
        place = next((place for place, held in inside if held is value), value.plotly_name)
    else:
        place = value.plotly_name
    held = whole[place]
    if held is value:
        return operator.getitem, (whole, place)
    numbers = [number for number, one in enumerate(held) if one is value] if isinstance(held, tuple) else []
    return (_element, (whole, place, numbers[0])) if numbers else NotImplemented


def _make_figure(kind: Any, content: dict[str, Any], grid: dict[str, Any]) -> Any:
    figure = kind({**copy.deepcopy(content), **grid})  # which takes it apart
    for name in figure._layout.keys() - content["layout"].keys():
        figure.layout[name] = None
    _fill(figure._data, content["data"])
    _fill(figure._layout, content["layout"])
    _fill([frame._props for frame in figure._frame_objs], content["frames"])
    return figure


def _make_part(kind: Any, content: dict[str, Any] | None) -> Any:
    part = kind(copy.deepcopy(content or {}))
    if content is not None:
        _fill(part._props, content)
    return part


def _element(whole: Any, place: str, number: int) -> Any:
    return whole[place][number]


def _fill(made: Any, known: Any) -> None:
    """Give what was made the content that is known, in its order; parts of a figure look for theirs in these very objects."""
    for place, content in known.items() if isinstance(known, dict) else enumerate(known):
        inner = made.pop(place, None) if isinstance(made, dict) else made[place]
        if type(inner) is type(content) and isinstance(content, (dict, list)) and len(inner) == len(content):
            _fill(inner, content)
        else:
            inner = content
        made[place] = inner
