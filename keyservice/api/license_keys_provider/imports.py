"""Importing a CSV file into a package, as a form."""

from contextlib import aclosing
from typing import Final
from uuid import UUID

from aiohttp import hdrs, web
from pydantic import Field

from keyservice.api.access import route
from keyservice.api.asking import path_id
from keyservice.api.license_keys_provider.packages import PackageOwner, owner
from keyservice.api.multipart import ENVELOPE_BYTES_MAX, FormFile, form_file
from keyservice.api.operation import Answer, FileForm, Operation
from keyservice.api.parameters import IdempotencyKey, Parameters, read_headers, read_parameters
from keyservice.api.publisher.documents import UploadReport
from keyservice.api.publisher.upload_parameters import TableQuery
from keyservice.api.publisher.uploads import body_pieces, place_for, stored
from keyservice.api.reading import BodyRefused
from keyservice.domain.batch import Refusal, UploadRefused
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.key_file import KeyFileFormat, KeyFileRefused, guess_format
from keyservice.fulfillment.receive_batch import Upload
from keyservice.services import SERVICES, Services

_NOTHING: Final = ("", "identity")


class ImportQuery(PackageOwner, TableQuery):
    """Whose package it is, and how the file is to be read."""


class ImportHeaders(Parameters):
    """Which import this is."""

    idempotency_key: IdempotencyKey | None = Field(
        None,
        alias="Idempotency-Key",
        description="A UUID, bare or in quotes, that stands for this import: sent again, it is the same import.",
    )


_IMPORT: Final = Operation(
    operation_id="import_package_file",
    summary="Import a CSV file into a package",
    description=(
        "A form with one file and nothing else; the file is read as CSV in UTF-8, as the upload into a pool reads it, and the"
        " answer is the same report. An import that broke off goes on where it stopped when the same file is sent under the"
        " same `Idempotency-Key`. Refusals are problem documents, as everywhere behind this service's own doors."
    ),
    body=FileForm(
        "text/csv",
        "One part, a file whose name ends in .csv; the part's own name does not matter.",
        example="key\nR4T7K-2MNP9-XW3QH-6VJBD-C8GFY\nR4T7K-9HXC2-LL4WD-TQ7ME-4ZRUA\n",
    ),
    query=ImportQuery,
    headers=ImportHeaders,
    answers={
        201: Answer(UploadReport, "A new batch, with a verdict on each row.", {"Location": "Where the new batch is."}),
        200: Answer(UploadReport, "Nothing new: a dry run, a repeated import, or a file without one new key."),
    },
    refusals={
        409: "The package is disabled, or the id was used for something else; `reason` says for what.",
        422: "The file is refused as a whole and nothing of it is stored; `reason` and `line` say why.",
    },
)


def routes() -> list[web.RouteDef]:
    return [route("POST", "/import/{package_id}", Scope.BATCHES_WRITE, receive_form, _IMPORT)]


async def receive_form(request: web.Request, caller: Caller) -> web.Response:
    """The report: 201 for a new batch, 200 for a dry run, a repeated import and a file without one new key."""
    services = request.config_dict[SERVICES]
    asked, headers = read_parameters(request, ImportQuery), read_headers(request, ImportHeaders)
    publisher_id = await owner(request, caller, asked)
    package_id = path_id(request, "package_id", thing="package")
    _demand_plain(request, services)
    with place_for(request, publisher_id):
        body = body_pieces(request, idle_seconds=services.settings.upload_idle_seconds)
        async with aclosing(body):
            file = await form_file(request, body)
            try:
                upload = _announced(file, asked, headers, caller, pool=(publisher_id, package_id))
                async with aclosing(file.pieces) as pieces:
                    return await stored(services, upload, pieces)
            except KeyFileRefused as error:
                raise UploadRefused(Refusal(error.reason, str(error)), batch_id=None) from error


def _announced(
    file: FormFile, asked: ImportQuery, headers: ImportHeaders, caller: Caller, *, pool: tuple[int, UUID]
) -> Upload:
    publisher_id, pool_id = pool
    return Upload(
        publisher_id=publisher_id,
        pool_id=pool_id,
        caller_id=caller.caller_id,
        batch_id=headers.idempotency_key,
        file_format=_format(file),
        mapping=asked.mapping,
        file_name=file.name,
        expires_on=asked.expires_on,
        is_held=asked.hold,
        is_dry_run=asked.dry_run,
        priority=asked.priority,
    )


def _demand_plain(request: web.Request, services: Services) -> None:
    if hdrs.CONTENT_RANGE in request.headers:
        # RFC 9110, section 14.5: a part of a form must not be taken for the whole of it.
        raise BodyRefused("send the whole form; what was stored of its file before is passed over", closes=True)
    if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in _NOTHING:
        raise BodyRefused("send the form without a content encoding", status=415, closes=True)
    bytes_max = services.settings.upload_bytes_max
    if request.content_length is not None and request.content_length > bytes_max + ENVELOPE_BYTES_MAX:
        raise BodyRefused(f"the file is larger than {bytes_max} bytes; split it", status=413, closes=True)


def _format(file: FormFile) -> KeyFileFormat:
    """CSV, whatever type a browser makes up for it, unless name or type say that it is something else."""
    kind = guess_format(file.name or "", file.content_type, named=None if _says(file) else KeyFileFormat.CSV)
    if kind.file_format is not KeyFileFormat.CSV or kind.is_gzip:
        raise KeyFileRefused(
            "send a CSV file here; the upload into a pool takes the other formats", reason="format-not-accepted"
        )
    return KeyFileFormat.CSV


def _says(file: FormFile) -> bool:
    return file.name is not None and "." in file.name
