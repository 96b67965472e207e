"""What the demo's people have on their disks: a publisher's key files and a reseller's order."""

import csv
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from keyservice.domain.batch import Verdict

HEADER: Final = ("key", "expires", "id", "notes")
GOOD_KEYS: Final = 1_972
DUPLICATES: Final = 16
UNIT_PRICE: Final = 24.99
VAT_RATE: Final = 20.0

# No letter that is read as another one.
_LETTERS: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
# Behind the first ones, which are sold first, and before the first gap that a planted row fills.
_DUPLICATES_FROM: Final = 40
_SOONER_DAYS, _LATER_DAYS = 300, 665

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file and what is known about it beforehand, to hold the service's report against."""

    path: Path
    rows: int
    expected: Mapping[Verdict, int]
    soonest: frozenset[str] = field(repr=False)
    """The keys that expire first."""

    id_of: Mapping[str, str] = field(repr=False)
    """The publisher's own id of each key."""


def write_key_file(path: Path, *, today: date) -> KeyFile:
    """A CSV file as publishers export it: good rows, and among them the mistakes that such files have."""
    sooner, later = (str(today + timedelta(days=days)) for days in (_SOONER_DAYS, _LATER_DAYS))
    good: list[Row] = [
        (_new_key(), sooner if number % 4 else later, f"LH-{number:06}", "export of the build server")
        for number in range(1, GOOD_KEYS + 1)
    ]
    malformed = _malformed_rows(today)
    blank: list[Row] = [("", "", "", "")] * 2
    twice = [(*row[:2], "", "sent twice") for row in good[_DUPLICATES_FROM : _DUPLICATES_FROM + DUPLICATES]]
    planted = [*twice, *malformed, *blank]
    rows = _spread(planted, good)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([HEADER, *rows])
    return KeyFile(
        path=path,
        rows=len(rows) + 1,
        expected={
            Verdict.ACCEPTED: len(good),
            Verdict.DUPLICATE_IN_FILE: DUPLICATES,
            Verdict.MALFORMED: len(malformed),
            Verdict.BLANK: len(blank),
            Verdict.HEADER: 1,
        },
        soonest=frozenset(key for key, expires, *_ in good if expires == sooner),
        id_of={key: own_id for key, _, own_id, _ in good},
    )


def write_plain_file(path: Path, *, count: int) -> None:
    """The simplest key file: one key a line."""
    path.write_text("".join(f"{_new_key()}\n" for _ in range(count)), encoding="ascii")


def order_body(number: str, *, product_ref: int, quantity: int, ordered_at: datetime) -> dict[str, Any]:
    """Every member that document 003 has, with a price that agrees with the quantity."""
    return {
        "affiliateId": 7,
        "currency": "EUR",
        "customer": _customer(),
        "discounts": [_discount("AUTUMN", "Autumn sale", 5.0)],
        "marketingProgramId": "autumn-campaign",
        "metadata": [{"key": "cart", "value": "C-48213"}],
        "orderDate": ordered_at.isoformat(timespec="seconds"),
        "orderLines": [
            {
                "amountDutyFree": UNIT_PRICE,
                "amountTotal": round(UNIT_PRICE * quantity * (1 + VAT_RATE / 100), 2),
                "discounts": [_discount("LOYAL", "Returning customer", 2.0)],
                "endUserEmail": "ada.marin@example.com",
                "productRef": str(product_ref),
                "quantity": quantity,
                "vatRate": VAT_RATE,
            }
        ],
        "partnerOrderNumber": number,
        "payment": {"paymentMethod": "External Payment", "transactionId": f"PAY-{number}"},
    }


def _customer() -> dict[str, Any]:
    place = {
        "address1": "12 rue des Lilas",
        "address2": "3e étage",
        "city": "Lyon",
        "companyName": "Marin et fils",
        "country": "FR",
        "fax": "+33 4 00 00 00 01",
        "firstName": "Ada",
        "lastName": "Marin",
        "phone": "+33 4 00 00 00 00",
        "province": "69",
        "title": 3,
        "zipCode": "69003",
    }
    return {
        "email": "ada.marin@example.com",
        "ipV4": "192.0.2.44",
        "ipV6": "2001:db8::44",
        "language": "fr_FR",
        "locationDelivery": place,
        "locationInvoice": dict(place),
        "partnerId": "SHOPPER-2001",
    }


def _discount(reference: str, label: str, amount: float) -> dict[str, Any]:
    return {
        "foreignRef": reference,
        "label": label,
        "operation": "Amount",
        "operationValue": amount,
        "priceDelta": amount,
    }


def _new_key() -> str:
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(5))


def _malformed_rows(today: date) -> list[Row]:
    future, past = str(today + timedelta(days=_LATER_DAYS)), str(today - timedelta(days=1))
    return [
        ("", future, "LH-900001", "no key"),
        ("", future, "LH-900002", "no key"),
        (_new_key(), past, "LH-900003", "expired yesterday"),
        (_new_key(), past, "LH-900004", "expired yesterday"),
        (_new_key(), "31.12.2031", "LH-900005", "no ISO date"),
        ("#N/A", future, "LH-900006", "left behind by a spreadsheet"),
        (f"{_new_key()} ", future, "LH-900007", "a blank after the key"),
        (f"{_new_key()}\u200b", future, "LH-900008", "an invisible character"),
        (_new_key(), future),
        HEADER,
    ]


def _spread(few: Sequence[Row], many: Sequence[Row]) -> list[Row]:
    """The few among the many at even distances, each behind the row it may repeat."""
    gap = len(many) // (len(few) + 1)
    return list(_woven(few, many, gap))


def _woven(few: Sequence[Row], many: Sequence[Row], gap: int) -> Iterable[Row]:
    waiting = iter(few)
    for number, row in enumerate(many, start=1):
        yield row
        if number % gap == 0 and (planted := next(waiting, None)) is not None:
            yield planted
