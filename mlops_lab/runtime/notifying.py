"""Bokeh's lists, dictionaries and sets: parts of its models that tell their owners of each change.

Pickle would fill them by such changes before they know their owners; here they are filled as what they are built on. An owner
is a model with the descriptor of one of its properties, which is the one of its class.
"""

from __future__ import annotations

from typing import Any

CONTAINERS = [
    ("bokeh.core.property.wrappers", name)
    for name in ("PropertyValueList", "PropertyValueDict", "PropertyValueSet", "PropertyValueColumnData")
]


def reduce_container(value: Any, _: Any) -> Any:
    """A container by its elements and its owners."""
    base: Any = next(kind for kind in (list, dict, set) if isinstance(value, kind))
    elements = list(dict.items(value)) if base is dict else list(base.__iter__(value))
    attributes = {name: held for name, held in value.__dict__.items() if name != "_owners"}
    owners = sorted(((model, descriptor.name) for model, descriptor in value._owners), key=lambda pair: (pair[0].id, pair[1]))
    return _new, (type(value), base), (base, elements, owners, attributes), None, None, _fill


def _new(kind: Any, base: Any) -> Any:
    return base.__new__(kind)


def _fill(value: Any, content: tuple[Any, list[Any], list[tuple[Any, str]], dict[str, Any]]) -> Any:
    base, elements, owners, attributes = content
    (base.extend if base is list else base.update)(value, elements)
    value.__dict__.update(attributes)
    value._owners = {(model, type(model).lookup(name)) for model, name in owners}
    return value
