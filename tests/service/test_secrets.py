"""Keys and passwords, used correctly or not, never appear in logs, metrics, answers, files or command lines.

Every output is searched for the secrets and their halves. The answer to a request may repeat what the client
sent in its query or body; no other output may.
"""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cofactor.data.interactions import Interactions
from cofactor.store import Store
from tests.support.command_line import run
from tests.support.served import Served, create_service

PASSWORD = "open-Sesame-4711-and-close-again"


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite; a URL with a password, which the server does not check."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("server").new()
    return url.replace("postgres:@", f"postgres:{PASSWORD}@")


def halves(secret: str) -> list[str]:
    middle = len(secret) // 2
    return [secret[:middle], secret[middle:]]


def secrets_in(text: str, secrets: list[str]) -> list[str]:
    """Return the halves of secrets that a text contains."""
    return [part for secret in secrets for part in halves(secret) if part in text]


def misused(http: httpx.Client, url: str, key: str) -> str:
    """Send a key in wrong places; return the answers to requests that have it only in a header."""
    wrong = [
        f"Token {key}",
        f"Basic {key}",
        f"Bearer {key}x",
        f"Bearer x{key}",
        f"Bearer {key} {key}",
        key,
        f"bearer{key}",
    ]
    responses = [http.get("/v1/models", headers={"Authorization": header}) for header in wrong]
    assert {entry.status_code for entry in responses} == {401}
    owner = {"Authorization": f"Bearer {key}"}
    for ask in (
        lambda: http.get(f"/v1/recommendations?user=1&n={key}", headers=owner),
        lambda: http.get(f"/v1/recommendations?user=1&key={key}"),
        lambda: http.get(f"/v1/models?access_token={key}"),
        lambda: http.get(f"/v1/jobs/{key}", headers=owner),
        lambda: http.get(f"/{key}", headers=owner),
        lambda: http.request("DELETE", f"/v1/keys/{key}", headers=owner),
        lambda: http.request(key.partition(".")[2][:40], "/v1/models", headers=owner),
        lambda: http.post("/v1/events", json={"user": 1, "item": 1, "value": 5, "secret": key}, headers=owner),
        lambda: http.post("/v1/events", json={"user": 1, "item": 1, "value": key}, headers=owner),
        lambda: http.post("/v1/events", content=f'{{"user": "{key}'.encode(), headers=owner),
        lambda: http.post("/v1/events", data={"key": key}, headers=owner),
        lambda: http.post("/v1/events/bulk", content=f'{{"key": {key}}}\n{{"user": 1, "{key}": 2}}', headers=owner),
        lambda: http.post("/v1/recommendations", json={"user": 1, "where": key}, headers=owner),
        lambda: http.get("/v1/models", headers={"Cookie": f"key={key}"}),
    ):
        assert ask().status_code in (200, 400, 401, 403, 404, 405, 422)
    responses += [http.get(path, headers=owner) for path in ("/nowhere", "/v1/keys", "/v1/events", "/v1/predictions")]
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as entry:  # not HTTP
        entry.sendall(f"{key} {key}\r\n\r\n".encode())
        raw_answer = entry.recv(10_000).decode()
    return raw_answer + "".join(entry.text + str(entry.headers) for entry in responses)


def looked_at(http: httpx.Client, admin: str) -> str:
    """Return the answers that other clients can get."""
    owner = {"Authorization": f"Bearer {admin}"}
    paths = ("/metrics", "/v1/keys", "/v1/events", "/v1/models", "/v1/jobs", "/openapi.json", "/health/ready")
    answers = [http.get(path, headers=owner) for path in paths]
    assert {entry.status_code for entry in answers} == {200}
    return "".join(entry.text + str(entry.headers) for entry in answers)


def stored_text(folder: Path, db: str | None) -> str:
    """Return every byte of the service's folder, and the tables of PostgreSQL."""
    text = "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())
    if db is not None:
        with Store.open(db) as store, store._database.read_transaction() as connection:
            for table in ("keys", "events", "impressions", "items", "users", "settings", "jobs", "models"):
                text += repr(connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall())
    return text


@pytest.mark.long
def test_secrets_appear_nowhere(db: str | None, tmp_path: Path, ratings: Interactions) -> None:
    folder = tmp_path / "data"
    admin = create_service(folder, ratings, db)
    env = {} if db is None else {"COFACTOR_SERVE_DB": db}
    running = Served(folder, admin, "--workers", "2", "--train", **env)
    try:
        with httpx.Client(base_url=running.url, timeout=30) as http:
            owner = {"Authorization": f"Bearer {admin}"}
            make = [
                http.post("/v1/keys", json={"role": role, "label": role}, headers=owner) for role in ("read", "write")
            ]
            keys = [entry.json()["key"] for entry in make]
            revoked = http.post("/v1/keys", json={"role": "admin", "label": "old"}, headers=owner).json()["key"]
            assert http.get("/v1/keys", headers={"Authorization": f"Bearer {revoked}"}).status_code == 200
            http.delete(f"/v1/keys/{revoked.partition('.')[0]}", headers=owner).raise_for_status()
            answers = "".join(misused(http, running.url, key) for key in (admin, *keys, revoked))
            others = looked_at(http, admin)
            commands = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout
    finally:
        code = running.stop()
    assert code == 0
    doctor = subprocess.run(
        [sys.executable, "-c", DOCTOR, str(folder), db or ""], capture_output=True, text=True, check=True
    ).stdout
    every = [key.partition(".")[2] for key in (admin, *keys, revoked)]
    secrets = [*every, PASSWORD]
    files = stored_text(folder, db)
    log = (folder / "log").read_text()
    for where in (answers, others, commands, doctor, log, files):
        assert secrets_in(where, secrets) == []
    # each output does contain what it should
    for key in (admin, *keys, revoked):
        name, _, secret = key.partition(".")
        assert name in others
        assert hashlib.sha256(secret.encode()).hexdigest() in files
    assert admin.partition(".")[0] in log
    assert '"status": 401' in log
    assert '"status": 422' in log
    assert "--workers" in commands
    assert "artifacts" in doctor
    assert "cofactor_requests_total" in others


DOCTOR = """
import sys
from cofactor.service.doctor import check_service
for finding in check_service(sys.argv[1], sys.argv[2] or None):
    print(finding)
"""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:{}@127.0.0.1:1/shop",
        "postgresql://127.0.0.1:1/shop?user=me&password={0}&sslpassword={0}",
        "mysql://me:{}@host/shop",
        "mysql://host/shop?password={}",
        "shop {}",
    ],
)
@pytest.mark.parametrize("command", ["serve ratings.csv", "doctor", "key", "trainer --once", "backup copy"])
def test_error_messages_hide_the_password_of_a_database_url(
    url: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ratings.csv").write_text("user,item,rating\nana,alien,5\nbo,alien,4\n")
    Path("data", "artifacts").mkdir(parents=True)
    arguments = [*command.split(), "--data", "data", "--db", url.format(PASSWORD)]
    done = run(*arguments, *["--port", "0"] * command.startswith("serve"))
    assert done.exit_code in (1, 2)
    assert re.search("database URL|/shop", done.output.replace("\n", ""))
    assert secrets_in(done.output.replace("\n", ""), [PASSWORD]) == []
