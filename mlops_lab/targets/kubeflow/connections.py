"""Where Kubeflow Pipelines is and how to authenticate there: what `mlops-lab connect` writes and every command reads.

Kept per user, in `kubeflow.json` in the user's configuration folder, with file mode 600. Tokens and cookies go to the keyring
of the system where there is one, else into that file; they are never printed and never written to a run's log.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlops_lab.errors import UsageError, did_you_mean

CONFIG = "MLOPS_LAB_CONFIG"  # environment variable: another configuration folder
CONNECTION = "MLOPS_LAB_KUBEFLOW"  # environment variable: the name of the connection to use
ENDPOINT = "KF_PIPELINES_ENDPOINT"  # KFP's own: used where nothing is configured, as in a Kubeflow notebook server
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"  # KFP's own
DEFAULT_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"
KINDS = ("none", "token", "service-account", "cookies", "kubeconfig")
_SERVICE = "mlops-lab kubeflow"


@dataclass(frozen=True)
class Connection:
    """One Kubeflow Pipelines and how to authenticate there. `secret` is a token or cookies, and is never shown.

    `path` is the token file of a service account; `context` the one of the kubeconfig; `namespace` the user's, on an
    installation for several users.
    """

    name: str
    endpoint: str
    namespace: str = ""
    auth: str = "none"
    path: str = ""
    context: str = ""
    ca: str = ""
    verify: bool = True
    ui: str = ""
    secret: str = field(default="", repr=False, compare=False)

    @property
    def shown(self) -> str:
        """For messages."""
        return f"{self.name} ({self.endpoint or self.context or 'kubeconfig'})"

    def run_url(self, run_id: str) -> str:
        """The run's page."""
        base = self.ui or self.endpoint
        return f"{base.rstrip('/')}/#/runs/details/{run_id}" if base else ""


def endpoint_of(text: str) -> str:
    """An address as it is kept: with a scheme, without the page that a browser shows of it.

    Raises `UsageError` for what is no address, and for one with a password in it.
    """
    address = text.strip()
    if "://" not in address:
        local = address.split(":")[0].split("/")[0] in ("localhost", "127.0.0.1")
        address = ("http://" if local else "https://") + address
    address = address.split("#")[0].rstrip("/")
    parts = urlsplit(address)
    try:
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        port_is_sound = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound or " " in address:
        raise UsageError(
            f"{text!r} is no address of Kubeflow Pipelines. Give one such as https://kubeflow.example.com/pipeline."
        )
    if parts.username or parts.password:
        raise UsageError("The address has a user or a password in it. Leave them out, and give a token: --auth token.")
    return address


