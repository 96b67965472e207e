"""The story of the demo, in three acts: the keys come in, they are sold, they come to their end. Every step is checked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from rich.table import Table
from rich.text import Text

from keyservice.cli.demo_files import KeyFile, order_body, write_key_file, write_plain_file
from keyservice.cli.demo_people import Answer, Cast
from keyservice.cli.demo_screen import Screen, Step, facts_table, masked
from keyservice.cli.import_report import FileToSend, Listener, Report, report_table
from keyservice.domain.batch import BatchState, Verdict
from keyservice.fulfillment.ids import new_id

PRODUCT_REF: Final = 158_340
BOUGHT: Final = 3
FRESH_KEYS: Final = 100
WAITING: Final = 3
ORDER_FILE: Final = "order.json"

_ORDER: Final = "WEB-1001"
_TOO_BIG: Final = "WEB-1002"
_CLEARANCE: Final = "WEB-1003"
_CLAIM: Final = "PLATFORM-1"
_SERVED_SECONDS: Final = 30.0
_OUT_OF_STOCK: Final = 1044
_ALREADY_CREATED: Final = 1010
_NOT_FOUND: Final = 1010
_ENOUGH, _OUT = 100, 300
_IN_STOCK: Final = {_ENOUGH: "enough", 200: "almost out", _OUT: "out"}


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the first act leaves behind: keys for sale."""

    pool_id: UUID
    file: KeyFile
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Sale:
    """What the second act leaves behind: an order with its keys."""

    shelf: Shelf
    order_number: int
    purchase_id: str
    keys: tuple[str, ...] = field(repr=False)


async def keys_come_in(screen: Screen, cast: Cast) -> Shelf:
    """Act one."""
    with screen.step(
        "The publisher exports its license keys", "Key files are made by people and spreadsheets."
    ) as step:
        file = write_key_file(cast.directory / "keys.csv", today=datetime.now(UTC).date())
        size = file.path.stat().st_size
        step.show(facts_table(("file", str(file.path)), ("rows", f"{file.rows:,} in {size:,} bytes")))
        step.say("Planted in it: keys sent twice, no key, past dates, invisible characters.")
    with screen.step("The publisher opens a pool and a product", "The pool sells the keys that expire first.") as step:
        shelf = Shelf(await _open_pool(step, cast), file, {"format": "csv", "id_column": "id"})
    title = "A dry run: what would become of each row?"
    with screen.step(title, "The publisher sees every mistake before anything is stored.") as step:
        rehearsal = await _upload(cast, shelf, {"dry_run": "true"})
        step.equal("every planted mistake is found", rehearsal.verdicts, _all(file.expected))
        step.equal("nothing is stored", await cast.pool_level(shelf.pool_id), 0)
    title = "The upload itself"
    with screen.step(title, "Each key is sealed on arrival, and enters once and for ever.") as step:
        report = await _upload(cast, shelf, {})
        step.show(report_table({"dry run": rehearsal, "upload": report}, has_zeros=False))
        step.equal("the verdicts are those of the dry run", report.verdicts, rehearsal.verdicts)
        step.equal("they add up to the rows of the file", report.rows, file.rows)
        after = await cast.pool_level(shelf.pool_id)
        step.level(0, after)
        step.equal("what was accepted is for sale", after, report.accepted)
    return shelf


async def keys_are_sold(screen: Screen, cast: Cast, shelf: Shelf) -> Sale:
    """Act two."""
    with screen.step("The reseller asks for stock", "Before a product goes into a cart.") as step:
        await _expect_stock(step, cast, _ENOUGH)
    body = order_body(_ORDER, product_ref=PRODUCT_REF, quantity=BOUGHT, ordered_at=datetime.now(UTC))
    title = f"The reseller submits an order for {BOUGHT}"
    with screen.step(title, "The shopper has paid. One commit stands behind the answer.") as step:
        before = await cast.pool_level(shelf.pool_id)
        first = await cast.reseller.post("/connect/order/new", body)
        keys = _keys_of(first)
        step.equal("the order is accepted", (first.status, first.body["responseCode"]), (201, 0))
        step.show(_order_table(first, keys))
        step.expect("no key twice", len(set(keys)) == BOUGHT)
        step.expect("they are among those that expire first", shelf.file.soonest.issuperset(keys))
        await _expect_level(step, cast, shelf, before, before - BOUGHT)
    with screen.step("The same order once more", "As a shop does that never saw the first answer.") as step:
        again = await cast.reseller.post("/connect/order/new", body)
        step.expect("the answer is the first one, key by key", again == first)
        await _expect_level(step, cast, shelf, before - BOUGHT, before - BOUGHT)
    with screen.step("Another order under the same number", "A mistake in a shop must not cost keys.") as step:
        other = await cast.reseller.post("/connect/order/new", body | {"currency": "USD"})
        _expect_refusal(step, other, _ALREADY_CREATED)
        await _expect_level(step, cast, shelf, before - BOUGHT, before - BOUGHT)
    title = "The shopper looks into the purchase history"
    with screen.step(title, "Found by e-mail address; the database holds a keyed hash of it.") as step:
        purchase = await _purchase(cast)
        step.equal("the order is there", purchase["orderNumber"], first.body["orderNumber"])
        step.show(_history_table(purchase))
        step.expect("it shows the keys that were delivered", _shown_keys(purchase) == list(keys))
    return Sale(shelf, first.body["orderNumber"], purchase["id"], tuple(keys))


