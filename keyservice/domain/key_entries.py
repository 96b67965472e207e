"""An archive of key files: each of its entries is a key, with the name that its buyer saves it under."""

import mimetypes
from functools import cache
from typing import Final

from keyservice.domain.key_format import archive_in
from keyservice.domain.key_rows import KeyRow, MalformedRow
from keyservice.domain.key_table import RowCount
from keyservice.domain.row_law import RowLaw

NAME_CHARACTERS_MAX: Final = 255
OCTETS: Final = "application/octet-stream"

_SYSTEM_FOLDERS: Final = frozenset({"__macosx"})
_SYSTEM_FILES: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


class EntryReader:
    """One archive. Folders are blank rows; a file that cannot be a key is told and not looked into."""

    def __init__(self, law: RowLaw, count: RowCount) -> None:
        self._law = law
        self._count = count

    def entry(
        self, name: str | None, content: bytes, *, is_folder: bool, defect: str | None
    ) -> KeyRow | MalformedRow | None:
        """The next entry; None for a folder. An entry with a defect has no content."""
        self._count.add(None)
        number = self._count.rows_seen
        if is_folder:
            self._count.blank_rows += 1
            return None
        reason = _name_fault(name) or defect or ("nested-archive" if archive_in(content) else None)
        if reason is not None or name is None:
            return MalformedRow(number, reason or "unusable-name", None)
        base_name = name.rpartition("/")[2]
        return self._law.file(number, content, base_name, mime_of(base_name))


def mime_of(name: str) -> str:
    """By the extension alone: what the content is, only its reader can tell."""
    found, encoding = _types().guess_type(name)
    return found if found is not None and encoding is None else OCTETS


@cache
def _types() -> mimetypes.MimeTypes:
    # Python's own table, and not the machine's: the same file is the same key everywhere.
    return mimetypes.MimeTypes(filenames=())


def _name_fault(name: str | None) -> str | None:
    """Names that would leave their folder, hide, or could be no file's name somewhere, and files that systems add."""
    if name is None or not name.isprintable() or len(name) > NAME_CHARACTERS_MAX:
        return "unusable-name"
    segments = name.split("/")
    is_sound = all(one.strip() and one.strip(".") for one in segments) and not set('\\:*?"<>|') & set(name)
    if not is_sound:
        return "unusable-name"
    is_system = segments[0].casefold() in _SYSTEM_FOLDERS or segments[-1].casefold() in _SYSTEM_FILES
    return "system-file" if is_system or segments[-1].startswith("._") else None
