"""Access control: the role that each route requires, a cache of checked API keys, and rate limits."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from typing import Literal, TypeAlias

from fastapi import Depends, Security
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from cofactor.errors import StoreUnavailableError
from cofactor.service.api.errors import Problem
from cofactor.service.lru import LRUCache
from cofactor.store import Key, Role, Store

__all__ = [
    "ADMIN",
    "PUBLIC",
    "READ",
    "WRITE",
    "KeyCache",
    "RequireRole",
    "RouteRole",
    "TokenBuckets",
    "permits",
    "role_of",
]

RouteRole: TypeAlias = Role | Literal["public"]

RANK = {"public": 0, "read": 1, "write": 2, "admin": 3}
MAX_KEYS = 10_000


def permits(role: RouteRole, required: RouteRole) -> bool:
    """Return whether a role includes the required role: admin includes write, and write includes read.

    Examples
    --------
    >>> permits("write", "read"), permits("read", "write")
    (True, False)
    """
    return RANK[role] >= RANK[required]


class RequireRole(HTTPBearer):
    """Route dependency that rejects requests whose key lacks the required role; it also describes the key in OpenAPI.

    Parameters
    ----------
    role : {'read', 'write', 'admin'}
        Minimum role required.
    """

    def __init__(self, role: Role):
        super().__init__(scheme_name="key", description="ID.SECRET")
        self.role = role

    async def __call__(self, request: HTTPConnection) -> None:
        """Check the role of the key that the middleware looked up.

        Raises
        ------
        Problem
            401 without a key, 403 for a key with an insufficient role.
        """
        key: Key | None = request.scope.get("cofactor.key")
        if key is None:
            raise unauthorized()
        if not permits(key.role, self.role):
            raise Problem(403, f"this route requires a key with role {self.role}; the role of this key is {key.role}")


async def admit_all() -> None:
    """Route dependency that accepts requests without an API key."""


PUBLIC = Depends(admit_all)
READ, WRITE, ADMIN = (Security(RequireRole(role), scopes=[role]) for role in ("read", "write", "admin"))


def role_of(dependencies: Iterable[Dependency]) -> RouteRole:
    """Return the role required by the dependencies of a route.

    Raises
    ------
    TypeError
        If none of them declares a role.

    Examples
    --------
    >>> role_of([PUBLIC]), role_of([WRITE])
    ('public', 'write')
    """
    for declared in dependencies:
        if isinstance(declared.dependency, RequireRole):
            return declared.dependency.role
        if declared.dependency is admit_all:
            return "public"
    raise TypeError("declare the role of the route: dependencies=[READ], [WRITE], [ADMIN] or [PUBLIC]")


def unauthorized() -> Problem:
    """Return the error with status 401 for a request without a valid API key."""
    return Problem(401, "an API key is required: Authorization: Bearer ID.SECRET", {"WWW-Authenticate": "Bearer"})


class KeyCache:
    """Cache of verified API keys, indexed by their SHA-256 hashes, which saves a store lookup per request.

    A revoked key is rejected immediately by the worker that revoked it and within `seconds` by other workers. While the
    store is unavailable, keys that were valid at the last check remain valid.

    Parameters
    ----------
    store : Store
        Store that contains the keys.
    seconds : float
        Time for which a verified key is cached, in seconds.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     ring, text = KeyCache(store, seconds=2), store.keys.create("read", "the site")
    ...     ring.cached(text), ring.look_up(text).role, ring.cached(text).role
    (None, 'read', 'read')
    """

    def __init__(self, store: Store, seconds: float):
        self._store = store
        self._seconds = seconds
        self._checked: LRUCache[tuple[float, Key]] = LRUCache(MAX_KEYS)

    def cached(self, text: str) -> Key | None:
        """Return the cached key if it was verified within the last `seconds`, otherwise None; does not block."""
        entry = self._checked.get(_digest(text))
        return entry[1] if entry is not None and time.monotonic() < entry[0] + self._seconds else None

    def look_up(self, text: str) -> Key | None:
        """Return the key after verifying it in the store, or None if it is invalid.

        Raises
        ------
        StoreUnavailableError
            If the store is unavailable and the key is not cached.
        """
        digest = _digest(text)
        cached = self._checked.get(digest)
        try:
            key = self._store.keys.check(text)
        except StoreUnavailableError:
            if cached is not None:
                return cached[1]
            raise
        if key is not None:
            self._checked.put(digest, (time.monotonic(), key))
        elif cached is not None:
            self.clear()
        return key

    def clear(self) -> None:
        """Remove all keys from the cache."""
        self._checked.clear()


class TokenBuckets:
    """Token-bucket rate limiter per API key, with bursts of up to `2 * rate` requests; each process counts separately.

    Parameters
    ----------
    rate : float
        Maximum number of requests per second and key.

    Examples
    --------
    >>> buckets = TokenBuckets(rate=2)
    >>> [buckets.take("key", now=0.0) for _ in range(5)], buckets.take("key", now=0.5)
    ([0.0, 0.0, 0.0, 0.0, 0.5], 0.0)
    """

    def __init__(self, rate: float):
        self._rate = rate
        self._buckets: LRUCache[tuple[float, float]] = LRUCache(MAX_KEYS)

    def take(self, key: str, now: float) -> float:
        """Take a token and return 0; if the bucket is empty, return the number of seconds until the next token."""
        size = max(2 * self._rate, 1.0)
        tokens, last_time = self._buckets.get(key) or (size, now)
        tokens = min(size, tokens + (now - last_time) * self._rate)
        wait_seconds = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets.put(key, (tokens if wait_seconds else tokens - 1, now))
        return wait_seconds


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
