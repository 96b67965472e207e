"""JSON Lines: one JSON object a line, each of them a key.

Members are found by the names that columns are found by; others are passed over. Every value is a string, since a
number would have lost its leading zeros before it came here; null is the same as a member that is not there. A key of
several parts is the member `parts`: an array of objects with a `label` and a `value`, or members named as parts.
"""

from typing import Final, Protocol

import jiter

from keyservice.domain.key_columns import KNOWN_NAMES, ColumnMapping, folded, is_known
from keyservice.domain.key_parts import LABEL_CHARACTERS_MAX, PARTS_MAX, KeyPart
from keyservice.domain.key_rows import KeyFileRefused, KeyRow, MalformedRow
from keyservice.domain.key_table import RowCount
from keyservice.domain.row_law import BLANK, Beside, Fault, RowLaw

_PARTS: Final = "parts"
_PART_MEMBERS: Final = {"label", "value"}
_NAMES_REMEMBERED_MAX: Final = 1_000
_NOT_TEXT: Final = {
    "expires_on": Fault("invalid-expiry"),
    "publisher_key_id": Fault("invalid-publisher-key-id"),
    "notes": Fault("invalid-notes"),
}
_BESIDE: Final = tuple(_NOT_TEXT)


class RowReader(Protocol):
    """Makes keys of the rows of one file, in their order."""

    def row(self, line: int, cells: list[str], defect: str | None) -> KeyRow | MalformedRow | None: ...


class ObjectReader:
    """One file of JSON Lines; a line that is not an object is a row without a key."""

    def __init__(self, mapping: ColumnMapping, law: RowLaw, count: RowCount) -> None:
        self._law = law
        self._count = count
        self._parts = tuple(str(name) for name in mapping.parts)
        self._given = {role: folded(str(name)) for role, name in mapping.given().items()}
        self._roles: dict[str, str | None] = {}

    def row(self, line: int, cells: list[str], defect: str | None) -> KeyRow | MalformedRow | None:
        """None for a blank line."""
        self._count.add(line)
        number = self._count.rows_seen
        if defect is not None:
            return MalformedRow(number, defect, None)
        (text,) = cells
        if not text.strip(BLANK):
            self._count.blank_rows += 1
            return None
        if number == self._count.blank_rows + 1:
            _refuse_other_json(text.strip(BLANK), line)
        members = _parsed(text)
        return MalformedRow(number, members, None) if isinstance(members, str) else self._judged(line, members)

    def _judged(self, line: int, members: dict[str, object]) -> KeyRow | MalformedRow:
        number = self._count.rows_seen
        found = self._found(members)
        if found is None:
            return MalformedRow(number, "ambiguous-member", None)
        fault = next((_NOT_TEXT[role] for role in _BESIDE if not isinstance(found.get(role), str | None)), None)
        beside = Beside(*(_filled(found.get(role)) for role in _BESIDE))
        parts = self._parts_of(members, found)
        if fault is not None:
            return self._law.judged(number, line, "", fault, beside)
        if isinstance(parts, Fault):
            return self._law.judged(number, line, "", parts, beside)
        if parts:
            return self._law.parts(number, line, parts, beside)
        key = found.get("key")
        if key is not None and not isinstance(key, str):
            return self._law.judged(number, line, "", Fault("key-not-text"), beside)
        return self._law.text(number, line, key or "", beside)

    def _found(self, members: dict[str, object]) -> dict[str, object] | None:
        """The members by their roles; None where two of them could be the same, or a key and parts are both there."""
        found: dict[str, object] = {}
        for name, value in members.items():
            role = self._role(name)
            if role is None or value is None:
                continue
            if role in found:
                return None
            found[role] = value
        has_parts = bool(self._parts) or _PARTS in found
        return None if has_parts and "key" in found else found

    def _role(self, name: str) -> str | None:
        if name in self._roles:
            return self._roles[name]
        role = next((role for role, given in self._given.items() if given == folded(name)), None)
        if role is None and folded(name) not in map(folded, self._parts):
            others = (role for role in KNOWN_NAMES if role not in self._given and not (self._parts and role == "key"))
            role = next((role for role in others if is_known(name, KNOWN_NAMES[role])), None)
            role = role or (_PARTS if name == _PARTS and not self._parts and "key" not in self._given else None)
        if len(self._roles) < _NAMES_REMEMBERED_MAX:
            self._roles[name] = role
        return role

    def _parts_of(self, members: dict[str, object], found: dict[str, object]) -> list[KeyPart] | Fault | None:
        if self._parts:
            by_name = {folded(name): value for name, value in members.items()}
            return _read_parts([{"label": name, "value": by_name.get(folded(name), "")} for name in self._parts])
        return _read_parts(found[_PARTS]) if _PARTS in found else None


def _read_parts(value: object) -> list[KeyPart] | Fault:
    if not isinstance(value, list) or not 0 < len(value) <= PARTS_MAX:
        return Fault("invalid-parts", f"parts are an array of 1 to {PARTS_MAX} objects with label and value")
    parts: list[KeyPart] = []
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict) or item.keys() != _PART_MEMBERS:
            return Fault("invalid-parts", f"part {number} is not an object with a label and a value alone")
        label, text = item["label"], item["value"]
        if not isinstance(text, str):
            return Fault("key-not-text", f"part {number}")
        if not isinstance(label, str) or label != label.strip() or not _is_label(label):
            told = f"the label of part {number} does not have 1 to {LABEL_CHARACTERS_MAX} printable characters"
            return Fault("invalid-parts", told)
        parts.append(KeyPart(label, text))
    return parts


def _is_label(text: str) -> bool:
    return 0 < len(text) <= LABEL_CHARACTERS_MAX and text.isprintable()


def _filled(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip(BLANK) else None


def _parsed(text: str) -> dict[str, object] | str:
    """The members of the line's object, or why there are none. The parser's own message quotes the line."""
    try:
        value: object = jiter.from_json(
            text.encode(), allow_inf_nan=False, cache_mode="none", catch_duplicate_keys=True, float_mode="decimal"
        )
    except ValueError as error:
        return "repeated-member" if str(error).startswith("Detected duplicate key") else "invalid-json"
    return value if isinstance(value, dict) else "not-an-object"


def _refuse_other_json(text: str, line: int) -> None:
    if text.startswith("[") or text == "{":
        raise KeyFileRefused(
            "the file is one JSON document over several lines, or an array; write each key as an object on a line of"
            " its own (jq -c '.[]' does that)",
            reason="not-json-lines",
            line=line,
        )
