"""Which connector a product's keys are asked of, and the requests that units without a key become."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from keyservice.domain.catalogue import Product, SourcePlan
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.errors import NotFound
from keyservice.domain.key_request import RequestState
from keyservice.fulfillment.connector_shelf import ConnectorShelf, ShelvedConnector
from keyservice.fulfillment.stored_request import KeyRequest, new_request

SEND_SECONDS: Final = 10.0
"""After this long nothing is sent any more by whoever has taken a request."""

LEASE_MARGIN_SECONDS: Final = 20.0
"""A lease outlives the last moment of sending and the call's budget: who comes after it is alone."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A connector that units are asked of, and the step of the source plan that it stands in."""

    plan_step: int
    shelved: ShelvedConnector
    plan: SourcePlan
    is_sandbox: bool

    @property
    def pool_ids(self) -> tuple[UUID, ...]:
        """The pools that are looked into first."""
        return self.plan.pools_before(self.plan_step)

    @property
    def is_test(self) -> bool:
        return self.is_sandbox or self.shelved.state == "testing"

    def requests(
        self,
        publisher_id: int,
        order_id: UUID,
        line_number: int,
        unit_ids: Sequence[UUID],
        now: datetime,
        *,
        sent_at_once: int = 0,
    ) -> list[KeyRequest]:
        """One for each unit or one for all, as the connector wants it; the first few are somebody's who sends them now."""
        document = self.shelved.connector.document
        groups = [list(unit_ids)] if document.request_per == "line" else [[unit_id] for unit_id in unit_ids]
        lease = timedelta(seconds=lease_seconds(self.shelved))
        is_last = self.plan_step == len(self.plan.steps) - 1
        return [
            new_request(
                publisher_id=publisher_id,
                connector_id=self.shelved.connector.connector_id,
                connector_version=self.shelved.connector.version,
                operation=ConnectorOperation.CREATE,
                order_id=order_id,
                line_number=line_number,
                unit_ids=group,
                state=RequestState.SENDING if at < sent_at_once else RequestState.PLANNED,
                now=now,
                give_up_at=now + timedelta(seconds=document.retry.give_up_seconds),
                next_at=now + lease if at < sent_at_once else now,
                plan_step=self.plan_step,
                is_test=self.is_test,
                accepts_surplus=self.plan.accepts_surplus,
                fall_back_at=None if is_last else now + timedelta(seconds=self.plan.answer_seconds),
            )
            for at, group in enumerate(groups)
        ]


def lease_seconds(shelved: ShelvedConnector) -> float:
    """How long whoever has taken a request is alone with it."""
    return SEND_SECONDS + shelved.connector.document.budget_seconds + LEASE_MARGIN_SECONDS


async def asking_of(shelf: ConnectorShelf, product: Product, *, is_sandbox: bool) -> Asking | None:
    """The first connector of the product's plan that takes requests of this kind of caller."""
    return await next_asking(shelf, product.template.source_plan, product.publisher_id, 0, is_sandbox=is_sandbox)


async def next_asking(
    shelf: ConnectorShelf, plan: SourcePlan, publisher_id: int, after: int, *, is_sandbox: bool
) -> Asking | None:
    """The first such connector from this step on. One in testing is asked for sandbox callers only."""
    found = plan.connector_at(after)
    while found is not None:
        number, step = found
        try:
            shelved = await shelf.take(publisher_id, step.connector_id)
        except NotFound:
            pass
        else:
            if shelved.state == "enabled" or (shelved.state == "testing" and is_sandbox):
                return Asking(number, shelved, plan, is_sandbox)
        found = plan.connector_at(number + 1)
    return None
