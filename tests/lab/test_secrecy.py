"""A thousand keys that would be recognised anywhere go through everything, and are nowhere to be found afterwards."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg
import pytest

from keyservice.crypto.keyring import PURPOSES
from keyservice.crypto.wrapping import KeyringWrapper
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.open_keys import data_key_context
from keyservice.postgres.embedded.credentials import Credentials
from tests.lab.auditor import violations
from tests.lab.canary import MARK, Found, Scanner, canaries, dump, files_below
from tests.lab.conftest import Figures, own_postgres
from tests.lab.driver import Driver, FileToSend, OrderToSend, patient_session
from tests.lab.history import Operation, Outcome
from tests.lab.key_files import plain_file
from tests.lab.order_bodies import order_body
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront
from tests.lab.waiting import until_true
from tests.lab.wrong_requests import answer_to, answer_to_raw, broken_http, wrong_requests

pytestmark = own_postgres

KEYS: Final = Scanner({"canary": MARK.encode()})
KEYRING, PASSWORDS = "keyring.json", "credentials.json"
EMAIL = "grace@example.com"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(
        processes=2, log_level="debug", upload_chunk_rows=50, stop_seconds=5, body_seconds=2, header_seconds=2
    ) as running:
        yield running


@pytest.fixture(scope="module")
async def driver(service: ServiceProcess) -> AsyncIterator[Driver]:
    async with patient_session(service.base_url) as session:
        yield Driver(session, await Storefront.opened(service, session))


async def keys_come_in(driver: Driver, keys: Sequence[str]) -> None:
    """Accepted rows, refused rows of every kind, a dry run, repetitions, and files that are refused as a whole."""
    stock, tried = keys[:600], keys[600:700]
    rows = [f'"{key}",2099-12-31' for key in stock]
    rows += [f'"{key}",2099-12-31' for key in stock[:50]]
    rows += [f'"{key}",1999-01-01' for key in tried[:20]] + [f'"{key}",no date' for key in tried[20:40]]
    rows += [f'"{key}",,more' for key in tried[40:60]] + [f'"{key}\u200b",' for key in tried[60:70]]
    rows += [f'x"{key}",' for key in tried[70:80]] + [f'"{key * 60}",' for key in tried[80:90]]
    rows += [f'"{key}\nand a line",' for key in tried[90:]]
    content = "\n".join(("key,expires_on", *rows)).encode()
    dry = await driver.upload(FileToSend(content, query={"dry_run": "true"}))
    real = await driver.upload(file := FileToSend(content))
    assert (dry.outcome, real.outcome, driver.reports[real.name]["accepted"]) == (Outcome.OK, Outcome.OK, 600)
    assert driver.reports[real.name]["verdicts"]["malformed"] == 100
    assert (await driver.upload(file)).outcome is Outcome.OK
    assert (await driver.upload(FileToSend(content))).outcome is Outcome.OK
    raw = "\n".join(tried).encode()
    for bad in (raw + b"\n\xff", b"PK\x03\x04" + raw, raw.decode().encode("utf-16"), b'"' + raw):
        assert (await driver.upload(FileToSend(bad))).outcome is Outcome.REFUSED
    for kind in ("application/json", "multipart/form-data; boundary=x", "application/zip", "text/csv; charset=latin-1"):
        assert (await driver.upload(FileToSend(raw, content_type=kind))).outcome is Outcome.REFUSED
    path = f"/publisher/imports/{real.name}/refused-rows"
    async with driver.session.get(path, headers=driver.store.bearer) as response:
        assert MARK not in await response.text()


async def keys_go_out(driver: Driver, admin: str, *, comments: Sequence[str]) -> None:
    """Claims, repetitions, reads, cancellations with a comment, the purchase history, and what an admin sees."""
    numbers = [f"{driver.numbers}{n}" for n in range(100)]
    for number in numbers:
        order = OrderToSend.of(number, (driver.store.product_ref, 3), email=EMAIL)
        bought = await driver.order(order)
        assert MARK in bought.keys[0], "what is searched for is what was sold"
        assert (await driver.order(order)).digest == bought.digest
        assert (await driver.read(number)).keys == bought.keys
    for number, comment in zip(numbers[50:], comments, strict=True):
        assert (await driver.cancel(number, comment=comment)).outcome is Outcome.OK
    bearer = {"Authorization": f"Bearer {driver.store.reseller_token}"}
    masked = {"Authorization": f"Bearer {admin}"}
    async with driver.session.post("/fulfillment/purchases/search", json={"email": EMAIL}, headers=bearer) as response:
        found = (await response.json())["purchases"]
    for purchase in found:
        for headers, is_shown in ((bearer, purchase["status"] == "COMPLETED"), (masked, False)):
            async with driver.session.get(f"/fulfillment/purchases/{purchase['id']}", headers=headers) as response:
                assert (MARK in await response.text()) == is_shown


async def a_person_is_named_like_a_key(driver: Driver, name: str) -> None:
    """Personal data is sealed too."""
    body = order_body(f"{driver.numbers}person", (driver.store.product_ref, 1))
    for place in ("locationDelivery", "locationInvoice"):
        body["customer"][place] |= {"lastName": name, "companyName": name, "address1": name, "city": name}
    order = OrderToSend(f"{driver.numbers}person", 1, json.dumps(body).encode())
    assert (await driver.order(order)).outcome is Outcome.OK
    assert (await driver.order(order)).outcome is Outcome.OK


async def everything_dies_meanwhile(service: ServiceProcess, driver: Driver, keys: Sequence[str]) -> None:
    """An upload and orders are under way when a worker and the database are killed."""
    file = plain_file(keys)
    orders = [driver.one_line(f"killed.{n}") for n in range(40)]
    known = driver.history.count(Operation.ORDER, Outcome.OK)
    async with asyncio.TaskGroup() as clients:
        clients.create_task(driver.upload_until_known(file))
        for order in orders:
            clients.create_task(driver.order_until_known(order))
        await until_true(
            lambda: driver.history.count(Operation.ORDER, Outcome.OK) > known, seconds=20, what="orders are under way"
        )
        for victim in (service.workers[0], service.postmaster):
            assert victim is not None
            victim.kill()
    await service.wait_ready()
    assert driver.history.count(Operation.ORDER, Outcome.OK) == known + len(orders)


async def everything_is_done_wrong(service: ServiceProcess, driver: Driver, admin: str, keys: Sequence[str]) -> int:
    """Keys where they do not belong: no answer repeats them. How many requests were refused."""
    wrong = [request for key in keys[:2] for request in wrong_requests(driver, admin, key)]
    answers = await asyncio.gather(*(answer_to(driver, request) for request in wrong))
    assert [one.request for one in answers if not one.is_refused] == []
    assert [one.request for one in answers if MARK in one.text] == []
    raw = [content for key in keys[2:4] for content in broken_http(key, driver.store.reseller_token)]
    texts = await asyncio.gather(*(answer_to_raw(service.base_url, content) for content in raw))
    assert [content for content, text in zip(raw, texts, strict=True) if MARK in text or " 200 " in text] == []
    return len(wrong) + len(raw)


async def secrets_of(service: ServiceProcess) -> dict[str, bytes]:
    """Every secret that the service holds, opened: of the keyring, of batches, and of the database."""
    keyring = service.keyring()
    secrets = {one.name: one.value for purpose in PURPOSES for one in keyring.versions(purpose)}
    passwords = Credentials.read(service.data / "database" / PASSWORDS)
    secrets |= {f"password of {name}": getattr(passwords, name).encode() for name in ("superuser", "owner", "service")}
    connection = await asyncpg.connect((await service.database_urls()).superuser)
    try:
        for row in await connection.fetch("SELECT publisher_id, data_key_id, batch_id, wrapped FROM data_keys LIMIT 5"):
            context = data_key_context(row["publisher_id"], row["batch_id"])
            secrets[f"data key {row['data_key_id']}"] = await KeyringWrapper(keyring).unwrap(row["wrapped"], context)
    finally:
        await connection.close()
    return secrets


async def everywhere(service: ServiceProcess, scanner: Scanner) -> list[Found]:
    """A dump, every file below the service's directory, and every process; the two files of secrets excepted."""
    urls = await service.database_urls()
    found = scanner.in_bytes(await asyncio.to_thread(dump, urls.superuser), "dump")
    await _to_disk(urls.superuser)
    found += await asyncio.to_thread(scanner.in_files, service.directory, but={KEYRING, PASSWORDS})
    return found + scanner.in_processes(service.everything)


