"""The Connect services as the OpenAPI document shows them."""

from typing import Final

from keyservice.api.connect.bodies import CancelBody, OrderBody, StockBody
from keyservice.api.connect.described import ConnectCancellation, ConnectOrder, ConnectStock
from keyservice.api.operation import Answer, Operation

SUBMIT: Final = Operation(
    operation_id="submit_order",
    summary="Submit an order and get its keys",
    description=(
        "`createOrder`. All keys of the order or none: an order that a pool has too few keys for is refused and takes"
        " nothing. The same order may be sent again and gets the same keys; another order under its number is refused."
    ),
    body=OrderBody,
    answers={
        201: Answer(ConnectOrder, "The order is accepted, or was before. `serials` hold the keys."),
        200: Answer(ConnectOrder, "The order is refused: `responseCode` says why, and nothing was taken."),
    },
)

STOCK: Final = Operation(
    operation_id="ask_for_stock",
    summary="Ask how much there is of products",
    description="`getStockStatus`. What is asked for wrongly is told so by its own code, beside the others.",
    body=StockBody,
    answers={200: ConnectStock},
)

CANCEL: Final = Operation(
    operation_id="cancel_order",
    summary="Cancel an order",
    description="`cancelOrder`. When this answers with code 0, every key of the order is dead, and no one gets it again.",
    body=CancelBody,
    answers={
        200: Answer(
            ConnectCancellation, "The order is cancelled (code 0), or is not, for the reason that the code names."
        ),
        404: Answer(ConnectCancellation, "This reseller has no such order."),
    },
)

READ: Final = Operation(
    operation_id="read_order",
    summary="Read an order",
    description="`getData`. The answer of the submission, with what has become of the keys since.",
    answers={200: ConnectOrder},
)
