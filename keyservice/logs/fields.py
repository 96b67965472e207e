"""Which fields may be printed, and what a value must look like for it.

A key is always text. Numbers, UUID objects, flags and types therefore pass by their type; text passes only where it
looks like a lower-case name or the template of a route, and a UUID in a string does not pass at all.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal
from uuid import UUID

import uuid_utils

WITHHELD: Final = "[withheld]"

Kind = Literal[
    "id", "count", "seconds", "name", "path", "method", "status", "flag", "error_type", "sqlstate", "version"
]

_DECLARED: Final[Mapping[Kind, str]] = {
    "id": """
        batch_id caller_id claim_id connector_id data_key_id delivery_id endpoint_id event_id hold_id job_id key_request_id
        line_item_id mail_id order_id order_number pool_id publisher_id purchase_id segment_id subscription_id unit_id
        user_id worker_id
    """,
    "count": """
        accepted attempt attempts bytes chunk claims connections count dropped duplicates expired failures generation
        group_size jobs keys lane left line line_number lines loaded malformed pid port position positions processes
        refused released remaining returned revoked rows size taken units waiting wanted withdrawn
    """,
    "seconds": "age_seconds budget_seconds lag_seconds retry_seconds seconds timeout_seconds wait_seconds",
    "name": """
        account chore code component connector constraint job migration mode operation outcome policy preset reason role
        setting state table verdict
    """,
    "path": "route",
    "method": "method",
    "status": "status",
    "flag": "is_dry_run is_held is_late is_new is_ready is_replay is_sandbox is_test",
    "error_type": "error_type",
    "sqlstate": "sqlstate",
    "version": "version",
}
# Nothing else is printed. Declare a field above before logging it: never a personal one, never one that can hold a key.
LOG_FIELDS: Final[Mapping[str, Kind]] = {name: kind for kind, names in _DECLARED.items() for name in names.split()}

# Words of letters with few digits behind them, a number at most at either end: "eu-west-1", "0004_claims", not "9f3k".
_NAME: Final = re.compile(r"(?:[0-9]{1,4}[._-])?[a-z]+[0-9]{0,3}(?:[._-][a-z]+[0-9]{0,3})*(?:[._-][0-9]{1,4})?")
_NAME_CHARS_MAX: Final = 64
_ROUTE: Final = re.compile(r"/|(?:/(?:\{[A-Za-z_]{1,40}\}|[a-z]+(?:[A-Z][a-z]+)*(?:[._-][a-z]+)*[0-9]{0,2}))+/?")
_ROUTE_CHARS_MAX: Final = 200
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_SQLSTATE: Final = re.compile(r"[0-9A-Z]{5}")
_VERSION: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}")
_CODE_NAME: Final = re.compile(r"[A-Za-z_<][A-Za-z0-9_.<>]{0,127}")
_UUIDS: Final = (UUID, uuid_utils.UUID)
_INTEGER_MAX: Final = 2**63 - 1
_SECONDS_MAX: Final = 1e10


def printable(kind: Kind) -> Callable[[Any], str | int | float | None]:
    """The function that gives a value of this kind in its printed form, or None where it must be withheld."""
    return _PRINTABLE[kind]


def safe_name(name: str | None) -> str:
    """The name of a type, a function or a logger; withheld where it does not look like one."""
    return name if name is not None and _CODE_NAME.fullmatch(name) else WITHHELD


def type_name(error_type: type) -> str:
    return safe_name(f"{error_type.__module__}.{error_type.__qualname__}".removeprefix("builtins."))


def _id(value: object) -> str | int | None:
    if type(value) is int:
        return value if abs(value) <= _INTEGER_MAX else None
    return str(value) if isinstance(value, _UUIDS) else _name(value)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _INTEGER_MAX else None


def _seconds(value: object) -> float | None:
    if type(value) is float or type(value) is int:
        return round(value, 6) if 0 <= value < _SECONDS_MAX else None
    return None


def _name(value: object) -> str | None:
    value = value.value if isinstance(value, Enum) else value
    return value if type(value) is str and len(value) <= _NAME_CHARS_MAX and _NAME.fullmatch(value) else None


def _route(value: object) -> str | None:
    return value if type(value) is str and len(value) <= _ROUTE_CHARS_MAX and _ROUTE.fullmatch(value) else None


def _method(value: object) -> str | None:
    return value if type(value) is str and value in _METHODS else None


def _status(value: object) -> int | None:
    return value if type(value) is int and 100 <= value <= 599 else None


def _flag(value: object) -> bool | None:
    return value if type(value) is bool else None


def _error_type(value: object) -> str | None:
    value = type(value) if isinstance(value, BaseException) else value
    return type_name(value) if isinstance(value, type) and issubclass(value, BaseException) else None


def _sqlstate(value: object) -> str | None:
    return value if type(value) is str and _SQLSTATE.fullmatch(value) else None


def _version(value: object) -> str | None:
    return value if type(value) is str and _VERSION.fullmatch(value) else None


_PRINTABLE: Final[Mapping[Kind, Callable[[Any], str | int | float | None]]] = {
    "id": _id,
    "count": _count,
    "seconds": _seconds,
    "name": _name,
    "path": _route,
    "method": _method,
    "status": _status,
    "flag": _flag,
    "error_type": _error_type,
    "sqlstate": _sqlstate,
    "version": _version,
}
