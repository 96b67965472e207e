"""The process that reads one workbook or archive: `python -I -m keyservice.unpacking.child`.

Whatever goes wrong in here ends in a refusal that says what to do, or in the end of this process, which its parent tells.
"""

import os
import resource
import sys
from typing import BinaryIO

from keyservice.unpacking.archive import Archive, Entry
from keyservice.unpacking.errand import Errand
from keyservice.unpacking.frames import ArchiveEntry, FrameWriter, SheetRow, Unreadable
from keyservice.unpacking.sheet import SheetReader
from keyservice.unpacking.workbook import Parts, chosen, open_workbook

_PARTS_MAX = 10_000
# A cell is a few characters of text in many of XML.
_XML_BYTES_PER_BYTE = 4


def main() -> int:
    errand = Errand.from_line(sys.stdin.buffer.readline())
    _limit(errand)
    writer = FrameWriter(sys.stdout.buffer)
    with os.fdopen(errand.file_number, "rb") as file:
        try:
            if errand.kind == "xlsx":
                _read_workbook(errand, file, writer)
            else:
                _read_archive(errand, file, writer)
        except Unreadable as refusal:
            writer.refuse(refusal)
        except MemoryError:
            writer.refuse(Unreadable("too-much-memory", "the file needs too much memory to read; split it"))
        except BrokenPipeError:
            return 1
        except Exception:  # whatever it is, its text and traceback would quote the file
            writer.refuse(Unreadable("broken-file", "the file cannot be read; make it again, or save it as CSV"))
    return 0


def _limit(errand: Errand) -> None:
    """From here on this process can neither grow, nor run for long, nor leave a file behind."""
    resource.setrlimit(resource.RLIMIT_AS, (errand.memory_bytes_max, errand.memory_bytes_max))
    # The soft limit ends the process by itself, for nobody handles its signal, and its parent tells it by that. The hard one is
    # far enough behind that a busy machine, which accounts for time late, does not reach both at once.
    resource.setrlimit(resource.RLIMIT_CPU, (errand.processor_seconds_max, errand.processor_seconds_max + 10))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files_max = errand.file_number + 4
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))


def _read_workbook(errand: Errand, file: BinaryIO, writer: FrameWriter) -> None:
    xml_bytes_max = _XML_BYTES_PER_BYTE * errand.unpacked_bytes_max
    archive = Archive(file, entries_max=_PARTS_MAX, unpacked_bytes_max=xml_bytes_max)
    parts = Parts(archive)
    workbook = open_workbook(parts, strings_bytes_max=xml_bytes_max, cell_characters_max=errand.cell_characters_max)
    sheet = chosen(workbook.sheets, errand.sheet)
    size = max(parts.entry(sheet.path).size, 1)

    def told(row: SheetRow) -> None:
        writer.row(row, min(archive.bytes_of_entry / size, 1.0))

    reader = SheetReader(
        workbook, on_row=told, columns_max=errand.columns_max, cell_characters_max=errand.cell_characters_max
    )
    reader.read(parts.stream(sheet.path, bytes_max=xml_bytes_max))
    writer.end()


def _read_archive(errand: Errand, file: BinaryIO, writer: FrameWriter) -> None:
    archive = Archive(file, entries_max=errand.entries_max, unpacked_bytes_max=errand.unpacked_bytes_max)
    for entry in archive.entries:
        share = entry.number / len(archive.entries)
        writer.entry(_entry(archive, entry, errand.entry_bytes_max), share)
    writer.end()


def _entry(archive: Archive, entry: Entry, bytes_max: int) -> ArchiveEntry:
    if entry.is_folder:
        return ArchiveEntry(entry.number, entry.name, is_folder=True)
    if not entry.is_plain_file:
        return ArchiveEntry(entry.number, entry.name, defect="not-a-file")
    if entry.size > bytes_max:
        return ArchiveEntry(entry.number, entry.name, defect="file-too-large")
    return ArchiveEntry(entry.number, entry.name, b"".join(archive.read(entry)))


if __name__ == "__main__":
    raise SystemExit(main())
