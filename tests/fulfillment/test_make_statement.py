import asyncio
import io
import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from keyservice.domain.batch import Verdict
from keyservice.domain.errors import Conflict, NotFound
from keyservice.domain.statement import Month, split_line
from keyservice.fulfillment import make_statement
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.make_statement import state_batch, state_month
from keyservice.fulfillment.manage_batches import hold_batch
from tests.fulfillment.feeds import cancelled, read_page
from tests.fulfillment.proofs import (
    batch_statement,
    counts_in,
    keys_in,
    members_of,
    month_statement,
    pinned_keys,
    verified,
)
from tests.fulfillment.test_upload_plans import plan_of
from tests.fulfillment.uploads import csv_of, receive
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop

JANUARY = Month.named("2026-01")


async def batch_of(shop: Shop, segment_id: int) -> UUID:
    async with shop.services.database.reading() as connection:
        found: UUID = await connection.fetchval("SELECT batch_id FROM segments WHERE segment_id = $1", segment_id)
    return found


def this_month() -> str:
    return f"{datetime.now(UTC):%Y-%m}"


async def test_a_statement_says_what_became_of_each_key_of_a_batch(shop: Shop) -> None:
    segment_id = await shop.load([f"STATED-{shop.publisher_id}-{number}" for number in range(6)])
    batch_id = await batch_of(shop, segment_id)
    await cancelled(shop, "gone", quantity=2)
    await shop.buy("kept", quantity=3)
    await read_page(shop)
    statement = await batch_statement(shop, batch_id)
    keys = keys_in(statement)
    assert [(key["row"], key["state"]) for key in keys] == [
        *((1, "revoked"), (2, "revoked")),
        *((3, "issued"), (4, "issued"), (5, "issued"), (6, "for_sale")),
    ]
    assert [key["ended_at"] is not None for key in keys] == [True, True, False, False, False, False]
    assert keys[0]["end_reason"] == "order canceled: 2"
    assert counts_in(statement) == {"kind": "counts", "keys": 6, "states": {"revoked": 2, "issued": 3, "for_sale": 1}}
    head = members_of(statement)[0]
    assert (head["of"], head["batch"]["batch_id"], head["publisher"]) == ("batch", str(batch_id), shop.publisher)
    assert head["feed"]["last_sequence"] == 2
    assert f"STATED-{shop.publisher_id}" not in statement.decode()
    said = verified(statement, await pinned_keys(shop.services))
    assert (said.keys, said.about) == (6, head)


async def test_a_statement_holds_the_file_s_hash_and_the_verdicts_of_its_rows(shop: Shop) -> None:
    file = csv_of([f"A-{shop.publisher_id}", f"B-{shop.publisher_id}", f"A-{shop.publisher_id}"])
    report = (await receive(shop, file)).report
    batch = members_of(await batch_statement(shop, report.batch_id))[0]["batch"]
    assert report.sha256 is not None
    assert (batch["sha256"], batch["rows"], batch["accepted"]) == (report.sha256.hex(), report.rows, 2)
    assert batch["verdicts"][Verdict.DUPLICATE_IN_FILE] == 1


async def test_keys_are_listed_by_their_last_day_and_row_over_many_pages(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_statement, "_ROWS_AT_ONCE", 3)
    days = ["2031-05-01", "2030-01-01", "", "2031-05-01", "2029-01-01", "", "2030-01-01", "2031-05-01", "2031-05-01"]
    rows = "\n".join(f"PAGED-{shop.publisher_id}-{number},{day}" for number, day in enumerate(days))
    report = (await receive(shop, f"key,expires_on\n{rows}\n".encode())).report
    statement = await batch_statement(shop, report.batch_id)
    assert [(key["expires_on"], key["row"]) for key in keys_in(statement)] == [
        *(("2029-01-01", 6), ("2030-01-01", 3), ("2030-01-01", 8), ("2031-05-01", 2), ("2031-05-01", 5)),
        *(("2031-05-01", 9), ("2031-05-01", 10), (None, 4), (None, 7)),
    ]
    assert counts_in(statement)["states"] == {"for_sale": 9}


