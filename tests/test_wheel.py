"""The wheel, built from the sdist and installed where the repository can't be seen, has everything that JupyterLab, IPython,
Papermill and the shell look for; and the wheel built from the repository is the same.

Only our distribution is new in the environment: its other packages are those of the development environment, by a `.pth`
file. What the wheel requires is read from its metadata.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from conftest import notebook_node

import mlops_lab

ROOT = Path(__file__).parent.parent
BUILT = ROOT / "mlops_lab" / "labextension" / "package.json"
COLOUR = re.compile(r"\x1b\[\d*m")
pytestmark = pytest.mark.skipif(not BUILT.exists(), reason="the front end is not built: make .make/lab")


def run(*command: object, cwd: Path, **more: str) -> str:
    """What a program puts out; the repository is neither its folder nor on its path."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER", "VIRTUAL_ENV"))
    }
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return COLOUR.sub("", done.stdout + done.stderr)


def build(source: Path, kind: str, out: Path) -> Path:
    """The wheel or the sdist of a source folder, by the build backend."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, cwd=source)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


@pytest.fixture(scope="module")
def wheels(unpacked, tmp_path_factory):
    return {"wheel": build(ROOT, "wheel", tmp_path_factory.mktemp("wheel")),
            "sdist": build(unpacked, "wheel", tmp_path_factory.mktemp("rebuilt"))}  # fmt: skip


@dataclass
class Environment:
    """A virtual environment with our wheel, and a folder to work in."""

    prefix: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    def run(self, *command: object) -> str:
        """Run a program of the environment; a user's own Jupyter configuration and extensions don't count."""
        home = self.folder / "home"
        more = {"HOME": str(home), "PATH": f"{self.prefix / 'bin'}:{os.environ['PATH']}", "JUPYTER_PLATFORM_DIRS": "0"}
        return run(*command, cwd=self.folder, **more)


@pytest.fixture(scope="module")
def environment(wheels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    made = Environment(folder / "venv", folder / "work")
    (made.folder / "home").mkdir(parents=True)
    run(sys.executable, "-m", "venv", "--without-pip", made.prefix, cwd=folder)
    packages = made.python.parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", made.python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheels["sdist"], cwd=folder)
    return made


def test_the_wheel_from_the_sdist_is_the_wheel(wheels):
    direct, rebuilt = (zipfile.ZipFile(wheels[source]) for source in ("wheel", "sdist"))
    assert direct.namelist() == rebuilt.namelist()
    made = [name for name in direct.namelist() if ".data/" in name or name.endswith("entry_points.txt")]
    assert [name for name in made if direct.read(name) != rebuilt.read(name)] == []


def test_the_wheel_has_every_file_of_the_package(wheels):
    listed = run("git", "ls-files", "mlops_lab", cwd=ROOT).splitlines()
    kept = {name for name in listed if (ROOT / name).exists()}
    assert len(kept) > 100
    assert kept - set(zipfile.ZipFile(wheels["wheel"]).namelist()) == set()


def test_the_sdist_has_what_the_front_end_is_built_of(unpacked):
    needed = [
        "package.json",
        "yarn.lock",
        "tsconfig.json",
        ".yarnrc.yml",
        "labextension/src/index.ts",
        "labextension/schema/plugin.json",
        "CONTRIBUTING.md",  # a page of the documentation
    ]
    assert [name for name in needed if not (unpacked / name).exists()] == []
    assert not (unpacked / "node_modules").exists()


def test_the_package_is_the_installed_one(environment):
    code = "import mlops_lab, importlib.metadata as m; print(mlops_lab.__file__); print(m.distribution('mlops-lab').locate_file('.'))"
    lines = environment.run(environment.python, "-c", code).split()
    assert len(lines) == 2 and all(line.startswith(str(environment.prefix)) for line in lines)


def test_the_command_line_runs_a_notebook(environment):
    cells = [("step:load", "numbers = [3, 1, 2]"), ("step:report", "print('largest', max(numbers))")]
    nbformat.write(notebook_node(cells), environment.folder / "two.ipynb")
    out = environment.run(environment.prefix / "bin" / "mlops-lab", "run", "two.ipynb", "--json", "--no-tracking")
    assert '"status": "done"' in out
    assert "largest 3" in environment.run(environment.prefix / "bin" / "mlops-lab", "logs", "last")


def test_jupyter_and_papermill_find_what_is_ours(environment):
    """The server extension, JupyterLab's, and the entry points; in one process, for each imports half of Jupyter."""
    code = """
from jupyter_core.paths import jupyter_config_path
from jupyter_server.extension.config import ExtensionConfigManager
from jupyter_server.extension.manager import ExtensionPackage
print("enabled", ExtensionConfigManager(read_config_path=jupyter_config_path()).get_jpserver_extensions()["mlops_lab"])
print("valid", ExtensionPackage(name="mlops_lab", enabled=True).validate(), ExtensionPackage(name="mlops_lab", enabled=True).version)
from jupyterlab.labextensions import LabExtensionApp
LabExtensionApp.launch_instance(["list"])
"""
    out = environment.run(environment.python, "-c", code)
    assert "enabled True" in out and f"valid True {mlops_lab.__version__}" in out
    assert str(environment.prefix / "share" / "jupyter" / "labextensions") in out
    (line,) = (line for line in out.splitlines() if "@mlops-lab/labextension" in line)
    assert "enabled" in line and "OK" in line and "python, mlops_lab" in line
    folder = environment.prefix / "share" / "jupyter" / "labextensions" / "@mlops-lab" / "labextension"
    entry = json.loads((folder / "package.json").read_text())["jupyterlab"]["_build"]["load"]
    assert (folder / entry).exists()
    assert (folder / "schemas" / "@mlops-lab" / "labextension" / "plugin.json").exists()
    code = """
from IPython.core.interactiveshell import InteractiveShell
from importlib.metadata import entry_points
from papermill.engines import papermill_engines
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "mlops_lab")
shell.run_line_magic("mlops", "--help")
print([e.load() for e in entry_points(group="jupyter_client.kernel_provisioners", name="mlops-lab-fork")])
print(papermill_engines.get_engine("mlops_lab").execute_notebook)
print([e.load()()["launcher_entry"]["title"] for e in entry_points(group="jupyter_serverproxy_servers", name="mlops-lab-mlflow")])
"""
    out = environment.run(environment.python, "-c", code)
    assert "%mlops run" in out
    assert "ForkProvisioner'>]" in out
    assert "StepEngine" in out or "NBClientEngine" in out
    assert "MLflow runs" in out
