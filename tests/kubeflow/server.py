"""A small HTTP server that speaks Kubeflow Pipelines' REST interface, held to its specification in both directions.

The specification is that of `kfp_server_api`, which is generated from KFP's OpenAPI file: its routes, its query parameters, and
its models with the types of their fields. A request that does not follow it is answered with 400 and noted in `violations`, and
so is an answer of ours. What a cluster does (tasks that start, pods that write logs) is said by the test, or done for real by
`execute`, which runs the pipeline that was sent with `kfp.local`.
"""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import re
import subprocess
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import kfp_server_api

from mlops_lab.targets.kubeflow.podlog import _fnv1a

CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}  # HTTP -> gRPC, as the gateway maps them
LOG = re.compile(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log")  # of the API server, but in no specification
# In the specification until 2.14, as `read_artifact`; its answer is `V2beta1ReadArtifactResponse`: base64 in `data`.
ARTIFACT = re.compile(r"/apis/v2beta1/runs/([^/]+)/nodes/([^/]+)/artifacts/([^/:]+):read")


# -- the specification --------------------------------------------------------------------------------------------------


def routes():
    """(verb, pattern, operation, query parameters, body's model or None, answer's model) of all operations."""
    found = []
    for service in ("RunServiceApi", "RecurringRunServiceApi", "ExperimentServiceApi", "HealthzServiceApi"):
        for name, method in inspect.getmembers(getattr(kfp_server_api, service), inspect.isfunction):
            if not name.endswith("_with_http_info"):
                continue
            source = inspect.getsource(method)
            path, verb = re.search(r"call_api\(\s*'([^']+)', '(\w+)'", source).groups()
            model = re.search(r"response_type='(\w+)'", source)[1]
            types = dict(re.findall(r":type (\w+): (.+)", source))
            query = {n: types[n] for n in re.findall(r"query_params.append\(\('(\w+)'", source)}
            body = re.search(r"body_params = local_var_params\['(\w+)'\]", source)
            pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(path)))
            found.append((verb, pattern, name.removesuffix("_with_http_info"), query, types[body[1]] if body else None, model))
    return found


def violations(value, kind, where="body"):
    """What of a JSON value is not as its type in the specification says."""
    if value is None or kind == "object":
        return []
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [v for i, each in enumerate(value) for v in violations(each, kind[5:-1], f"{where}[{i}]")]
    if kind.startswith("dict("):
        inner = kind[5:-1].split(", ", 1)[1]
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        return [v for key, each in value.items() for v in violations(each, inner, f"{where}.{key}")]
    if kind in ("str", "int", "bool", "float", "datetime"):
        python = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}[kind]
        if not isinstance(value, python) or (kind == "int" and isinstance(value, bool)):
            return [f"{where} is no {kind}: {value!r}"]
        if kind == "datetime":
            try:
                datetime.fromisoformat(value)
            except ValueError:
                return [f"{where} is no date: {value!r}"]
        return []
    model = getattr(kfp_server_api.models, kind)
    if not model.openapi_types:
        return (
            [] if value in getattr(model, "allowable_values", [value]) else [f"{where} is not one of {model.allowable_values}"]
        )
    if not isinstance(value, dict):
        return [f"{where} is no {kind}"]
    known = {json_name: model.openapi_types[name] for name, json_name in model.attribute_map.items()}
    found = [f"{where}.{key} is not in {kind}" for key in value if key not in known]
    return found + [v for key, each in value.items() if key in known for v in violations(each, known[key], f"{where}.{key}")]


# -- what a cluster knows -----------------------------------------------------------------------------------------------


def now():
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status, message, headers=None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}


