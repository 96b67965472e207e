"""XML as events, without what it can do to its reader: a document type refuses the file, and with it every entity."""

from collections.abc import Callable, Iterable
from typing import Final
from xml.parsers import expat

from keyservice.unpacking.frames import Unreadable

Attributes = dict[str, str]

_TOKEN_BYTES_MAX: Final = 1024 * 1024
# Transitional and strict (ISO/IEC 29500), which differ in nothing that is read here.
_MAIN = frozenset(
    {"http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://purl.oclc.org/ooxml/spreadsheetml/main"}
)


def parse(
    pieces: Iterable[bytes],
    *,
    on_start: Callable[[str, Attributes], None],
    on_end: Callable[[str], None],
    on_text: Callable[[str], None],
) -> None:
    """Names come without the namespace of spreadsheets and packages, and with any other one. Raises Unreadable."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    names: dict[str, str] = {}

    def started(name: str, attributes: Attributes) -> None:
        on_start(names.get(name) or _known(name, names), attributes)

    def ended(name: str) -> None:
        on_end(names[name])

    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = on_text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    fed = 0
    try:
        for piece in pieces:
            parser.Parse(piece, False)
            fed += len(piece)
            if fed - parser.CurrentByteIndex > _TOKEN_BYTES_MAX:
                # expat reads an unfinished tag again from its beginning with every piece.
                raise _broken()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        if error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_MEMORY]:
            raise MemoryError from None
        raise _broken() from None


def _broken() -> Unreadable:
    return Unreadable("broken-workbook", "the workbook's XML is broken; save it again")


def _refuse_doctype(*_: object) -> None:
    raise Unreadable("broken-workbook", "the workbook's XML has a document type, which none has; save it again")


def _known(name: str, names: dict[str, str]) -> str:
    namespace, _, local = name.rpartition(" ")
    is_read = not namespace or namespace in _MAIN or "/package/2006/" in namespace
    names[name] = local if is_read else f"{{{namespace}}}{local}"
    return names[name]
