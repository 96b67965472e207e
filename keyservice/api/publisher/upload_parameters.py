"""What is said of a key file beside the file itself."""

from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from keyservice.api.operation import PRINTABLE
from keyservice.api.parameters import SIGNED_NUMBER, Day, IdempotencyKey, OfPublisher, Parameters, Sha256Digest, Switch
from keyservice.domain.batch import PRIORITY_MAX
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat
from keyservice.domain.key_parts import PARTS_MAX

_FILE_NAME_CHARACTERS_MAX: Final = 255
_COLUMN_CHARACTERS_MAX: Final = 200
_COLUMN_DIGITS_MAX: Final = 6
_HAS_HEADER: Final = {None: None, "present": True, "absent": False}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def _format(text: str) -> KeyFileFormat:
    if text not in tuple(KeyFileFormat):
        raise ValueError(f"must be one of {', '.join(KeyFileFormat)}")
    return KeyFileFormat(text)


FileName = Annotated[
    str,
    Field(min_length=1, max_length=_FILE_NAME_CHARACTERS_MAX, json_schema_extra={"format": PRINTABLE}),
    AfterValidator(_printable),
]
Column = Annotated[
    str,
    Field(max_length=_COLUMN_CHARACTERS_MAX, json_schema_extra={"format": PRINTABLE}),
    AfterValidator(_printable),
]


def _named_columns(text: str) -> str:
    for name in text.split(","):
        if not name.strip() or len(name) > _COLUMN_CHARACTERS_MAX or not name.isprintable():
            raise ValueError("must be names or numbers of columns, separated by commas")
    return text


Columns = Annotated[
    str,
    Field(max_length=PARTS_MAX * _COLUMN_CHARACTERS_MAX, json_schema_extra={"format": PRINTABLE}),
    AfterValidator(_named_columns),
]
Delimiter = Annotated[str, Field(json_schema_extra={"enum": [",", ";", "|", "tab"]})]


Priority = Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX), SIGNED_NUMBER]


class TableQuery(Parameters):
    """How the rows of a file are to be read, and what becomes of its keys."""

    key_column: Column | None = Field(
        None, description="The column with the keys, by its name in the header or its number from 1; else it is found."
    )
    part_columns: Columns | None = Field(
        None,
        description=(
            "For keys of several parts: the columns that hold them, separated by commas, by name or number. A part is"
            " labelled with its column's name. In place of `key_column`; in JSON Lines also the member `parts`."
        ),
    )
    expires_column: Column | None = Field(
        None, description="The column with the last day on which the key can be sold."
    )
    id_column: Column | None = Field(None, description="The column with the publisher's own id of the key.")
    notes_column: Column | None = Field(None, description="The column with notes.")
    header: Literal["present", "absent"] | None = Field(
        None, description="Whether the first row has names of columns; without it, the row itself tells."
    )
    delimiter: Delimiter | None = Field(
        None, description="The character between the columns, or `tab`; without it, the file tells."
    )
    expires_on: Day | None = Field(None, description="For keys without a date of their own; not past.")
    hold: Switch = Field(False, description="Not for sale until the batch is released.")
    priority: Priority = Field(0, description="In a pool of that policy, batches with a higher one are sold first.")
    dry_run: Switch = Field(False, description="Only check: nothing is stored, the report is the same.")

    @property
    def mapping(self) -> ColumnMapping:
        return ColumnMapping(
            key=_column(self.key_column),
            expires_on=_column(self.expires_column),
            publisher_key_id=_column(self.id_column),
            notes=_column(self.notes_column),
            has_header=_HAS_HEADER[self.header],
            delimiter="\t" if self.delimiter == "tab" else self.delimiter,
            parts=tuple(_counted(name.strip()) for name in self.part_columns.split(",")) if self.part_columns else (),
        )


class UploadQuery(OfPublisher, TableQuery):
    """What the file is, how it is to be read, and what becomes of its keys."""

    format: Annotated[KeyFileFormat, BeforeValidator(_format)] | None = Field(
        None, description="Without it, the file's name and the media type tell."
    )
    file_name: FileName | None = Field(None, description="What a person calls the file: shown, never opened.")
    sheet: Column | None = Field(
        None,
        description="The sheet of an XLSX workbook, by its name or its number from 1; needed when there are several.",
    )

    @property
    def mapping(self) -> ColumnMapping:
        return replace(super().mapping, sheet=_column(self.sheet))


class UploadHeaders(Parameters):
    """Which upload this is, and what the file must be."""

    idempotency_key: IdempotencyKey | None = Field(
        None,
        alias="Idempotency-Key",
        description="A UUID, bare or in quotes, that stands for this upload: sent again, it is the same upload.",
    )
    repr_digest: Sha256Digest | None = Field(
        None,
        alias="Repr-Digest",
        description="What the file's SHA-256 must be (RFC 9530), or it is refused.",
    )


def _column(text: str | None) -> str | int | None:
    return None if text is None else _counted(text)


def _counted(text: str) -> str | int:
    """A number counts from 1; anything else is a name."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _COLUMN_DIGITS_MAX else text