class SoldMeanwhile(io.BytesIO):
    """A file that buys all keys while the first of them are written to it."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop
        self._loop = asyncio.get_running_loop()
        self._writes = 0

    def write(self, content: Any) -> int:
        self._writes += 1
        if self._writes == 2:  # not in the event loop's thread, as the head is
            asyncio.run_coroutine_threadsafe(self._shop.buy("all of them", quantity=10), self._loop).result(30)
        return super().write(content)


async def test_everything_in_a_statement_is_of_one_moment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_statement, "_ROWS_AT_ONCE", 2)
    batch_id = await batch_of(shop, await shop.load([f"MOMENT-{shop.publisher_id}-{number}" for number in range(10)]))
    services, file = shop.services, SoldMeanwhile(shop)
    await state_batch(services.database, services.statement_keys, shop.publisher_id, batch_id, file)
    assert counts_in(file.getvalue())["states"] == {"for_sale": 10}
    assert counts_in(await batch_statement(shop, batch_id))["states"] == {"issued": 10}


async def test_a_month_lists_its_batches_and_what_happened_to_keys_in_it(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    report = (await receive(shop, csv_of([f"MONTH-{shop.publisher_id}-{number}" for number in range(8)]))).report
    await cancelled(shop, "gone", quantity=2)
    await shop.buy("kept", quantity=3)
    old = await shop.buy("long ago", quantity=1)
    superuser = await asyncpg.connect(database_urls.superuser)
    try:
        await superuser.execute(
            "UPDATE claims SET claimed_at = '2020-02-01Z', disclosed_at = '2020-02-29 23:59:59.999999Z' WHERE order_id = $1",
            old.order_id,
        )
    finally:
        await superuser.close()
    statement = await month_statement(shop, this_month())
    listed = [members["batch_id"] for members in members_of(statement) if members["kind"] == "batch"]
    assert listed == [str(report.batch_id)]
    assert {key["batch_id"] for key in keys_in(statement)} == {str(report.batch_id)}
    assert counts_in(statement) == {
        "kind": "counts",
        "keys": 5,
        "states": {"revoked": 2, "issued": 3},
        "changes": {"claimed": 5, "disclosed": 5, "revoked": 2},
    }
    february = await month_statement(shop, "2020-02")
    assert counts_in(february)["changes"] == {"claimed": 1, "disclosed": 1}
    assert counts_in(await month_statement(shop, "2020-03"))["keys"] == 0
    services = shop.services
    await cancel_order(services.database, services.shopper_keys, shop.reseller, old.order_id, reason=16, comment=None)
    changes = counts_in(await month_statement(shop, this_month()))["changes"]
    assert changes == {"claimed": 5, "disclosed": 5, "revoked": 3}
    pinned = await pinned_keys(services)
    for one in (statement, february):
        assert verified(one, pinned).about["of"] == "month"


async def test_a_month_says_whether_it_is_over(shop: Shop) -> None:
    assert members_of(await month_statement(shop, this_month()))[0]["is_over"] is False
    assert members_of(await month_statement(shop, "2020-02"))[0]["is_over"] is True


async def test_there_is_no_statement_of_what_is_not_there_or_not_finished(shop: Shop) -> None:
    services, file = shop.services, io.BytesIO()
    neighbour = await Shop.opened(services)
    foreign = await batch_of(shop, await neighbour.load(["FOREIGN"]))
    for batch_id in (foreign, uuid4()):
        with pytest.raises(NotFound):
            await state_batch(services.database, services.statement_keys, shop.publisher_id, batch_id, file)
    month = Month.named("2999-01")
    with pytest.raises(NotFound, match="has not begun"):
        await state_month(services.database, services.statement_keys, shop.publisher_id, month, file)
    receiving = await batch_of(shop, await shop.load(["COMING"], state="receiving"))
    with pytest.raises(Conflict, match="not finished"):
        await state_batch(services.database, services.statement_keys, shop.publisher_id, receiving, file)
    assert file.getvalue() == b""


async def test_a_batch_that_is_off_sale_says_so(shop: Shop) -> None:
    batch_id = await batch_of(shop, await shop.load(["OFF-1"], expires_on=date(2020, 1, 1)))
    await hold_batch(shop.services.database, shop.publisher_id, batch_id, caller_id=1)
    assert counts_in(await batch_statement(shop, batch_id))["states"] == {"off_sale": 1}


async def test_each_line_but_the_last_is_json_with_check_digits(shop: Shop) -> None:
    statement = await batch_statement(shop, await batch_of(shop, await shop.load(["L-1", "L-2"])))
    *lines, last = statement.splitlines(keepends=True)
    assert all(split_line(line) for line in lines)
    assert set(json.loads(last)) == {"lines", "sha256", "signature"}
    assert json.loads(last)["lines"] == len(lines) == 4


@pytest.mark.parametrize(
    ("name", "values", "indexes"),
    [
        ("segments_in_order", (1_000_000, UUID(int=1)), ["segments_one_per_expiry"]),
        ("keys_of_segment", (1_000_000, 1, 0, 500), ["keys_pkey", "claims_position_taken"]),
        ("claims_of_period", (1_000_000, UUID(int=0), JANUARY.begins, JANUARY.ends, 500), ["claims_pkey"]),
        ("batches_of_period", (1_000_000, UUID(int=0), JANUARY.begins, JANUARY.ends, 500), ["batches_pkey"]),
    ],
)
async def test_a_statement_is_read_by_indexes_and_never_sorted(
    database_urls: DatabaseUrls, name: str, values: tuple[object, ...], indexes: list[str]
) -> None:
    plan = await plan_of(database_urls.service, f"signed_statements.{name}", *values)
    assert all(index in plan for index in indexes), plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan
