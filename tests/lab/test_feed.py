"""The feed of dead keys on a real service of two worker processes: whoever goes by the numbers misses nothing."""

import asyncio
import random
from typing import Any

import pytest

from tests.lab.auditor import violations
from tests.lab.conftest import Figures
from tests.lab.driver import Driver, patient_session
from tests.lab.history import Outcome
from tests.lab.key_files import fresh_keys, plain_file
from tests.lab.service_process import ServiceProcess
from tests.lab.storefront import Storefront

_READERS = 4


@pytest.mark.parametrize("orders", [150, pytest.param(5_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_readers_miss_nothing_while_orders_are_cancelled_all_at_once(
    service: ServiceProcess, rng: random.Random, figures: Figures, orders: int
) -> None:
    async with patient_session(service.base_url) as session:
        driver = Driver(session, await Storefront.opened(service, session))
        sent = [driver.one_line(n, quantity=1 + n % 3) for n in range(orders)]
        units = sum(order.unit_count for order in sent)
        await driver.upload(plain_file(fresh_keys(rng, units, prefix=driver.store.handle.upper())))
        waiting = iter(sent)
        worked_before = [worker.cpu_seconds for worker in service.workers]

        async def sell_and_cancel() -> None:
            for order in waiting:
                assert (await driver.order(order)).outcome is Outcome.OK
                assert (await driver.cancel(order.number)).outcome is Outcome.OK

        selling = [asyncio.create_task(sell_and_cancel()) for _ in range(16)]
        readers = await asyncio.gather(*(_read_on(driver, units, limit=11 + reader) for reader in range(_READERS)))
        await asyncio.gather(*selling)

        for entries in readers:
            assert [entry["sequence"] for entry in entries] == list(range(1, units + 1))
            assert [entry["chain_hash"] for entry in entries] == [entry["chain_hash"] for entry in readers[0]]
        assert len({(entry["batch_id"], entry["row_number"]) for entry in readers[0]}) == units
        worked = [after.cpu_seconds - before for after, before in zip(service.workers, worked_before, strict=True)]
        assert min(worked) > 0.1, "both processes served"
    assert await violations((await service.database_urls()).superuser) == {}
    figures(orders=orders, revocations=units, readers=_READERS, missed=0)


async def _read_on(driver: Driver, units: int, *, limit: int) -> list[dict[str, Any]]:
    """Page after page, always behind the last number seen, until there are so many entries."""
    entries: list[dict[str, Any]] = []
    last_hash = "00" * 32
    while len(entries) < units:
        page = await driver.store.get(driver.session, f"revocations?after={len(entries)}&limit={limit}")
        assert page["previous_hash"] == last_hash
        entries += page["entries"]
        last_hash = page["last_hash"]
    return entries
