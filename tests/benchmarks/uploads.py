"""Uploads: a file of new keys through the API, against rows that are ready and only have to be written."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from time import perf_counter
from typing import Final

import aiohttp
import asyncpg

from keyservice.crypto.sealing import DataKey, key_aad
from keyservice.domain.caller import CallerKind
from keyservice.domain.key import KeyPlace
from keyservice.fulfillment.manage_callers import add_caller
from tests.benchmarks.figures import Cell, Measured, ratio
from tests.benchmarks.machine import foreign_load
from tests.benchmarks.servers import Kind, RunFailed, serving
from tests.benchmarks.stand import Stand
from tests.lab.cluster import SERVICE
from tests.lab.shop import Shop

_SERVICE: Final = "keyservice"
_INSERT: Final = "INSERT, row by row"
_COPY: Final = "COPY, sorted"
# The same columns, checks and unique indexes as the service's own table; each grows by as many rows a round.
_TABLES: Final = {_INSERT: "inserted_keys", _COPY: "copied_keys"}
_COLUMNS: Final = ("publisher_id", "segment_id", "position", "row_number", "sealed", "fingerprint", "suffix_token")
_FINGERPRINT: Final = _COLUMNS.index("fingerprint")

_WARM_UP_KEYS: Final = 5_000
_REMARK: Final = (
    "keyservice reads CSV, finds duplicates, encrypts, commits chunk by chunk and reports; its rivals get rows that are"
    " encrypted and fingerprinted already, the second also in the order of the unique index, and commit once."
)

Row = tuple[int, int, int, int, bytes, bytes, bytes]


class UploadBenchmark:
    """One server, one publisher and its pool, and a table for each rival."""

    def __init__(
        self, stand: Stand, shop: Shop, http: aiohttp.ClientSession, connection: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        self._stand = stand
        self._shop = shop
        self._http = http
        self._connection = connection
        self._data_key, _ = DataKey.generate(1)

    @classmethod
    @asynccontextmanager
    async def opened(cls, stand: Stand) -> AsyncIterator["UploadBenchmark"]:
        shop = await Shop.opened(stand.services)
        async with stand.services.database.transaction() as connection:
            token = await add_caller(
                connection, kind=CallerKind.PUBLISHER, name=f"desk-{shop.publisher}", publisher=shop.publisher
            )
        await stand.execute("CREATE SCHEMA baseline", f"GRANT USAGE ON SCHEMA baseline TO {SERVICE}")
        for table in _TABLES.values():
            await stand.execute(
                f"CREATE TABLE baseline.{table} (LIKE keys INCLUDING ALL)",
                f"GRANT SELECT, INSERT ON baseline.{table} TO {SERVICE}",
            )
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(
                serving(Kind.SERVICE, stand.settings, stand.urls.service, log=stand.log)
            )
            http = await stack.enter_async_context(
                aiohttp.ClientSession(
                    f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}", "Content-Type": "text/csv"}
                )
            )
            direct = await asyncpg.connect(stand.urls.service)
            stack.push_async_callback(direct.close)
            yield cls(stand, shop, http, direct)

    async def compare(self, *, rounds: int, keys: int) -> Measured:
        """New keys every time; round 0 only warms up."""
        cells: list[Cell] = []
        setting = f"{keys:,} keys"
        for number in range(rounds + 1):
            count = keys if number else min(keys, _WARM_UP_KEYS)
            for subject in (_SERVICE, _INSERT, _COPY):
                with foreign_load() as foreign:
                    seconds = await self._seconds(subject, number, count)
                if number:
                    cells.append(Cell(subject, setting, number, count / seconds, foreign.share))
        ratios = [ratio(cells, _SERVICE, rival, setting=setting) for rival in (_INSERT, _COPY)]
        return Measured("Uploaded keys/s, one upload at a time", ratios, cells, _REMARK)

    async def _seconds(self, subject: str, number: int, count: int) -> float:
        texts = [secrets.token_hex(15).upper() for _ in range(count)]
        if subject == _SERVICE:
            return await self._upload(texts)
        rows = self._ready_rows(texts, segment_id=number)
        if subject == _INSERT:
            return await self._insert(rows)
        rows.sort(key=lambda row: row[_FINGERPRINT])
        return await self._copy(rows)

    async def _upload(self, texts: list[str]) -> float:
        file = "key\r\n" + "".join([f"{text}\r\n" for text in texts])
        began = perf_counter()
        async with self._http.post(f"/publisher/pools/{self._shop.pool_id}/batches", data=file.encode()) as response:
            report = await response.json(content_type=None)
        seconds = perf_counter() - began
        if response.status != HTTPStatus.CREATED or report["accepted"] != len(texts):
            raise RunFailed(f"an upload was answered {response.status}: {report}")
        return seconds

    async def _insert(self, rows: list[Row]) -> float:
        began = perf_counter()
        await self._connection.executemany(
            "INSERT INTO baseline.inserted_keys (publisher_id, segment_id, position, row_number, sealed, fingerprint,"
            " suffix_token) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            rows,
        )
        return perf_counter() - began

    async def _copy(self, rows: list[Row]) -> float:
        began = perf_counter()
        await self._connection.copy_records_to_table(
            "copied_keys", schema_name="baseline", columns=_COLUMNS, records=rows
        )
        return perf_counter() - began

    def _ready_rows(self, texts: list[str], *, segment_id: int) -> list[Row]:
        publisher_id, fingerprints = self._shop.publisher_id, self._stand.services.fingerprints
        rows = []
        for position, text in enumerate(map(str.encode, texts), start=1):
            place = KeyPlace(publisher_id, segment_id, position)
            sealed = self._data_key.seal(text, key_aad(place))
            fingerprint, suffix = fingerprints.key(publisher_id, text), fingerprints.suffix(publisher_id, text)
            rows.append((*place, position, sealed, fingerprint, suffix))
        return rows
