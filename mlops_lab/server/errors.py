"""Which HTTP status each error is answered with; errors that only a server knows.

MlopsLabError
├── UsageError
│   ├── NotFound       404   no such notebook, run or step (below the server's root)
│   ├── Forbidden      403   a path that leads out of the server's root
│   └── TooLarge       413   more than the server takes
└── NotAvailable       501   not with what is installed here
"""

from __future__ import annotations

from mlops_lab.errors import BusyError, MlopsLabError, RunError, StartTimeout, UsageError


class NotFound(UsageError):
    """There is no such notebook, run or step below the server's root."""


class Forbidden(UsageError):
    """The path leads out of the server's root."""


class TooLarge(UsageError):
    """The request is larger than the server takes."""


class NotAvailable(MlopsLabError):
    """What was asked for needs something that isn't installed here."""


# The first that fits.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404), (Forbidden, 403), (TooLarge, 413), (NotAvailable, 501), (BusyError, 409), (StartTimeout, 504),
    (RunError, 500), (MlopsLabError, 400),
)  # fmt: skip
_KIND = {400: "UsageError", 403: "Forbidden", 404: "NotFound", 413: "TooLarge"}


def status_of(error: MlopsLabError) -> int:
    """The HTTP status that an error is answered with."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def kind_of(status: int) -> str:
    """The `kind` of an error that is nobody's but the server's own (a wrong token, a wrong method)."""
    return _KIND.get(status, "Error")
