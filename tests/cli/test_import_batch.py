"""A publisher's key file goes from a disk into a pool."""

import asyncio
import csv
import gzip
import hashlib
import io
import json
from pathlib import Path

import pytest
from aiohttp import web
from rich.console import Console

from keyservice.cli.import_report import FileToSend, Report, shown_progress
from keyservice.domain.batch import BatchState, Verdict
from keyservice.domain.caller import CallerKind
from keyservice.domain.key_parts import PARTS_MIME
from keyservice.fulfillment.ids import new_id
from tests.cli.bad_line import BadLine, Cut
from tests.cli.command import start_keyservice
from tests.cli.importing import import_file, key_file, listening, new_keys, new_token
from tests.lab.processes import ProcessRef
from tests.lab.shop import Shop
from tests.unpacking.archives import archive_of
from tests.unpacking.workbooks import workbook


def _table(output: str) -> dict[str, int]:
    """The rows of the printed report that are about rows of the file."""
    known = {verdict.replace("_", " ") for verdict in Verdict} | {"rows in the file"}
    cells = (line.split("  ", 1) for line in output.splitlines() if "  " in line)
    return {name: int(rest.split()[0].replace(",", "")) for name, rest in cells if name in known}


async def test_a_file_becomes_stock_and_every_row_is_accounted_for(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    keys = new_keys(250)
    file = key_file(tmp_path, keys, more=[keys[0], "#N/A", ""])
    ended = await import_file(file, url, token)
    assert ended.status == 0, ended.errors
    table = _table(ended.output)
    assert table.pop("rows in the file") == sum(table.values()) == 254
    assert {name: count for name, count in table.items() if count} == {
        "accepted": 250,
        "duplicate in file": 1,
        "malformed": 1,
        "blank": 1,
        "header": 1,
    }
    assert set(table) == {verdict.replace("_", " ") for verdict in Verdict}
    assert f"{url}/publisher/imports/" in ended.output
    assert await shop.left() == 250
    async with shop.services.database.transaction() as connection:
        declared = await connection.fetchval("SELECT declared_sha256 FROM batches WHERE pool_id = $1", shop.pool_id)
    assert declared == hashlib.sha256(file.read_bytes()).digest()


async def test_a_pool_is_named_by_its_id_and_the_report_can_be_json(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    ended = await import_file(key_file(tmp_path, new_keys(3)), url, token, "--json", "--hold", pool=shop.pool_id)
    assert ended.status == 0, ended.errors
    report = json.loads(ended.output)
    assert (report["state"], report["accepted"], report["rows"]) == ("held", 3, 4)
    assert await shop.left() == 0


async def test_a_batch_is_given_its_priority(shop: Shop, url: str, token: str, tmp_path: Path) -> None:
    file = key_file(tmp_path, new_keys(3))
    refused = await import_file(file, url, token, "--priority", 1_000_001)
    assert (refused.status, refused.reason.partition(":")[0]) == (1, "priority")
    assert (await import_file(file, url, token, "--priority", -5)).status == 0
    async with shop.services.database.transaction() as connection:
        rows = await connection.fetch(
            "SELECT b.priority, s.priority FROM batches b JOIN segments s USING (publisher_id, batch_id)"
            " WHERE b.publisher_id = $1",
            shop.publisher_id,
        )
    assert [tuple(row) for row in rows] == [(-5, -5)]


async def test_a_dry_run_reports_and_stores_nothing(shop: Shop, url: str, token: str, tmp_path: Path) -> None:
    ended = await import_file(key_file(tmp_path, new_keys(3)), url, token, "--dry-run")
    assert (ended.status, _table(ended.output)["accepted"]) == (0, 3)
    assert await shop.left() == 0


@pytest.mark.parametrize("kind", ["csv.gz", "jsonl", "xlsx", "zip"])
async def test_the_format_is_told_by_the_file_s_name(
    shop: Shop, url: str, token: str, tmp_path: Path, kind: str
) -> None:
    keys = new_keys(5)
    rows = [("Serial", "Code"), *((key, f"{key}-code") for key in keys)]
    options: tuple[str, ...] = ("--part-columns", "Serial,Code")
    match kind:
        case "csv.gz":
            content = gzip.compress("".join(f"{serial},{code}\n" for serial, code in rows).encode())
        case "jsonl":
            content = "".join(f"{json.dumps({'Serial': serial, 'Code': code})}\n" for serial, code in rows[1:]).encode()
        case "xlsx":
            content, options = workbook(rows), (*options, "--sheet", "Keys")
        case _:
            content, options = archive_of({f"{key}.lic": key.encode() for key in keys}), ()
    file = tmp_path / f"keys.{kind}"
    file.write_bytes(content)
    ended = await import_file(file, url, token, *options)
    assert (ended.status, ended.errors, _table(ended.output)["accepted"]) == (0, "", 5)
    async with shop.services.database.transaction() as connection:
        stored = await connection.fetch(
            "SELECT mime, name FROM keys JOIN segments USING (publisher_id, segment_id) WHERE pool_id = $1",
            shop.pool_id,
        )
    is_file = kind == "zip"
    assert {row["mime"] for row in stored} == {"application/octet-stream" if is_file else PARTS_MIME}
    assert {row["name"] for row in stored} == ({f"{key}.lic" for key in keys} if is_file else {None})


async def test_columns_and_dates_can_be_said(shop: Shop, url: str, token: str, tmp_path: Path) -> None:
    file = tmp_path / "stock.txt"
    file.write_text("".join(f"{number};{key}\n" for number, key in enumerate(new_keys(2))))
    options = ("--format", "csv", "--delimiter", ";", "--key-column", "2", "--id-column", "1", "--no-header")
    ended = await import_file(file, url, token, *options, "--expires-on", "2031-01-31")
    assert ended.status == 0, ended.errors
    async with shop.services.database.transaction() as connection:
        rows = await connection.fetch(
            "SELECT publisher_key_id, expires_on::text FROM keys JOIN segments USING (publisher_id, segment_id)"
            " WHERE pool_id = $1 ORDER BY position",
            shop.pool_id,
        )
    assert [tuple(row) for row in rows] == [("0", "2031-01-31"), ("1", "2031-01-31")]


async def test_the_refused_rows_can_be_saved(shop: Shop, url: str, token: str, tmp_path: Path) -> None:
    keys = new_keys(2)
    refused = tmp_path / "refused.csv"
    ended = await import_file(key_file(tmp_path, [*keys, keys[0], "#N/A"]), url, token, "--refused-rows", refused)
    assert ended.status == 0, ended.errors
    with refused.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["row"], row["verdict"], row["earlier_row"]) for row in rows] == [
        ("4", "duplicate_in_file", "2"),
        ("5", "malformed", ""),
    ]


