"""The calls to Kubeflow Pipelines that we make, through its generated client: errors become ours, with what to do.

What may pass by itself (no network, a timeout, 429, 5xx) is `Unavailable`, and whoever calls decides how long to try again;
anything else is a `KubeflowError`. Nothing is retried inside of the generated client: it would repeat a POST.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlops_lab.errors import RunError, UsageError
from mlops_lab.targets.kubeflow.connections import Connection, Connections

TIMEOUT = (10, 60)  # seconds to connect, and to answer
_PAGE = 100
_PROXY = "/api/v1/namespaces/{}/services/ml-pipeline:http/proxy"
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class KubeflowError(RunError):
    """Kubeflow Pipelines refused a call. `status` is that of HTTP."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Unavailable(KubeflowError):
    """Kubeflow Pipelines can't be reached or is overloaded; `wait` is how long it asks to be left alone, if it says so."""

    def __init__(self, text: str, status: int = 0, wait: float = 0.0) -> None:
        super().__init__(text, status)
        self.wait = wait


class Client:
    """Kubeflow Pipelines behind a connection."""

    def __init__(self, connection: Connection, timeout: tuple[float, float] = TIMEOUT) -> None:
        import kfp_server_api as api

        self.connection, self.timeout = connection, timeout
        configuration = api.Configuration()
        if connection.auth == "kubeconfig":
            _from_kubeconfig(configuration, connection)
        else:
            configuration.host = connection.endpoint
        configuration.retries = False
        configuration.verify_ssl = connection.verify and configuration.verify_ssl
        if connection.ca:
            configuration.ssl_ca_cert = connection.ca
        if proxy := _proxy(configuration.host):
            configuration.proxy = proxy
        if connection.auth == "token":
            configuration.api_key["authorization"] = connection.secret
            configuration.api_key_prefix["authorization"] = "Bearer"
        elif connection.auth == "service-account":
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.api_key["authorization"] = _token_of(connection)
            # Such tokens are renewed in their file every hour or so.
            configuration.refresh_api_key_hook = lambda c: c.api_key.update(authorization=_token_of(connection))
        cookie = connection.secret if connection.auth == "cookies" else None
        self._api = api.ApiClient(configuration, cookie=cookie)
        self._api.deserialize = _strictly(self._api.deserialize)
        self.models = api.models
        self.runs = api.RunServiceApi(self._api)
        self.recurring = api.RecurringRunServiceApi(self._api)
        self.experiments = api.ExperimentServiceApi(self._api)
        self.health = api.HealthzServiceApi(self._api)

    @classmethod
    def of(cls, name: str = "") -> Client:
        """The client of a connection by its name; of the default one without."""
        return cls(Connections().get(name))

    # -- the installation -----------------------------------------------------------------------------------------

    def check(self) -> Any:
        """Ask whether it is there and lets us in; its health. Raises `UsageError` if it needs a namespace that isn't given."""
        found = self._call(self.health.healthz_service_get_healthz)
        if found.multi_user and not self.connection.namespace:
            raise UsageError(
                f"{self.connection.endpoint} serves several users: name yours, as in --namespace kubeflow-user-example-com."
            )
        self._call(self.runs.run_service_list_runs, page_size=1, **self._namespace())
        return found

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if it isn't there."""
        for page in self._pages(
            self.experiments.experiment_service_list_experiments,
            filter=_equals("display_name", name),
            **self._namespace(),
        ):
            for found in page.experiments or ():
                if found.display_name == name and str(found.storage_state) != "ARCHIVED":
                    return str(found.experiment_id)
        body = self.models.V2beta1Experiment(display_name=name, namespace=self.connection.namespace or None)
        try:
            return str(self._call(self.experiments.experiment_service_create_experiment, body).experiment_id)
        except KubeflowError as error:
            if error.status != 409:
                raise
            raise KubeflowError(
                f"The experiment {name!r} can't be used on {self.connection.shown}: one of this name is archived there, or was "
                f"made at this very moment. Restore it there, or name another one: --experiment.", 409) from None  # fmt: skip

    def tracks_in_mlflow(self) -> bool:
        """True if KFP's own MLflow plugin is at work there, as far as the newest run tells."""
        newest = self._call(self.runs.run_service_list_runs, page_size=1, sort_by="created_at desc", **self._namespace())
        return any((run.plugins_output or {}).get("mlflow") is not None for run in newest.runs or ())

    # -- runs -----------------------------------------------------------------------------------------------------

    def create_run(self, name: str, experiment: str, spec: dict[str, Any], parameters: dict[str, Any], description: str,
                   plugins: dict[str, Any] | None = None) -> Any:  # fmt: skip
        """Start a run. `name` is ours alone, by which `find_run` finds it again if the answer was lost on the way."""
        body = self.models.V2beta1Run(
            display_name=name,
            description=description or None,
            experiment_id=experiment,
            pipeline_spec=spec,
            runtime_config=self.models.V2beta1RuntimeConfig(parameters=parameters),
            plugins_input=plugins,
        )
        return self._call(self.runs.run_service_create_run, body, experiment_id=experiment)

    def find_run(self, name: str, experiment: str) -> Any:
        """The run of this name, or None."""
        for page in self._pages(
            self.runs.run_service_list_runs,
            filter=_equals("display_name", name),
            experiment_id=experiment,
            **self._namespace(),
        ):
            for found in page.runs or ():
                if found.display_name == name:
                    return found
        return None

    def run(self, run_id: str) -> Any:
        """A run with the states of its tasks."""
        return self._call(self.runs.run_service_get_run, run_id)

    def terminate(self, run_id: str) -> None:
        """Ask to cancel a run."""
        self._call(self.runs.run_service_terminate_run, run_id)

    def retry(self, run_id: str) -> None:
        """Go on with a run that failed: its steps that succeeded are kept."""
        self._call(self.runs.run_service_retry_run, run_id)

    def log(self, run_id: str, pod: str) -> bytes | None:
        """All that a pod has written so far; None if there is no such pod, or its log is gone.

        The route is not part of the published specification; the user interface of KFP uses it.
        """
        try:
            answer = self._call(
                self._api.call_api,
                "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log",
                "GET",
                {"run_id": run_id, "node_id": pod},
                [],
                {"Accept": "text/plain"},
                auth_settings=["Bearer"],
                _preload_content=False,
                _return_http_data_only=True,
            )
            return bytes(answer.data)
        except KubeflowError as error:
            # A pod that isn't there is a 500 in all versions up to 2.17.
            if error.status in (400, 404, 500):
                return None
            raise

    def archived_log(self, run_id: str, node: str) -> bytes | None:
        """What the pod of one of Argo's nodes wrote, from where Argo keeps it: the artifact `main-logs` of the node, or None.

        KFP's own installation has Argo keep logs; they are there once the pod has ended, and when it is gone. The route was
        published until KFP 2.14 (`read_artifact`), and is served as it was by those that came after. No other artifact of a
        task can be had by it: it finds what Argo has written, and KFP writes them itself.
        """
        import base64

        try:
            answer = self._call(
                self._api.call_api,
                "/apis/v2beta1/runs/{run_id}/nodes/{node_id}/artifacts/{artifact_name}:read",
                "GET",
                {"run_id": run_id, "node_id": node, "artifact_name": "main-logs"},
                [],
                {"Accept": "application/json"},
                auth_settings=["Bearer"],
                _preload_content=False,
                _return_http_data_only=True,
            )
            return base64.b64decode(json.loads(answer.data).get("data") or "", validate=True)
        except Unavailable as error:
            if error.status != 500:
                raise
            return None
        except KubeflowError as error:
            if error.status in (400, 403, 404, 405, 501):
                return None
            raise
        except (ValueError, AttributeError):  # no such answer
            return None

    # -- recurring runs -------------------------------------------------------------------------------------------

    def create_recurring(self, body: Any) -> Any:
        """Start a recurring run."""
        return self._call(self.recurring.recurring_run_service_create_recurring_run, body)

    def list_recurring(self) -> Iterator[Any]:
        """All recurring runs of the namespace."""
        for page in self._pages(self.recurring.recurring_run_service_list_recurring_runs, **self._namespace()):
            yield from page.recurring_runs or ()

    def change_recurring(self, recurring_run_id: str, action: str) -> None:
        """`enable`, `disable` or `delete` a recurring run."""
        self._call(getattr(self.recurring, f"recurring_run_service_{action}_recurring_run"), recurring_run_id)

    # -- how calls are made ---------------------------------------------------------------------------------------

    def _namespace(self) -> dict[str, str]:
        return {"namespace": self.connection.namespace} if self.connection.namespace else {}

    def _pages(self, call: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
        token = ""
        while True:
            page = self._call(call, page_size=_PAGE, page_token=token, **arguments)
            yield page
            token = page.next_page_token or ""
            if not token:
                return

    def _call(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        import urllib3
        from kfp_server_api.exceptions import ApiException

        try:
            return call(*arguments, _request_timeout=self.timeout, **named)
        except ApiException as error:
            raise _translated(error, self.connection) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"{self.connection.shown} can't be reached: {_reason(error)}") from None
        except ValueError as error:  # an answer that isn't what the specification says: a login page, a proxy's error page
            raise KubeflowError(
                f"{self.connection.shown} does not answer as Kubeflow Pipelines does ({str(error)[:100]}). Is the address "
                f"right, and is the login still valid? Connect again with: mlops-lab connect"
            ) from None


def _strictly(deserialize: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The generated client makes an empty object of a login page; this raises `ValueError`."""

    def strict(response: Any, kind: Any) -> Any:
        if not isinstance(json.loads(response.data), dict):
            raise ValueError("no object")
        return deserialize(response, kind)

    return strict


def _translated(error: Any, connection: Connection) -> KubeflowError:
    status, said = int(error.status or 0), _message(error)
    if status == 0:
        return KubeflowError(
            f"{connection.shown} has no certificate that is trusted here: {said}. Name the one of its authority: "
            f"mlops-lab connect {connection.endpoint} --ca FILE"
        )
    if status in _TEMPORARY:
        wait = str((error.headers or {}).get("Retry-After") or "")
        text = "asks for fewer calls" if status == 429 else f"has trouble (HTTP {status})"
        return Unavailable(f"{connection.shown} {text}: {said}", status, float(wait) if wait.isdigit() else 0.0)
    again = f"mlops-lab connect {connection.endpoint} --name {connection.name}"
    if status == 401 or 300 <= status < 400:
        return KubeflowError(f"{connection.shown} does not know who you are: the login has ended or is missing. Connect again, "
                             f"with a new token or cookies: {again}{_where(connection)} --auth token", status)  # fmt: skip
    if status == 403:
        where = f" in the namespace {connection.namespace}" if connection.namespace else ""
        return KubeflowError(f"{connection.shown} does not let you do this{where}: {said}. Ask who runs it for access, or name "
                             f"another namespace: {again} --namespace NAME", status)  # fmt: skip
    if status == 404:
        return KubeflowError(f"{connection.shown} has no such thing: {said}", status)
    return KubeflowError(f"{connection.shown} refused: {said} (HTTP {status})", status)


def _where(connection: Connection) -> str:
    return f" --namespace {connection.namespace}" if connection.namespace else ""


def _message(error: Any) -> str:
    """What the server says, in a line: KFP's errors are JSON objects with a message, those of proxies are pages."""
    body = error.body or ""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        content = json.loads(text)
        found = content.get("message") or content.get("error_message") or content.get("error") or ""
    except (ValueError, AttributeError):
        found = "" if "<html" in text.lower() else text
    return " ".join(str(found or error.reason or "no reason given").split())[:500]


def _reason(error: BaseException) -> str:
    """The innermost reason of a failed connection, in a line."""
    from urllib3.exceptions import ProxyError

    through = ""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args[1:]), None), BaseException):
        through = "the proxy of your environment (http_proxy, https_proxy): " if isinstance(error, ProxyError) else through
        error = inner
    parts = [str(part) for part in error.args if part] or [type(error).__name__]
    text = parts[-1].partition("(")[2].strip("')\"") or parts[-1] if len(parts) > 1 else parts[0]
    return through + re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): |^<.*? object at 0x\w+>: ", "", text)[:300]


