"""Beginning an upload, or finding the one that it continues or repeats."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from pydantic_core import to_json

from keyservice.crypto.sealing import DataKey
from keyservice.crypto.wrapping import KeyWrapper
from keyservice.domain.batch import BatchState, UploadConflict
from keyservice.domain.errors import Conflict, NotFound, Tampered
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.open_keys import data_key_context
from keyservice.fulfillment.read_batches import StoredBatch, find_batch, read_batch
from keyservice.fulfillment.short_transaction import short_transaction
from keyservice.postgres.connection import Connection, Database
from keyservice.postgres.statements import statement

_NO_DATA_KEY = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """A key file as its sender announces it. The same `batch_id` again continues or repeats the same upload."""

    publisher_id: int
    pool_id: UUID
    caller_id: int
    file_format: KeyFileFormat
    mapping: ColumnMapping
    batch_id: UUID | None = None
    expires_on: date | None = None
    file_name: str | None = None
    is_held: bool = False
    is_dry_run: bool = False
    priority: int = 0
    declared_sha256: bytes | None = None
    declared_bytes: int | None = None
    is_gzip: bool = False

    @property
    def options(self) -> dict[str, object]:
        """What changes the meaning of the same bytes."""
        mapping = self.mapping
        # What is not said is left out, so that an upload begun before there was such an option can go on.
        said = {
            "priority": self.priority,
            "parts": list(mapping.parts),
            "sheet": mapping.sheet,
            "is_gzip": self.is_gzip,
        }
        return {name: value for name, value in said.items() if value} | {
            "key": mapping.key,
            "expires_on": mapping.expires_on,
            "publisher_key_id": mapping.publisher_key_id,
            "notes": mapping.notes,
            "has_header": mapping.has_header,
            "delimiter": mapping.delimiter,
            "default_expires_on": None if self.expires_on is None else self.expires_on.isoformat(),
        }


async def receiving_day(database: Database, upload: Upload) -> date:
    """Today by the database's clock. Raises NotFound for a pool that the publisher does not have, Conflict if it is closed."""
    async with database.of_publisher(upload.publisher_id).reading() as connection:
        pool = await connection.fetchrow(statement("batches.pool_to_receive"), upload.publisher_id, upload.pool_id)
    if pool is None:
        raise NotFound("there is no such pool")
    if pool["state"] != "open":
        raise Conflict("this pool is closed; open it before uploading into it")
    today: date = pool["now"].date()
    return today


async def begin_upload(database: Database, wrapper: KeyWrapper, upload: Upload) -> tuple[StoredBatch, DataKey | None]:
    """The batch as it stands and the key that seals it; None for a dry run and for a batch that is not receiving.

    Raises UploadConflict when the id stands for something else.
    """
    async with database.of_publisher(upload.publisher_id).reading() as connection:
        batch, data_key = await _find(connection, upload), None
    if batch is None:
        batch, data_key = await _insert(database, wrapper, upload)
    _demand_same(batch, upload)
    if data_key is None and batch.state is BatchState.RECEIVING and not upload.is_dry_run:
        data_key = await _unwrap(database, wrapper, upload.publisher_id, batch)
    return batch, data_key


async def _find(connection: Connection, upload: Upload) -> StoredBatch | None:
    batch_id = upload.batch_id
    if batch_id is None and upload.declared_sha256 is not None:
        batch_id = await connection.fetchval(
            statement("batches.unfinished_of_file"),
            upload.publisher_id,
            upload.pool_id,
            upload.declared_sha256,
            upload.is_dry_run,
        )
    return None if batch_id is None else await find_batch(connection, upload.publisher_id, batch_id)


async def _insert(database: Database, wrapper: KeyWrapper, upload: Upload) -> tuple[StoredBatch, DataKey | None]:
    """No data key comes back when another connection has begun the same upload meanwhile."""
    batch_id = upload.batch_id or new_id()
    data_key, wrapped = None, b""
    if not upload.is_dry_run:
        async with database.of_publisher(upload.publisher_id).transaction() as connection:
            data_key_id = await connection.fetchval(statement("batches.next_data_key_id"))
        data_key, raw = DataKey.generate(data_key_id)
        # Wrapping may be a call to a key service: outside any transaction.
        wrapped = await wrapper.wrap(raw, data_key_context(upload.publisher_id, batch_id))

    async def work(connection: Connection) -> tuple[StoredBatch, bool]:
        is_new = await _insert_rows(connection, upload, batch_id, data_key, wrapped)
        return await read_batch(connection, upload.publisher_id, batch_id), is_new

    batch, is_new = await short_transaction(database.of_publisher(upload.publisher_id), work)
    return batch, data_key if is_new else None


async def _insert_rows(
    connection: Connection, upload: Upload, batch_id: UUID, data_key: DataKey | None, wrapped: bytes
) -> bool:
    pool = await connection.fetchrow(statement("batches.pool_to_receive"), upload.publisher_id, upload.pool_id)
    if pool is None:
        raise NotFound("there is no such pool")
    now = pool["now"]
    inserted = await connection.fetchval(
        statement("batches.insert_batch"),
        upload.publisher_id,
        batch_id,
        upload.pool_id,
        upload.is_dry_run,
        upload.is_held,
        upload.file_name,
        upload.file_format,
        to_json(upload.options).decode(),
        upload.declared_sha256,
        upload.declared_bytes,
        _NO_DATA_KEY if data_key is None else data_key.data_key_id,
        upload.priority,
        upload.caller_id,
        now,
    )
    if inserted is None:
        return False
    if data_key is not None:
        values = (upload.publisher_id, data_key.data_key_id, batch_id, wrapped, now)
        await connection.execute(statement("tape.insert_data_key"), *values)
        event = (upload.publisher_id, new_id(), upload.pool_id, batch_id, upload.caller_id, "batch.begun", "{}", now)
        await connection.execute(statement("tape.insert_publisher_event"), *event)
    return True


async def _unwrap(database: Database, wrapper: KeyWrapper, publisher_id: int, batch: StoredBatch) -> DataKey:
    async with database.of_publisher(publisher_id).reading() as connection:
        row = await connection.fetchrow(statement("tape.data_keys"), publisher_id, [batch.data_key_id])
    if row is None:
        raise Tampered("this batch's data key is not there; restore its row from a backup")
    raw = await wrapper.unwrap(row["wrapped"], data_key_context(publisher_id, batch.report.batch_id))
    return DataKey(batch.data_key_id, raw)


def _demand_same(batch: StoredBatch, upload: Upload) -> None:
    report = batch.report
    if report.pool_id != upload.pool_id:
        raise _conflict("this id was used for an upload into another pool; use a new id", "other-pool", report.batch_id)
    stored = (report.file_format, report.is_dry_run, batch.is_held_on_arrival, dict(batch.options))
    if stored != (upload.file_format, upload.is_dry_run, upload.is_held, upload.options):
        raise _conflict(
            "this upload was begun with other options; repeat them, or discard it and use a new id",
            "other-options",
            report.batch_id,
        )
    declared = ((batch.declared_sha256, upload.declared_sha256), (batch.declared_bytes, upload.declared_bytes))
    if any(before != now for before, now in declared if before is not None and now is not None):
        raise _conflict(
            "this upload was begun with another file; send that file, or use a new id for this one",
            "another-file",
            report.batch_id,
        )


def _conflict(message: str, reason: str, batch_id: UUID) -> UploadConflict:
    return UploadConflict(message, reason=reason, batch_id=batch_id)
