"""Keys are returned once and stored as hashes."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofactor.errors import DataError, ParameterError, StoreError
from cofactor.store import Store, keys


def test_a_key_is_valid_until_it_is_revoked(store: Store, url: str) -> None:
    text = store.keys.create("write", "the shop's server")
    name, _, secret = text.partition(".")
    assert len(secret) == 43  # 256 bits
    key = store.keys.check(text)
    assert key is not None
    assert (key.id, key.role, key.label, key.revoked) == (name, "write", "the shop's server", None)
    with Store.open(url) as other:
        assert other.keys.check(text) == key
        other.keys.revoke(key.id)
    assert store.keys.check(text) is None
    store.keys.revoke(key.id)  # again
    (stored,) = store.keys.all()
    assert stored.revoked is not None
    with pytest.raises(StoreError, match="there is no key with this ID"):
        store.keys.revoke("nobody")


def test_the_secret_is_not_stored(store: Store) -> None:
    text = store.keys.create("admin", "me")
    secret = text.partition(".")[2]
    with store._database.read_transaction() as connection:
        rows = repr(connection.exec_driver_sql("SELECT * FROM keys").fetchall())
    assert secret not in rows + repr(store.keys.all())
    assert hashlib.sha256(secret.encode()).hexdigest() in rows


def test_invalid_keys(store: Store) -> None:
    first, second = store.keys.create("read", "one"), store.keys.create("admin", "two")
    mixed = first.partition(".")[0] + "." + second.partition(".")[2]
    for wrong in (
        "",
        ".",
        "x",
        mixed,
        first[:-1],
        first + "x",
        first.upper(),
        f" {first}",
        first.replace(".", ""),
        "\0.",
        "\ud800",
        "é.é",
    ):
        assert store.keys.check(wrong) is None, wrong
    assert store.keys.check(None) is None  # type: ignore[arg-type]
    assert store.keys.check(first) is not None
    with pytest.raises(ParameterError, match="role must be one of read, write, admin, not 'root'"):
        store.keys.create("root", "x")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the label must have at most 200 characters"):
        store.keys.create("read", "x" * 201)


@given(st.text())
def test_random_text_is_not_a_valid_key(shared_store: Store, text: str) -> None:
    assert shared_store.keys.check(text) is None


def test_keys_are_unique_and_listed_without_secrets(store: Store) -> None:
    secrets = [store.keys.create("read", f"key {n}") for n in range(20)]
    assert len(set(secrets)) == 20
    assert {key.label for key in store.keys.all()} == {f"key {n}" for n in range(20)}
    assert not any("hash" in name or "secret" in name for name in vars(store.keys.all()[0]))


def test_secrets_are_always_compared_by_compare_digest() -> None:
    """In the syntax tree: every path has one hash and one comparison before it returns."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(keys.Keys.check)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    assert len(returns) == 1
    assert returns[0] is function.body[-1]
    compared = function.body[-2]
    assert isinstance(compared, ast.Assign)
    assert ast.unparse(compared.value) == (
        "hmac.compare_digest(_hash(secret), _DUMMY_HASH if row is None else row.hash)"
    )
    equalities = [node for node in ast.walk(function) if isinstance(node, ast.Eq | ast.NotEq)]
    assert len(equalities) == 1  # the id, in the query


def test_every_key_is_compared_once_as_a_digest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown ID, a wrong secret, a revoked key and a valid key take the same path."""
    text, revoked = store.keys.create("read", "one"), store.keys.create("read", "two")
    name = text.partition(".")[0]
    store.keys.revoke(revoked.partition(".")[0])
    compared: list[tuple[str, str]] = []
    real = keys.hmac.compare_digest

    def compare(left: str, right: str) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    checked = {
        candidate: store.keys.check(candidate)
        for candidate in (text, revoked, f"{name}.x", "0" * 16 + ".x", "", "\0", name)
    }
    assert [candidate for candidate, key in checked.items() if key is not None] == [text]
    assert len(compared) == len(checked)
    assert {len(part) for pair in compared for part in pair} == {64}
    assert compared[0][0] == compared[0][1]
