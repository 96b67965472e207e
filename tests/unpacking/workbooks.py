"""Workbooks as bytes: written part by part, so that each part can be wrong in its own way."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPES: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

Cell = str | tuple[str, str] | None
"""A text as an inline string, or a type and the XML inside of the cell; None for no cell."""


def cell(reference: str, told: Cell) -> str:
    if told is None:
        return ""
    if isinstance(told, str):
        return f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{escape(told)}</t></is></c>'
    kind, inside = told
    return f'<c r="{reference}" {kind}>{inside}</c>'


def column(at: int) -> str:
    """The letters of a column, counted from 0."""
    return chr(65 + at) if at < 26 else column(at // 26 - 1) + chr(65 + at % 26)


def row(number: int, cells: Sequence[Cell], attributes: str = "") -> str:
    told = "".join(cell(f"{column(at)}{number}", one) for at, one in enumerate(cells))
    return f'<row r="{number}" {attributes}>{told}</row>'


def sheet(rows: Iterable[str], *, dimension: str | None = None) -> str:
    told = "" if dimension is None else f'<dimension ref="{dimension}"/>'
    return f'{HEAD}<worksheet xmlns="{MAIN}">{told}<sheetData>{"".join(rows)}</sheetData></worksheet>'


def table(rows: Iterable[Sequence[Cell]]) -> str:
    """A sheet with a row for each of these, from row 1 on."""
    return sheet(row(number, cells) for number, cells in enumerate(rows, start=1))


def parts_of(
    sheets: Mapping[str, str],
    *,
    strings: Sequence[str] | None = None,
    styles: str | None = None,
    states: Mapping[str, str] | None = None,
    workbook_type: str = f"{_TYPES}.sheet.main+xml",
    properties: str = "",
) -> dict[str, str]:
    """By path. `strings` are the insides of shared strings."""
    names = list(sheets)
    relations = [("worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(names) + 1)]
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{number}" state="{(states or {}).get(name, "visible")}" r:id="rId{number}"/>'
        for number, name in enumerate(names, start=1)
    )
    parts = {f"xl/worksheets/sheet{number}.xml": sheets[name] for number, name in enumerate(names, start=1)}
    if strings is not None:
        relations.append(("sharedStrings", "sharedStrings.xml"))
        items = "".join(f"<si>{one}</si>" for one in strings)
        parts["xl/sharedStrings.xml"] = f'{HEAD}<sst xmlns="{MAIN}">{items}</sst>'
    if styles is not None:
        relations.append(("styles", "styles.xml"))
        parts["xl/styles.xml"] = f'{HEAD}<styleSheet xmlns="{MAIN}">{styles}</styleSheet>'
    return {
        "[Content_Types].xml": f'{HEAD}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" '
        f'ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{workbook_type}"/></Types>',
        "_rels/.rels": _relations([("officeDocument", "xl/workbook.xml")]),
        "xl/workbook.xml": f'{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{_DOCUMENT}">{properties}'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relations(relations),
        **parts,
    }


def packed(parts: Mapping[str, str | bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for path, content in parts.items():
            archive.writestr(path, content)
    return stream.getvalue()


def workbook(rows: Iterable[Sequence[Cell]]) -> bytes:
    """One sheet with these rows from row 1 on."""
    return packed(parts_of({"Keys": table(rows)}))


def _relations(relations: Sequence[tuple[str, str]]) -> str:
    told = "".join(
        f'<Relationship Id="rId{number}" Type="{_DOCUMENT}/{kind}" Target="{path}"/>'
        for number, (kind, path) in enumerate(relations, start=1)
    )
    return f'{HEAD}<Relationships xmlns="{_PACKAGE}/relationships">{told}</Relationships>'
