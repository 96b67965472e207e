"""An order pipeline looks up which of its orders a key belongs to."""

from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import web

from keyservice.api.access import route
from keyservice.api.answering import AnswerModel, json_answer
from keyservice.api.asking import read_model
from keyservice.api.operation import Operation
from keyservice.api.parameters import Nothing, read_parameters
from keyservice.api.sought_key import SoughtKey
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Forbidden
from keyservice.domain.key_state import KeyState
from keyservice.fulfillment.search_keys import SoldKey, search_sold_keys
from keyservice.services import SERVICES


class SoldKeyDocument(AnswerModel):
    """A key that the caller got, and the unit of its order that it was for."""

    order_id: UUID
    order_number: int
    reference: str
    """Under which the caller knows the order: the reference of its claim, or its partner order number."""

    line_number: int
    unit_id: UUID
    unit_number: int
    state: KeyState
    claimed_at: datetime
    ended_at: datetime | None
    """When it was revoked or replaced."""


class SoldKeysDocument(AnswerModel):
    """What the caller sold of this key. A key that nobody sold, or somebody else, is the same: nothing."""

    keys: list[SoldKeyDocument]


_SEARCH: Final = Operation(
    operation_id="search_sold_keys",
    summary="Find the order of a key by its text",
    description="Among the caller's own orders. Compared to the letter, by a keyed hash: the text is neither stored nor logged.",
    body=SoughtKey,
    query=Nothing,
    answers={200: SoldKeysDocument},
    refusals={403: "Admins search at /admin/keys/search, where they say what for."},
)


def routes() -> list[web.RouteDef]:
    return [route("POST", "/keys/search", Scope.KEYS_SEARCH, search, _SEARCH)]


async def search(request: web.Request, caller: Caller) -> web.Response:
    services = request.config_dict[SERVICES]
    read_parameters(request, Nothing)
    if caller.is_overseer:
        raise Forbidden("search at /admin/keys/search, and say what for")
    if caller.publisher_id is not None:
        raise Forbidden("search at /publisher/keys/search")
    asked = await read_model(request, SoughtKey)
    found = await search_sold_keys(services.database, services.fingerprints, caller, asked.raw)
    return json_answer(SoldKeysDocument(keys=[_document(one) for one in found]))


def _document(sold: SoldKey) -> SoldKeyDocument:
    key, order = sold
    assert key.claimed_at is not None, "it was taken for this order"
    return SoldKeyDocument(
        order_id=order.order_id,
        order_number=order.order_number,
        reference=order.partner_order_number,
        line_number=order.line_number,
        unit_id=order.unit_id,
        unit_number=order.unit_number,
        state=key.state,
        claimed_at=key.claimed_at,
        ended_at=key.ended_at,
    )
