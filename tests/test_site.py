"""The documentation as a site: it builds without a warning, and every page can be reached."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_a_warning_and_has_every_page(tmp_path):
    # Strict: a page that is not in the navigation, a link or an anchor that leads nowhere is an error.
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path)
    built = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = [page.stem for page in (ROOT / "docs").glob("*.md") if page.stem != "index"]
    assert len(pages) > 10 and (tmp_path / "index.html").exists()
    assert [page for page in pages if not (tmp_path / page / "index.html").exists()] == []
    contributing = (tmp_path / "contributing" / "index.html").read_text()
    assert "How to add" in contributing and "--8<--" not in contributing
