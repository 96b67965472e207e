"""How an answer leaves: whole, cut, without an end, or as a connection that is gone."""

import socket
import struct

from aiohttp import web

from keyservice.sandbox.asked import Answer

_CHUNK = b" " * 65_536


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={**answer.headers, "Content-Type": answer.content_type},
    )


def reset(request: web.Request) -> web.StreamResponse:
    """The connection is reset: the caller reads an error, not an end."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def send_half(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The length of all, half of the bytes, and the end of the connection."""
    response = _begun(answer)
    response.content_length = len(answer.body) + 1
    await response.prepare(request)
    await response.write(answer.body[: (len(answer.body) + 1) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def send_for_ever(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Until the caller has enough; aiohttp tells by an error that it has left."""
    response = _begun(answer)
    await response.prepare(request)
    await response.write(answer.body)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(_CHUNK)
    return response


def _begun(answer: Answer) -> web.StreamResponse:
    return web.StreamResponse(status=answer.status, headers={**answer.headers, "Content-Type": answer.content_type})
