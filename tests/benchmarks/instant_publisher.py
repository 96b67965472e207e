"""A publisher that answers at once, in a process of its own: `python -m tests.benchmarks.instant_publisher`."""

import asyncio
import secrets

from aiohttp import web


async def _new(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"activationCode": f"INSTANT-{secrets.token_hex(12).upper()}", "PublisherLicenseID": "L"})


async def _serve() -> None:
    application = web.Application()
    application.router.add_post("/licenses/new", _new)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
