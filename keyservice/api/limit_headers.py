"""The headers RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-10, for callers that have limits.

What is left is what this process knows: exact for the day within the few requests that other processes have taken ahead.
"""

from typing import Final

from aiohttp import web

from keyservice.domain.request_limits import POLICY_DAY, POLICY_RATE
from keyservice.fulfillment.limit_requests import Standing

STANDING: Final[web.RequestKey[Standing]] = web.RequestKey("STANDING", Standing)
POLICY_HEADER: Final = "RateLimit-Policy"
LEFT_HEADER: Final = "RateLimit"
_SECONDS_OF_DAY: Final = 86_400


def add_limit_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Where the caller stands, on whatever answers it. Callers without limits get no such header."""
    standing = request.get(STANDING)
    if standing is None:
        return
    limits, left = standing.limits, standing.left
    policies, rests = [], []
    if limits.per_second is not None:
        policies.append(f'"{POLICY_RATE}";q={limits.per_second};w=1')
        rests.append(f'"{POLICY_RATE}";r={left.by_rate};t={standing.seconds_to_full}')
    if limits.per_day is not None:
        policies.append(f'"{POLICY_DAY}";q={limits.per_day};w={_SECONDS_OF_DAY}')
        rests.append(f'"{POLICY_DAY}";r={left.today};t={standing.seconds_to_next_day}')
    response.headers[POLICY_HEADER] = ", ".join(policies)
    response.headers[LEFT_HEADER] = ", ".join(rests)
