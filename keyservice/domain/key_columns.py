"""Which column of a key file holds what: the publisher's mapping, held against the file's first row.

A column may be given by name or by number. One that is not given is found by a known name in the header, and the key
also as the only column; two that fit, or none for the key, refuse the file. Names are compared without case and outer
space. Several columns may together hold keys of several parts, which are labelled with the columns' names.

`has_header` None means: a column given by name needs a header; without any given column the first row is the header if
it holds a known name of a key column, and the file is refused otherwise, for its first row could be either. Text files
have no header unless it is declared. A first row whose key cell is a known name is never taken for a key.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from keyservice.domain.errors import Invalid
from keyservice.domain.key_format import KeyFileFormat
from keyservice.domain.key_parts import LABEL_CHARACTERS_MAX, PARTS_MAX
from keyservice.domain.key_rows import KeyFileLimits, KeyFileRefused

Column = str | int | None

KEY_NAMES: Final = frozenset(
    {
        *("key", "keys", "code", "codes", "serial", "serials", "serial_number", "serial_no", "license", "licence"),
        *("license_key", "licence_key", "license_code", "licence_code", "product_key", "activation_key"),
        *("activation_code", "registration_key", "registration_code", "redemption_code"),
    }
)
EXPIRY_NAMES: Final = frozenset(
    {"expires_on", "expires", "expires_at", "expiry", "expiry_date", "expiration", "expiration_date", "valid_until"}
)
PUBLISHER_KEY_ID_NAMES: Final = frozenset({"publisher_key_id", "key_id", "license_id", "licence_id"})
NOTES_NAMES: Final = frozenset({"notes", "note", "comment", "comments"})

KNOWN_NAMES: Final = {
    "key": KEY_NAMES,
    "expires_on": EXPIRY_NAMES,
    "publisher_key_id": PUBLISHER_KEY_ID_NAMES,
    "notes": NOTES_NAMES,
}
_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_SHOWN_CHARACTERS_MAX: Final = 64
_SHOWN_NAMES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """What the publisher says about the file; a number counts columns from 1."""

    key: Column = None
    expires_on: Column = None
    publisher_key_id: Column = None
    notes: Column = None
    has_header: bool | None = None
    delimiter: str | None = None
    parts: tuple[str | int, ...] = ()
    sheet: str | int | None = None

    def given(self) -> dict[str, str | int]:
        columns = {role: getattr(self, role) for role in KNOWN_NAMES}
        return {role: column for role, column in columns.items() if column is not None}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns found, counted from 0; `header_key` is what the header calls the key.

    Where `parts` are given, they are the key together, and `key` is the first of them.
    """

    width: int
    key: int
    expires_on: int | None
    publisher_key_id: int | None
    notes: int | None
    header_key: str | None
    parts: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()


def check_mapping(mapping: ColumnMapping, file_format: KeyFileFormat) -> None:
    """Raise Invalid for a mapping that no file of this format could satisfy."""
    given = [*mapping.given().items(), *(("parts", column) for column in mapping.parts)]
    if file_format in (KeyFileFormat.TXT, KeyFileFormat.ZIP) and given:
        raise Invalid("such a file has one key a line or entry and no columns; leave them out", field="mapping")
    _check_parts(mapping)
    _check_header(mapping, [column for _, column in given], file_format)
    for role, column in given:
        if isinstance(column, int) and column < 1:
            raise Invalid("columns are counted from 1", field=role)
        if isinstance(column, str) and not column.strip():
            raise Invalid("a column name cannot be empty", field=role)
    delimiter_of(mapping, file_format)


def _check_parts(mapping: ColumnMapping) -> None:
    if mapping.parts and mapping.key is not None:
        raise Invalid("give the column of the key, or those of its parts, not both", field="parts")
    if len(mapping.parts) > PARTS_MAX:
        raise Invalid(f"a key has at most {PARTS_MAX} parts", field="parts")


