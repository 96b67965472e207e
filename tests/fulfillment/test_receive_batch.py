import asyncio
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from keyservice.domain.batch import BatchState, UploadRefused, Verdict
from keyservice.domain.errors import Conflict, Invalid, NotFound, OutOfStock
from keyservice.domain.key_file import ColumnMapping, KeyFileFormat, KeyFileLimits
from keyservice.fulfillment.cancel_order import cancel_order
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_batches import withdraw_batch
from keyservice.fulfillment.manage_pools import PoolChange, change_pool, list_events
from tests.fulfillment.uploads import (
    announced,
    csv_of,
    in_pieces,
    receive,
    receive_cut,
    refused,
    rows_of,
    verdicts,
)
from tests.lab.auditor import violations
from tests.lab.cluster import DatabaseUrls
from tests.lab.shop import Shop, texts_of

TOMORROW = datetime.now(UTC).date() + timedelta(days=2)


async def test_uploaded_keys_are_sold_in_the_order_of_the_file(shop: Shop) -> None:
    keys = [f"ORDER-{number:04}" for number in range(50)]
    random.Random(7).shuffle(keys)  # noqa: S311 - repeatable, not secret
    received = await receive(shop, csv_of(keys), chunk_rows=7)
    assert (received.report.state, received.is_replay) == (BatchState.RELEASED, False)
    assert await shop.left() == 50
    assert texts_of(await shop.buy("all", quantity=50)) == keys


async def test_every_row_of_the_file_has_one_verdict_and_the_counts_add_up(shop: Shop) -> None:
    data = b"key,note\nGOOD-1,a\n\nGOOD-2,b\n,empty\nGOOD-1,again\nGOOD-3,a,b\nNULL,x\n\n"
    report = (await receive(shop, data)).report
    assert dict(report.counts) == {
        Verdict.HEADER: 1,
        Verdict.ACCEPTED: 2,
        Verdict.BLANK: 2,
        Verdict.DUPLICATE_IN_FILE: 1,
        Verdict.MALFORMED: 3,
    }
    assert (report.rows, report.accepted, report.refused) == (9, 2, 4)
    assert await verdicts(shop, report.batch_id) == {
        5: Verdict.MALFORMED,
        6: Verdict.DUPLICATE_IN_FILE,
        7: Verdict.MALFORMED,
        8: Verdict.MALFORMED,
    }


async def test_a_refused_row_says_why_and_which_earlier_row_has_the_key(shop: Shop) -> None:
    data = b"key,key_id\nTWICE,one\nTWICE,two\nhas\x07bell,perhaps-a-key\n"
    rows = await refused(shop, (await receive(shop, data)).report.batch_id)
    assert [(row.row_number, row.verdict, row.earlier_row, row.publisher_key_id) for row in rows] == [
        (3, Verdict.DUPLICATE_IN_FILE, 2, "two"),
        (4, Verdict.MALFORMED, None, None),
    ]
    assert rows[1].reason == "invalid-key: has a control character (U+0007) at character 4"


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 5, 1_000])
@pytest.mark.parametrize("piece", [1, 17, 65_536])
async def test_the_verdicts_do_not_depend_on_how_the_file_arrives(shop: Shop, chunk_rows: int, piece: int) -> None:
    keys = ["A", "B", "A", "C", "", "B", "A", "bad\x01", "D", "D"]
    received = await receive(shop, in_pieces(csv_of(keys), piece), chunk_rows=chunk_rows)
    rows = await refused(shop, received.report.batch_id)
    assert [(row.row_number, row.verdict, row.earlier_row) for row in rows] == [
        (4, Verdict.DUPLICATE_IN_FILE, 2),
        (7, Verdict.DUPLICATE_IN_FILE, 3),
        (8, Verdict.DUPLICATE_IN_FILE, 2),
        (9, Verdict.MALFORMED, None),
        (11, Verdict.DUPLICATE_IN_FILE, 10),
    ]
    assert received.report.counts[Verdict.BLANK] == 1
    assert received.report.accepted == await shop.left() == 4


