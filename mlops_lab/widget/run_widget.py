"""The live view of a run: a widget that follows the run's log in a thread, so that the kernel stays free.

The picture goes to the page at most every `_PAUSE` seconds however fast the log grows, and outputs only of the step that the
page looks at. All state is in synchronised traits, so a page that is loaded again shows it at once.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from mlops_lab import runstate, targets
from mlops_lab.api import Run
from mlops_lab.errors import MlopsLabError
from mlops_lab.events import Tail
from mlops_lab.graph import svg
from mlops_lab.notebook import read
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.runs import Home
from mlops_lab.widget import static, view
from mlops_lab.widget.outputs import StepOutputs

_HERE = Path(__file__).parent
_LOOK, _PAUSE = 0.05, 0.15  # seconds between looks at the log, and at least between messages to the page
_STATIC_PAUSE, _ALIVE = 2.0, 1.0  # between static drawings; between questions whether the run's process is alive
_ELSEWHERE = 10.0  # between questions to another engine


class RunWidget(anywidget.AnyWidget):
    """A run, live: its graph, steps, outputs, metrics; with buttons that cancel and resume it."""

    _esm = _HERE / "run.js"
    _css = _HERE / "run.css"

    picture = traitlets.Dict().tag(sync=True)
    graph = traitlets.Unicode().tag(sync=True)
    watched = traitlets.Unicode().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: Run, plan: Plan | None = None, target: str = "local") -> None:
        self._changed = threading.Event()
        self._next: Run | None = None
        self._outputs: StepOutputs | None = None
        self._tail: Tail | None = None  # of the run's log, once there is one
        self._plan: Plan | None = None
        if plan is None or run.has_begun:
            self._begin(run)
            self._advance()
        else:  # the plan is what there is to show meanwhile
            self.run, self._plan, self._state, self._active = run, plan, view.starting(plan, target), True
            self._expected = Home.of(plan.pipeline.notebook.folder).last_seconds(plan.pipeline.notebook.path)
        super().__init__(picture=self._picture(), graph=self._draw())
        self.on_msg(self._receive)
        self.observe(lambda _: self._changed.set(), "watched")
        threading.Thread(target=self._follow, daemon=True, name="widget of a run").start()

    def _begin(self, run: Run) -> None:
        self.run, self._state, self._tail = run, runstate.RunState(), Tail(run.folder.log)
        self._outputs = None
        self._active, self._asked, self._looked = True, 0.0, 0.0
        started = run.folder.started
        home = Home(run.folder.path.parent.parent)
        self._expected = home.last_seconds(Path(started.notebook)) if started else {}
        try:
            self._plan = make_plan(build(read(run.folder.notebook)))
        except MlopsLabError:  # a run whose notebook is gone is still shown, without its graph
            self._plan = None

    def _draw(self, statuses: dict[str, str] | None = None) -> str:
        return svg(self._plan, statuses) if self._plan else ""

    def _advance(self) -> bool:
        changed = False
        for event in self._tail.news() if self._tail else ():
            runstate.apply(self._state, event)
            changed = True
        return changed

    def _picture(self) -> dict[str, Any]:
        if self._state.status == "running" and time.monotonic() - self._asked > _ALIVE:
            # What another engine runs goes on there, whether or not a process here follows it.
            self._active = self.run.folder.is_active or self.run.folder.is_remote
            self._asked = time.monotonic()
            if not self._active:
                self._advance()  # what it wrote between our last look and its end
        folder = self.run.folder.path if self._tail else None
        return view.picture(self._state, folder, self._expected, self._active)

    def static(self) -> dict[str, str]:
        """The run as it stands, for front ends without widgets and for the saved notebook."""
        statuses = {step["name"]: step["status"] for step in self.picture["steps"]}
        after: dict[str, list[str]] = {}
        for edge in self._plan.edges if self._plan else ():
            after.setdefault(edge.target, []).append(edge.source)
        drawn = static.html(self.picture, self._draw(statuses), after)
        return {"text/html": drawn, "text/plain": static.text(self.picture)}

    def _follow(self) -> None:
        """Until the run has ended; then only what the page asks for is left to do."""
        ended = False
        if self._tail is None:
            try:
                _ = self.run.folder  # waits
                self._next = self.run
            except Exception as error:
                self._state.status, self._state.message, ended = "failed", str(error), True
                self.picture = self._picture()
        while True:
            self._changed.clear()
            if self._next:
                self._begin(self._next)
                self._next, ended, self.graph = None, False, self._draw()
            if not ended:
                self._look_elsewhere()
            changed = self._advance() if not ended else False
            if not ended:
                picture = self._picture()
                ended = picture["status"] != "running"
                if changed or ended:
                    self.picture = picture
            self._look_at_outputs()
            if ended:
                self._changed.wait()
            else:
                time.sleep(_PAUSE if changed else 0)
                self._changed.wait(_LOOK)

    def _look_elsewhere(self) -> None:
        """Have the log of a run on another engine brought up to date now and then, where nobody follows it."""
        if self._tail is not None and time.monotonic() - self._looked > _ELSEWHERE and self.run.folder.is_remote:
            self._looked = time.monotonic()
            with contextlib.suppress(MlopsLabError):  # who follows it with `logs` is told
                targets.refresh(self.run.folder)

    def _look_at_outputs(self) -> None:
        if self.watched != (self._outputs.step if self._outputs else ""):
            known = self._tail is not None and self.watched in self._state.steps
            self._outputs = StepOutputs(self.run.folder.log, self.watched) if known else None
            if not known:
                self.shown = {}
        if self._outputs and (self._outputs.advance() or self.shown.get("step") != self._outputs.step):
            self.shown = self._outputs.shown()

    def _receive(self, _: object, message: dict[str, Any], buffers: list[bytes]) -> None:
        """What the page asks for; each takes its time, so the kernel doesn't wait for it."""
        actions = {"cancel": self._cancel, "resume": self._resume, "mlflow": self._open_mlflow, "notebook": self._send_notebook}
        action = actions.get(str(message.get("type")))
        if action:
            threading.Thread(target=self._act, args=(action, message), daemon=True).start()

    def _act(self, action: Any, message: dict[str, Any]) -> None:
        try:
            action(message)
        except MlopsLabError as error:
            self.notice = str(error)
            self.send({"type": "refused", "asked": message.get("type"), "message": str(error)})

    def _cancel(self, _: dict[str, Any]) -> None:
        self.run.cancel()

    def _resume(self, _: dict[str, Any]) -> None:
        """Go on in a new run, which this widget shows from now on."""
        self._next = self.run.resume()
        self.notice = ""
        self._changed.set()

    def _open_mlflow(self, message: dict[str, Any]) -> None:
        from mlops_lab.mlflow_ui import Ui
        from mlops_lab.tracking import store_of

        tracked = self._state.tracking
        if tracked is None:
            return
        notebook = Path(self._state.notebook)
        uri = store_of(tracked.uri, notebook, self.run.folder.path.parent.parent)
        origin = str(message.get("origin", ""))
        origins = [origin] if origin.startswith(("http://", "https://")) else []
        ui = Ui.open(notebook.parent, uri, origins=origins)
        self.send({"type": "mlflow", "port": ui.port, "place": message.get("place", "")})

    def _send_notebook(self, _: dict[str, Any]) -> None:
        import nbformat

        # In a process of its own: nbconvert is slow to import, and the kernel is the user's.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "nbconvert", "--stdin", "--stdout", "--to", "html", "--log-level", "ERROR"],
            input=nbformat.writes(self.run.notebook()).encode(),
            capture_output=True,
        )
        if done.returncode:
            raise MlopsLabError(f"The executed notebook could not be drawn: {done.stderr.decode(errors='replace')[-300:]}")
        self.send({"type": "notebook", "html": done.stdout.decode()})


def show(run: Run, plan: Plan | None = None, place: str = "", target: str = "local") -> RunWidget:
    """Display a run: a static drawing, which is kept up to date, and the live widget that takes its place.

    `plan` and `target` are what to show of a run that has not begun yet; `place` is the announcement that the drawing replaces.
    """
    from IPython.display import display, update_display

    widget = RunWidget(run, plan, target)
    identity = place or f"mlops-run-{widget.model_id}"
    if place:
        update_display(widget.static(), raw=True, display_id=identity)
    else:
        display(widget.static(), raw=True, display_id=identity)
    live = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({"application/vnd.jupyter.widget-view+json": live, "text/plain": ""}, raw=True)
    drawn = 0.0

    def redraw(_: Any) -> None:
        nonlocal drawn
        if widget.picture["status"] not in view.UNDERWAY or time.monotonic() - drawn > _STATIC_PAUSE:
            drawn = time.monotonic()
            with contextlib.suppress(Exception):  # a front end that is gone must not end the widget's thread
                update_display(widget.static(), raw=True, display_id=identity)

    widget.observe(redraw, "picture")
    return widget
