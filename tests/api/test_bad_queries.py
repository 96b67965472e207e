import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import pytest

from keyservice.fulfillment.ids import new_id
from keyservice.services import Services
from tests.api.json_entrances import problem_faults
from tests.api.premises import Premises, bearer, opened_premises, stored_rows
from tests.api.raw_http import PLANTED, Answer
from tests.lab.shop import Shop

_SIZES: Final = (
    *("0", "-1", "501", "1000000000", "2147483648", "1e3", "1.0", "", "%20", "+1", "%2b1", "0x10", "1_0", "NaN", "true"),
    *("%ef%bc%91", "%d9%a3", "1;DROP%20TABLE%20pools", "1,2", "1%0a", "9" * 18, "9" * 19, "9" * 5_000, PLANTED, "null", "%ff"),
)  # fmt: skip
_IDS: Final = (
    *("", "0", "null", "..", "%2e%2e", PLANTED, "{id}x", "%7b{id}%7d", "urn:uuid:{id}", "{bare}", "{id}%0a", "{id},{id}"),
    *("'{id}'", "{id}%27%20OR%201=1--", "%ef%bc%90", "a" * 5_000, "%ff", "%ed%a0%80", "eyJhZnRlciI6MX0="),
)  # fmt: skip
_NUMBERS: Final = (
    "",
    "-1",
    "1.5",
    "1e3",
    "0x1",
    "9" * 19,
    "18446744073709551616",
    "NaN",
    "Infinity",
    "%d9%a3",
    "1;--",
    PLANTED,
)
# Names of other interfaces, and names that would be dangerous if they were ones.
_UNKNOWN: Final = (
    *("page=1", "size=10", "offset=10", "sort=name", "sort=-created_at", "sort=sealed", "sort=name;drop", "order=desc"),
    *("target=keys", "fields=sealed,fingerprint", "unwind=keys", "recap=true", "q=%25", "name=like:A%25", "filter=%5b%5d"),
    *("lineItem.activationCode=XK7Q-94TM-PW2Z", "key=XK7Q-94TM-PW2Z", "name=~(a%2b)%2b$", "$where=1", "limit%5b%5d=1"),
    *("Limit=1", "LIMIT=1", "__proto__=1", "include=*", "expand=publisher", "publisher_id=1", "tenant=2", "a" * 7_000),
    *("%ff=1", "=1", "limit", "%c2%a0limit=1", "limit=1&limit=1", "limit=1&limit=2"),
)  # fmt: skip


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        await opened.own.load(["QUERY-1"])
        yield opened


async def _get(premises: Premises, path: str, query: str) -> Answer:
    token = premises.admin if path.startswith("/admin") else premises.publisher
    return await premises.served.get(f"{path}?{query}", bearer(token))


@pytest.mark.parametrize(
    ("path", "after", "name"),
    [
        ("/publisher/pools", _IDS, "after"),
        ("/publisher/events", _IDS, "after"),
        ("/publisher/events", _IDS, "pool_id"),
        ("/publisher/templates", _IDS, "after"),
        ("/publisher/products", _NUMBERS, "after"),
        ("/publisher/pools/{pool}/batches", _IDS, "after"),
        ("/publisher/revocations", _NUMBERS, "after"),
        ("/admin/events", _IDS, "after"),
        ("/admin/publishers", _NUMBERS, "after"),
        ("/admin/pools", _NUMBERS, "after"),
    ],
)
async def test_a_query_of_a_list_that_is_not_understood_is_refused_and_not_guessed(
    premises: Premises, path: str, after: tuple[str, ...], name: str
) -> None:
    place = path.replace("{pool}", str(premises.own.pool_id))
    some = str(uuid4())
    junk = [one.replace("{id}", some).replace("{bare}", some.replace("-", "")) for one in after]
    rows = {f"limit={size}": 422 for size in _SIZES} | {f"{name}={one}": 422 for one in junk}
    rows |= dict.fromkeys(_UNKNOWN, 422) | {"limit=%00": 400, "limit=\xff": 400, f"{name}={some}%00": 400}
    before = await stored_rows(premises.services.database)
    faults: list[str] = []
    for query, status in rows.items():
        answer = await _get(premises, place, query)
        found = list(problem_faults(answer, status))
        if answer.status != status or PLANTED in str(answer):
            found.append(f"answered {answer.status}: {answer.body[:200]!r}")
        faults += [f"{query[:80]}: {fault}" for fault in found]
    assert not faults, f"{path}: {len(faults)} faults\n" + "\n".join(faults)
    assert await stored_rows(premises.services.database) == before
    last = "0" * 18 if path == "/publisher/revocations" else "9" * 18  # nothing can come behind the end of a feed
    for query in ("", "limit=1", "limit=500", "limit=000500", f"{name}={some if after is _IDS else last}"):
        assert (await _get(premises, place, query)).status == 200, query


@pytest.mark.parametrize("path", ["/publisher/pools", "/publisher/events"])
async def test_an_admin_names_one_publisher_that_there_is(premises: Premises, path: str) -> None:
    own = premises.own.publisher
    rows = {
        "": 422,
        "publisher=": 422,
        f"publisher={own}": 200,
        f"publisher={own}&publisher={own}": 422,
        f"publisher={own}&publisher={premises.foreign.publisher}": 422,
        f"publisher={own.upper()}": 404,
        f"publisher={own}%20": 404,
        f"publisher={own},{premises.foreign.publisher}": 404,
        "publisher=*": 404,
        "publisher=%25": 404,
        "publisher=%27%20OR%20%271%27=%271": 404,
        "publisher=%ff": 404,
        "publisher=%ed%a0%80": 404,
        f"publisher={'a' * 7_000}": 404,
        f"publisher={own}%00": 400,
    }
    for query, status in rows.items():
        answer = await premises.served.get(f"{path}?{query}", bearer(premises.admin))
        assert answer.status == status, f"{query[:80]}: {answer}"


async def test_a_page_never_ends_without_saying_that_there_is_more(premises: Premises) -> None:
    """Whoever asks for as many as the service allows sees every batch of the pool by following `after`."""
    pool_id = await _pool_of_batches(premises.own, 450)
    seen: list[str] = []
    after = ""
    while after is not None:
        answer = await _get(premises, f"/publisher/pools/{pool_id}/batches", f"limit=500{after and f'&after={after}'}")
        page = json.loads(answer.body)
        seen += [batch["batch_id"] for batch in page["batches"]]
        after = page["after"]
    assert (len(seen), len(set(seen))) == (450, 450)


async def _pool_of_batches(shop: Shop, batches: int) -> str:
    pool_id, now = new_id(), datetime.now(UTC)
    async with shop.services.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at)"
            " VALUES ($1, $2, 'of many batches', 'fifo', 0, 0, $3)",
            *(shop.publisher_id, pool_id, now),
        )
        await connection.executemany(
            "INSERT INTO batches (publisher_id, batch_id, pool_id, state, file_format, file_options, data_key_id,"
            " created_by, created_at, progressed_at) VALUES ($1, $2, $3, 'released', 'txt', '{}', 0, 1, $4, $4)",
            [(shop.publisher_id, new_id(), pool_id, now) for _ in range(batches)],
        )
    return str(pool_id)