async def keys_end(screen: Screen, cast: Cast, sale: Sale) -> None:
    """Act three."""
    shelf = sale.shelf
    left = await cast.pool_level(shelf.pool_id)
    with screen.step(f"An order for {left + 1:,}, one more than there is", "All of it or nothing of it.") as step:
        too_big = await _order(cast, _TOO_BIG, left + 1)
        _expect_refusal(step, too_big, _OUT_OF_STOCK)
        stored = await cast.reseller.get(f"/connect/order/{_TOO_BIG}")
        step.equal("nothing of it is stored", (stored.status, stored.body["responseCode"]), (404, _NOT_FOUND))
        await _expect_level(step, cast, shelf, left, left)
    with screen.step("The reseller cancels the first order", "The shopper has the money back: its keys die.") as step:
        cancel = {"partnerOrderNumber": _ORDER, "reasonCode": 3, "comment": "did not like it"}
        canceled = await cast.reseller.put("/connect/order/cancel", cancel)
        step.equal("it is cancelled", (canceled.status, canceled.body["responseCode"]), (200, 0))
        purchase = (await cast.reseller.get(f"/fulfillment/purchases/{sale.purchase_id}")).body
        step.show(_history_table(purchase))
        step.expect("the history says revoked", all(unit["state"] == "revoked" for unit in _units_of(purchase)))
        step.equal("and shows no key any more", _shown_keys(purchase), [])
        step.expect("nor does the order", not _keys_of(await cast.reseller.get(f"/connect/order/{_ORDER}")))
        await _expect_level(step, cast, shelf, left, left)
    title = f"Everything that is left is sold: {left:,} keys in one order"
    with screen.step(title, "If a revoked key could ever be sold again, it would be now.") as step:
        sold = _keys_of(await _order(cast, _CLEARANCE, left))
        step.equal("the order gets them all", len(sold), left)
        step.expect("no key twice", len(set(sold)) == left)
        step.expect("no revoked key among them", set(sold).isdisjoint(sale.keys))
        await _expect_level(step, cast, shelf, left, 0)
        await _expect_stock(step, cast, _OUT)
        await _expect_alarm(step, cast)
    with screen.step(
        "The publisher uploads the same file again", "A sold key must not come back as new stock."
    ) as step:
        report = await _upload(cast, shelf, {})
        step.show(report_table({"again": report}, has_zeros=False))
        step.equal("nothing is accepted", (report.state, report.accepted), (BatchState.REFUSED, 0))
        step.equal("the revoked keys are known as such", report.verdicts[Verdict.REVOKED], BOUGHT)
        step.equal("the pool stays empty", await cast.pool_level(shelf.pool_id), 0)
    await _restock(screen, cast, shelf)


async def _restock(screen: Screen, cast: Cast, shelf: Shelf) -> None:
    title = f"A platform claims {WAITING} keys that are not there, and may wait"
    with screen.step(title, "It keeps its own orders and claims keys by a reference.") as step:
        lines = [{"product_ref": PRODUCT_REF, "quantity": WAITING}]
        claim = {"reference": _CLAIM, "lines": lines, "wait": True}
        waiting = await cast.pipeline.post("/fulfillment/claims", claim)
        step.equal("the claim waits", (waiting.status, waiting.body["status"]), (201, "PENDING"))
    with screen.step("A new batch, as plain text", "One key a line is enough.") as step:
        path = cast.directory / "more-keys.txt"
        write_plain_file(path, count=FRESH_KEYS)
        file = FileToSend.measured(path)
        report = await cast.uploads.upload(
            file, shelf.pool_id, {"format": "txt"}, batch_id=new_id(), listener=Listener()
        )
        step.equal("every key is accepted", report.verdicts, _all({Verdict.ACCEPTED: FRESH_KEYS}))
    with screen.step("Who waited is served first", "By itself, in order of payment, before new orders.") as step:
        served = await _until_served(cast)
        step.equal("the claim is complete", served["status"], "COMPLETED")
        keys = {unit["key"]["text"] for line in served["lines"] for unit in line["units"]}
        step.equal("with a key for each unit", len(keys), WAITING)
        await _expect_level(step, cast, shelf, FRESH_KEYS, FRESH_KEYS - WAITING)
        await _expect_stock(step, cast, _ENOUGH)


