"""A step's notebook as a page. nbconvert takes long to import and to read its templates: that is done while the cells run."""

from __future__ import annotations

import html
import json
import sys
import threading
from typing import Any


class Page:
    """Makes one page. It begins to get ready as soon as it is there, beside what its process waits for."""

    def __init__(self) -> None:
        self._exporter: Any = None
        self._getting_ready = threading.Thread(target=self._get_ready, name="page")
        self._getting_ready.start()

    def _get_ready(self) -> None:
        try:
            from nbconvert import HTMLExporter
            from nbformat.v4 import new_code_cell, new_notebook

            exporter = HTMLExporter()
            exporter.from_notebook_node(new_notebook(cells=[new_code_cell("0")]))  # which imports more, and reads templates
            self._exporter = exporter
        except Exception:  # whoever makes the page meets it again, and tells
            self._exporter = None

    def of(self, notebook: dict[str, Any]) -> str:
        """The step's own cells with their outputs; their text alone where the page can't be made (it is only a view)."""
        cells = [cell for cell in notebook["cells"] if "cell" in cell["metadata"].get("mlops_lab", {})]
        self._getting_ready.join()
        try:
            import nbformat

            if self._exporter is None:
                from nbconvert import HTMLExporter

                self._exporter = HTMLExporter()
            node = nbformat.reads(json.dumps({**notebook, "cells": cells}), as_version=4)
            return str(self._exporter.from_notebook_node(node)[0])
        except Exception as error:
            print(f"no page of the step's notebook: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            return "".join(f"<pre>{html.escape(json.dumps(cell, indent=1, ensure_ascii=False))}</pre>\n" for cell in cells)
