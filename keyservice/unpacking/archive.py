"""A ZIP file in which every byte belongs to exactly one entry, and every entry is what the directory says of it.

zipfile reads the directory. The rest is checked here, because zipfile (Python 3.11) believes a directory whose entries
overlap, passes over bytes in front of and between them, takes one of several directories, and stops reading an entry
at its declared size, whatever is left of it.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from keyservice.unpacking.frames import Unreadable

RATIO_MAX: Final = 100
"""How many times its size a file may unpack to."""

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_COMMENT_BYTES_MAX: Final = 65_535
_DIRECTORY_BYTES_PER_ENTRY_MAX: Final = 1_024
_IN_ZIP64: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_SIZES_BEHIND: Final = 0x8
_NAME_IS_UTF_8: Final = 0x800
_FLAGS_READ: Final = _ENCRYPTED | _SIZES_BEHIND | _NAME_IS_UTF_8
# Checksum and two sizes of four or eight bytes, with a signature in front or without.
_SIZES_BEHIND_BYTES: Final = frozenset({12, 16, 20, 24})
_PIECE_BYTES: Final = 64 * 1024
# Below this the ratio says nothing.
_UNPACKED_FREE_BYTES: Final = 1024 * 1024
_MSDOS_FOLDER: Final = 0x10


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `name` is None when it is not text in UTF-8."""

    number: int
    name: str | None
    size: int
    packed_size: int
    checksum: int
    is_packed: bool
    data_at: int
    is_folder: bool
    is_plain_file: bool