def _equals(key: str, value: str) -> str:
    """A filter of the server's."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def _token_of(connection: Connection) -> str:
    try:
        return Path(connection.path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(
            f"Can't read the service account's token {connection.path}: {error.strerror}. In a Kubeflow notebook server, ask "
            f"for access to pipelines when it is made; else connect with --auth token."
        ) from None


def _from_kubeconfig(configuration: Any, connection: Connection) -> None:
    """Reach Kubeflow Pipelines through the cluster's own API server, as `kubectl proxy` does."""
    from kubernetes import client, config

    found = client.Configuration()
    try:
        config.load_kube_config(client_configuration=found, context=connection.context or None)
    except (config.ConfigException, OSError) as error:
        raise UsageError(f"Can't use the kubeconfig: {error}. Check it with: kubectl config get-contexts") from None
    configuration.host = found.host.rstrip("/") + _PROXY.format(connection.path or "kubeflow")
    configuration.cert_file, configuration.key_file = found.cert_file, found.key_file
    configuration.ssl_ca_cert = found.ssl_ca_cert
    if found.get_api_key_with_prefix("authorization"):  # a token, or a program that gives one when it is asked
        configuration.refresh_api_key_hook = lambda c: c.api_key.update(
            authorization=found.get_api_key_with_prefix("authorization")
        )
        configuration.refresh_api_key_hook(configuration)


def _proxy(host: str) -> str | None:
    """The proxy that the environment names for an address, as other programs use it."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(host)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme) or os.environ.get("ALL_PROXY")
