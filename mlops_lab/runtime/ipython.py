"""IPython's own settings: how it shows values, figures and errors, how it reads cells, its aliases, its stack of folders."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

# Those of a process, and what other states tell.
_OTHERS = (
    "banner",
    "db_",
    "hist",
    "ipython_dir",
    "log",
    "loop_runner",
    "pdb",
    "warn_venv",
    "ast_transformers",
    "inspector_class",
)
_ATOMS = (bool, int, float, str, type(None))


def shell() -> Any:
    """This process' IPython; None where it has none."""
    package = sys.modules.get("IPython")
    found = package.get_ipython() if package is not None and hasattr(package, "get_ipython") else None
    return found if hasattr(found, "display_formatter") else None


def formatters() -> dict[str, Any]:
    """What shows values, by the kind of what it makes of them."""
    shows = shell().display_formatter
    other = {"ipython_display": shows.ipython_display_formatter, "mimebundle": shows.mimebundle_formatter}
    return {**shows.formatters, **other}


def _configurables() -> Iterator[tuple[str, Any]]:
    yield "shell", shell()
    yield "display", shell().display_formatter
    yield from formatters().items()
    inline: Any = getattr(sys.modules.get("matplotlib_inline.config"), "InlineBackend", None)
    if inline is not None and inline.initialized():
        yield "inline", inline.instance()


def _settings(configurable: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, default) of what `%config` can set."""
    defaults = configurable.trait_defaults()
    for name in configurable.trait_names(config=True):
        if not name.startswith(_OTHERS) and not name.endswith("_printers"):
            value = getattr(configurable, name)
            if is_plain(value):
                yield name, value, defaults.get(name)


def is_plain(value: Any) -> bool:
    """True for texts, numbers and containers of such."""
    held = [*value.items()] if isinstance(value, dict) else value
    return isinstance(value, _ATOMS) or (isinstance(held, (list, tuple, set)) and all(map(is_plain, held)))


def get() -> dict[str, Any]:
    """What isn't as it is by itself, and the mode in which errors are shown."""
    if shell() is None:
        return {}
    found = {
        f"{holder}.{name}": sorted(value) if isinstance(value, set) else value
        for holder, configurable in _configurables()
        for name, value, default in _settings(configurable)
        if value != default
    }
    return {**found, **_for_later(), "errors": shell().InteractiveTB.mode}


def _for_later() -> dict[str, Any]:
    """What `%config` has set of classes that have no instance yet."""
    there = {type(configurable).__name__ for _, configurable in _configurables()} | {"IPKernelApp", "HistoryManager"}
    sections = {name: dict(held) for name, held in shell().config.items() if isinstance(held, dict) and name not in there}
    return {f"later.{name}": held for name, held in sections.items() if held and is_plain(held)}


def put(wanted: dict[str, Any]) -> None:
    """Set these, and the others as they are by themselves."""
    if shell() is None:
        return
    for name, held in wanted.items():
        if name.startswith("later."):
            shell().config[name.partition(".")[2]].update(held)
    if any(name.startswith("inline.") for name in wanted):
        importlib.import_module("matplotlib_inline.config").InlineBackend.instance(parent=shell())
    for holder, configurable in list(_configurables()):
        for name, value, default in list(_settings(configurable)):
            new = wanted.get(f"{holder}.{name}", default)
            new = set(new) if isinstance(value, set) else new
            if new != value:
                setattr(configurable, name, new)
    if wanted and shell().InteractiveTB.mode != wanted["errors"]:
        shell().InteractiveTB.set_mode(mode=wanted["errors"])


def get_pushed() -> list[str]:
    """The stack of `%pushd`."""
    return list(shell().dir_stack) if shell() else []


def put_pushed(wanted: list[str]) -> None:
    """Set it."""
    if shell():
        shell().dir_stack[:] = wanted


def get_aliases() -> tuple[list[tuple[str, str]], list[str], list[tuple[str, str, str, str | None]]]:
    """Aliases of commands that are not IPython's own, which of its own are gone, and aliases of magics."""
    if not shell():
        return [], [], []
    manager = shell().alias_manager
    own = set(manager.default_aliases)
    magics = [
        (kind, name, magic.magic_name, magic.magic_params)
        for kind, table in shell().magics_manager.magics.items()
        for name, magic in table.items()
        if type(magic).__name__ == "MagicAlias"
    ]
    now = set(manager.aliases)
    return sorted(now - own), sorted({name for name, _ in own} - {name for name, _ in now}), sorted(magics, key=repr)


def put_aliases(wanted: tuple[list[tuple[str, str]], list[str], list[tuple[str, str, str, str | None]]]) -> None:
    """Set them."""
    if not shell():
        return
    manager = shell().alias_manager
    aliases, gone, magics = wanted
    now = get_aliases()
    for name in {*(name for name, _ in now[0]), *gone} & {name for name, _ in manager.aliases}:
        manager.undefine_alias(name)
    for name, command in [*aliases, *(pair for pair in manager.default_aliases if pair[0] in set(now[1]) - set(gone))]:
        manager.define_alias(name, command)
    for kind, name, _, _ in set(now[2]) - set(magics):
        del shell().magics_manager.magics[kind][name]
    for kind, name, magic, parameters in magics:
        if (kind, name, magic, parameters) not in now[2]:
            shell().magics_manager.register_alias(name, magic, kind, parameters)
