"""What Binder builds and starts: repo2docker's steps in a clean folder and a virtual environment, below a prefix as JupyterHub has it.

The folder is the unpacked sdist, so that nothing of the checkout that isn't kept is there. The environment's other packages are
the development environment's: what `environment.yml` and the registry would give is not downloaded.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from repo2docker.app import Repo2Docker

from mlops_lab.mlflow_ui import free_port

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
PREFIX, TOKEN = "/user/ada", "only-for-tests"
CHROMIUM = os.environ.get("MLOPS_LAB_CHROMIUM") or shutil.which("chromium")
needs_front_end = pytest.mark.skipif(
    not (ROOT / "mlops_lab" / "labextension" / "package.json").exists(), reason="the front end is not built: make .make/lab"
)


def test_repo2docker_reads_the_folder_as_it_is_meant(monkeypatch):
    monkeypatch.chdir(ROOT)
    picked = next(each for each in Repo2Docker().buildpacks if each("buildpack-deps:jammy").detect())
    pack = picked("buildpack-deps:jammy")
    pack.platform = "linux/amd64"
    assert (picked.__name__, pack.binder_dir, pack.python_version) == ("CondaBuildPack", "binder", "3.11")
    assert pack.get_post_build_scripts() == ["binder/postBuild"]
    image = pack.render({"NB_UID": "1000", "NB_USER": "jovyan"})
    assert '--file "binder/environment.yml"' in image
    assert "./binder/postBuild" in image and 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in image
    assert all(os.access(BINDER / name, os.X_OK) for name in ("postBuild", "start"))
    # Its packages have to be few: all others come from constraints.txt, by postBuild.
    environment = yaml.safe_load((BINDER / "environment.yml").read_text())
    assert {str(package).partition("=")[0] for package in environment["dependencies"]} == {"python", "nodejs", "pip"}


def test_what_the_workspace_opens_is_there():
    data = json.loads((BINDER / "workspace.json").read_text())["data"]
    opened = [entry["data"]["path"] for name, entry in data.items() if name != "layout-restorer:data"]
    assert opened and all((ROOT / path).exists() for path in opened)
    assert set(data["layout-restorer:data"]["main"]["dock"]["widgets"]) == set(data) - {"layout-restorer:data"}


@dataclass
class Container:
    """The server that `start` began, as a browser behind the hub's proxy sees it."""

    home: Path
    url: str
    process: subprocess.Popen[bytes]

    def __post_init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(jar)

    def get(self, path: str) -> tuple[str, str]:
        """The final address and the text of a page."""
        with self.opener.open(urllib.request.Request(self.url + path, headers=self._headers), timeout=150) as answer:
            return answer.url, answer.read().decode(errors="replace")

    def json(self, path: str, body: Any = None) -> Any:
        """The content of an answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        with self.opener.open(urllib.request.Request(self.url + path, data, headers), timeout=60) as answer:
            return json.load(answer)

    _headers = {"Authorization": f"token {TOKEN}"}

    def memory(self) -> int:
        """Bytes of all processes of the container; what they share is counted once."""
        total = 0
        for each in psutil.process_iter():
            try:
                if each.environ().get("HOME") == str(self.home):
                    total += each.memory_full_info().pss
            except psutil.Error:
                pass  # it has ended, or is nobody's
        return total


@pytest.fixture(scope="module")
def container(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("binder")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (home,) = (path for path in folder.iterdir() if path.is_dir())
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    next(venv.glob("lib/python*/site-packages")).joinpath("others.pth").write_text(sysconfig.get_path("purelib"))
    # What the other packages bring for Jupyter stands beside their modules.
    for place in ("share/jupyter/lab", "share/jupyter/labextensions", "etc/jupyter/jupyter_server_config.d"):
        (venv / place).mkdir(parents=True, exist_ok=True)
        for part in (Path(sys.prefix) / place).iterdir():
            if part.name not in ("@mlops-lab", "mlops_lab.json", "settings"):
                (venv / place / part.name).symlink_to(part)

    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "JUPYTER", "MLFLOW", "MLOPS_LAB_DIR", "VIRTUAL_ENV"))
    }
    environment = {**kept, "HOME": str(home), "PATH": f"{venv / 'bin'}:{kept['PATH']}", "JUPYTER_PLATFORM_DIRS": "0"}
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    built = subprocess.run(["binder/postBuild"], cwd=home, env=environment | offline, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr

    port = free_port()
    command = ["binder/start", "python", "-m", "notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               f"--ServerApp.base_url={PREFIX}/", f"--IdentityProvider.token={TOKEN}"]  # fmt: skip
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    made = Container(home, f"http://127.0.0.1:{port}{PREFIX}", process)
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                made.get("/api/status")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()
                time.sleep(0.3)
        yield made
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@needs_front_end
def test_the_address_of_the_container_opens_the_workshop_with_the_sidebar(container):
    url, page = container.get("/")
    assert url.endswith(f"{PREFIX}/lab")
    start = page.index("{", page.index('id="jupyter-config-data"'))
    config = json.loads(page[start : page.index("</script>", start)])
    (ours,) = (each for each in config["federated_extensions"] if each["name"] == "@mlops-lab/labextension")
    _, script = container.get(f"/lab/extensions/@mlops-lab/labextension/{ours['load']}")
    assert "@mlops-lab/labextension" in script
    layout = container.json("/lab/api/workspaces/default")["data"]["layout-restorer:data"]
    assert layout["left"]["current"] == "mlops-lab-sidebar"


@needs_front_end
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: make .make/chromium")
def test_a_browser_shows_the_exercise_beside_the_sidebar(container, tmp_path):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--disable-component-update", f"--user-data-dir={tmp_path}", "--window-size=1500,1000", "--timeout=120000",
               "--virtual-time-budget=60000", "--dump-dom", f"{container.url}/?token={TOKEN}"]  # fmt: skip
    page = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    assert 'id="mlops-lab-sidebar"' in page
    assert "exercise.ipynb" in page and "From notebook to pipeline" in page


@needs_front_end
def test_mlflow_opens_before_anything_was_run(container):
    _, page = container.get("/mlops-lab-mlflow/")
    assert "MLflow" in page


@needs_front_end
def test_a_workshop_runs_and_mlflow_shows_it_in_the_memory_of_a_container(container):
    folder = "workshops/03-anomaly-detection"  # the one that imports most
    run = container.json("/mlops-lab/api/runs", {"path": f"{folder}/solution.ipynb"})["id"]
    most, deadline = 0, time.monotonic() + 400
    while (status := container.json(f"/mlops-lab/api/runs/{run}")["status"]) == "running" or status == "starting":
        most = max(most, container.memory())
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert status == "done"
    titles = [each["launcher_entry"]["title"] for each in container.json("/server-proxy/servers-info")["server_processes"]]
    assert "MLflow runs" in titles
    assert not list((container.home / folder).glob("ml*")), "what MLflow keeps lies between the learner's files"
    most = max(most, container.memory())
    found = container.json("/mlops-lab-mlflow/api/2.0/mlflow/experiments/search", {"max_results": 10})
    assert "sensor-anomalies" in [each["name"] for each in found["experiments"]]
    print(f"{most / 2**20:.0f} MB")  # what a test prints is shown with -s
    assert most < 1.5 * 2**30, f"{most / 2**20:.0f} MB"
