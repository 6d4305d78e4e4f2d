"""MLOps Lab turns an ordinary Jupyter notebook into a production ML pipeline without rewriting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_lab._version import __version__

if TYPE_CHECKING:
    from mlops_lab.api import Pipeline, Run, find_run, load
    from mlops_lab.errors import MlopsLabError

__all__ = ["MlopsLabError", "Pipeline", "Run", "__version__", "find_run", "load"]

_HOME = {"MlopsLabError": "mlops_lab.errors"}


def __getattr__(name: str) -> Any:
    # Imported when they are first used: `import mlops_lab` is on the path of the server's start and of every kernel.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOME.get(name, "mlops_lab.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Where the Jupyter server finds its extension."""
    from mlops_lab.server.app import points

    return points()


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where `jupyter-builder develop` finds the JupyterLab extension, once it is built."""
    return [{"src": "labextension", "dest": "@mlops-lab/labextension"}]


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext mlops_lab`: the `%mlops` magics."""
    from mlops_lab.magics import install

    install(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext mlops_lab`."""
    from mlops_lab.magics import remove

    remove(shell)


def __dir__() -> list[str]:
    return sorted(__all__)