async def test_a_large_file_with_planted_faults_is_accounted_for_row_by_row(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    dice = random.Random(20261122)  # noqa: S311 - repeatable, not secret
    lines: list[str] = []
    expected: dict[int, Verdict] = {}
    first: set[str] = set()
    for row in range(2, 20_002):
        fate = dice.random()
        key = dice.choice(sorted(first)[-200:]) if fate < 0.03 and first else f"BULK-{dice.getrandbits(60):x}-{row}"
        if 0.03 <= fate < 0.05:
            key = dice.choice(["NULL", "#REF!", "x,y", "tab\tinside\x00"])
            expected[row] = Verdict.MALFORMED
        elif key in first:
            expected[row] = Verdict.DUPLICATE_IN_FILE
        first |= set() if row in expected else {key}
        lines.append(key)
    report = (await receive(shop, csv_of(lines), chunk_rows=777)).report
    assert await verdicts(shop, report.batch_id) == expected
    assert report.accepted == len(first) == await shop.left()
    assert report.rows == len(lines) + 1
    assert await violations(database_urls.superuser) == {}


async def test_a_key_that_came_before_is_refused_with_what_became_of_it(shop: Shop) -> None:
    await receive(shop, csv_of(["SOLD", "DEAD", "STOCK"]))
    bought = [await shop.buy("sold"), await shop.buy("dead")]
    services = shop.services
    await cancel_order(
        services.database, services.shopper_keys, shop.reseller, bought[1].order_id, reason=2, comment=None
    )
    gone = await receive(shop, csv_of(["GONE"]), replace(announced(shop), is_held=True))
    await withdraw_batch(services.database, shop.publisher_id, gone.report.batch_id, caller_id=1)
    await receive_cut(shop, csv_of(["EARLY", *(f"FILL-{number}" for number in range(8_000))]), new_id())

    report = (await receive(shop, csv_of(["SOLD", "DEAD", "STOCK", "GONE", "EARLY", "FRESH"]))).report
    assert await verdicts(shop, report.batch_id) == {
        2: Verdict.ALREADY_ISSUED,
        3: Verdict.REVOKED,
        4: Verdict.DUPLICATE_IN_STOCK,
        5: Verdict.WITHDRAWN,
        6: Verdict.IN_UNFINISHED_UPLOAD,
    }
    assert report.accepted == 1


async def test_a_key_in_another_pool_of_the_publisher_is_refused_and_one_of_another_publisher_is_not(
    shop: Shop,
) -> None:
    await receive(shop, csv_of(["EVERYWHERE"]))
    neighbour = await Shop.opened(shop.services)
    assert (await receive(neighbour, csv_of(["EVERYWHERE"]))).report.accepted == 1
    async with shop.services.database.transaction() as connection:
        other_pool = new_id()
        await connection.execute(
            "INSERT INTO pools (publisher_id, pool_id, name, policy, warning_level, alert_level, created_at)"
            " VALUES ($1, $2, 'second', 'fifo', 0, 0, now())",
            *(shop.publisher_id, other_pool),
        )
    report = (await receive(shop, csv_of(["EVERYWHERE", "NEW"]), replace(announced(shop), pool_id=other_pool))).report
    assert await verdicts(shop, report.batch_id) == {2: Verdict.DUPLICATE_IN_STOCK}


async def test_each_expiry_date_has_its_own_segment_and_past_ones_are_refused(shop: Shop) -> None:
    data = f"key,expires_on\nA,{TOMORROW}\nB,\nC,2020-01-01\nD,{TOMORROW}\nE,2099-12-31\n".encode()
    report = (await receive(shop, data)).report
    assert await verdicts(shop, report.batch_id) == {4: Verdict.MALFORMED}
    async with shop.services.database.transaction() as connection:
        segments = await connection.fetch(
            "SELECT expires_on, loaded, state FROM segments WHERE publisher_id = $1 AND batch_id = $2 ORDER BY segment_id",
            *(shop.publisher_id, report.batch_id),
        )
    assert [tuple(row) for row in segments] == [
        (TOMORROW, 2, "open"),
        (None, 1, "open"),
        (date(2099, 12, 31), 1, "open"),
    ]


async def test_the_batch_s_expiry_date_holds_for_rows_without_one(shop: Shop) -> None:
    await receive(shop, csv_of(["DATED"]), replace(announced(shop), expires_on=TOMORROW))
    async with shop.services.database.transaction() as connection:
        found = await connection.fetchval("SELECT expires_on FROM segments WHERE publisher_id = $1", shop.publisher_id)
    assert found == TOMORROW


async def test_no_text_of_a_key_reaches_the_database(shop: Shop, database_urls: DatabaseUrls) -> None:
    data = b"key,key_id,notes\nPLAIN-CANARY-1,id-1,a note\nPLAIN-CANARY-1,id-2,b\nPLAIN-CANARY-\x07,id-3,c\n"
    report = (await receive(shop, data)).report
    assert report.accepted == 1
    async with shop.services.database.transaction() as connection:
        tables = ("keys", "batches", "segments", "refused_rows", "publisher_events", "data_keys")
        for table in tables:
            found = await connection.fetch(f"SELECT t::text AS t FROM {table} t")  # noqa: S608 - a name from this test
            assert not [row for row in found if "CANARY" in row["t"] or b"CANARY".hex() in row["t"]]
        # The control: what is not secret is found this way. Notes are sealed, since a slipped column may make them a key.
        rows = await connection.fetch("SELECT t::text AS t FROM keys t WHERE publisher_id = $1", shop.publisher_id)
        assert "id-1" in rows[0]["t"]
        assert "a note" not in rows[0]["t"]


async def test_a_file_that_turns_out_unreadable_leaves_nothing_and_says_where(shop: Shop) -> None:
    keys = [f"BROKEN-{number:05}" for number in range(9_000)]
    data = csv_of(keys) + b"OPEN,\xff\n"
    with pytest.raises(UploadRefused) as refusal:
        await receive(shop, data, chunk_rows=500)
    assert (refusal.value.refusal.reason, refusal.value.refusal.line) == ("not-utf8", 9_002)
    assert await shop.left() == 0
    for table in ("keys", "segments", "refused_rows"):
        assert await rows_of(shop, table) == 0
    assert (await receive(shop, csv_of(keys))).report.accepted == 9_000


async def test_a_refused_file_keeps_its_reason_and_says_it_again(shop: Shop) -> None:
    upload = replace(announced(shop), batch_id=new_id())
    data = b'key\nFINE\n"OPEN\n'
    for _ in range(2):
        with pytest.raises(UploadRefused) as refusal:
            await receive(shop, data, upload)
        assert refusal.value.facts == {
            "reason": "unclosed-quote",
            "line": 3,
            "import_id": str(upload.batch_id),
        }


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (KeyFileLimits(rows_max=3), "too-many-rows"),
        (KeyFileLimits(bytes_max=20), "file-too-large"),
        (KeyFileLimits(row_bytes_max=8, cell_bytes_max=8), "row-too-long"),
    ],
)
async def test_a_file_beyond_a_limit_is_refused_whole(shop: Shop, limits: KeyFileLimits, reason: str) -> None:
    data = csv_of(["LIMIT-1", "LIMIT-2", "LIMIT-33", "LIMIT-4444"])
    with pytest.raises(UploadRefused) as refusal:
        await receive(shop, data, limits=limits, chunk_rows=1)
    assert refusal.value.refusal.reason == reason
    assert await rows_of(shop, "keys") == 0
    assert (await receive(shop, data)).report.accepted == 4


