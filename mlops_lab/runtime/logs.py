"""What a notebook sets up of `logging`: levels, handlers, propagation, per logger.

A handler is carried by its description; a log file is gone on with at its end. One that can't be described (another class,
another stream, filters) leaves a stand-in, which refuses the first record that it would have handled.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

Row = tuple[int, bool, bool, list[Any]]  # level, propagate, whether there are filters of the notebook's, handlers
_PLAIN: Row = (0, True, False, [])
_STYLES: dict[Any, str] = {style: mark for mark, (style, _) in logging._STYLES.items()}

_given: dict[str, Row] = {}  # what was set up before the step's inputs and cells
_imported: dict[str, Row] = {}  # what a package sets up when it is imported is set up wherever it is imported
_propagation = True
_own: dict[int, logging.Handler] = {}  # handlers that code of the notebook has added
_passed: dict[tuple[str, int], logging.Handler] = {}  # (logger, place) -> one that came with a variable
_foreign: set[int] = set()  # ids of handlers that nobody here can describe, and the notebook did not add


class LostHandler(logging.Handler):
    """Stands for a handler of an earlier step that could not be passed on."""

    def __init__(self, row: Any, refused: type[Exception]) -> None:
        super().__init__()
        self.row, self.refused = row, refused

    def emit(self, record: logging.LogRecord) -> None:
        """Refuse the record."""
        raise self.refused(
            f"ML201: the logger {record.name!r} has a handler ({self.row[1]}) that an earlier step made, and that can't be "
            f"passed on. Add it in a setup cell, or merge the two steps."
        )


def watch(importing: Callable[[], bool], propagation: bool) -> None:
    """Take what is set up now as given; `importing` tells whether its caller's caller is the import of a package.

    `propagation`: whether the notebook's code may set that of loggers. Setting it can't be noticed when it is done, so that
    otherwise it counts as the doing of the package that has set up the logger.
    """
    global _propagation
    _propagation = propagation
    _imported.clear()
    _own.clear()
    _passed.clear()
    _given.clear()
    _given.update((name, row) for name, row in _rows().items() if row != _PLAIN)
    _foreign.clear()
    _foreign.update(id(h) for logger in _loggers().values() for h in logger.handlers if _handler_row(h)[0] == "?")
    for name in ("setLevel", "addHandler"):
        original: Any = getattr(logging.Logger, name)
        if getattr(original, "__module__", "") != __name__:
            setattr(logging.Logger, name, _noting(original, importing))


def _noting(original: Any, importing: Callable[[], bool]) -> Any:
    def noting(self: logging.Logger, what: Any) -> None:
        original(self, what)
        if isinstance(what, logging.Handler) and sys._getframe(1).f_globals.get("__name__") == "__main__":
            _own[id(what)] = what
        if importing():
            if isinstance(what, logging.Handler) and _handler_row(what)[0] == "?":
                _foreign.add(id(what))
            _imported[self.name] = _row(self)

    noting.__name__ = original.__name__
    return noting


def get() -> tuple[list[tuple[str, Row]], int, bool]:
    """The loggers that the notebook set up, what `logging.disable` disabled, and whether warnings are captured."""
    noted = {}
    for name, row in _rows().items():
        by_import = _compared(row) == _compared(_imported.get(name, _PLAIN))
        if name in _given:
            noted[name] = _given[name] if by_import and name in _imported else row
        elif not by_import:
            noted[name] = row
    return sorted(noted.items()), logging.root.manager.disable, _captures_warnings()


def _compared(row: Row) -> tuple[Any, ...]:
    return row if _propagation else (row[0], *row[2:])


def put(wanted: tuple[list[tuple[str, Row]], int, bool], refused: type[Exception]) -> None:
    """Set up the loggers so; others that are no package's go back to what a new process has."""
    rows, disabled, captures = wanted
    others = {n for n, row in _rows().items() if row != _PLAIN and n not in _given and n not in _imported}
    for name, row in [*dict.fromkeys(others, _PLAIN).items(), *rows]:
        logger = logging.getLogger(name or None)
        level, propagate, filtered, handlers = row
        if logger.level != level:
            logger.setLevel(level)
        logger.propagate = propagate
        known = _known(logger)
        if [_handler_row(h) for h in known] != handlers:
            for handler in known:
                logger.removeHandler(handler)
            for number, handler_row in enumerate(handlers):
                logger.addHandler(_passed.get((name, number)) or _make_handler(handler_row, refused))
        if filtered and not any(map(_is_own, logger.filters)):
            logger.addFilter(LostHandler(("?", "a filter"), refused).emit)  # type: ignore[arg-type]
    logging.disable(disabled)
    if captures != _captures_warnings():
        logging.captureWarnings(captures)


def _captures_warnings() -> bool:
    return getattr(logging, "_warnings_showwarning", None) is not None


def _loggers() -> dict[str, logging.Logger]:
    named = logging.root.manager.loggerDict.items()
    return {"": logging.root, **{name: logger for name, logger in named if isinstance(logger, logging.Logger)}}


def _rows() -> dict[str, Row]:
    return {name: _row(logger) for name, logger in _loggers().items()}


def _row(logger: logging.Logger) -> Row:
    handlers = [_handler_row(h) for h in _known(logger)]
    return int(logger.level), bool(logger.propagate), any(map(_is_own, logger.filters)), handlers


def _known(logger: logging.Logger) -> list[logging.Handler]:
    return [h for h in logger.handlers if id(h) not in _foreign and not _is_packages(h)]


def _is_packages(handler: logging.Handler) -> bool:
    """True for a handler that writes to a stream of a package's own, as MLflow sets up again and again."""
    if id(handler) in _own:
        return False
    stream = getattr(handler, "stream", None)
    home = type(stream).__module__.partition(".")[0]
    return type(handler) is logging.StreamHandler and home not in {"__main__", "io", "_io", "ipykernel", "builtins", "tempfile"}


def _is_own(what: Any) -> bool:
    """True for a filter of the notebook's code, or of a class of `logging`'s own; packages put theirs on any logger."""
    home = getattr(what, "__module__", None) or type(what).__module__
    return home in {"__main__", "logging", __name__}


def _handler_row(handler: logging.Handler) -> tuple[Any, ...]:
    """(kind, place, level, formatter); (`?`, class) where a new process can't make it."""
    if isinstance(handler, LostHandler):
        return handler.row  # type: ignore[no-any-return]
    kind, formatter = type(handler), handler.formatter
    unknown = ("?", kind.__qualname__)
    if handler.filters or type(formatter) not in (type(None), logging.Formatter):
        return unknown
    text = formatter and (formatter._fmt, formatter.datefmt, _STYLES.get(type(formatter._style), "%"))
    if kind is logging.NullHandler:
        return "null", "", handler.level, text
    if isinstance(handler, logging.FileHandler) and kind is logging.FileHandler:
        return "file", handler.baseFilename, handler.level, text, handler.encoding
    if isinstance(handler, logging.StreamHandler) and kind is logging.StreamHandler:
        for name in ("stderr", "stdout"):
            if handler.stream in (getattr(sys, name), getattr(sys, f"__{name}__")):
                return "stream", name, handler.level, text
    return unknown


def _make_handler(row: tuple[Any, ...], refused: type[Exception]) -> logging.Handler:
    if row[0] == "?":
        return LostHandler(row, refused)
    kind, place, level, text = row[:4]
    if kind == "null":
        handler: logging.Handler = logging.NullHandler()
    elif kind == "file":
        # Opened by the first record, so that the step that logs it is seen to write the file.
        handler = logging.FileHandler(place, "a", row[4], delay=True)
    else:
        handler = logging.StreamHandler(getattr(sys, place))
    handler.setLevel(level)
    if text:
        handler.setFormatter(logging.Formatter(*text))
    return handler


# -- handlers in variables -----------------------------------------------------------------------------------------


def reduce(value: logging.Handler) -> Any:
    """A handler that a variable holds, by its description, else by its attributes; its loggers go on with this very one."""
    row = _handler_row(value)
    places = [(n, i) for n, logger in _loggers().items() for i, known in enumerate(_known(logger)) if known is value]
    if row[0] != "?":
        return _described, (row, places)
    state = {name: held for name, held in vars(value).items() if name != "lock"}
    return _as_it_was, (type(value), places), state, None, None, _fill


def _described(row: Any, places: list[tuple[str, int]]) -> Any:
    handler = _make_handler(row, RuntimeError)
    _passed.update(dict.fromkeys(places, handler))
    return handler


def _as_it_was(kind: Any, places: list[tuple[str, int]]) -> Any:
    handler = kind.__new__(kind)
    _passed.update(dict.fromkeys(places, handler))
    return handler


def _fill(handler: Any, state: dict[str, Any]) -> Any:
    vars(handler).update(state)
    handler.createLock()
    return handler