class Connections:
    """The user's connections: read from the file, changed and written back."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or _config_folder() / "kubeflow.json"

    def names(self) -> list[str]:
        """All connections, the default one first."""
        content = self._read()
        return sorted(content["connections"], key=lambda name: (name != content["default"], name))

    def get(self, name: str = "") -> Connection:
        """A connection with its secret: the one named, else the one that the environment names, else the default one.

        Raises `UsageError` where there is none.
        """
        content = self._read()
        known = content["connections"]
        wanted = name or os.environ.get(CONNECTION) or content["default"]
        if wanted and wanted in known:
            return self._with_secret(wanted, known[wanted])
        if name or os.environ.get(CONNECTION):
            raise UsageError(
                f"There is no connection {wanted!r}{did_you_mean(wanted, known)}. Known: {', '.join(known) or 'none'}. "
                f"Make it with: mlops-lab connect URL --name {wanted}"
            )
        if os.environ.get(ENDPOINT):
            path = os.environ.get(TOKEN_FILE, DEFAULT_TOKEN_FILE)
            auth = "service-account" if Path(path).is_file() else "none"
            return Connection("environment", endpoint_of(os.environ[ENDPOINT]), _own_namespace(), auth, path)
        raise UsageError(
            "Kubeflow Pipelines is not connected. Connect it once with: mlops-lab connect URL (the address that your browser "
            "shows for Kubeflow Pipelines; see mlops-lab connect --help for how to authenticate)."
        )

    def _with_secret(self, name: str, row: dict[str, Any]) -> Connection:
        row = {key: value for key, value in row.items() if key in Connection.__dataclass_fields__}
        if row.get("auth") in ("token", "cookies") and not row.get("secret"):
            keyring = _keyring()
            found = keyring.get_password(_SERVICE, name) if keyring else None
            if not found:
                raise UsageError(
                    f"The {row['auth']} of connection {name} is not in the keyring any more. Connect again: mlops-lab connect "
                    f"{row['endpoint']} --name {name} --auth {row['auth']}"
                )
            row["secret"] = found
        return Connection(**{"name": name, **row})

    def put(self, connection: Connection, default: bool = True) -> str:
        """Keep a connection; where its secret went: `keyring`, `file` or nothing.

        Raises `UsageError` where the file can't be written.
        """
        content = self._read()
        row = {k: v for k, v in asdict(connection).items() if k != "name" and v != Connection.__dataclass_fields__[k].default}
        where = ""
        if connection.secret:
            where = "file"
            keyring = _keyring()
            if keyring is not None:
                keyring.set_password(_SERVICE, connection.name, connection.secret)
                del row["secret"]
                where = "keyring"
        content["connections"][connection.name] = row
        if default or not content["default"]:
            content["default"] = connection.name
        self._write(content)
        return where

    def remove(self, name: str) -> None:
        """Forget a connection and its secret. Raises `UsageError` if it isn't there."""
        content = self._read()
        if name not in content["connections"]:
            known = content["connections"]
            raise UsageError(
                f"There is no connection {name!r}{did_you_mean(name, known)}. Known: {', '.join(known) or 'none'}."
            )
        row = content["connections"].pop(name)
        keyring = _keyring()
        if keyring is not None and row.get("auth") in ("token", "cookies") and not row.get("secret"):
            try:
                keyring.delete_password(_SERVICE, name)
            except Exception:  # each keyring has errors of its own; it is gone, or the user's to look after
                pass
        if content["default"] == name:
            content["default"] = next(iter(sorted(content["connections"])), "")
        self._write(content)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            content = {}
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not JSON"
            raise UsageError(
                f"Can't read the connections in {self.path}: {why}. Mend or remove it, and connect again."
            ) from None
        if not isinstance(content, dict) or not isinstance(content.get("connections", {}), dict):
            raise UsageError(f"{self.path} does not hold connections. Remove it, and connect again.")
        return {"default": content.get("default", ""), "connections": content.get("connections", {})}

    def _write(self, content: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".kubeflow-")  # made with mode 600
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
                file.write("\n")
            os.replace(temporary, self.path)
        except OSError as error:
            raise UsageError(
                f"Can't write {self.path}: {error.strerror}. Name another folder in the environment variable {CONFIG}."
            ) from None


def named(connection: Connection, name: str = "") -> Connection:
    """The connection under a name: the one given, else its host."""
    host = urlsplit(connection.endpoint).hostname or connection.context or "kubeflow"
    return replace(connection, name=name or host)


def _config_folder() -> Path:
    from platformdirs import user_config_path

    elsewhere = os.environ.get(CONFIG)
    return Path(elsewhere).expanduser() if elsewhere else user_config_path("mlops-lab")


def _own_namespace() -> str:
    """The namespace of the pod that this runs in, if it runs in one."""
    try:
        return Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _keyring() -> Any:
    """The `keyring` package if it is installed and has a place to keep secrets, else None."""
    try:
        import keyring
        from keyring.backends.fail import Keyring as Nowhere
    except ImportError:
        return None
    found = keyring.get_keyring()
    usable = not isinstance(found, Nowhere) and getattr(found, "priority", 0) > 0
    return keyring if usable else None