def _check_header(mapping: ColumnMapping, given: list[str | int], file_format: KeyFileFormat) -> None:
    names = [column for column in given if isinstance(column, str)]
    if file_format is KeyFileFormat.ZIP and mapping.has_header is not None:
        raise Invalid("an archive has no header; leave it out", field="has_header")
    if mapping.sheet is not None and file_format is not KeyFileFormat.XLSX:
        raise Invalid("only a workbook has sheets; leave it out", field="sheet")
    if file_format is KeyFileFormat.JSONL:
        if len(names) < len(given):
            raise Invalid("members of a JSON object have no order; give their names", field="mapping")
        if mapping.has_header is not None:
            raise Invalid("JSON Lines have no header; leave it out", field="has_header")
        return
    if names and mapping.has_header is False:
        raise Invalid("a file without header has no column names; give column numbers", field="mapping")
    if mapping.parts and mapping.has_header is False:
        raise Invalid("parts are labelled with the names in the header; add one to the file", field="parts")
    if given and not names and mapping.has_header is None:
        raise Invalid("say whether the first row is a header when columns are given by number", field="has_header")


def delimiter_of(mapping: ColumnMapping, file_format: KeyFileFormat) -> str | None:
    """None where a line is not cut into cells."""
    match file_format:
        case KeyFileFormat.TXT | KeyFileFormat.JSONL | KeyFileFormat.XLSX | KeyFileFormat.ZIP:
            allowed: tuple[str, ...] = ()
        case KeyFileFormat.TSV:
            allowed = ("\t",)
        case KeyFileFormat.CSV:
            allowed = tuple(_DELIMITERS)
    if mapping.delimiter is not None and mapping.delimiter not in allowed:
        raise Invalid("the delimiter of a CSV file is one of , ; | or a tab; leave it out otherwise", field="delimiter")
    return mapping.delimiter or (allowed[0] if allowed else None)


def find_columns(
    mapping: ColumnMapping, first_row: list[str], *, file_format: KeyFileFormat, line: int, limits: KeyFileLimits
) -> Columns:
    """Raise KeyFileRefused unless mapping and first row leave exactly one reading of the file."""
    if len(first_row) > limits.columns_max:
        raise KeyFileRefused(
            f"the row has {len(first_row)} columns; at most {limits.columns_max} are accepted",
            reason="too-many-columns",
            line=line,
        )
    if mapping.delimiter is None and file_format is not KeyFileFormat.XLSX:
        _refuse_other_delimiter(first_row, file_format, line)
    if _has_header(mapping, first_row, file_format, line):
        return _columns_by_header(mapping, first_row, line)
    return _columns_by_number(mapping, first_row, line)


def _refuse_other_delimiter(first_row: list[str], file_format: KeyFileFormat, line: int) -> None:
    if len(first_row) != 1:
        return
    for delimiter, name in _DELIMITERS.items():
        parts = first_row[0].split(delimiter)
        if len(parts) == 1:
            continue
        if file_format is not KeyFileFormat.TXT:
            raise KeyFileRefused(
                f"the row has one column but contains a {name}; declare the delimiter that the file uses",
                reason="delimiter-undeclared",
                line=line,
            )
        if any(is_known(part, KEY_NAMES) for part in parts):
            raise KeyFileRefused(
                f"the text file begins with a header of columns separated by a {name}; upload it as csv or tsv",
                reason="format-undeclared",
                line=line,
            )


def _has_header(mapping: ColumnMapping, first_row: list[str], file_format: KeyFileFormat, line: int) -> bool:
    if mapping.has_header is not None:
        return mapping.has_header
    if file_format is KeyFileFormat.TXT:
        return False
    if mapping.given() or mapping.parts or any(is_known(cell, KEY_NAMES) for cell in first_row):
        return True
    raise KeyFileRefused(
        "the row holds no known name of a key column; say whether it is a header, and which column is the key",
        reason="header-undeclared",
        line=line,
    )


def _columns_by_header(mapping: ColumnMapping, header: list[str], line: int) -> Columns:
    names = [folded(cell) for cell in header]
    twice = [at for at, name in enumerate(names) if name and name in names[:at]]
    if twice:
        listed = _listed(header, twice)
        raise KeyFileRefused(f"the header names a column twice: {listed}", reason="duplicate-column", line=line)
    found = {role: _given_column(role, column, names, header, line) for role, column in mapping.given().items()}
    parts = tuple(_given_column("a part", column, names, header, line) for column in mapping.parts)
    if parts:
        found["key"] = parts[0]
    for role in KNOWN_NAMES:
        taken = {*found.values(), *parts}
        if role not in found and (at := _known_column(role, header, taken=taken, line=line)) is not None:
            found[role] = at
    if "key" not in found and len(header) == 1:
        found["key"] = 0
    return _columns(found, header, line, is_header=True, parts=parts)


