"""Connectors to publishers whose protocols are known, as documents: what is not known of them is to be filled in."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import ConnectorRefused

DEFAULT_PRESET: Final = "nexway"
"""The reference system's own protocol."""


def preset_names() -> tuple[str, ...]:
    """All of them, in alphabetical order."""
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def preset(name: str, *, fill_in: Mapping[str, str] | None = None) -> ConnectorDocument:
    """The document, with these values at their dotted paths, which are not to be filled in any more.

    Raises ConnectorRefused for a name or a path that is not there.
    """
    if name not in preset_names():
        raise ConnectorRefused(
            f"preset: there is none of this name; there are {', '.join(preset_names())}", field="preset"
        )
    document: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text())
    for path, value in (fill_in or {}).items():
        _put(document, path, value)
    filled = set(fill_in or {})
    document["to_fill_in"] = [part for part in document.get("to_fill_in", ()) if part["path"] not in filled]
    return ConnectorDocument.model_validate(document)


def _put(document: dict[str, Any], path: str, value: str) -> None:
    *folders, name = path.split(".")
    place: Any = document
    for folder in folders:
        place = _below(place, folder)
    if not isinstance(_below(place, name), str):
        raise ConnectorRefused(f"fill_in.{path}: the preset has no text at this place", field=f"fill_in.{path}")
    place[int(name) if isinstance(place, list) else name] = value


def _below(place: Any, name: str) -> Any:
    match place:
        case dict():
            return place.get(name)
        case list() if name.isdecimal() and int(name) < len(place):
            return place[int(name)]
        case _:
            return None
