"""Which column is the user, the item, the value, the time, the weight: guessed from the usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from cofactor.errors import DataError

__all__ = ["ROLES", "Role", "bare_name", "choose_columns", "is_number", "roles_by_place", "usual_role"]

Role: TypeAlias = Literal["user", "item", "value", "time", "weight"]

ROLES: tuple[Role, ...] = ("user", "item", "value", "time", "weight")

_WITH_ID = {
    "user": "user customer visitor reviewer client member account person",
    "item": "item movie film product article track song artist album book game anime show video recipe "
    "beer business venue place content",
}
_WHOLE = {
    "user": "uid userno",
    "item": "iid asin isbn sku stockcode itemno",
    "value": "value rating ratings score stars star overall bookrating userrating reviewrating count plays "
    "playcount listens listencount quantity preference",
    "time": "time timestamp ts date datetime unixtime unixreviewtime eventtime createdat ratedat",
    "weight": "weight weights",
}
_USUAL: dict[str, Role] = {
    **{name: role for role in ROLES for name in _WHOLE[role].split()},
    **{
        name + end: role
        for role in ROLES[:2]
        for name in _WITH_ID[role].split()
        for end in ("", "id", "key", "s", "sid")
    },
}
_TOO_BIG_TO_BE_A_COUNT = 1e8  # in a file of events without header, a third field above it is a time


def bare_name(name: str) -> str:
    """A column name without blanks around it and without a type suffix.

    >>> bare_name(" user_id:token ")
    'user_id'
    """
    return re.sub(r":\w+$", "", name.strip().strip("\ufeff"))


def usual_role(name: str) -> Role | None:
    """What a column of this name usually holds; case, blanks, `_` and `-` do not matter.

    >>> usual_role("User-ID"), usual_role("movieId"), usual_role("genres")
    ('user', 'item', None)
    """
    return _USUAL.get(_plain(name))


def choose_columns(
    columns: Sequence[str],
    given: Mapping[str, str | None],
    *,
    needed: Sequence[Role],
    source: str,
    by_place: Sequence[Role] = (),
) -> dict[str, int]:
    """The place of each role's column: the name given for it, else the one column usually called so.

    Columns without a header hold what `by_place` says. An empty name leaves a role out.
    Raises DataError, listing the columns and how to name them, when a needed one is not there or
    when two could be meant.

    >>> choose_columns(["userId", "movieId", "rating"], {}, needed=["user", "item"], source="a table")
    {'user': 0, 'item': 1, 'value': 2}
    """
    chosen: dict[str, int] = {}
    usual: Sequence[Role | None] = by_place or [usual_role(name) for name in columns]
    for role, name in given.items():
        if name:
            chosen[role] = _named(columns, name, role, source)
        elif name == "" and role in needed:
            raise DataError(f"{source}: the {role} cannot be left out; {_how_to_name(role)}")
    for role in ROLES:
        if role in chosen or given.get(role) == "":
            continue
        taken = set(chosen.values())
        found = [at for at, held in enumerate(usual) if held == role and at not in taken]
        if len(found) > 1:
            names = " or ".join(repr(columns[at].strip()) for at in found)
            raise DataError(f"{source}: the {role} may be {names}; {_how_to_name(role)}")
        if found:
            chosen[role] = found[0]
        elif role in needed:
            raise DataError(
                f"{source}: no column for the {role} was recognized among {_listed(columns)}; {_how_to_name(role)}"
            )
    if len(set(chosen.values())) < len(chosen):
        at = next(at for at in chosen.values() if list(chosen.values()).count(at) > 1)
        roles = " and the ".join(role for role in chosen if chosen[role] == at)
        raise DataError(f"{source}: column {columns[at].strip()!r} cannot be the {roles} at once")
    return {role: chosen[role] for role in ROLES if role in chosen}


def roles_by_place(fields: Sequence[str], *, named: Sequence[str] = (), events: bool = False) -> list[Role] | None:
    """What the fields of a first line hold, if it is data; None if it is a header.

    It is data when its value is a number and no field is a usual name or one of `named`: then the
    fields are user, item, value[, time]. Of events the value may be missing: a third and last field
    above 1e8 is a time; of two fields, one must be a number.

    >>> roles_by_place(["196", "242", "3", "881250949"])
    ['user', 'item', 'value', 'time']
    >>> roles_by_place(["u", "i", "3"], named=["u"]) is None
    True
    """
    names = {bare_name(name) for name in named}
    if any(usual_role(field) or bare_name(field) in names for field in fields):
        return None
    if len(fields) == 2 and any(is_number(field) for field in fields):
        return ["user", "item"]
    if len(fields) < 3 or not is_number(fields[2]):
        return None
    if events and len(fields) == 3 and float(fields[2]) > _TOO_BIG_TO_BE_A_COUNT:
        return ["user", "item", "time"]
    return list(ROLES[: min(len(fields), 4)])


def is_number(field: str) -> bool:
    """True for text that is a number: `3`, `-4.5`, `1e3`."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def _named(columns: Sequence[str], name: str, role: str, source: str) -> int:
    """The column the caller named: spelled exactly so, else so without its suffix, else nearly so."""
    for spelling in (str.strip, bare_name, _plain):
        found = [at for at, column in enumerate(columns) if spelling(column) == spelling(name)]
        if len(found) > 1:
            raise DataError(f"{source}: column {name!r} is there {len(found)} times; rename all but one")
        if found:
            return found[0]
    raise DataError(f"{source}: there is no column {name!r} for the {role}; the columns are {_listed(columns)}")


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(repr(column.strip()[:40]) for column in columns[:12])
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown


def _how_to_name(role: str) -> str:
    return f'name its column: {role}="..." (on the command line --{role})'


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", bare_name(name)).lower()
