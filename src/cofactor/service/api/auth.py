"""Who may do what: one table of all routes, keys that are checked, and how much a key may ask for."""

from __future__ import annotations

import hashlib
import time
from typing import Literal, TypeAlias

from fastapi import Request

from cofactor.errors import StoreUnavailableError
from cofactor.service.api.errors import Problem
from cofactor.service.lru import LRUCache
from cofactor.store import Key, Role, Store

__all__ = ["ROLES", "Buckets", "KeyRing", "may", "needed", "require_role"]

Needs: TypeAlias = Role | Literal["nobody"]

ROLES: dict[tuple[str, str], Needs] = {
    ("GET", "/health/live"): "nobody",
    ("GET", "/health/ready"): "nobody",
    ("GET", "/openapi.json"): "nobody",
    ("GET", "/metrics"): "read",
    ("GET", "/v1/recommendations"): "read",
    ("POST", "/v1/recommendations"): "read",
    ("POST", "/v1/recommendations/batch"): "read",
    ("GET", "/v1/predictions"): "read",
    ("GET", "/v1/explanations"): "read",
    ("GET", "/v1/items"): "read",
    ("GET", "/v1/items/similar"): "read",
    ("POST", "/v1/onboarding"): "read",
    ("GET", "/v1/models"): "read",
    ("GET", "/v1/models/audit"): "read",
    ("GET", "/v1/jobs"): "read",
    ("GET", "/v1/jobs/{job}"): "read",
    ("POST", "/v1/events"): "write",
    ("POST", "/v1/events/bulk"): "write",
    ("PUT", "/v1/items"): "write",
    ("POST", "/v1/items/availability"): "write",
    ("GET", "/v1/users"): "write",
    ("PUT", "/v1/users"): "write",
    ("DELETE", "/v1/users"): "write",
    ("GET", "/v1/events"): "admin",
    ("POST", "/v1/models/train"): "admin",
    ("POST", "/v1/models/{version}/promote"): "admin",
    ("POST", "/v1/models/roll-back"): "admin",
    ("GET", "/v1/keys"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("DELETE", "/v1/keys/{key}"): "admin",
}
"""Every route, and the least role that may use it: "nobody" needs no key."""

RANK = {"nobody": 0, "read": 1, "write": 2, "admin": 3}
KEYS = 10_000


def may(role: Needs, needs: Needs) -> bool:
    """Whether this role may do what needs that one: an admin may write, and who writes may read.

    >>> may("write", "read"), may("read", "write")
    (True, False)
    """
    return RANK[role] >= RANK[needs]


def needed(method: str, path: str) -> Needs:
    """What a route needs; the most where the table does not have it.

    >>> needed("GET", "/v1/keys"), needed("GET", "/nowhere")
    ('admin', 'admin')
    """
    return ROLES.get((method, path), "admin")


async def require_role(request: Request) -> None:
    """Raises a Problem, 401 or 403, unless this request's key may use the route it came to."""
    needs = needed(request.method, request.scope["route"].path)
    if needs == "nobody":
        return
    key: Key | None = request.scope.get("cofactor.key")
    if key is None:
        raise unauthorized()
    if not may(key.role, needs):
        raise Problem(403, f"this key may {key.role}; this needs one that may {needs}")


def unauthorized() -> Problem:
    """What comes without a key, or with none that is known."""
    return Problem(401, "a key is needed: Authorization: Bearer ID.SECRET", {"WWW-Authenticate": "Bearer"})


class KeyRing:
    """Keys that were checked a moment ago, by their SHA-256, so that not every request asks the store.

    A key that is revoked opens nothing on this worker at once, on others after `seconds`. While the store does not
    answer, keys that were good go on to be.

    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     ring, text = KeyRing(store, seconds=2), store.keys.create("read", "the site")
    ...     ring.known(text), ring.look_up(text).role, ring.known(text).role
    (None, 'read', 'read')
    """

    def __init__(self, store: Store, seconds: float):
        self._store = store
        self._seconds = seconds
        self._checked: LRUCache[tuple[float, Key]] = LRUCache(KEYS)

    def known(self, text: str) -> Key | None:
        """The key, where it was checked a moment ago; never waits."""
        found = self._checked.get(_digest(text))
        return found[1] if found is not None and time.monotonic() < found[0] + self._seconds else None

    def look_up(self, text: str) -> Key | None:
        """The key, asked of the store; None for what is none. Raises StoreUnavailableError."""
        try:
            key = self._store.keys.check(text)
        except StoreUnavailableError:
            if (found := self._checked.get(_digest(text))) is not None:
                return found[1]
            raise
        if key is not None:
            self._checked.put(_digest(text), (time.monotonic(), key))
        elif self._checked.get(_digest(text)) is not None:
            self.forget()
        return key

    def forget(self) -> None:
        """Trust no key without asking again."""
        self._checked.clear()


class Buckets:
    """Limit of each key: `rate` requests a second, and as many again at once. Counted by each process alone.

    >>> buckets = Buckets(rate=2)
    >>> [buckets.take("key", now=0.0) for _ in range(5)], buckets.take("key", now=0.5)
    ([0.0, 0.0, 0.0, 0.0, 0.5], 0.0)
    """

    def __init__(self, rate: float):
        self._rate = rate
        self._full: LRUCache[tuple[float, float]] = LRUCache(KEYS)

    def take(self, key: str, now: float) -> float:
        """0 where one more is in order, else the seconds to wait."""
        most = max(2 * self._rate, 1.0)
        left, last = self._full.get(key) or (most, now)
        left = min(most, left + (now - last) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._full.put(key, (left if wait else left - 1, now))
        return wait


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
