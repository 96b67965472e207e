"""What a request may tell its publisher: gathered from the stored order each time, so that a repetition tells the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from keyservice.crypto.sealing import DataKey, aad, people_aad
from keyservice.domain.connector import Buyer, ConnectorOperation, RequestFacts
from keyservice.domain.errors import NotFound, Tampered
from keyservice.fulfillment.open_keys import KeyOpener
from keyservice.fulfillment.shopper_keys import ShopperKeys
from keyservice.fulfillment.stored_request import KeyRequest
from keyservice.postgres.connection import Connection
from keyservice.postgres.statements import statement


def license_data_aad(publisher_id: int, license_ref: UUID) -> bytes:
    """What is kept of an answer opens for no other license."""
    return aad("license data1", publisher_id.to_bytes(8), license_ref.bytes)


@dataclass(frozen=True, slots=True)
class FactsReader:
    """Reads orders, people and what earlier answers said, of many requests at once."""

    shopper_keys: ShopperKeys
    opener: KeyOpener

    async def serve(self, connection: Connection, requests: Sequence[KeyRequest]) -> Sequence[RequestFacts | Exception]:
        """For each request its facts, NotFound when there is no such line, or Tampered when something of it does not open."""
        names = sorted({(request.order_id, request.line_number) for request in requests})
        rows = await connection.fetchmany(statement("key_requests.requested_line"), names)
        lines = {(row["order_id"], row["line_number"]): row for row in rows}
        refs = {row["shopper_ref"] for row in rows if row["people"] is not None}
        keys = await self.shopper_keys.find(connection, refs)
        facts: list[RequestFacts | Exception] = []
        for request in requests:
            line = lines.get((request.order_id, request.line_number))
            if line is None:
                facts.append(NotFound("the order line of this request is not there"))
                continue
            try:
                people = _people(line, keys.get(line["shopper_ref"]))
                said, license_id = await self._said(connection, request)
            except Tampered as damage:
                facts.append(damage)
            else:
                facts.append(_facts(request, line, people, said, license_id))
        return facts

    async def _said(self, connection: Connection, request: KeyRequest) -> tuple[dict[str, Sequence[str]], str]:
        """What earlier answers said of the license, and the publisher's own name of it."""
        if request.operation is ConnectorOperation.CREATE:
            return {}, ""
        created = await connection.fetchrow(
            statement("key_requests.key_request"), request.publisher_id, request.license_ref
        )
        row = await connection.fetchrow(
            statement("key_requests.license_data"), request.publisher_id, request.license_ref
        )
        license_id = "" if created is None else created["publisher_license_id"] or ""
        if row is None:
            return {}, license_id
        name = license_data_aad(request.publisher_id, request.license_ref)
        raw = await self.opener.open_value(connection, request.publisher_id, row["sealed"], name)
        said: dict[str, Sequence[str]] = json.loads(raw)
        return said, license_id


def _people(line: asyncpg.Record, key: DataKey | None) -> dict[str, Any]:
    if line["people"] is None or key is None:
        return {}
    people: dict[str, Any] = json.loads(key.open(line["people"], people_aad(line["order_id"])))
    return people


def _facts(
    request: KeyRequest,
    line: asyncpg.Record,
    people: Mapping[str, Any],
    said: Mapping[str, Sequence[str]],
    license_id: str,
) -> RequestFacts:
    told, order = json.loads(line["line_document"]), json.loads(line["order_document"])
    return RequestFacts(
        operation=request.operation,
        license_ref=request.license_ref,
        execution_id=request.key_request_id,
        requested_at=request.created_at,
        order_id=request.order_id,
        order_number=line["order_number"],
        partner_order_number=line["partner_order_number"],
        ordered_at=line["ordered_at"],
        line_item_id=line["line_item_id"],
        line_number=line["line_number"],
        quantity=line["quantity"],
        key_count=len(request.unit_ids),
        product_ref=line["product_ref"],
        product_name=line["product_name"] or "",
        publisher_product_id=line["publisher_product_id"] or "",
        currency=line["currency"] or "",
        gross_price=Decimal(told["amountTotal"]) if told.get("amountTotal") is not None else None,
        order_gross_price=line["total_amount"],
        buyer=_buyer(line, people),
        affiliate_id=str(order.get("affiliateId") or ""),
        reseller_id=str(line["caller_id"]),
        publisher_license_id=license_id,
        additional={name: tuple(values) for name, values in said.items()},
        reason=request.reason,
        is_test=request.is_test,
    )


def _buyer(line: asyncpg.Record, people: Mapping[str, Any]) -> Buyer:
    """Who gets the product: the delivery address before that of the invoice, the line's user before the customer."""
    customer: Mapping[str, Any] = people.get("customer") or {}
    place: Mapping[str, Any] = customer.get("locationDelivery") or customer.get("locationInvoice") or {}
    emails: Mapping[str, str] = people.get("endUserEmails") or {}
    street = ", ".join(part for part in (place.get("address1"), place.get("address2")) if part)
    return Buyer(
        shopper_id="" if line["shopper_ref"] is None else str(line["shopper_ref"]),
        email=emails.get(str(line["line_number"])) or customer.get("email") or "",
        first_name=place.get("firstName") or "",
        last_name=place.get("lastName") or "",
        company_name=place.get("companyName") or "",
        street=street,
        city=place.get("city") or "",
        zip_code=place.get("zipCode") or "",
        state=place.get("province") or "",
        country=place.get("country") or "",
        locale=customer.get("language") or "",
        phone=place.get("phone") or "",
    )
