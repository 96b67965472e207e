"""Workbooks and archives of which it is known what must become of each row."""

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from tests.lab.driver import FileToSend
from tests.lab.key_files import PlannedFile, fresh_keys
from tests.unpacking.archives import archive_of
from tests.unpacking.workbooks import Cell, packed, parts_of, row, sheet

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ZIP: Final = "application/zip"
_ENTRY_BYTES_MAX: Final = 65_536
# Each is no key in its own way: a number, a formula, an error, a date, nothing beside a note, one cell too many.
_ODD: Final[tuple[Callable[[str], list[Cell]], ...]] = (
    lambda _: [('t="n"', "<v>12345678901234567890</v>")],
    lambda text: [('t="str"', f"<f>A1</f><v>{text}</v>")],
    lambda _: [('t="e"', "<v>#REF!</v>")],
    lambda text: [text, ('t="n"', "<v>46387</v>")],
    lambda _: [None, "2099-12-31"],
    lambda text: [text, None, "one cell too many"],
    lambda text: [f"{text}_x000D_"],
)


class SheetMixture(NamedTuple):
    """How many rows of each kind a sheet has beside its header. What is hidden is good in everything else."""

    fresh: int
    doubled: int
    odd: int
    hidden: int
    blank: int


class ArchiveMixture(NamedTuple):
    """How many entries of each kind an archive has."""

    fresh: int
    doubled: int
    odd: int
    folders: int


def planned_workbook(rng: random.Random, mixture: SheetMixture, *, is_shared: bool) -> PlannedFile:
    """A sheet in no order, whose texts are shared or in place, and which says that it has one row."""
    fresh = fresh_keys(rng, mixture.fresh + mixture.hidden, prefix="SHEET")
    hidden = fresh[mixture.fresh :]
    kinds = [("fresh", text) for text in fresh[: mixture.fresh]] + [("hidden", text) for text in hidden]
    kinds += [("fresh", text) for text in rng.choices(fresh[: mixture.fresh], k=mixture.doubled)]
    kinds += [("odd", f"ODD-{number}") for number in range(mixture.odd)] + [("blank", "")] * mixture.blank
    rng.shuffle(kinds)
    strings: list[str] = []
    verdict_of_row, accepted = {1: "header"}, dict[str, None]()
    rows = [row(1, ["key", "expires_on"])]
    for number, (kind, text) in enumerate(kinds, start=2):
        verdict_of_row[number] = _verdict(kind, text, accepted)
        if kind == "blank":
            continue
        cells = _ODD[number % len(_ODD)](text) if kind == "odd" else [_text(text, strings if is_shared else None)]
        rows.append(row(number, cells, 'hidden="1"' if kind == "hidden" else ""))
    while verdict_of_row[len(verdict_of_row)] == "blank":
        # Behind its last row a sheet has no blank ones.
        del verdict_of_row[len(verdict_of_row)]
    parts = parts_of({"Keys": sheet(rows, dimension="A1")}, strings=strings if is_shared else None)
    return PlannedFile(FileToSend(packed(parts), content_type=XLSX), list(accepted), verdict_of_row)


def planned_archive(rng: random.Random, mixture: ArchiveMixture) -> PlannedFile:
    """Files of about two kilobytes in folders, in no order."""
    fresh = [f"{text}\n" + f"{rng.getrandbits(8_000):x}" for text in fresh_keys(rng, mixture.fresh, prefix="FILE")]
    kinds = [("fresh", text) for text in fresh] + [("fresh", text) for text in rng.choices(fresh, k=mixture.doubled)]
    kinds += [("odd", f"{number}") for number in range(mixture.odd)] + [("blank", "")] * mixture.folders
    rng.shuffle(kinds)
    inner = archive_of({"inner.lic": b"INNER"})
    files: dict[str, bytes] = {}
    verdict_of_row, accepted = dict[int, str](), dict[str, None]()
    for number, (kind, text) in enumerate(kinds, start=1):
        verdict_of_row[number] = _verdict(kind, text, accepted)
        if kind == "odd":
            name, content = _odd_entry(number, inner)
            files[name] = content
        else:
            files[f"folder-{number}/" + ("" if kind == "blank" else "license.lic")] = text.encode()
    return PlannedFile(FileToSend(archive_of(files), content_type=ZIP), list(accepted), verdict_of_row)


def _odd_entry(number: int, inner: bytes) -> tuple[str, bytes]:
    content = f"ODD-{number}".encode()
    return (
        (f"{number}/../../escape.lic", content),
        (f"__MACOSX/._{number}.lic", content),
        (f"{number}/inner.zip", inner),
        (f"{number}/large.bin", bytes(_ENTRY_BYTES_MAX + 1)),
        (f"{number}/empty.lic", b""),
    )[number % 5]


def _text(text: str, strings: list[str] | None) -> Cell:
    if strings is None:
        return text
    strings.append(f"<t>{text}</t>")
    return 't="s"', f"<v>{len(strings) - 1}</v>"


def _verdict(kind: str, text: str, accepted: dict[str, None]) -> str:
    if kind != "fresh":
        return "blank" if kind == "blank" else "malformed"
    if text in accepted:
        return "duplicate_in_file"
    accepted[text] = None
    return "accepted"
