"""Uploads over real connections, with what real clients and broken ones send."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import pytest

from keyservice.api.application import build_application
from keyservice.api.server import ServiceRunner, serve_on
from keyservice.domain.caller import Scope
from keyservice.settings import Settings
from tests.api.publisher.desk import Desk, desk_of
from tests.fulfillment.uploads import csv_of, rows_of
from tests.lab.shop import Shop, texts_of

MANY = csv_of([f"HTTP-{number:06}-{'x' * 20}" for number in range(10_000)])
A_UUID = "0f5c0d9e-6c5a-4c39-9d2f-3f2f1f0c7b11"


async def test_an_upload_is_answered_with_a_report_and_links(desk: Desk, shop: Shop) -> None:
    data = b"key,key_id\nSOLD-1,one\nSOLD-1,two\n\nSOLD-2,=1+1\n,three\n"
    made = await desk.upload(shop, data, file_name="june.csv")
    report = made.json
    assert made.status == 201
    assert (report["state"], report["rows"], report["accepted"], report["refused"]) == ("released", 6, 2, 2)
    assert report["verdicts"] == {
        "accepted": 2,
        "duplicate_in_file": 1,
        "duplicate_in_stock": 0,
        "already_issued": 0,
        "revoked": 0,
        "withdrawn": 0,
        "in_unfinished_upload": 0,
        "malformed": 1,
        "blank": 1,
        "header": 1,
    }
    assert (report["file_name"], report["bytes"]) == ("june.csv", len(data))
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert made.headers["location"] == report["links"]["batch"]
    for link in report["links"].values():
        assert (await desk.get(link)).status == 200
    assert texts_of(await shop.buy("both", quantity=2)) == ["SOLD-1", "SOLD-2"]


async def test_no_answer_shows_a_key(desk: Desk, shop: Shop) -> None:
    data = b"key,notes\nHIDDEN-CANARY,a\nHIDDEN-CANARY,b\nHIDDEN-CANARY\x07,c\n"
    report = (await desk.upload(shop, data)).json
    broken = await desk.upload(shop, data + b'"HIDDEN-CANARY')
    assert broken.status == 422
    bodies = [broken.body, *[(await desk.get(link)).body for link in report["links"].values()]]
    bodies.append((await desk.get("/publisher/events")).body)
    assert not [body for body in bodies if b"CANARY" in body]


@pytest.mark.parametrize(
    ("content_type", "query", "data"),
    [
        ("text/csv", {}, b"key\nA\nB\n"),
        ("text/csv; charset=utf-8", {}, b"key\nA\nB\n"),
        ("text/tab-separated-values", {}, b"key\tnotes\nA\tx\nB\ty\n"),
        ("text/plain", {}, b"A\nB\n"),
        ("application/octet-stream", {"file_name": "keys.tsv"}, b"key\tnotes\nA\tx\nB\ty\n"),
        ("application/x-www-form-urlencoded", {"format": "txt"}, b"A\nB"),
        ("text/csv", {"delimiter": ";", "key_column": "Wert"}, b"Nr;Wert\n1;A\n2;B\n"),
        ("text/csv", {"delimiter": "tab"}, b"key\tnotes\nA\tx\nB\ty\n"),
        ("text/csv", {"header": "absent", "key_column": "2"}, b"1,A\n2,B\n"),
        ("text/csv", {"header": "present"}, b"anything\nA\nB\n"),
        ("text/csv", {"expires_column": "until", "id_column": "nr"}, b"nr,key,until\n1,A,2099-01-01\n2,B,\n"),
        ("text/csv", {"expires_on": "2099-12-31"}, b"key\nA\nB\n"),
    ],
)
async def test_files_in_every_shape_that_is_declared_are_read(
    desk: Desk, shop: Shop, content_type: str, query: dict[str, str], data: bytes
) -> None:
    made = await desk.upload(shop, data, headers={"Content-Type": content_type}, **query)
    assert (made.status, made.json["accepted"]) == (201, 2)
    assert texts_of(await shop.buy("both", quantity=2)) == ["A", "B"]


@pytest.mark.parametrize(
    ("status", "content_type", "query"),
    [
        (415, "multipart/form-data; boundary=x", {"format": "csv"}),
        (415, "application/json", {"format": "txt"}),
        (422, "application/zip", {}),
        (422, "application/octet-stream", {}),
        (422, "text/csv; charset=utf-16", {}),
        (422, "text/csv", {"file_name": "keys.xlsx"}),
        (422, "text/csv", {"file_name": "keys.tsv"}),
        (422, "text/csv", {"file_name": "a\nb.csv"}),
        (422, "text/csv", {"file_name": "x" * 252 + ".csv"}),
        (422, "text/csv", {"format": "xlsx"}),
        (422, "text/csv", {"dryrun": "true"}),
        (422, "text/csv", {"dry_run": "yes"}),
        (422, "text/csv", {"hold": ""}),
        (422, "text/csv", {"header": "maybe"}),
        (422, "text/csv", {"delimiter": "#"}),
        (422, "text/csv", {"key_column": "0"}),
        (422, "text/csv", {"key_column": "2"}),
        (422, "text/csv", {"key_column": "x" * 201}),
        (422, "text/csv", {"key_column": "unknown"}),
        (422, "text/csv", {"expires_on": "2020-01-01"}),
        (422, "text/csv", {"expires_on": "2099-02-30"}),
        (422, "text/csv", {"expires_on": "tomorrow"}),
    ],
)
async def test_what_is_not_declared_clearly_is_refused_and_leaves_no_key(
    desk: Desk, shop: Shop, status: int, content_type: str, query: dict[str, str]
) -> None:
    refusal = await desk.upload(shop, b"key\nA\nB\n", headers={"Content-Type": content_type}, **query)
    assert (refusal.status, refusal.headers["content-type"]) == (status, "application/problem+json")
    assert await rows_of(shop, "keys") == 0


async def test_a_body_may_be_packed_with_gzip_and_has_to_say_so(desk: Desk, shop: Shop) -> None:
    packed = gzip.compress(b"key\nPACKED-1\nPACKED-2\n")
    taken = await desk.upload(shop, packed, headers={"Content-Encoding": "gzip"})
    assert (taken.status, taken.json["accepted"], taken.json["bytes"]) == (201, 2, len(packed))
    assert taken.json["sha256"] == hashlib.sha256(packed).hexdigest()
    refusal = await desk.upload(shop, packed)
    assert (refusal.status, refusal.json["reason"]) == (422, "format-not-accepted")
    refusal = await desk.upload(shop, packed, headers={"Content-Encoding": "br"})
    assert refusal.status == 415


async def test_a_broken_file_is_refused_with_its_line_and_its_import_tells_it_again(desk: Desk, shop: Shop) -> None:
    refusal = await desk.upload(shop, b'key\nFINE\n"OPEN\n')
    assert refusal.status == 422
    assert refusal.json["type"] == "urn:keyservice:problem:key-file-refused"
    assert (refusal.json["reason"], refusal.json["line"]) == ("unclosed-quote", 3)
    told = (await desk.get(f"/publisher/imports/{refusal.json['import_id']}")).json
    assert (told["state"], told["accepted"], told["refusal"]["line"]) == ("refused", 0, 3)
    assert told["refusal"]["detail"] == refusal.json["detail"]


async def test_a_dry_run_answers_200_and_sells_nothing(desk: Desk, shop: Shop) -> None:
    tried = await desk.upload(shop, b"key\nDRY-1\nDRY-1\n", dry_run="true")
    assert (tried.status, tried.json["state"], tried.json["accepted"], tried.json["refused"]) == (200, "checked", 1, 1)
    assert "location" not in tried.headers
    assert await shop.left() == await rows_of(shop, "keys") == 0


async def test_a_file_without_a_new_key_answers_200_with_its_report(desk: Desk, shop: Shop) -> None:
    assert (await desk.upload(shop, b"key\nONCE\n")).status == 201
    again = await desk.upload(shop, b"key\nONCE\n")
    assert (again.status, again.json["refusal"]["reason"]) == (200, "nothing-accepted")
    assert again.json["verdicts"]["duplicate_in_stock"] == 1


async def test_a_repeated_upload_is_answered_again_and_stores_nothing(desk: Desk, shop: Shop) -> None:
    upload_id = uuid4()
    first = await desk.upload(shop, MANY, headers={"Idempotency-Key": str(upload_id)})
    again = await desk.upload(shop, MANY, headers={"Idempotency-Key": f'"{str(upload_id).upper()}"'})
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert first.json["batch_id"] == str(upload_id)
    other = await desk.upload(shop, MANY + b"ONE-MORE\n", headers={"Idempotency-Key": str(upload_id)})
    assert (other.status, other.json["reason"], other.json["import_id"]) == (409, "another-file", str(upload_id))
    assert await shop.left() == 10_000


@pytest.mark.parametrize("text", ["", "x", "1", "0" * 32, f"{{{A_UUID}}}", f'"{A_UUID}', f"{A_UUID}0", "é"])
async def test_an_idempotency_key_that_is_no_uuid_is_refused(desk: Desk, shop: Shop, text: str) -> None:
    assert (await desk.upload(shop, b"key\nA\n", headers={"Idempotency-Key": text})).status == 422
    assert await rows_of(shop, "batches") == 0


async def test_a_declared_digest_is_checked(desk: Desk, shop: Shop) -> None:
    data = b"key\nDIGEST\n"
    right = base64.b64encode(hashlib.sha256(data).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    refusal = await desk.upload(shop, data, headers={"Repr-Digest": f"sha-256=:{wrong}:"})
    assert (refusal.status, refusal.json["reason"]) == (422, "digest-mismatch")
    for malformed in ("sha-256=abc", "sha-256=:AAAA:", "sha-256=:%%:", "nonsense"):
        assert (await desk.upload(shop, data, headers={"Repr-Digest": malformed})).status == 422
    assert await rows_of(shop, "keys") == 0
    made = await desk.upload(shop, data, headers={"Repr-Digest": f"md5=:AAAA:, sha-256=:{right}:"})
    assert made.status == 201


class RawUpload:
    """An upload written byte by byte on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def begun(
        cls, base_url: str, desk: Desk, shop: Shop, upload_id: object, *headers: str
    ) -> AsyncIterator["RawUpload"]:
        address = urlsplit(base_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = [
            f"POST /publisher/pools/{shop.pool_id}/batches HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {desk.token}",
            "Content-Type: text/csv",
            f"Idempotency-Key: {upload_id}",
            *headers,
        ]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        line = await self.reader.readline()
        return int(line.split()[1])


async def rows_done(desk: Desk, upload_id: object, at_least: int) -> dict[str, object]:
    """The import once so many rows of it are stored."""
    async with asyncio.timeout(20):
        while True:
            found = await desk.get(f"/publisher/imports/{upload_id}")
            if found.status == 200 and found.json["rows_done"] >= at_least:
                document: dict[str, object] = found.json
                return document
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["length", "chunked"])
@pytest.mark.parametrize("end", ["closed", "half closed", "reset"])
async def test_a_connection_that_breaks_leaves_no_stock_and_the_upload_goes_on(
    base_url: str, desk: Desk, shop: Shop, way: str, end: str
) -> None:
    upload_id = uuid4()
    half = MANY[: len(MANY) // 2]
    header = f"Content-Length: {len(MANY)}" if way == "length" else "Transfer-Encoding: chunked"
    async with RawUpload.begun(base_url, desk, shop, upload_id, header) as raw:
        await raw.send(half if way == "length" else b"%x\r\n%b\r\n" % (len(half), half))
        await rows_done(desk, upload_id, 2_000)
        if end == "half closed":
            raw.writer.write_eof()
        elif end == "reset":
            raw.writer.transport.abort()
    told = (await desk.get(f"/publisher/imports/{upload_id}")).json
    assert told["state"] == "receiving"
    assert 0 < told["rows_done"] < 5_001
    assert await shop.left() == 0
    again = await desk.upload(shop, MANY, headers={"Idempotency-Key": str(upload_id)})
    assert (again.status, again.json["accepted"]) == (201, 10_000)
    assert await shop.left() == 10_000


async def test_progress_can_be_watched(base_url: str, desk: Desk, shop: Shop) -> None:
    upload_id = uuid4()
    async with RawUpload.begun(base_url, desk, shop, upload_id, f"Content-Length: {len(MANY)}") as raw:
        await raw.send(MANY[:200_000])
        told = await rows_done(desk, upload_id, 2_000)
        assert (told["state"], told["bytes_declared"], told["sha256"]) == ("receiving", len(MANY), None)
        assert isinstance(told["bytes_done"], int)
        assert 0 < told["bytes_done"] <= 200_000
        assert isinstance(told["rows_per_second"], float)
        assert isinstance(told["seconds_left"], float)
        await raw.send(MANY[200_000:])
        assert await raw.status() == 201
    told = (await desk.get(f"/publisher/imports/{upload_id}")).json
    assert (told["state"], told["rows_done"], told["seconds_left"]) == ("released", 10_001, None)


async def test_an_unfinished_upload_is_discarded_on_demand(base_url: str, desk: Desk, shop: Shop) -> None:
    upload_id = uuid4()
    async with RawUpload.begun(base_url, desk, shop, upload_id, f"Content-Length: {len(MANY)}") as raw:
        await raw.send(MANY[:200_000])
        await rows_done(desk, upload_id, 2_000)
    for _ in range(2):
        gone = await desk.ask("DELETE", f"/publisher/imports/{upload_id}")
        assert (gone.status, gone.json["state"]) == (200, "discarded")
    assert await rows_of(shop, "keys") == 0
    assert (await desk.upload(shop, MANY, headers={"Idempotency-Key": str(upload_id)})).status == 409
    finished = (await desk.upload(shop, MANY)).json["batch_id"]
    assert (await desk.ask("DELETE", f"/publisher/imports/{finished}")).status == 409
    assert await shop.left() == 10_000


async def test_two_idempotency_keys_at_once_are_refused(base_url: str, desk: Desk, shop: Shop) -> None:
    headers = (f"Idempotency-Key: {uuid4()}", "Content-Length: 6")
    async with RawUpload.begun(base_url, desk, shop, uuid4(), *headers) as raw:
        await raw.send(b"key\nA\n")
        assert await raw.status() == 422


@contextlib.asynccontextmanager
async def service_with(shop: Shop, **settings: object) -> AsyncIterator[str]:
    """The same service with other limits, on a port of its own."""
    changed = Settings.model_validate({**shop.services.settings.model_dump(), **settings})
    runner = ServiceRunner(build_application(replace(shop.services, settings=changed)), shutdown_seconds=5)
    await serve_on(runner, host="127.0.0.1", port=0, reuse_port=False)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_second_connection_takes_over_and_the_first_is_told(desk: Desk, shop: Shop) -> None:
    upload_id = uuid4()
    async with (
        service_with(shop, upload_chunk_rows=1_500) as base_url,
        RawUpload.begun(base_url, desk, shop, upload_id, f"Content-Length: {len(MANY)}") as raw,
    ):
        # One block of the reader, one chunk: then the first connection has nothing more to store.
        await raw.send(MANY[:131_000])
        assert (await rows_done(desk, upload_id, 1))["rows_done"] == 1_500
        assert (await desk.upload(shop, MANY, headers={"Idempotency-Key": str(upload_id)})).status == 201
        await raw.send(MANY[131_000:])
        assert await raw.status() == 409
    assert await shop.left() == 10_000


async def test_an_upload_that_stops_coming_is_ended_and_can_go_on(desk: Desk, shop: Shop) -> None:
    upload_id = uuid4()
    async with (
        service_with(shop, upload_idle_seconds=0.3) as base_url,
        RawUpload.begun(base_url, desk, shop, upload_id, f"Content-Length: {len(MANY)}") as raw,
    ):
        await raw.send(MANY[:200_000])
        assert await raw.status() == 408
    assert (await desk.get(f"/publisher/imports/{upload_id}")).json["rows_done"] > 0
    assert (await desk.upload(shop, MANY, headers={"Idempotency-Key": str(upload_id)})).status == 201


async def test_an_upload_that_trickles_is_ended(desk: Desk, shop: Shop) -> None:
    async with (
        service_with(shop, upload_idle_seconds=0.3) as base_url,
        RawUpload.begun(base_url, desk, shop, uuid4(), f"Content-Length: {len(MANY)}") as raw,
    ):

        async def trickle() -> None:
            while True:
                await raw.send(b"x")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        try:
            async with asyncio.timeout(10):
                assert await raw.status() == 408
        finally:
            trickling.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await trickling


async def test_more_uploads_at_once_than_allowed_are_turned_away(desk: Desk, shop: Shop) -> None:
    upload_id = uuid4()
    async with service_with(shop, uploads_at_once=1) as base_url, aiohttp.ClientSession(base_url) as http:
        second = replace(desk, http=http)
        async with RawUpload.begun(base_url, desk, shop, upload_id, f"Content-Length: {len(MANY)}") as raw:
            await raw.send(MANY[:200_000])
            await rows_done(desk, upload_id, 2_000)
            turned_away = await second.upload(shop, b"key\nTURNED-AWAY\n")
            assert (turned_away.status, turned_away.headers["retry-after"]) == (503, "1")
            await raw.send(MANY[200_000:])
            assert await raw.status() == 201
        assert (await second.upload(shop, b"key\nTURNED-AWAY\n")).status == 201


async def test_a_file_that_is_too_large_is_refused_before_and_while_it_comes(desk: Desk, shop: Shop) -> None:
    async with service_with(shop, upload_bytes_max=100_000) as base_url, aiohttp.ClientSession(base_url) as http:
        limited = replace(desk, http=http)
        assert (await limited.upload(shop, csv_of(["SMALL"]))).status == 201
        async with RawUpload.begun(base_url, desk, shop, uuid4(), f"Content-Length: {len(MANY)}") as raw:
            assert await raw.status() == 413
        async with RawUpload.begun(base_url, desk, shop, uuid4(), "Transfer-Encoding: chunked") as raw:
            await raw.send(b"%x\r\n%b\r\n" % (len(MANY), MANY))
            assert await raw.status() == 422
    assert await rows_of(shop, "keys") == 1


async def test_uploading_needs_its_scope_and_the_publisher_s_own_pool(
    http: aiohttp.ClientSession, desk: Desk, shop: Shop
) -> None:
    reader = await desk_of(http, shop, Scope.POOLS_READ, Scope.POOLS_WRITE)
    assert (await reader.upload(shop, b"key\nA\n")).status == 403
    neighbour = await Shop.opened(shop.services)
    assert (await desk.upload(neighbour, b"key\nA\n")).status == 404
    assert await rows_of(neighbour, "batches") == await rows_of(shop, "batches") == 0
