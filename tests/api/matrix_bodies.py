"""Whose things the matrix of authorizations asks for, and the bodies that it sends: each good, and none the same twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final, NamedTuple
from uuid import UUID

from aiohttp import web

from tests.lab.order_bodies import order_body

MISSING: Final = UUID("01a2011f-fb7c-7035-9638-d0f8c3502bf4")
_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class World:
    """What belongs to one publisher and to one reseller."""

    publisher: str
    pool_id: UUID
    template_id: UUID
    product_ref: int
    caller_id: int
    batches: Mapping[str, UUID]
    """By state."""

    revocation_id: UUID
    """Of a dead key."""

    package_id: UUID
    package_ref: int
    """Of the one product that is sold from the package."""

    connector_id: UUID = MISSING
    key_request_id: UUID = MISSING
    """One that is about to be asked for."""

    told_request_id: UUID = MISSING
    """One whose publisher tells by itself."""

    webhook: "WebhookIds" = field(default_factory=lambda: WebhookIds(MISSING, MISSING))


class WebhookIds(NamedTuple):
    """A webhook, and a notice that it is told."""

    endpoint_id: UUID
    notice_id: UUID


def dead_key(_: World, asked: World) -> str:
    return f'{{"key":"DEAD-OF-{asked.publisher}"}}'


def inspected(_: World, asked: World) -> str:
    return f'{{"key":"DEAD-OF-{asked.publisher}","purpose":"ticket 7"}}'


def ending(_: World, asked: World) -> str:
    return f'{{"ending":"{asked.publisher[-5:]}","publisher":"{asked.publisher}","purpose":"ticket 7"}}'


def named(_: World, __: World) -> str:
    return f'{{"name":"made {next(_numbers)}"}}'


def template(_: World, asked: World) -> str:
    plan = f'{{"steps":[{{"source":"pool","pool":"{asked.pool_id}"}}]}}'
    return f'{{"name":"made {next(_numbers)}","source_plan":{plan}}}'


def product(_: World, asked: World) -> str:
    return f'{{"name":"made","product_ref":{8_000_000 + next(_numbers)},"template_id":"{asked.template_id}"}}'


def publisher(_: World, __: World) -> str:
    return f'{{"name":"made","handle":"made-{next(_numbers)}"}}'


def caller(_: World, __: World) -> str:
    return f'{{"kind":"auditor","name":"made {next(_numbers)}"}}'


def withdrawal(_: World, __: World) -> str:
    return '{"keys":["MATRIX-NOBODYS"],"reason":"matrix"}'


def key_file(_: World, __: World) -> str:
    return f"MATRIX-{next(_numbers)}\n"


def key_form(_: World, __: World) -> str:
    head = 'Content-Disposition: form-data; name="file"; filename="keys.csv"'
    return f"--matrix\r\n{head}\r\n\r\nkey\nMATRIX-{next(_numbers)}\n\r\n--matrix--\r\n"


def package(_: World, __: World) -> str:
    number = next(_numbers)
    return f'{{"name":"made {number}","nexwayProductId":["{7_000_000 + number}"]}}'


def changed_package(_: World, asked: World) -> str:
    return f'{{"name":"a package","nexwayProductId":["{asked.package_ref}"]}}'


def order(own: World, _: World) -> str:
    return web.json_response(order_body(f"matrix-{next(_numbers)}", (own.product_ref, 1))).text or ""


def stock(own: World, _: World) -> str:
    return f'{{"productRefs":[{own.product_ref}]}}'


def claim(own: World, _: World) -> str:
    return f'{{"reference":"matrix-{next(_numbers)}","lines":[{{"product_ref":{own.product_ref}}}]}}'


def webhook(_: World, __: World) -> str:
    return '{"url":"https://hooks.example.com/matrix"}'


def since(_: World, __: World) -> str:
    return '{"since":"2026-11-22T15:19:21+00:00"}'


def connector_document() -> str:
    """Of a publisher that cannot be asked anything but for keys."""
    create = '{"path":"/new","keys":[{"source":"json","path":"$.key"}]}'
    able = '"capabilities":{"pushes_back":true},"surplus":"hold"'
    who = '"authentication":{"kind":"basic","user":"matrix"}'
    return f'{{"base_url":"https://licenses.example.com",{who},"operations":{{"create":{create}}},{able}}}'


def connector(_: World, __: World) -> str:
    return f'{{"name":"made {next(_numbers)}","document":{connector_document()}}}'


def definition(_: World, __: World) -> str:
    return definition_called(f"made {next(_numbers)}")


def definition_again(_: World, __: World) -> str:
    return definition_called("licenses")


def definition_called(name: str) -> str:
    create = '{"urlComplement":"/new","responsePaths":{"activationCode":"$.key"}}'
    rest = f'"baseUrl":"https://licenses.example.com","supportedOperations":["create"],"operationDefinitions":{{"create":{create}}}'
    return f'{{"name":"{name}",{rest}}}'


def ending_of_license(_: World, asked: World) -> str:
    return f'{{"operation":"cancel","licenseId":"{asked.told_request_id}"}}'


def told_keys(_: World, asked: World) -> str:
    return f'{{"reference":"{asked.told_request_id}","keys":["TOLD-OF-{asked.publisher}"]}}'