class Cluster:
    """Experiments, runs, recurring runs and pods. `token`: the one that lets in; `multi_user`: a namespace is asked for."""

    def __init__(self, token="", multi_user=False):
        self.token, self.multi_user = token, multi_user
        self.experiments, self.runs, self.recurring, self.pods = {}, {}, {}, {}
        self.calls, self.violations, self.troubles = [], [], []
        self.trouble_at = ("", "", [])  # verb, path, and what happens to the next calls of this one
        self.logs_are_forbidden = False
        self.archive = None  # node -> log, where Argo keeps logs of what has ended
        self.plugins_output = None
        self.numbers = itertools.count(1)
        self.lock = threading.RLock()

    def trouble(self, *kinds):
        """What happens to the next calls, one each: a status, `drop`, `drop-after` (done, but the answer is lost), `slow`, None."""
        self.troubles += kinds

    # what tests do on the cluster

    @property
    def run(self):
        """The newest run."""
        return list(self.runs.values())[-1]

    def task(self, name, state, log=None, attempt=1, retried=False, run=None, **fields):
        """A task is in a state, and its pod has written this."""
        with self.lock:
            run = run or self.run
            workflow = f"flow-{run['run_id'][:5]}"
            node = f"{workflow}.root.{name}.executor"
            details = run.setdefault("run_details", {}).setdefault("task_details", [])
            detail = next((d for d in details if d["display_name"] == name and "task_id" in d), None)
            if detail is None:
                detail = {"run_id": run["run_id"], "task_id": f"task-{next(self.numbers)}", "display_name": name,
                          "create_time": now(), "start_time": now(),
                          "child_tasks": [{"pod_name": f"{workflow}-{_fnv1a(node)}"}]}  # fmt: skip
                details += [detail, {"run_id": run["run_id"], "display_name": f"{name}-driver", "state": "SUCCEEDED"}]
            detail |= {"state": state, **fields}
            if state in ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"):
                detail.setdefault("end_time", now())
            if log is not None:
                pod = f"{workflow}-system-container-impl-{_fnv1a(node)}"
                if retried:
                    pod = f"{workflow}-retry-system-container-impl-{_fnv1a(f'{node}({attempt - 1})')}"
                self.pods[pod] = log.encode()
                if self.archive is not None and "end_time" in detail:
                    self.archive[f"{workflow}-{pod.rpartition('-')[2]}"] = log.encode()
            if run["state"] == "PENDING":
                run["state"] = "RUNNING"

    def end(self, state="SUCCEEDED", run=None):
        with self.lock:
            (run or self.run).update(state=state, finished_at=now())

    def execute(self, python, bare, folder, environment):
        """Run the newest run's pipeline with `kfp.local` in an interpreter of its own, telling its tasks' logs as they grow."""
        run = self.run
        sent = run["pipeline_spec"]
        (folder / "pipeline.json").write_text(json.dumps(sent.get("pipeline_spec", sent)))
        work = {"runs": [{"pipeline": str(folder / "pipeline.json"), "root": str(folder / "root"),
                          "arguments": run["runtime_config"].get("parameters", {})}]}  # fmt: skip
        (folder / "work.json").write_text(json.dumps(work))
        process = subprocess.Popen([python, bare, folder / "work.json"], cwd=folder, stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.STDOUT, env=environment)  # fmt: skip
        task, log = "", ""
        for line in process.stdout:
            plain = re.sub(r"\x1b\[\d+m", "", line)
            if begun := re.search(r"INFO - Executing task '([^']+)'", plain):
                task, log = begun[1], ""
                self.task(task, "RUNNING", "", run=run)
            elif over := re.search(r"INFO - Task '([^']+)' finished with status (\w+)", plain):
                self.task(over[1], "SUCCEEDED" if over[2] == "SUCCESS" else "FAILED", log, run=run)
                task = ""
            elif task:
                log += line.removeprefix("    ")
                self.task(task, "RUNNING", log, run=run)
        process.wait()
        states = {d["state"] for d in run["run_details"]["task_details"]}
        self.end("FAILED" if "FAILED" in states else "SUCCEEDED", run)

    # the operations

    def run_service_create_run(self, body, **_):
        if body.get("experiment_id") not in self.experiments:
            raise Problem(404, f"Experiment {body.get('experiment_id')} not found.")
        run = {**body, "run_id": f"{next(self.numbers):05d}-run", "state": "PENDING", "created_at": now(),
               "storage_state": "AVAILABLE", "finished_at": "1970-01-01T00:00:00Z"}  # fmt: skip
        if self.plugins_output:
            run["plugins_output"] = self.plugins_output
        self.runs[run["run_id"]] = run
        return run

    def run_service_get_run(self, run_id, **_):
        return self._known(self.runs, run_id, "Run")

    def run_service_list_runs(self, **query):
        self._needs_namespace(query)
        rows = [r for r in self.runs.values() if query.get("experiment_id") in (None, r["experiment_id"])]
        return self._page("runs", rows[::-1], query)

    def run_service_terminate_run(self, run_id):
        run = self._known(self.runs, run_id, "Run")
        if run["state"] in ("SUCCEEDED", "FAILED", "CANCELED"):
            raise Problem(400, "Failed to terminate a run: it has finished")
        run["state"] = "CANCELING"
        for detail in run.get("run_details", {}).get("task_details", []):
            if detail["state"] == "RUNNING":
                detail |= {"state": "FAILED", "end_time": now()}
        threading.Timer(0.3, self.end, ("CANCELED", run)).start()
        return {}

    def run_service_retry_run(self, run_id):
        run = self._known(self.runs, run_id, "Run")
        if run["state"] not in ("FAILED", "CANCELED"):
            raise Problem(400, "Failed to retry a run: only failed runs can be retried")
        run.update(state="RUNNING", finished_at="1970-01-01T00:00:00Z")
        return {}

    def experiment_service_list_experiments(self, **query):
        self._needs_namespace(query)
        return self._page("experiments", list(self.experiments.values()), query)

    def experiment_service_create_experiment(self, body, **_):
        if any(e["display_name"] == body["display_name"] for e in self.experiments.values()):
            raise Problem(409, "Already exist. The name of the experiment is taken")
        made = {**body, "experiment_id": f"experiment-{next(self.numbers)}", "storage_state": "AVAILABLE", "created_at": now()}
        self.experiments[made["experiment_id"]] = made
        return made

    def healthz_service_get_healthz(self):
        return {"multi_user": self.multi_user, "pipeline_store": "database"}

    def recurring_run_service_create_recurring_run(self, body):
        made = {**body, "recurring_run_id": f"recurring-{next(self.numbers)}", "status": "ENABLED", "created_at": now()}
        self.recurring[made["recurring_run_id"]] = made
        return made

    def recurring_run_service_list_recurring_runs(self, **query):
        return self._page("recurringRuns", list(self.recurring.values()), query)

    def recurring_run_service_disable_recurring_run(self, recurring_run_id):
        self._known(self.recurring, recurring_run_id, "Recurring run")["status"] = "DISABLED"
        return {}

    def recurring_run_service_enable_recurring_run(self, recurring_run_id):
        self._known(self.recurring, recurring_run_id, "Recurring run")["status"] = "ENABLED"
        return {}

    def recurring_run_service_delete_recurring_run(self, recurring_run_id):
        self._known(self.recurring, recurring_run_id, "Recurring run")
        del self.recurring[recurring_run_id]
        return {}

    def log(self, run_id, pod):
        run = self._known(self.runs, run_id, "Run")
        if self.logs_are_forbidden:
            raise Problem(403, "Failed to authorize the request: readLog")
        if pod not in self.pods or run["run_id"][:5] not in pod:
            raise Problem(500, f'Failed to read logs for run {run_id}: pods "{pod}" not found')
        return self.pods[pod]

    def artifact(self, run_id, node, name):
        self._known(self.runs, run_id, "Run")
        if name != "main-logs" or node not in (self.archive or {}):
            raise Problem(404, f"Failed to read artifact: artifact runs/{run_id}/nodes/{node}/artifacts/{name} not found")
        return json.dumps({"data": base64.b64encode(self.archive[node]).decode()}).encode()

    def _known(self, rows, key, what):
        if key not in rows:
            raise Problem(404, f"{what} {key} not found.")
        return rows[key]

    def _needs_namespace(self, query):
        if self.multi_user and not query.get("namespace"):
            raise Problem(400, "Invalid input error: a namespace is required in multi-user mode")

    def _page(self, name, rows, query):
        if query.get("filter"):
            wanted = json.loads(query["filter"])
            self.violations += violations(wanted, "V2beta1Filter", "filter")
            for predicate in wanted["predicates"]:
                assert predicate["operation"] == "EQUALS"
                rows = [row for row in rows if row[predicate["key"]] == predicate["string_value"]]
        start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
        answer = {name: rows[start : start + size], "total_size": len(rows)}
        return answer | ({"next_page_token": str(start + size)} if start + size < len(rows) else {})


