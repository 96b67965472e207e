"""The shapes of the Connect answers, for the OpenAPI document: `answers.py` writes them as plain dictionaries, which is fast.

Tests hold every answer that the service gives against these.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from keyservice.api.answering import CamelAnswer
from keyservice.api.connect import examples
from keyservice.api.connect.codes import (
    AnswerCode,
    CancelOrderCode,
    CreateOrderCode,
    OrderDataCode,
    StockCode,
    StockStatus,
)


def _codes(*services: type[AnswerCode]) -> Any:
    """The codes with their messages; clients must expect others, so the schema does not close the list."""
    messages = {int(code): code.message for service in services for code in service}
    return Field(description="; ".join(f"{code} {message}" for code, message in sorted(messages.items())) + ".")


class _Coded(CamelAnswer):
    response_message: str
    """The code in words, and what it is about."""


class ConnectRefusal(_Coded):
    """A refusal of a request that was not understood, or whose sender was not."""

    response_code: Annotated[int, _codes(CreateOrderCode, OrderDataCode, CancelOrderCode)]


class ConnectSerial(CamelAnswer):
    """A key, or one of its parts: as text, or as the bytes of a file in base64."""

    data: str
    encoding: Literal["", "base64"]
    """Empty where `data` is the key itself."""

    charset: str
    file_name: str | None
    label: Annotated[str, Field(default_factory=str)]
    """Which part it is; only there where a key has several."""


class ConnectUnit(_Coded):
    """One wanted key. Without a serial, the code says whether it is still to come and the message what became of it."""

    subscription_id: int | None
    serials: list[ConnectSerial]
    response_code: Annotated[int, _codes(CreateOrderCode)]


class ConnectFile(CamelAnswer):
    """Something to download."""

    label: str
    type: str
    url: str
    size: int
    """In bytes."""

    group: str | None


class ConnectLine(_Coded):
    """One product of the order with a unit for each wanted key; without any where the order was refused."""

    product_ref: int | None
    date_end_download: date | None
    digital_locker_link: str | None
    remark: str | None
    files: list[ConnectFile]
    line_items: list[ConnectUnit]
    response_code: Annotated[int, _codes(CreateOrderCode, OrderDataCode)]


class ConnectDownloadManager(CamelAnswer):
    """Where the reference has its download manager; this service has none."""

    pc: str | None
    mac: str | None


class ConnectOrder(_Coded):
    """An order with its keys, or why it was refused: then `responseCode` is not 0 and nothing was taken."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ANSWERED_ORDER]})

    partner_order_number: str | None
    order_number: int | None
    """The service's own number; null where the order was refused."""

    download_manager: ConnectDownloadManager
    order_lines: list[ConnectLine]
    response_code: Annotated[int, _codes(CreateOrderCode, OrderDataCode)]


class ConnectProductStock(_Coded):
    """How much there is of one product."""

    product_ref: int | None
    status: Annotated[
        int,
        Field(
            description="; ".join(f"{int(one)} {one.name.lower().replace('_', ' ')}" for one in StockStatus) + ".",
            json_schema_extra={
                "enum": [int(one) for one in StockStatus],
                "x-enum-varnames": [one.name for one in StockStatus],
            },
        ),
    ]
    response_code: Annotated[int, _codes(StockCode)]


class ConnectStock(CamelAnswer):
    """The products in the order in which they were asked for."""

    product_status: list[ConnectProductStock]


class ConnectCancellation(_Coded):
    """Code 0: every key of the order is dead. Any other: nothing has changed."""

    partner_order_number: str | None
    order_number: int | None
    response_code: Annotated[int, _codes(CancelOrderCode)]