async def _until_served(cast: Cast) -> Any:
    """The claim once no unit of it waits any more, or as it is when that takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SERVED_SECONDS
    while True:
        claim = (await cast.pipeline.get(f"/fulfillment/claims/{_CLAIM}")).body
        if claim["status"] not in ("PENDING", "PARTIAL_COMPLETED") or loop.time() > deadline:
            return claim
        await asyncio.sleep(0.05)


async def _open_pool(step: Step, cast: Cast) -> UUID:
    publisher = cast.publisher
    pool = await publisher.post(
        "/publisher/pools",
        {"name": "antivirus-2027", "policy": "expiring_first", "warning_level": 50, "alert_level": 20},
    )
    step.equal("a pool, still empty", (pool.status, pool.body["left"]), (201, 0))
    pool_id = UUID(pool.body["pool_id"])
    plan = {"steps": [{"source": "pool", "pool": str(pool_id)}]}
    template = await publisher.post(
        "/publisher/templates",
        {"name": "one key each", "quantity_mode": "quantity", "block_size": 1, "source_plan": plan},
    )
    step.equal("a template: one key for each piece", template.status, 201)
    product = await publisher.post(
        "/publisher/products",
        {
            "product_ref": PRODUCT_REF,
            "name": "Lighthouse Antivirus 2027",
            "template_id": template.body["template_id"],
            "publisher_product_id": "LH-AV-27",
        },
    )
    step.equal(f"a product that resellers order as {PRODUCT_REF}", product.status, 201)
    return pool_id


async def _upload(cast: Cast, shelf: Shelf, options: dict[str, str]) -> Report:
    file = FileToSend.measured(shelf.file.path)
    return await cast.uploads.upload(
        file, shelf.pool_id, {**shelf.options, **options}, batch_id=new_id(), listener=Listener()
    )


def _all(some: Mapping[Verdict, int]) -> dict[Verdict, int]:
    """A report names every verdict."""
    return {verdict: some.get(verdict, 0) for verdict in Verdict}


async def _order(cast: Cast, number: str, quantity: int) -> Answer:
    body = order_body(number, product_ref=PRODUCT_REF, quantity=quantity, ordered_at=datetime.now(UTC))
    return await cast.reseller.post("/connect/order/new", body)


async def _purchase(cast: Cast) -> Any:
    found = await cast.reseller.post("/fulfillment/purchases/search", {"email": "ada.marin@example.com"})
    newest = found.body["purchases"][0]
    return (await cast.reseller.get(f"/fulfillment/purchases/{newest['id']}")).body


async def _expect_level(step: Step, cast: Cast, shelf: Shelf, before: int, after: int) -> None:
    seen = await cast.pool_level(shelf.pool_id)
    step.level(before, seen)
    if seen != after:
        step.equal("the pool's level", seen, after)


async def _expect_stock(step: Step, cast: Cast, status: int) -> None:
    stock = (await cast.reseller.post("/connect/stock", {"productRefs": [str(PRODUCT_REF)]})).body
    product = stock["productStatus"][0]
    step.equal(f"stock status {status}: {_IN_STOCK[status]}", product["status"], status)


async def _expect_alarm(step: Step, cast: Cast) -> None:
    events = (await cast.publisher.get("/publisher/events")).body["events"]
    alarms = [event["facts"] for event in events if event["name"] == "pool.alarm_changed"]
    step.expect("the publisher is told: pool alarm alert", any(facts["to"] == "alert" for facts in alarms))


def _expect_refusal(step: Step, refused: Answer, code: int) -> None:
    body = refused.body
    step.equal(f"it is refused: {body['responseCode']} {body['responseMessage']}", body["responseCode"], code)
    step.equal("without a key", _keys_of(refused), [])


def _keys_of(answer: Answer) -> list[str]:
    lines: Sequence[Any] = answer.body.get("orderLines", ())
    return [serial["data"] for line in lines for unit in line["lineItems"] for serial in unit["serials"]]


def _units_of(purchase: Any) -> list[Any]:
    return [unit for line in purchase["lines"] for unit in line["units"]]


def _shown_keys(purchase: Any) -> list[str]:
    return [unit["key"] for unit in _units_of(purchase) if "key" in unit]


def _order_table(answer: Answer, keys: Sequence[str]) -> Table:
    rows = [("order number", str(answer.body["orderNumber"]))]
    rows += [(f"key {number}", masked(key)) for number, key in enumerate(keys, start=1)]
    return facts_table(*rows)


def _history_table(purchase: Any) -> Table:
    """The first key in full, as the shopper gets it; the others masked."""
    table = Table("unit", "state", "key", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for number, unit in enumerate(_units_of(purchase), start=1):
        key = unit.get("key")
        shown = "" if key is None else key if number == 1 else masked(key)
        style = "green" if unit["state"] == "issued" else "red"
        table.add_row(str(unit["unitNumber"]), Text(unit["state"], style=style), Text(shown, style="bold yellow"))
    return table
