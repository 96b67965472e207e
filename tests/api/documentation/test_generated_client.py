"""A client that a public generator makes of the document, without a line by hand, goes through the README's story."""

import asyncio
import importlib
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
import pytest

from keyservice.api.application import build_application
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.ids import new_id
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.services import Services
from tests.api.documented import Documented
from tests.lab.order_bodies import order_body
from tests.lab.shop import Shop

_PACKAGE: Final = "keyservice_client"
_PRODUCT: Final = 270_027
_KEYS: Final = ["R4T7K-2MNP9-XW3QH-6VJBD-C8GFY", "R4T7K-9HXC2-LL4WD-TQ7ME-4ZRUA", "R4T7K-5PQ8D-JX2LM-W9CVB-T6NSE"]


@dataclass(frozen=True, slots=True)
class Made:
    """A generated package that can be imported by its name."""

    package: Path
    log: str

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{_PACKAGE}.{name}")


@dataclass(frozen=True, slots=True)
class Caller:
    """One who calls through the package."""

    made: Made
    client: Any

    async def ask(self, operation: str, status: int, *words: Any, **values: Any) -> Any:
        """The answer to an operation such as `publisher.open_pool`, as the model that the package has for it."""
        # Not in this event loop, as files are sent by the blocking half of the package only.
        send = self.made.module(f"api.{operation}").sync_detailed
        found = await asyncio.to_thread(send, *words, client=self.client, **values)
        assert found.status_code == status, found.content
        return found.parsed


@pytest.fixture(scope="module")
async def made(http: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Made]:
    directory = tmp_path_factory.mktemp("generated")
    async with http.get("/openapi.json") as answer:
        (directory / "openapi.json").write_bytes(await answer.read())
    tools = Path(sys.executable).parent
    generator = await asyncio.create_subprocess_exec(
        tools / "openapi-python-client",
        *("generate", "--path", "openapi.json", "--meta", "none", "--output-path", _PACKAGE),
        cwd=directory,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    log, _ = await generator.communicate()
    assert generator.returncode == 0, log.decode()
    sys.path.insert(0, str(directory))
    yield Made(directory / _PACKAGE, log.decode())
    sys.path.remove(str(directory))
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]


def test_the_client_has_every_operation(made: Made, services: Services) -> None:
    missing = []
    for operation in Documented(build_application(services)).operations.values():
        tag = operation["tags"][0].replace("-", "_")
        if not (made.package / "api" / tag / f"{operation['operationId']}.py").exists():
            missing.append(operation["operationId"])
    assert not missing, made.log
    # It knows no bodies of other types than these, and sends such files as what they are: bytes.
    assert set(_lines(made.log, "Unsupported")) == set(_lines(made.log, "Unsupported content type "))
    assert not list(_lines(made.log, "ERROR"))


async def test_the_client_goes_through_the_story(made: Made, base_url: str, services: Services, shop: Shop) -> None:
    async with _callers(made, base_url, services, shop) as (publisher, reseller, history):
        pool = await publisher.ask(
            "publisher.open_pool",
            201,
            body=made.module("models.new_pool").NewPool(name="office-2027", warning_level=2, alert_level=1),
        )
        await _make_product(publisher, pool.pool_id)
        await _upload(publisher, pool.pool_id)
        assert (await publisher.ask("publisher.read_pool", 200, pool.pool_id)).left == len(_KEYS)
        await _buy_and_cancel(reseller, history)
        assert (await publisher.ask("publisher.read_pool", 200, pool.pool_id)).left == len(_KEYS) - 2
        events = await publisher.ask("publisher.list_publisher_events", 200, pool_id=pool.pool_id)
        assert {event.name for event in events.events} >= {"pool.created", "batch.begun"}


async def _make_product(publisher: Caller, pool_id: UUID) -> None:
    models = publisher.made.module("models")
    plan = models.NewSourcePlan(steps=[models.PoolSource(source="pool", pool=pool_id)])
    template = await publisher.ask(
        "publisher.create_template", 201, body=models.NewTemplate(name="one key each", source_plan=plan)
    )
    product = models.NewProduct(product_ref=_PRODUCT, name="Office 2027", template_id=template.template_id)
    await publisher.ask("publisher.create_product", 201, body=product)


async def _upload(publisher: Caller, pool_id: UUID) -> None:
    models, types = publisher.made.module("models"), publisher.made.module("types")
    text = "\n".join([*_KEYS, _KEYS[0], ""]).encode()
    for is_dry_run in (True, False):
        report = await publisher.ask(
            "publisher.upload_key_file",
            200 if is_dry_run else 201,
            pool_id,
            body=types.File(payload=io.BytesIO(text)),
            format_=models.UploadKeyFileFormat.TXT,
            idempotency_key=str(new_id()),
            dry_run=is_dry_run,
        )
        assert (report.accepted, report.verdicts["duplicate_in_file"]) == (len(_KEYS), 1)


async def _buy_and_cancel(reseller: Caller, history: Caller) -> None:
    models = reseller.made.module("models")
    stock = await reseller.ask("connect.ask_for_stock", 200, body=models.StockBody(product_refs=[_PRODUCT]))
    assert [one.response_code for one in stock.product_status] == [0]
    order = models.OrderBody.from_dict(order_body("generated-1", (_PRODUCT, 2), email="ada@example.com"))
    first, again = [await reseller.ask("connect.submit_order", 201, body=order) for _ in range(2)]
    keys = [serial.data for unit in first.order_lines[0].line_items for serial in unit.serials]
    assert sorted(keys) == sorted(_KEYS[:2])
    assert again == first
    assert (await reseller.ask("connect.read_order", 200, "generated-1")).order_number == first.order_number

    found = await history.ask("fulfillment.search_purchases", 200, body=models.PurchaseSearch(email="ada@example.com"))
    purchase_id = found.purchases[0].id
    purchase = await history.ask("fulfillment.read_purchase", 200, purchase_id)
    assert sorted(unit.key for unit in purchase.lines[0].units) == sorted(keys)

    cancel = models.CancelBody(partner_order_number="generated-1", reason_code=models.CancelBodyReasonCode(3))
    assert (await reseller.ask("connect.cancel_order", 200, body=cancel)).response_code == 0
    purchase = await history.ask("fulfillment.read_purchase", 200, purchase_id)
    assert {unit.state for unit in purchase.lines[0].units} == {"revoked"}


@asynccontextmanager
async def _callers(
    made: Made, base_url: str, services: Services, shop: Shop
) -> AsyncIterator[tuple[Caller, Caller, Caller]]:
    """A publisher, a reseller at Connect, and the same reseller at the purchase history."""
    async with services.database.transaction() as connection:
        token = await add_caller(connection, kind=CallerKind.PUBLISHER, name="generated", publisher=shop.publisher)
    kind = made.module("client").AuthenticatedClient
    with (
        kind(base_url=base_url, token=token) as publisher,
        kind(base_url=base_url, token=shop.reseller_token, prefix="", auth_header_name="secret") as reseller,
        kind(base_url=base_url, token=shop.reseller_token) as history,
    ):
        yield Caller(made, publisher), Caller(made, reseller), Caller(made, history)


def _lines(log: str, beginning: str) -> Iterator[str]:
    yield from (line for line in log.splitlines() if line.startswith(beginning))