# -- the server ---------------------------------------------------------------------------------------------------------


def serve(cluster, prefix=""):
    """A running server of a cluster, on a free port; its address is in `url`. Ended by `close`."""
    table = routes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            self.path = self.path.removeprefix(prefix)
            with cluster.lock:
                cluster.calls.append((self.command, urlsplit(self.path).path))
                trouble = cluster.troubles.pop(0) if cluster.troubles else None
                if cluster.calls[-1] == cluster.trouble_at[:2] and cluster.trouble_at[2]:
                    trouble = cluster.trouble_at[2].pop(0)
            if trouble == "drop":
                return self.drop()
            if trouble == "slow":
                time.sleep(1.5)
            try:
                if isinstance(trouble, int):
                    raise Problem(trouble, "there is trouble", {"Retry-After": "1"} if trouble == 429 else None)
                if trouble == "login page":
                    return self.answer(200, b"<html>Log in, please</html>", "text/html")
                with cluster.lock:
                    content, kind = self.handle_call(body)
            except Problem as problem:
                content = json.dumps(
                    {"error": str(problem), "code": CODES[problem.status], "message": str(problem), "details": []}
                )
                return self.answer(problem.status, content.encode(), "application/json", problem.headers)
            if trouble == "drop-after":
                return self.drop()
            return self.answer(200, content, kind)

        do_POST = do_DELETE = do_GET

        def handle_call(self, body):
            parts = urlsplit(self.path)
            shown = (self.headers.get("Authorization"), self.headers.get("Cookie"))
            if cluster.token and f"Bearer {cluster.token}" not in shown and f"session={cluster.token}" not in shown:
                raise Problem(401, "Request header error: there is no user identity header")
            if log := LOG.fullmatch(unquote(parts.path)):
                return cluster.log(*log.groups()), "text/plain"
            if artifact := ARTIFACT.fullmatch(unquote(parts.path)):
                return cluster.artifact(*artifact.groups()), "application/json"
            for verb, pattern, operation, query_types, body_type, model in table:
                found = pattern.fullmatch(unquote(parts.path))
                if verb == self.command and found:
                    query = dict(parse_qsl(parts.query, keep_blank_values=True))
                    wrong = [f"query {key} is not known to {operation}" for key in query if key not in query_types]
                    sent = json.loads(body) if body else None
                    if body_type:
                        wrong += violations(sent, body_type) if sent is not None else [f"{operation} needs a body"]
                    elif sent is not None:
                        wrong.append(f"{operation} takes no body")
                    if wrong:
                        cluster.violations += wrong
                        raise Problem(400, "; ".join(wrong))
                    arguments = {**found.groupdict(), **query} | ({"body": sent} if body_type else {})
                    answer = getattr(cluster, operation)(**arguments)
                    cluster.violations += violations(answer, model, f"answer of {operation}")
                    return json.dumps(answer).encode(), "application/json"
            raise Problem(404, f"{self.command} {parts.path}: there is no such route")

        def answer(self, status, content, kind, headers=None):
            self.send_response(status)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def drop(self):
            self.close_connection = True
            self.connection.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close():
        server.shutdown()
        server.server_close()

    server.close = close
    return server
