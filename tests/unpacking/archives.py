"""ZIP files as bytes, true and untrue."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_MEMBERS: Final = ("flags", "method", "crc", "packed", "size")
_IN_LOCAL: Final = (2, 3, 6, 7, 8)
_IN_CENTRAL: Final = (3, 4, 7, 8, 9)


class _Unseekable(io.BytesIO):
    """Makes zipfile write sizes behind the content."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, *_: int) -> int:
        raise OSError


def archive_of(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, is_streamed: bool = False) -> bytes:
    stream = _Unseekable() if is_streamed else io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def with_mode(name: str, content: bytes, mode: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return stream.getvalue()


def joined(
    entries: Sequence[tuple[str | bytes, bytes, bytes]],
    *,
    share_data: bool = False,
    gap: bytes = b"",
    flags: int = 0,
) -> bytes:
    """By hand: each entry's name, what is stored, and what its head says that it is. Shared data makes entries overlap."""
    body, directory = b"", b""
    for number, (told, packed, plain) in enumerate(entries):
        name = told.encode() if isinstance(told, str) else told
        sizes = (zlib.crc32(plain), len(packed), len(plain))
        start = 0 if share_data else len(body)
        if not (share_data and number):
            body += _LOCAL.pack(b"PK\x03\x04", 20, flags, 8, 0, 0, *sizes, len(name), 0) + name + packed + gap
        directory += (
            _CENTRAL.pack(b"PK\x01\x02", 20, 20, flags, 8, 0, 0, *sizes, len(name), 0, 0, 0, 0, 0, start) + name
        )
    end = _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + end


def changed_heads(content: bytes, number: int, change: Callable[[dict[str, int]], None]) -> bytes:
    """With another head in front of this entry."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        at = archive.infolist()[number].header_offset
    return _changed(content, at, _LOCAL, _IN_LOCAL, change)


def changed_ends(content: bytes, number: int, change: Callable[[dict[str, int]], None]) -> bytes:
    """With another entry in the directory."""
    at = _END.unpack(content[-_END.size :])[6]
    for _ in range(number):
        told = _CENTRAL.unpack_from(content, at)
        at += _CENTRAL.size + told[10] + told[11] + told[12]
    return _changed(content, at, _CENTRAL, _IN_CENTRAL, change)


def _changed(
    content: bytes, at: int, form: struct.Struct, places: Sequence[int], change: Callable[[dict[str, int]], None]
) -> bytes:
    told = list(form.unpack_from(content, at))
    members = dict(zip(_MEMBERS, (told[place] for place in places), strict=True))
    change(members)
    for name, place in zip(_MEMBERS, places, strict=True):
        told[place] = members[name]
    return content[:at] + form.pack(*told) + content[at + form.size :]
