"""The probes: who may ask, what they answer, and for how long they wait."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.conf import settings as project_settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

PROBES = ("/heartbeat", "/ready", "/metrics")
LAST_MIGRATION = MigrationLoader(None).graph.leaf_nodes("requests_app")[0]


@pytest.fixture
def database_away(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    nowhere = str(tmp_path / "no folder" / "here")
    with mock.patch.dict(connection.settings_dict, {"HOST" if connection.vendor == "mysql" else "NAME": nowhere}):
        yield


@pytest.fixture
def silent_database(transactional_db: None) -> Iterator[None]:
    """A server that takes connections and never says a word, as a frozen one does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = {"HOST": "127.0.0.1", "PORT": server.getsockname()[1]}
        with mock.patch.dict(connection.settings_dict, address):
            yield


def test_heartbeat_answers_without_any_database(client):
    # No database mark: a statement would fail this test.
    response = client.get("/heartbeat")
    assert (response.status_code, response.content) == (200, b"ok\n")


@pytest.mark.parametrize("path", PROBES)
def test_probes_answer_any_host_over_plain_http_in_production(path, client, settings, transactional_db):
    settings.ALLOWED_HOSTS = ["tasker.example"]
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200


def test_everything_else_keeps_to_allowed_hosts_and_https(client, settings):
    settings.ALLOWED_HOSTS = ["tasker.example"]
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/admin/", headers={"host": "10.1.2.3"}).status_code == 400
    assert client.get("/admin/", headers={"host": "tasker.example"})["Location"] == "https://tasker.example/admin/"


@pytest.mark.parametrize("path", PROBES)
def test_head_is_answered_like_get_without_a_body(path, client, transactional_db):
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_no_other_method_is_allowed(path, method, client):
    response = getattr(client, method)(path)
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", PROBES)
def test_no_answer_may_be_cached(path, client, transactional_db):
    assert client.get(path)["Cache-Control"] == "no-store"


def test_ready_says_so_when_all_migrations_are_applied(client, transactional_db):
    response = client.get("/ready")
    assert (response.status_code, response.json()) == (200, {"ready": True})


@pytest.fixture
def unapplied(transactional_db: None) -> Iterator[None]:
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied(*LAST_MIGRATION)
    yield
    recorder.record_applied(*LAST_MIGRATION)


def test_not_ready_names_the_missing_migration_and_the_remedy(client, unapplied):
    response = client.get("/ready")
    assert response.status_code == 503
    assert response.json()["reason"].startswith(f"migrations are not applied: {'.'.join(LAST_MIGRATION)};")
    assert "manage.py migrate" in response.json()["reason"]


def test_ready_while_a_later_release_has_migrated_further(client, transactional_db):
    recorder = MigrationRecorder(connection)
    recorder.record_applied("requests_app", "9999_of_a_later_release")
    try:
        assert client.get("/ready").status_code == 200
    finally:
        recorder.record_unapplied("requests_app", "9999_of_a_later_release")


def test_not_ready_without_the_database_and_no_word_of_where_it_is(client, database_away):
    response = client.get("/ready")
    assert response.status_code == 503
    assert response.json()["reason"].startswith("the database does not answer")
    assert "no folder" not in response.content.decode()


@pytest.mark.integration
@pytest.mark.parametrize(("path", "status"), [("/ready", 503), ("/metrics", 200)])
def test_a_silent_database_holds_no_probe_for_long(path, status, client, silent_database):
    began = time.monotonic()
    assert client.get(path).status_code == status
    assert time.monotonic() - began < 6


def test_metrics_hold_those_of_http_and_of_python(client, transactional_db):
    client.get("/heartbeat")
    text = client.get("/metrics").content.decode()
    for name in ("django_http_requests_before_middlewares_total", "python_info", "python_gc_collections_total"):
        assert f"\n{name}" in text


def test_the_root_leads_to_the_admin(client):
    assert client.get("/").headers["Location"] == "/admin/"


def test_probes_start_no_session(transactional_db):
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    del client.cookies[project_settings.SESSION_COOKIE_NAME]
    assert not client.get("/ready").cookies