async def test_more_expiry_dates_than_allowed_refuse_the_file_and_as_many_do_not(shop: Shop) -> None:
    lines = [f"DAY-{day},{TOMORROW + timedelta(days=day)}\n" for day in range(6)]
    limits = KeyFileLimits(expiry_dates_max=5)
    with pytest.raises(UploadRefused) as refusal:
        await receive(shop, ("key,expires_on\n" + "".join(lines)).encode(), limits=limits)
    assert refusal.value.refusal.reason == "too-many-expiry-dates"
    report = (await receive(shop, ("key,expires_on\n" + "".join(lines[:5])).encode(), limits=limits)).report
    assert report.accepted == 5


async def test_a_file_without_one_new_key_becomes_no_batch_but_has_its_report(shop: Shop) -> None:
    await receive(shop, csv_of(["KNOWN-1", "KNOWN-2"]))
    report = (await receive(shop, csv_of(["KNOWN-1", "KNOWN-2"]))).report
    assert report.state is BatchState.REFUSED
    assert report.refusal is not None
    assert report.refusal.reason == "nothing-accepted"
    assert len(await refused(shop, report.batch_id)) == report.refused == 2
    assert await shop.left() == 2


async def test_a_dry_run_tells_the_same_verdicts_and_stores_no_key(shop: Shop) -> None:
    await receive(shop, csv_of(["IN-STOCK"]))
    data = csv_of(["NEW-1", "IN-STOCK", "NEW-1", "bad\x01", "NEW-2", "NEW-1"])
    dry = (await receive(shop, data, replace(announced(shop), is_dry_run=True), chunk_rows=2)).report
    assert dry.state is BatchState.CHECKED
    assert await shop.left() == 1
    assert await rows_of(shop, "keys") == 1
    assert await rows_of(shop, "dry_run_fingerprints") == 0
    assert await rows_of(shop, "data_keys") == 1
    real = (await receive(shop, data, chunk_rows=2)).report
    assert dict(dry.counts) == dict(real.counts)
    assert await refused(shop, dry.batch_id) == await refused(shop, real.batch_id)


