"""Alive and ready."""

from typing import Literal

from aiohttp import web

from keyservice.api.access import described
from keyservice.api.answering import AnswerModel, json_answer
from keyservice.api.operation import Operation
from keyservice.services import SERVICES


class Alive(AnswerModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(AnswerModel):
    """The database answers too."""

    status: Literal["ready"] = "ready"


def routes() -> list[web.RouteDef]:
    """The only routes with a HEAD: some watchers ask no other way."""
    alive = Operation(operation_id="is_alive", summary="Does the process answer", answers={200: Alive})
    is_ready = Operation(
        operation_id="is_ready",
        summary="Can the service do its work",
        answers={200: Ready},
        refusals={503: "It cannot: the database does not answer, or the secrets are not there."},
    )
    return [
        web.get("/health/live", described(live, alive)),
        web.get("/health/ready", described(ready, is_ready)),
    ]


async def live(_: web.Request) -> web.Response:
    return json_answer(Alive())


async def ready(request: web.Request) -> web.Response:
    """Raises what the error bridge turns into 503 when the database does not answer."""
    async with request.config_dict[SERVICES].database.reading() as connection:
        await connection.fetchval("SELECT 1")
    return json_answer(Ready())