async def test_refused_rows_that_cannot_be_saved_do_not_hide_that_the_upload_is_done(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    ended = await import_file(
        key_file(tmp_path, new_keys(2)), url, token, "--refused-rows", tmp_path / "no" / "refused.csv"
    )
    assert ended.status == 1
    assert "cannot be written" in ended.errors
    assert "is released" in ended.errors
    assert await shop.left() == 2


async def test_a_file_of_known_keys_is_reported_row_by_row_and_fails(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    file = key_file(tmp_path, new_keys(2))
    assert (await import_file(file, url, token)).status == 0
    again = await import_file(file, url, token)
    assert again.status == 1
    assert _table(again.output)["duplicate in stock"] == 2
    assert "no row of this file became a key" in again.reason
    rehearsed = await import_file(file, url, token, "--dry-run")
    assert rehearsed.status == 1


async def test_a_file_that_cannot_be_read_with_certainty_is_refused_with_the_reason(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.csv"
    file.write_text("key,code\n" + "".join(f"{key},x\n" for key in new_keys(100)) * 2_000)
    ended = await import_file(file, url, token)
    assert (ended.status, ended.output) == (1, "")
    assert "several columns could be key" in ended.reason
    assert "goes on" not in ended.errors
    assert await shop.left() == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--pool", "backup"), "this publisher's pools: main"),
        (("--token", "ks_wrong"), "not a keyservice token"),
        (("--url", "http://127.0.0.1:1"), "does not answer"),
        (("--url", "ftp://127.0.0.1"), "begins with http"),
        (("--publisher", "somebody-else"), "no such publisher"),
        (("--delimiter", "%"), "the delimiter of a CSV file is one of"),
    ],
)
async def test_what_cannot_be_done_is_told_with_its_reason(
    shop: Shop, url: str, token: str, tmp_path: Path, options: tuple[str, str], reason: str
) -> None:
    ended = await import_file(key_file(tmp_path, new_keys(1)), url, token, *options)
    assert (ended.status, ended.output) == (1, "")
    assert reason in ended.reason
    assert token not in ended.errors
    assert "ks_wrong" not in ended.errors


async def test_a_reason_is_one_line_however_long_it_is_and_is_printed_as_it_is(token: str, tmp_path: Path) -> None:
    path = tmp_path / "[bold]" / f"{'long' * 40}.csv"
    ended = await import_file(path, "http://127.0.0.1:1", token)
    assert ended.errors == f"refused: {path} cannot be read: No such file or directory\n"


async def test_a_file_that_is_not_there_is_told_with_its_reason(url: str, token: str, tmp_path: Path) -> None:
    ended = await import_file(tmp_path / "none.csv", url, token)
    assert ended.status == 1
    assert "cannot be read: No such file or directory" in ended.errors


async def test_somebody_else_at_the_address_is_not_believed(token: str, tmp_path: Path) -> None:
    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="hi")

    async with listening(web.get("/{anything:.*}", greet)) as other:
        ended = await import_file(key_file(tmp_path, new_keys(1)), other, token)
    assert ended.status == 1
    assert "does not answer as keyservice does" in ended.reason


