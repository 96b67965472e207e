"""Alive and ready."""

from aiohttp import web

from keyservice.services import SERVICES


def routes() -> list[web.RouteDef]:
    return [web.get("/health/live", live), web.get("/health/ready", ready)]


async def live(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """The database answers too. Raises what the error bridge turns into 503 when it does not."""
    async with request.config_dict[SERVICES].database.connection() as connection:
        await connection.fetchval("SELECT 1")
    return web.json_response({"status": "ready"})
