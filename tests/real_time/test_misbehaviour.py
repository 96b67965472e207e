"""A publisher that does everything wrong that it can: no unit gets two keys, and both ledgers agree in the end."""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from keyservice.domain.errors import KeyserviceError
from keyservice.domain.tape import Place
from keyservice.sandbox.misbehaviour import Wrong, random_script
from keyservice.sandbox.publisher import Publisher
from tests.lab.real_time import RealTime, document_for
from tests.lab.shop import Shop

AT_ONCE = 24
SMALL, WHOLE = 300, 5_000


@dataclass(frozen=True, slots=True)
class Books:
    """Ours, beside the publisher's."""

    delivered: dict[UUID, list[str]]
    """By unit, the keys that it has or had: at most one that is good."""

    problems: list[str]
    figures: dict[str, int]


@pytest.mark.parametrize(
    ("calls", "capabilities"),
    [
        (SMALL, {"can_void": True}),
        (SMALL, {"repeat_is_idempotent": True, "can_void": True}),
        (SMALL // 3, {}),
        pytest.param(WHOLE, {"can_void": True}, marks=pytest.mark.full),
        pytest.param(WHOLE, {"repeat_is_idempotent": True, "can_void": True}, marks=pytest.mark.full),
    ],
)
async def test_one_key_for_each_unit_and_books_that_agree(
    shop: Shop, publisher: Publisher, calls: int, capabilities: dict[str, bool]
) -> None:
    document = document_for(
        publisher,
        capabilities=capabilities,
        budget_seconds=1,
        concurrency=AT_ONCE,
        retry={"first_seconds": 0.05, "longest_seconds": 1, "attempts_max": 200},
    )
    real_time = await RealTime.opened(shop, publisher, document, answer_seconds=0.5)
    publisher.script_all(random_script(20_270_101, calls, seconds=0.2))
    orders = await _buy_until_calm(real_time, f"MIS-{calls}-{len(capabilities)}")
    publisher.calm_down()
    await real_time.work_off(rounds=5_000)
    books = await _compared(real_time, orders)
    sys.stdout.write(f"misbehaviour: {calls} calls, {books.figures}\n")
    assert books.problems == []
    figures = books.figures
    assert figures["issued"] - figures["voided"] - figures["surplus"] - figures["held, issued"] == figures["delivered"]
    if capabilities:
        assert books.figures["held"] <= calls // 20, "only what shows somebody else's key"
        assert books.figures["delivered"] + books.figures["held"] == books.figures["units"]


async def _buy_until_calm(real_time: RealTime, name: str) -> list[UUID]:
    """Orders of one unit, many at once, until everything that was to go wrong has gone wrong."""
    orders: list[UUID] = []
    places = asyncio.Semaphore(AT_ONCE)

    async def buy(number: int) -> None:
        async with places:
            purchase = await real_time.buy(f"{name}-{number}")
            orders.append(purchase.order_id)

    number = 0
    while real_time.publisher.scripted:
        batch = [buy(number + one) for one in range(4 * AT_ONCE)]
        number += len(batch)
        await asyncio.gather(*batch)
        await real_time.make_due()
        await real_time.shop.services.asker.ask_due()
    await real_time.shop.services.asker.idle()
    return orders


async def _compared(real_time: RealTime, orders: list[UUID]) -> Books:
    shop, publisher = real_time.shop, real_time.publisher
    rows = await real_time.rows(
        "SELECT key_request_id, license_ref, state, operation, error_code FROM key_requests WHERE publisher_id = $1",
        shop.publisher_id,
    )
    claims = await real_time.rows(
        "SELECT claim_id, unit_id, key_request_id, state, segment_id, position FROM claims WHERE publisher_id = $1",
        shop.publisher_id,
    )
    problems: list[str] = []
    keys = await _texts(real_time, claims)
    living: dict[UUID, list[str]] = {}
    by_request: dict[UUID, set[str]] = {}
    for claim in claims:
        if claim["state"] == "issued":
            living.setdefault(claim["unit_id"], []).append(keys[claim["claim_id"]])
            by_request.setdefault(claim["key_request_id"], set()).add(keys[claim["claim_id"]])
    problems += [f"unit {unit} has {len(some)} keys" for unit, some in living.items() if len(some) > 1]
    counted = Counter(key for some in living.values() for key in some)
    problems += ["a key was delivered twice" for count in counted.values() if count > 1]
    surplus = await real_time.rows(
        "SELECT key_request_id, state FROM surplus_keys WHERE publisher_id = $1", shop.publisher_id
    )
    kept = {row["key_request_id"] for row in surplus if row["state"] == "open"}
    # Answers that were shown for another request before its own came: that one is held, and said to be.
    mixed_up = {
        key
        for row in rows
        if row["state"] == "held" and row["error_code"] == "known-key"
        for key in publisher.keys_of(row["license_ref"])
    }
    # Shown a key that was issued for another request, in an answer that does not say for which: nobody can tell.
    lied_to = {
        one.reference for one in publisher.ledger.requests if one.misbehaviour in (Wrong.DUPLICATE_KEY, Wrong.REPLAY)
    }
    lies = 0
    states: Counter[str] = Counter()
    for row in rows:
        if row["operation"] != "create":
            continue
        states[row["state"]] += 1
        good = set(publisher.live_keys_of(row["license_ref"]))
        ours = by_request.get(row["key_request_id"], set())
        if row["state"] in ("planned", "sending", "unknown", "accepted"):
            problems.append(f"request {row['key_request_id']} is still {row['state']}")
        if not ours <= good and str(row["license_ref"]) in lied_to:
            lies += 1
        elif not ours <= good and not ours <= mixed_up:
            problems.append(f"request {row['key_request_id']} delivered what its publisher has not issued for it")
        is_explained = str(row["license_ref"]) in lied_to or bool(ours & mixed_up)
        if row["state"] != "held" and row["key_request_id"] not in kept and ours != good and not is_explained:
            problems.append(
                f"request {row['key_request_id']} ({row['state']}): {len(good)} good keys, {len(ours)} delivered"
            )
    alarms = await real_time.rows(
        "SELECT facts ->> 'key_request_id' AS id FROM publisher_events WHERE publisher_id = $1 AND name LIKE 'key_request.%'",
        shop.publisher_id,
    )
    alarmed = {row["id"] for row in alarms}
    unalarmed = [row for row in rows if row["state"] == "held" and str(row["key_request_id"]) not in alarmed]
    problems += ["a request that waits for a person was not alarmed" for _ in unalarmed]
    figures = {
        "units": len(orders),
        "delivered": len(living),
        "issued": publisher.ledger.issued,
        "voided": publisher.ledger.voided,
        "held": states["held"],
        "held, issued": sum(len(publisher.live_keys_of(row["license_ref"])) for row in rows if row["state"] == "held"),
        "surplus": len(surplus),
        "shown somebody else's": lies,
    }
    return Books(living, problems, figures)


async def _texts(real_time: RealTime, claims: list[Any]) -> dict[UUID, str]:
    places = {Place(claim["segment_id"], claim["position"]): claim["claim_id"] for claim in claims}
    services = real_time.shop.services
    async with services.database.reading() as connection:
        opened = await services.opener.open(connection, real_time.shop.publisher_id, list(places))
    texts = {}
    for place, key in opened.items():
        if isinstance(key, KeyserviceError):
            raise key
        texts[places[place]] = key.text.reveal()
    return texts
