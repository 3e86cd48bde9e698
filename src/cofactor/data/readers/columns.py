"""Column roles: find the user, item, value, time and weight columns by common names; other roles on request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from cofactor.errors import DataError

__all__ = ["ROLES", "Role", "bare_name", "choose_columns", "is_number", "role_by_name", "roles_by_position"]

Role: TypeAlias = Literal["user", "item", "value", "time", "weight", "type"]

ROLES: tuple[Role, ...] = ("user", "item", "value", "time", "weight", "type")
"""Roles of columns. The type of an event is read only on request, so no column name indicates it."""

_ID_NAME_STEMS = {
    "user": "user customer visitor reviewer client member account person",
    "item": "item movie film product article track song artist album book game anime show video recipe "
    "beer business venue place content",
}
_FULL_NAMES = {
    "user": "uid userno",
    "item": "iid asin isbn sku stockcode itemno",
    "value": "value rating ratings score stars star overall bookrating userrating reviewrating count plays "
    "playcount listens listencount quantity preference",
    "time": "time timestamp ts date datetime unixtime unixreviewtime eventtime createdat ratedat",
    "weight": "weight weights",
}
_ROLE_BY_NAME: dict[str, Role] = {
    **{name: role for role in ROLES for name in _FULL_NAMES.get(role, "").split()},
    **{
        name + suffix: role
        for role in ROLES[:2]
        for name in _ID_NAME_STEMS[role].split()
        for suffix in ("", "id", "key", "s", "sid")
    },
}
_MAX_COUNT = 1e8  # in event files without a header, a larger third field is a time


def bare_name(name: str) -> str:
    """Strip whitespace, a byte order mark and a type suffix from a column name.

    Parameters
    ----------
    name : str
        A column name.

    Returns
    -------
    str
        The bare name.

    Examples
    --------
    >>> bare_name(" user_id:token ")
    'user_id'
    """
    return re.sub(r":\w+$", "", name.strip().strip("\ufeff"))


def role_by_name(name: str) -> Role | None:
    """Return the role that a column name usually indicates, such as "user" or "item".

    Parameters
    ----------
    name : str
        A column name; case, whitespace, `_` and `-` are ignored.

    Returns
    -------
    str or None
        "user", "item", "value", "time" or "weight"; None if the name is not recognized.

    Examples
    --------
    >>> role_by_name("User-ID"), role_by_name("movieId"), role_by_name("genres")
    ('user', 'item', None)
    """
    return _ROLE_BY_NAME.get(_normalized(name))


def choose_columns(
    columns: Sequence[str],
    requested: Mapping[str, str | None],
    *,
    required: Sequence[Role],
    source: str,
    positional_roles: Sequence[Role] = (),
) -> dict[str, int]:
    """Choose the column for each role: user, item, value, time, weight and, if requested, type.

    Parameters
    ----------
    columns : sequence of str
        Names of all columns.
    requested : mapping of str to str or None
        Column names by role, from the caller. None or an absent role selects the column with a common name; an empty
        name omits the role.
    required : sequence of str
        Roles that must have a column.
    source : str
        Name of the source, for messages.
    positional_roles : sequence of str, default ()
        Roles of the columns by position, for a file without a header; used instead of common names.

    Returns
    -------
    dict of str to int
        Position of the column for each role.

    Raises
    ------
    DataError
        If a required column is missing, several columns could have a role, or a column would have two roles; the
        message lists the columns and says how to name them.

    Examples
    --------
    >>> choose_columns(["userId", "movieId", "rating"], {}, required=["user", "item"], source="a table")
    {'user': 0, 'item': 1, 'value': 2}
    """
    positions: dict[str, int] = {}
    column_roles: Sequence[Role | None] = positional_roles or [role_by_name(name) for name in columns]
    for role, name in requested.items():
        if name:
            positions[role] = _column_position(columns, name, role, source)
        elif name == "" and role in required:
            raise DataError(f"{source}: the {role} column cannot be omitted; {_naming_hint(role)}")
    for role in ROLES:
        if role in positions or requested.get(role) == "":
            continue
        used_positions = set(positions.values())
        matches = [k for k, column_role in enumerate(column_roles) if column_role == role and k not in used_positions]
        if len(matches) > 1:
            names = " or ".join(repr(columns[k].strip()) for k in matches)
            raise DataError(f"{source}: the {role} column could be {names}; {_naming_hint(role)}")
        if matches:
            positions[role] = matches[0]
        elif role in required:
            raise DataError(
                f"{source}: no column for the {role} was recognized among {_format_names(columns)}; "
                f"{_naming_hint(role)}"
            )
    if len(set(positions.values())) < len(positions):
        k = next(k for k in positions.values() if list(positions.values()).count(k) > 1)
        roles = " and the ".join(role for role in positions if positions[role] == k)
        raise DataError(f"{source}: column {columns[k].strip()!r} cannot be used as both the {roles}")
    return {role: positions[role] for role in ROLES if role in positions}


def roles_by_position(
    fields: Sequence[str], *, column_names: Sequence[str] = (), events: bool = False
) -> list[Role] | None:
    """Return the roles of the fields in the first line of a file, or None if that line is a header.

    The line is data if its value is a number and no field is a common column name or one of `column_names`; its fields
    are then user, item, value[, time]. In event files, the value can be absent: a third and last field above 1e8 is a
    time, and if there are only two fields, one of them must be a number.

    Parameters
    ----------
    fields : sequence of str
        Fields in the first line.
    column_names : sequence of str, default ()
        Column names from the caller; a line that contains one of them is a header.
    events : bool, default False
        Whether the file contains events.

    Returns
    -------
    list of str or None
        Roles of the fields; None if the line is a header.

    Examples
    --------
    >>> roles_by_position(["196", "242", "3", "881250949"])
    ['user', 'item', 'value', 'time']
    >>> roles_by_position(["u", "i", "3"], column_names=["u"]) is None
    True
    """
    names = {bare_name(name) for name in column_names}
    if any(role_by_name(field) or bare_name(field) in names for field in fields):
        return None
    if len(fields) == 2 and any(is_number(field) for field in fields):
        return ["user", "item"]
    if len(fields) < 3 or not is_number(fields[2]):
        return None
    if events and len(fields) == 3 and float(fields[2]) > _MAX_COUNT:
        return ["user", "item", "time"]
    return list(ROLES[: min(len(fields), 4)])


def is_number(field: str) -> bool:
    """Return whether a string is a number, such as `3`, `-4.5` or `1e3`.

    Parameters
    ----------
    field : str
        Any string.

    Returns
    -------
    bool
        True if Python can parse the string as a float; underscores are not allowed.
    """
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def _column_position(columns: Sequence[str], name: str, role: str, source: str) -> int:
    """Return the position of a named column: try an exact match, then one without suffix, then a normalized one."""
    for normalize in (str.strip, bare_name, _normalized):
        matches = [k for k, column in enumerate(columns) if normalize(column) == normalize(name)]
        if len(matches) > 1:
            raise DataError(f"{source}: column {name!r} occurs {len(matches)} times; rename all but one")
        if matches:
            return matches[0]
    raise DataError(f"{source}: there is no column {name!r} for the {role}; the columns are {_format_names(columns)}")


def _format_names(columns: Sequence[str]) -> str:
    """Format column names for a message."""
    names = ", ".join(repr(column.strip()[:40]) for column in columns[:12])
    return f"{names} and {len(columns) - 12} more" if len(columns) > 12 else names


def _naming_hint(role: str) -> str:
    """Return a hint on how to name the column for a role."""
    return f'name its column: {role}="..." (on the command line --{role})'


def _normalized(name: str) -> str:
    """Normalize a column name to lowercase letters and digits."""
    return re.sub(r"[\W_]+", "", bare_name(name)).lower()
