"""A run in a notebook: live where the front end has widgets, as static HTML where it hasn't.

`run_widget.py` follows the run's log and sends the picture that `view.py` makes of it to `run.js`; `static.py` draws the same
picture as HTML that a saved notebook keeps. Heavy imports (ipywidgets, IPython) happen when a run is displayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_lab.api import Run


def display_run(run: Run) -> None:
    """Show a run in the notebook whose kernel this is. Raises `NotImplementedError` outside of a Jupyter kernel."""
    if not in_kernel():
        raise NotImplementedError
    from mlops_lab.widget.run_widget import show

    show(run)


def in_kernel() -> bool:
    """True in a Jupyter kernel, false in a terminal."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def announce(text: str) -> str:
    """Show a line in the cell's output at once; gives the name of its place, where `run_widget.show` then draws."""
    import secrets
    from html import escape

    from IPython.display import display

    place = f"mlops-run-{secrets.token_hex(6)}"
    display({"text/html": f'<p role="status">{escape(text)}</p>', "text/plain": text}, raw=True, display_id=place)
    return place


def take_back(place: str) -> None:
    """Empty the place of an announcement."""
    from IPython.display import update_display

    update_display({"text/plain": ""}, raw=True, display_id=place)