async def _to_disk(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for one in (*statements, "CHECKPOINT"):
            await connection.execute(one)
    finally:
        await connection.close()


async def test_no_key_and_no_secret_is_left_in_any_file_dump_log_or_process(
    service: ServiceProcess, driver: Driver, rng: random.Random, seed: int, figures: Figures
) -> None:
    keys = canaries(rng, 1_000)
    admin = await service.new_caller(CallerKind.ADMIN, "secrecy-admin")
    await keys_come_in(driver, keys)
    await keys_go_out(driver, admin, comments=keys[700:750])
    await a_person_is_named_like_a_key(driver, keys[750])
    await everything_dies_meanwhile(service, driver, keys[760:])
    refused = await everything_is_done_wrong(service, driver, admin, keys[751:760])

    assert b'"level":"debug"' in service.log.read_bytes(), "whatever is ever logged was logged"
    began = time.monotonic()
    assert await everywhere(service, KEYS) == []
    tokens = {"reseller": driver.store.reseller_token, "publisher": driver.store.publisher_token, "admin": admin}
    secrets = {**await secrets_of(service), **{name: token.encode() for name, token in tokens.items()}}
    forms = ("raw", "hex", "HEX", "base64 at 0", "base64url at 0")
    assert await everywhere(service, Scanner(secrets, forms=forms)) == []
    assert await violations((await service.database_urls()).superuser) == {}
    figures(
        seed=seed,
        keys=len(keys),
        requests_refused=refused,
        secrets=len(secrets),
        files=sum(1 for _ in files_below(service.directory)),
        megabytes=round(sum(path.stat().st_size for path in files_below(service.directory)) / 1e6),
        processes=len(service.everything),
        scan_seconds=round(time.monotonic() - began, 1),
        found=0,
    )


async def test_the_same_search_finds_a_key_that_is_stored_in_plain(service: ServiceProcess, rng: random.Random) -> None:
    (key,) = canaries(rng, 1)
    superuser = (await service.database_urls()).superuser
    await _to_disk(superuser, "CREATE TABLE plain (key text)", f"INSERT INTO plain VALUES ('{key}')")  # noqa: S608
    try:
        places = {found.place for found in await everywhere(service, KEYS) if found.form == "raw"}
    finally:
        await _to_disk(superuser, "DROP TABLE plain")
    assert "dump" in places
    assert any("/base/" in place for place in places), "the table's file"
    assert any("/pg_wal/" in place for place in places), "the write-ahead log"


async def test_the_same_search_finds_secrets_where_they_are_kept(service: ServiceProcess) -> None:
    secrets = await secrets_of(service)
    scanner = Scanner(secrets, forms=("raw", "base64 at 0"))
    places = {found.place.rpartition("/")[2] for found in await asyncio.to_thread(scanner.in_files, service.data)}
    assert places == {KEYRING, PASSWORDS}