async def test_a_token_is_not_carried_to_another_address(url: str, token: str, tmp_path: Path) -> None:
    async def send_away(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{url}{request.path_qs}")

    async with listening(web.get("/{anything:.*}", send_away)) as other:
        ended = await import_file(key_file(tmp_path, new_keys(1)), other, token)
    assert ended.status == 1
    assert "answered 307" in ended.reason


async def test_an_admin_says_whose_pool_it_is(shop: Shop, url: str, tmp_path: Path) -> None:
    admin = await new_token(shop, CallerKind.ADMIN)
    file = key_file(tmp_path, new_keys(2))
    unsaid = await import_file(file, url, admin)
    assert unsaid.status == 1
    assert "?publisher=" in unsaid.reason
    assert (await import_file(file, url, admin, "--publisher", shop.publisher)).status == 0
    assert await shop.left() == 2


async def test_how_far_the_upload_is_can_be_watched(shop: Shop, url: str, token: str, tmp_path: Path) -> None:
    file = key_file(tmp_path, new_keys(3_000))
    told = asyncio.Event()
    async with BadLine(url, [Cut(100_000, told.wait)]).open() as line:
        process = await start_keyservice(
            *("import-batch", file, "--pool", "main"), KEYSERVICE_URL=line.url, KEYSERVICE_TOKEN=token
        )
        assert process.stderr is not None
        async with asyncio.timeout(60):
            first = (await process.stderr.readline()).decode()
            told.set()
            await process.communicate()
    rows, speed, left = first.split(", ")
    assert rows.endswith(" rows")
    assert 0 < int(rows.removesuffix(" rows").replace(",", "")) < 3_000
    assert speed.endswith(" rows/s")
    assert left.endswith(" s left\n")
    assert process.returncode == 0


def test_on_a_terminal_there_is_a_bar_and_breaks_are_told(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    file = FileToSend.measured(key_file(tmp_path, new_keys(20)))
    with shown_progress(console, file) as listener:
        listener.progressed(_report(rows=1_200, left=3.2))
        listener.repeats(2, "Connection reset by peer")
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert "1,200 rows, 400 rows/s, 3 s left" in told
    assert "━" in told
    assert "the connection broke (Connection reset by peer); the upload goes on where it stopped, attempt 2" in told


def _report(*, rows: int, left: float) -> Report:
    return Report(
        batch_id=new_id(),
        state=BatchState.RECEIVING,
        rows=rows,
        accepted=rows,
        refused=0,
        verdicts={Verdict.ACCEPTED: rows},
        bytes=100,
        refusal=None,
        rows_per_second=400.0,
        seconds_left=left,
    )


async def test_a_huge_file_is_never_held_in_memory(tmp_path: Path, token: str) -> None:
    """Measured against a listener that reads and forgets, so that only the command's own memory counts."""
    peaks = [await _peak_of_sending(tmp_path / f"{size}.csv", size, token) for size in (1_000, 150_000_000)]
    assert peaks[1] - peaks[0] < 30_000_000


async def _peak_of_sending(path: Path, size: int, token: str) -> int:
    with path.open("wb") as stream:
        stream.truncate(size)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def show_pools(_: web.Request) -> web.Response:
        return web.json_response({"pools": [{"pool_id": str(new_id()), "name": "main"}], "after": None})

    async def forget(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        arrived.set()
        await go_on.wait()
        return web.Response(status=422)

    routes = (web.get("/publisher/pools", show_pools), web.post("/publisher/pools/{pool_id}/batches", forget))
    async with listening(*routes) as url:
        environment = {"KEYSERVICE_URL": url, "KEYSERVICE_TOKEN": token}
        process = await start_keyservice("import-batch", path, "--pool", "main", **environment)
        async with asyncio.timeout(100):
            await arrived.wait()
            known = ProcessRef.of(process.pid)
            assert known is not None
            peak = known.peak_memory_bytes
            go_on.set()
            await process.communicate()
    return peak
