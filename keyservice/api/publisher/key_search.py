"""A publisher looks up one of its own keys."""

from typing import Final

from aiohttp import web

from keyservice.api.access import publisher_of, route
from keyservice.api.answering import AnswerModel, json_answer
from keyservice.api.asking import read_model
from keyservice.api.operation import Operation
from keyservice.api.parameters import OfPublisher, read_parameters
from keyservice.api.sought_key import FoundKeyDocument, SoughtKey
from keyservice.domain.caller import Caller, Scope
from keyservice.domain.errors import Forbidden
from keyservice.fulfillment.search_keys import search_own_keys
from keyservice.services import SERVICES


class FoundKeysDocument(AnswerModel):
    """The key, if the publisher has it. What is unknown and what another publisher has are the same: nothing."""

    keys: list[FoundKeyDocument]


_SEARCH: Final = Operation(
    operation_id="search_own_keys",
    summary="Find a key of one's own by its text",
    description="Compared to the letter, by a keyed hash: the text is neither stored nor logged.",
    body=SoughtKey,
    query=OfPublisher,
    answers={200: FoundKeysDocument},
    refusals={403: "Admins search at /admin/keys/search, where they say what for."},
)


def routes() -> list[web.RouteDef]:
    return [route("POST", "/keys/search", Scope.KEYS_SEARCH, search, _SEARCH)]


async def search(request: web.Request, caller: Caller) -> web.Response:
    """One key or none, with its place and its state."""
    services = request.config_dict[SERVICES]
    read_parameters(request, OfPublisher)
    if caller.is_overseer:
        raise Forbidden("search at /admin/keys/search, and say what for")
    publisher_id = await publisher_of(request, caller)
    asked = await read_model(request, SoughtKey)
    found = await search_own_keys(services.database, services.fingerprints, publisher_id, asked.raw)
    return json_answer(FoundKeysDocument(keys=[FoundKeyDocument.model_validate(key) for key in found]))