async def test_a_held_batch_is_not_for_sale(shop: Shop) -> None:
    report = (await receive(shop, csv_of(["HELD-1"]), replace(announced(shop), is_held=True))).report
    assert report.state is BatchState.HELD
    assert await shop.left() == 0
    with pytest.raises(OutOfStock):
        await shop.buy("held")


async def test_an_unknown_or_foreign_pool_receives_nothing(shop: Shop) -> None:
    neighbour = await Shop.opened(shop.services)
    for pool_id in (new_id(), neighbour.pool_id):
        with pytest.raises(NotFound):
            await receive(shop, csv_of(["LOST"]), replace(announced(shop), pool_id=pool_id))
    assert await rows_of(shop, "batches") == 0


async def test_a_closed_pool_receives_nothing_until_it_is_opened(shop: Shop) -> None:
    database = shop.services.database
    await change_pool(database, shop.publisher_id, shop.pool_id, PoolChange(is_open=False), caller_id=1)
    with pytest.raises(Conflict):
        await receive(shop, csv_of(["CLOSED"]))
    await change_pool(database, shop.publisher_id, shop.pool_id, PoolChange(is_open=True), caller_id=1)
    assert (await receive(shop, csv_of(["CLOSED"]))).report.accepted == 1


@pytest.mark.parametrize(
    ("mapping", "expires_on"), [(ColumnMapping(delimiter="x"), None), (ColumnMapping(), date(2020, 1, 1))]
)
async def test_options_that_cannot_be_right_begin_no_upload(
    shop: Shop, mapping: ColumnMapping, expires_on: date | None
) -> None:
    with pytest.raises(Invalid):
        await receive(shop, csv_of(["X"]), replace(announced(shop), mapping=mapping, expires_on=expires_on))
    assert await rows_of(shop, "batches") == 0


async def test_a_text_file_needs_no_header(shop: Shop) -> None:
    report = (await receive(shop, b"TXT-1\r\nTXT-2", announced(shop, file_format=KeyFileFormat.TXT))).report
    assert dict(report.counts) == {Verdict.ACCEPTED: 2}


async def test_a_release_lowers_the_pool_s_alarm_and_leaves_its_events(shop: Shop) -> None:
    database = shop.services.database
    change = PoolChange(warning_level=3, alert_level=1)
    await change_pool(database, shop.publisher_id, shop.pool_id, change, caller_id=1)
    report = (await receive(shop, csv_of(["LEVEL-1", "LEVEL-2"]))).report
    events = await list_events(database, shop.publisher_id, pool_id=shop.pool_id, after=None, limit=100)
    told = [(event.name, event.batch_id, event.facts) for event in events]
    assert ("batch.begun", report.batch_id, {}) in told
    assert ("batch.released", report.batch_id, {"header": 1, "accepted": 2}) in told
    assert told[-1][0] == "pool.alarm_changed"
    assert (told[-1][2]["from"], told[-1][2]["to"]) == ("alert", "warning")


async def test_uploads_of_overlapping_files_at_once_let_every_key_in_once(
    shop: Shop, database_urls: DatabaseUrls
) -> None:
    keys = [f"RACE-{number:05}" for number in range(3_000)]
    files = []
    for seed in range(4):
        mine = keys[seed * 500 : seed * 500 + 1_500]
        random.Random(seed).shuffle(mine)  # noqa: S311 - repeatable, not secret
        files.append(csv_of(mine))
    reports = [one.report for one in await asyncio.gather(*(receive(shop, data, chunk_rows=100) for data in files))]
    assert [report.rows for report in reports] == [1_501] * 4
    assert sum(report.accepted for report in reports) == 3_000 == await shop.left()
    for report in reports:
        told = set((await verdicts(shop, report.batch_id)).values())
        assert told <= {Verdict.IN_UNFINISHED_UPLOAD, Verdict.DUPLICATE_IN_STOCK}
    assert await violations(database_urls.superuser) == {}


async def test_keys_are_sold_while_others_are_uploaded(shop: Shop, database_urls: DatabaseUrls) -> None:
    await receive(shop, csv_of([f"FIRST-{number}" for number in range(200)]))
    second = csv_of([f"SECOND-{number}" for number in range(5_000)])
    upload = asyncio.create_task(receive(shop, second, chunk_rows=50))
    answers = await asyncio.gather(*(shop.buy(f"meanwhile-{number}") for number in range(200)))
    sold = [text for answer in answers for text in texts_of(answer)]
    assert len(set(sold)) == 200
    await upload
    assert await shop.left() == 5_000
    assert await violations(database_urls.superuser) == {}
