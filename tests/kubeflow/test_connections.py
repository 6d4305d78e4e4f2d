"""Connections: what is kept, where, and who can read it."""

from __future__ import annotations

import json
import stat
import sys

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as Fail
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.errors import UsageError
from mlops_lab.targets.kubeflow.connections import Connection, Connections, endpoint_of

from .server import Cluster, serve


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    folder = tmp_path / "config"
    monkeypatch.setenv("MLOPS_LAB_CONFIG", str(folder))
    for name in ("MLOPS_LAB_KUBEFLOW", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(Fail())  # as on a machine without one
    yield folder / "kubeflow.json"
    keyring.set_keyring(before)


@pytest.fixture
def cluster():
    made = Cluster(token="s3cret-token")
    server = serve(made)
    made.url = server.url
    yield made
    server.close()
    assert made.violations == []


def mlops_lab(*arguments, input=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=input)


def secret(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://kf.example.com/pipeline/", "https://kf.example.com/pipeline"),
        ("kf.example.com", "https://kf.example.com"),
        ("localhost:8080", "http://localhost:8080"),
        ("https://kf.example.com/pipeline/#/runs/details/123", "https://kf.example.com/pipeline"),
    ],
)
def test_an_address_is_taken_as_a_browser_shows_it(written, kept):
    assert endpoint_of(written) == kept


@pytest.mark.parametrize(
    "written", ["ftp://kf.example.com", "https://", "https://kf:port", "https://me:pw@kf.example.com", "a b"]
)
def test_what_is_no_address_is_refused(written):
    with pytest.raises(UsageError) as caught:
        endpoint_of(written)
    assert "pw" not in str(caught.value)


def test_a_connection_is_tried_and_kept_for_its_user_alone(cluster, config, tmp_path):
    result = mlops_lab("connect", cluster.url, "--secret-file", secret(tmp_path, "Bearer s3cret-token\n"), "--name", "lab")
    assert result.exit_code == 0, result.output
    assert "Connected lab" in result.output and "s3cret" not in result.output
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert Connections().get().secret == "s3cret-token"
    assert "s3cret" not in repr(Connections().get())
    listed = mlops_lab("connect", "--json")
    assert json.loads(listed.stdout) == [
        {"name": "lab", "endpoint": cluster.url, "namespace": "", "auth": "token", "default": True}
    ]


def test_a_token_can_come_from_standard_input(cluster):
    assert mlops_lab("connect", cluster.url, "--auth", "token", "--secret-file", "-", input="s3cret-token\n").exit_code == 0
    assert Connections().get().secret == "s3cret-token"


def test_a_connection_that_does_not_work_is_not_kept(cluster, config, tmp_path):
    result = mlops_lab("connect", cluster.url, "--secret-file", secret(tmp_path, "wrong-token"))
    assert result.exit_code == 2
    assert "does not know who you are" in result.output and "wrong-token" not in result.output
    assert not config.exists()


def test_cookies_and_service_accounts_let_in_too(cluster, tmp_path):
    cookies = secret(tmp_path, "session=s3cret-token")
    assert mlops_lab("connect", cluster.url, "--auth", "cookies", "--secret-file", cookies).exit_code == 0
    token = tmp_path / "token"
    token.write_text("s3cret-token\n")
    result = mlops_lab("connect", cluster.url, "--auth", "service-account", "--token-path", token)
    assert result.exit_code == 0, result.output
    assert Connections().get().secret == ""  # it is read from its file each time, as it is renewed there


def test_a_renewed_service_account_token_is_used(cluster, tmp_path):
    from mlops_lab.targets.kubeflow.client import Client, KubeflowError

    token = tmp_path / "token"
    token.write_text("old")
    client = Client(Connection("lab", cluster.url, auth="service-account", path=str(token)))
    with pytest.raises(KubeflowError, match="does not know who you are"):
        client.check()
    token.write_text("s3cret-token")
    client.check()