def _columns_by_number(mapping: ColumnMapping, first_row: list[str], line: int) -> Columns:
    found = {role: _given_column(role, column, [], first_row, line) for role, column in mapping.given().items()}
    if "key" not in found and len(first_row) == 1:
        found["key"] = 0
    columns = _columns(found, first_row, line, is_header=False)
    if is_known(first_row[columns.key], KEY_NAMES):
        raise KeyFileRefused(
            "the row holds a column name where a key should be; declare the header or take it out",
            reason="header-undeclared",
            line=line,
        )
    return columns


def _given_column(role: str, column: str | int, names: list[str], first_row: list[str], line: int) -> int:
    if isinstance(column, int):
        if column <= len(first_row):
            return column - 1
        raise KeyFileRefused(
            f"column {column} is mapped to {role}, and the row has {len(first_row)}", reason="unknown-column", line=line
        )
    if folded(column) in names:
        return names.index(folded(column))
    raise KeyFileRefused(
        f"the column mapped to {role} is not in the header, which has: {_listed(first_row, range(len(first_row)))}",
        reason="unknown-column",
        line=line,
    )


def _known_column(role: str, header: list[str], *, taken: Collection[int], line: int) -> int | None:
    fitting = [at for at, cell in enumerate(header) if at not in taken and is_known(cell, KNOWN_NAMES[role])]
    if len(fitting) > 1:
        raise KeyFileRefused(
            f"several columns could be {role}: {_listed(header, fitting)}; say which one",
            reason="ambiguous-column",
            line=line,
        )
    return fitting[0] if fitting else None


def _columns(
    found: dict[str, int], first_row: list[str], line: int, *, is_header: bool, parts: tuple[int, ...] = ()
) -> Columns:
    if "key" not in found:
        present = (
            f"the header has: {_listed(first_row, range(len(first_row)))}"
            if is_header
            else f"the row has {len(first_row)}"
        )
        raise KeyFileRefused(f"say which column is the key; {present}", reason="key-column-undeclared", line=line)
    mapped = [*found.values(), *parts[1:]]
    if len(set(mapped)) < len(mapped):
        raise KeyFileRefused("one column is mapped twice; map each once", reason="column-mapped-twice", line=line)
    return Columns(
        width=len(first_row),
        key=found["key"],
        expires_on=found.get("expires_on"),
        publisher_key_id=found.get("publisher_key_id"),
        notes=found.get("notes"),
        header_key=first_row[found["key"]] if is_header else None,
        parts=parts,
        labels=tuple(_label(first_row[at], line) for at in parts),
    )


def _label(name: str, line: int) -> str:
    label = name.strip()
    if 0 < len(label) <= LABEL_CHARACTERS_MAX and label.isprintable():
        return label
    raise KeyFileRefused(
        f"the name of a part's column is its label, which has 1 to {LABEL_CHARACTERS_MAX} printable characters",
        reason="wrong-header",
        line=line,
    )


def folded(name: str) -> str:
    """Names are compared in this form."""
    return name.strip().casefold()


def is_known(name: str, known: frozenset[str]) -> bool:
    """Whether this is one of the usual names, however it is capitalised and its words are joined."""
    return "_".join(folded(name).replace("-", " ").replace("_", " ").split()) in known


def _listed(header: list[str], columns: Sequence[int]) -> str:
    shown = [_shown(header[at], at + 1) for at in columns[:_SHOWN_NAMES_MAX]]
    more = len(columns) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _shown(name: str, number: int) -> str:
    # A file without the header that it was said to have begins with a key, and a message must not carry one.
    # A key may look like any word, so only names that are no keys are shown.
    name = name.strip()
    is_usual = any(is_known(name, known) for known in KNOWN_NAMES.values())
    return name if is_usual else f"(column {number}, not shown)"