class Archive:
    """Raises Unreadable on opening, for what the directory shows, and on reading."""

    def __init__(self, file: BinaryIO, *, entries_max: int, unpacked_bytes_max: int) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self._unpacked_max = min(unpacked_bytes_max, max(_UNPACKED_FREE_BYTES, RATIO_MAX * self._size))
        self._unpacked = 0
        self.bytes_of_entry = 0
        """How much of the entry that is being read, or was read last, is unpacked."""
        count, directory_at = self._end(entries_max)
        infos = self._directory(count)
        self.entries = self._located(infos, directory_at)

    def read(self, entry: Entry) -> Iterator[bytes]:
        """The entry's content in pieces of a bounded size. What is wrong at its end is told behind the last piece."""
        size, checksum = 0, 0
        for piece in self._inflated(entry) if entry.is_packed else self._packed(entry):
            size += len(piece)
            checksum = zlib.crc32(piece, checksum)
            self._unpacked += len(piece)
            self.bytes_of_entry = size
            if size > entry.size:
                raise _untrue()
            if self._unpacked > self._unpacked_max:
                raise Unreadable("unpacks-too-far", "the file unpacks to too many bytes for its size; split it")
            yield piece
        if size != entry.size or checksum != entry.checksum:
            raise _untrue()

    def _end(self, entries_max: int) -> tuple[int, int]:
        """How many entries there are, and where their directory begins."""
        self._file.seek(max(self._size - _COMMENT_BYTES_MAX - _END.size, 0))
        tail = self._file.read()
        at = tail.rfind(_END_SIGNATURE)
        if at < 0 or len(tail) - at < _END.size:
            raise Unreadable("broken-archive", "the file is no ZIP archive, or its end is missing; make it again")
        _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(tail, at)
        if tail.count(_END_SIGNATURE) > 1:
            raise _ambiguous("it has two ends")
        if at + _END.size + comment != len(tail):
            raise _ambiguous("there are bytes behind its end")
        if disk or first_disk or here != count:
            raise Unreadable("broken-archive", "the archive is one part of several; pack the files into one")
        if count > entries_max:
            raise Unreadable("too-many-rows", f"the archive has more than {entries_max} entries; split it")
        if offset + size != self._size - len(tail) + at:
            # So it is where a ZIP64 record stands between the two, which only more and larger files need.
            raise _ambiguous("its directory is not where its end says")
        if size > count * _DIRECTORY_BYTES_PER_ENTRY_MAX:
            raise Unreadable("broken-archive", "the archive's directory is too large for its entries; make it again")
        return count, offset

    def _directory(self, count: int) -> list[zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self._file) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError):
            raise Unreadable("broken-archive", "the archive's directory is broken; make it again") from None
        if len(infos) != count:
            raise _ambiguous("its directory has another number of entries than its end says")
        if len({info.orig_filename for info in infos}) < count:
            raise _ambiguous("two entries have the same name")
        for info in infos:
            if info.flag_bits & _ENCRYPTED:
                raise Unreadable("encrypted-archive", "the archive is encrypted; make one without a password")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Unreadable(
                    "broken-archive", "the archive is packed by a method other than deflate; make it again"
                )
        return infos

    def _located(self, infos: list[zipfile.ZipInfo], directory_at: int) -> list[Entry]:
        """The entries in the order of the directory; each begins where the one before it ends."""
        in_place = sorted(enumerate(infos, start=1), key=lambda pair: pair[1].header_offset)
        starts = [info.header_offset for _, info in in_place] + [directory_at]
        if starts[0] != 0:
            raise _ambiguous("there are bytes in front of its first entry")
        found: list[Entry] = []
        for (number, info), start, after in zip(in_place, starts, starts[1:], strict=False):
            data_at = self._data_at(info, start, after)
            behind = after - data_at - info.compress_size
            if behind < 0:
                raise _ambiguous("its entries overlap")
            if behind not in (_SIZES_BEHIND_BYTES if info.flag_bits & _SIZES_BEHIND else (0,)):
                raise _ambiguous("there are bytes that belong to no entry")
            found.append(_entry(number, info, data_at))
        return sorted(found, key=lambda entry: entry.number)

    def _data_at(self, info: zipfile.ZipInfo, start: int, after: int) -> int:
        self._file.seek(start)
        head = self._file.read(_LOCAL.size)
        if start >= after or len(head) < _LOCAL.size or not head.startswith(_LOCAL_SIGNATURE):
            raise _ambiguous("its directory points to what is no entry")
        _, _, flags, method, _, _, checksum, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(head)
        has_sizes = not flags & _SIZES_BEHIND
        told = (flags & _FLAGS_READ, method, self._file.read(name_bytes))
        if told != (info.flag_bits & _FLAGS_READ, info.compress_type, _raw_name(info)):
            raise _untrue()
        if has_sizes and checksum != info.CRC:
            raise _untrue()
        sizes = ((packed, info.compress_size), (size, info.file_size))
        if has_sizes and any(here not in (there, _IN_ZIP64) for here, there in sizes):
            raise _untrue()
        return int(start + _LOCAL.size + name_bytes + extra_bytes)

    def _packed(self, entry: Entry) -> Iterator[bytes]:
        at, end = entry.data_at, entry.data_at + entry.packed_size
        while at < end:
            self._file.seek(at)
            piece = self._file.read(min(_PIECE_BYTES, end - at))
            if not piece:
                raise _untrue()
            at += len(piece)
            yield piece

    def _inflated(self, entry: Entry) -> Iterator[bytes]:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        for packed in self._packed(entry):
            rest, is_full = packed, False
            # A full piece may have left more behind inside zlib, when there is nothing left to give it.
            while (rest or is_full) and not stream.eof:
                piece = _inflate(stream, rest)
                is_full = len(piece) == _PIECE_BYTES
                rest = stream.unconsumed_tail
                if piece:
                    yield piece
            if rest or stream.unused_data:
                raise _untrue()
        if not stream.eof:
            raise _untrue()


def _entry(number: int, info: zipfile.ZipInfo, data_at: int) -> Entry:
    name = _name(info)
    mode = info.external_attr >> 16
    is_folder = info.orig_filename.endswith("/")
    return Entry(
        number=number,
        name=name,
        size=info.file_size,
        packed_size=info.compress_size,
        checksum=info.CRC,
        is_packed=info.compress_type == zipfile.ZIP_DEFLATED,
        data_at=data_at,
        is_folder=is_folder and info.file_size == 0,
        # Links and devices have a mode of their own; archives from systems without modes have none.
        is_plain_file=not is_folder
        and stat.S_IFMT(mode) in (0, stat.S_IFREG)
        and not info.external_attr & _MSDOS_FOLDER,
    )


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & _NAME_IS_UTF_8 else "cp437")


def _name(info: zipfile.ZipInfo) -> str | None:
    # Not every packer says that its names are UTF-8; what is not, could be in any charset.
    try:
        return _raw_name(info).decode()
    except UnicodeDecodeError:
        return None


def _inflate(stream: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return stream.decompress(data, _PIECE_BYTES)
    except zlib.error:
        raise _untrue() from None


def _ambiguous(why: str) -> Unreadable:
    return Unreadable("ambiguous-archive", f"the archive can be read in two ways, for {why}; make it again")


def _untrue() -> Unreadable:
    return Unreadable("broken-archive", "an entry is not what the archive's directory says; make the archive again")