def test_a_kubeconfig_leads_through_the_clusters_own_server(tmp_path, monkeypatch):
    from mlops_lab.targets.kubeflow.client import Client

    cluster = Cluster(token="s3cret-token")
    server = serve(cluster, prefix="/api/v1/namespaces/kfp/services/ml-pipeline:http/proxy")
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}], "users": [{"name": "u", "user": {"token": "s3cret-token"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    try:
        Client(Connection("lab", "", auth="kubeconfig", path="kfp")).check()
        with pytest.raises(UsageError, match="kubectl config get-contexts"):
            Client(Connection("lab", "", auth="kubeconfig", path="kfp", context="other"))
    finally:
        server.close()


def test_a_server_for_several_users_asks_for_a_namespace(tmp_path):
    cluster = Cluster(multi_user=True)
    server = serve(cluster)
    try:
        result = mlops_lab("connect", server.url)
        assert result.exit_code == 2 and "--namespace" in result.output
        assert mlops_lab("connect", server.url, "--namespace", "kubeflow-ada").exit_code == 0
    finally:
        server.close()


def test_secrets_go_to_the_keyring_where_there_is_one(cluster, config, tmp_path):
    kept = {}

    class InMemory(KeyringBackend):
        priority = 1

        def set_password(self, service, username, password):
            kept[service, username] = password

        def get_password(self, service, username):
            return kept.get((service, username))

        def delete_password(self, service, username):
            del kept[service, username]

    keyring.set_keyring(InMemory())
    result = mlops_lab("connect", cluster.url, "--secret-file", secret(tmp_path, "s3cret-token"), "--name", "lab")
    assert "keyring" in result.output
    assert "s3cret" not in config.read_text()
    assert Connections().get("lab").secret == "s3cret-token"
    kept.clear()
    with pytest.raises(UsageError, match="not in the keyring any more"):
        Connections().get("lab")
    mlops_lab("connect", cluster.url, "--secret-file", secret(tmp_path, "s3cret-token"), "--name", "lab")
    assert mlops_lab("connect", "--remove", "lab").exit_code == 0 and not kept


def test_without_the_keyring_package_secrets_go_to_the_file(cluster, config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    result = mlops_lab("connect", cluster.url, "--secret-file", secret(tmp_path, "s3cret-token"))
    assert "only you can read" in " ".join(result.output.split()) and Connections().get().secret == "s3cret-token"


def test_the_default_connection_is_the_newest_and_the_environment_chooses(monkeypatch):
    known = Connections()
    known.put(Connection("first", "https://a.example.com"))
    known.put(Connection("second", "https://b.example.com"))
    assert known.get().name == "second" and known.names() == ["second", "first"]
    monkeypatch.setenv("MLOPS_LAB_KUBEFLOW", "first")
    assert known.get().name == "first"
    monkeypatch.setenv("MLOPS_LAB_KUBEFLOW", "frist")
    with pytest.raises(UsageError, match="did you mean 'first'"):
        known.get()


def test_without_a_connection_kfps_own_environment_serves(monkeypatch):
    with pytest.raises(UsageError, match="mlops-lab connect URL"):
        Connections().get()
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://ml-pipeline.kubeflow:8888")
    assert Connections().get().endpoint == "http://ml-pipeline.kubeflow:8888"


@pytest.mark.parametrize("content", ["{", "[]", '{"connections": 3}'])
def test_a_damaged_configuration_is_named(config, content):
    config.parent.mkdir()
    config.write_text(content)
    with pytest.raises(UsageError, match=str(config)):
        Connections().get()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["connect", "https://a.example.com", "--auth", "magic"], "choose one of"),
        (["connect", "https://a.example.com", "--auth", "token"], "--secret-file"),
        (["connect", "https://a.example.com", "--secret-file", "/no/such/file"], "Can't read /no/such/file"),
        (["connect", "https://a.example.com", "--ca", "/no/such/file"], "no such file"),
        (["connect", "--name", "x"], "mlops-lab connect URL"),
        (["connect", "--remove", "x"], "no connection 'x'"),
        (["connect", "http://127.0.0.1:1"], "can't be reached: Failed to establish"),
    ],
)
def test_a_wrong_call_gets_one_message(arguments, words, config):
    result = mlops_lab(*arguments)
    assert result.exit_code == 2 and words in " ".join(result.output.split())
    assert "Traceback" not in result.output and not config.exists()
