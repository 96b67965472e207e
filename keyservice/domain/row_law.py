"""What makes the values of a row a key, whatever format they were read from."""

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, NamedTuple

from keyservice.domain.errors import Invalid
from keyservice.domain.key_parts import PARTS_MIME, KeyPart, encode_parts
from keyservice.domain.key_rows import KeyFileLimits, KeyFileRefused, KeyRow, MalformedRow

BLANK: Final = " \t"
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL_IN_NOTES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Fault(NamedTuple):
    """Why a row holds no usable key: a stable reason, and what the check of the key's text says."""

    reason: str
    detail: str | None = None


class Beside(NamedTuple):
    """What a row says beside its key."""

    expires_on: str | None = None
    publisher_key_id: str | None = None
    notes: str | None = None


NOTHING_BESIDE: Final = Beside()


class RowLaw:
    """The rules of one upload. `default_expires_on` holds for rows without a date; a key that expires `today` is good.

    `key_check` says why a text cannot be a key, or None.
    """

    def __init__(
        self,
        *,
        limits: KeyFileLimits,
        default_expires_on: date | None,
        today: date,
        key_check: Callable[[str], str | None],
    ) -> None:
        if default_expires_on is not None and default_expires_on < today:
            raise Invalid("the batch's expiry date is past", field="expires_on")
        self._limits = limits
        self._default_expires_on = default_expires_on
        self._today = today
        self._check = key_check
        self._accepted_dates: dict[str, date] = {}
        self._expiries: set[date | None] = set()

    def text(self, row_number: int, line: int, text: str, beside: Beside) -> KeyRow | MalformedRow:
        """A key of one text. `line` is where a refusal of the whole file points to; so for all of these."""
        return self.judged(row_number, line, text, self.text_fault(text), beside)

    def parts(self, row_number: int, line: int, parts: Sequence[KeyPart], beside: Beside) -> KeyRow | MalformedRow:
        """A key of several parts, each of which has to be what a key of one text has to be."""
        for number, part in enumerate(parts, start=1):
            fault = self.text_fault(part.value)
            if fault is not None:
                detail = f"part {number}" if fault.detail is None else f"part {number} {fault.detail}"
                return self.judged(row_number, line, "", Fault(fault.reason, detail), beside)
        return self.judged(row_number, line, encode_parts(parts).decode(), None, beside, mime=PARTS_MIME)

    def file(self, row_number: int, octets: bytes, name: str, mime: str) -> KeyRow | MalformedRow:
        """A key that is a file, of any content but none."""
        row = self.judged(row_number, None, "", None if octets else Fault("empty-key"), NOTHING_BESIDE)
        return row if isinstance(row, MalformedRow) else row._replace(octets=octets, name=name, mime=mime)

    def judged(
        self,
        row_number: int,
        line: int | None,
        text: str,
        fault: Fault | None,
        beside: Beside,
        *,
        mime: str | None = None,
    ) -> KeyRow | MalformedRow:
        """The row, unless its key has this fault or what stands beside it has one."""
        expiry, publisher_key_id, notes = beside
        expires_on = self._default_expires_on if expiry is None else self._date(expiry)
        id_fault = self._id_fault(publisher_key_id)
        fault = fault or self._expiry_fault(expiry, expires_on) or id_fault or self._notes_fault(notes)
        if fault is not None:
            return MalformedRow(row_number, fault.reason, None if id_fault else publisher_key_id, fault.detail)
        if expires_on not in self._expiries:
            self._add_expiry(expires_on, expiry, line)
        return KeyRow(row_number, text, expires_on, publisher_key_id, notes, mime)

    def text_fault(self, text: str) -> Fault | None:
        if not text.strip(BLANK):
            return Fault("empty-key")
        if "\n" in text or "\r" in text:
            return Fault("line-break-in-key")
        bytes_max = self._limits.key_bytes_max
        if len(text) > bytes_max or (not text.isascii() and len(text.encode(errors="replace")) > bytes_max):
            return Fault("key-too-long")
        refusal = self._check(text)
        return None if refusal is None else Fault("invalid-key", refusal)

    def _date(self, cell: str) -> date | None:
        known = self._accepted_dates.get(cell)
        if known is not None or _ISO_DATE.fullmatch(cell) is None:
            return known
        try:
            return date.fromisoformat(cell)
        except ValueError:
            return None

    def _expiry_fault(self, cell: str | None, expires_on: date | None) -> Fault | None:
        if cell is None or cell in self._accepted_dates:
            return None
        if expires_on is None:
            return Fault("invalid-expiry")
        return Fault("already-expired") if expires_on < self._today else None

    def _id_fault(self, publisher_key_id: str | None) -> Fault | None:
        if publisher_key_id is None:
            return None
        is_sound = len(publisher_key_id) <= self._limits.publisher_key_id_characters_max
        return None if is_sound and publisher_key_id.isprintable() else Fault("invalid-publisher-key-id")

    def _notes_fault(self, notes: str | None) -> Fault | None:
        if notes is None:
            return None
        if len(notes) > self._limits.notes_characters_max:
            return Fault("notes-too-long")
        return Fault("control-character-in-notes") if _CONTROL_IN_NOTES.search(notes) else None

    def _add_expiry(self, expires_on: date | None, cell: str | None, line: int | None) -> None:
        if len(self._expiries) == self._limits.expiry_dates_max:
            raise KeyFileRefused(
                f"the keys expire on more than {self._limits.expiry_dates_max} different dates; split the file by date",
                reason="too-many-expiry-dates",
                line=line,
            )
        self._expiries.add(expires_on)
        if cell is not None and expires_on is not None:
            self._accepted_dates[cell] = expires_on
