from typing import Any

import pytest

from keyservice.api.connect.codes import CancelOrderCode, CancelReason, StockCode
from keyservice.api.connect.requests import AskedProduct, CancelRequest, Refused, StockRequest
from keyservice.api.connect.validation import read_cancel_request, read_stock_request

NOTHING: list[Any] = [None, "", " ", [], {}]
NO_REASON: list[Any] = [None, "", []]


def test_stock_is_asked_by_integers_or_their_digits_and_keeps_its_order() -> None:
    assert read_stock_request({"productRefs": ["4649", 4626, "4649"]}) == StockRequest(
        (
            AskedProduct(4649, StockCode.OK),
            AskedProduct(4626, StockCode.OK),
            AskedProduct(4649, StockCode.OK),
        )
    )


@pytest.mark.parametrize("body", [None, [], "x", {}, *({"productRefs": nothing} for nothing in NOTHING)])
def test_a_stock_request_without_products_says_that_they_are_missing(body: object) -> None:
    assert read_stock_request(body) == StockRequest((AskedProduct(None, StockCode.PRODUCT_REF_MISSING),))


@pytest.mark.parametrize("asked", ["4626", 4626, {"productRef": 4626}, True])
def test_products_that_are_no_list_are_not_valid(asked: object) -> None:
    expected = StockRequest((AskedProduct(None, StockCode.PRODUCT_REF_NOT_VALID),))
    assert read_stock_request({"productRefs": asked}) == expected


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        *((nothing, StockCode.PRODUCT_REF_MISSING) for nothing in NOTHING),
        *((wrong, StockCode.PRODUCT_REF_NOT_VALID) for wrong in (0, -1, 2**53 + 1, "A1", True, 1.0, [4626], "9" * 17)),
    ],
)
def test_one_product_that_is_not_valid_leaves_the_others_alone(asked: object, code: StockCode) -> None:
    assert read_stock_request({"productRefs": [4626, asked]}) == StockRequest(
        (AskedProduct(4626, StockCode.OK), AskedProduct(None, code))
    )


def test_at_most_500_products_are_asked_at_once() -> None:
    assert len(read_stock_request({"productRefs": [1] * 500}).products) == 500
    too_many = StockRequest((AskedProduct(None, StockCode.PRODUCT_REF_NOT_VALID),))
    assert read_stock_request({"productRefs": [1] * 501}) == too_many
    assert read_stock_request({"productRefs": [1] * 3}, product_refs_max=2) == too_many


@pytest.mark.parametrize("reason", CancelReason)
@pytest.mark.parametrize(("comment", "kept"), [("too\nslow", "too\nslow"), ("", None), (None, None), ("x" * 1000,) * 2])
def test_an_order_is_cancelled_for_one_of_six_reasons(reason: CancelReason, comment: Any, kept: str | None) -> None:
    body = {"partnerOrderNumber": "A-1", "reasonCode": int(reason), "comment": comment, "unknown": 1}
    assert read_cancel_request(body) == CancelRequest("A-1", reason, kept)


@pytest.mark.parametrize(
    ("spoilt", "code", "pointer"),
    [
        *(({"reasonCode": value}, CancelOrderCode.REASON_MISSING, "/reasonCode") for value in NO_REASON),
        *(
            ({"reasonCode": value}, CancelOrderCode.REASON_NOT_VALID, "/reasonCode")
            for value in (0, 1, 7, 15, 17, -2, True, "2", 2.0, [2])
        ),
        *(
            ({"partnerOrderNumber": value}, CancelOrderCode.ORDER_NUMBER_MISSING, "/partnerOrderNumber")
            for value in (None, "", " ", 1, "x" * 65, "A\n", " A")
        ),
        *(
            ({"comment": value}, CancelOrderCode.REASON_NOT_VALID, "/comment")
            for value in ("x" * 1001, 1, "a\x00b", "\ud800")
        ),
    ],
)
def test_a_cancellation_that_is_not_valid_is_refused(
    spoilt: dict[str, Any], code: CancelOrderCode, pointer: str
) -> None:
    answer = read_cancel_request({"partnerOrderNumber": "A-1", "reasonCode": 2} | spoilt)
    assert isinstance(answer, Refused)
    assert [(refusal.code, refusal.pointer) for refusal in answer.refusals] == [(code, pointer)]
    assert answer.partner_order_number == (None if "partnerOrderNumber" in spoilt else "A-1")


@pytest.mark.parametrize("body", [None, [], "x", {}])
def test_a_cancellation_without_a_body_misses_its_order_first(body: object) -> None:
    answer = read_cancel_request(body)
    assert isinstance(answer, Refused)
    assert [refusal.code for refusal in answer.refusals] == [
        CancelOrderCode.ORDER_NUMBER_MISSING,
        CancelOrderCode.REASON_MISSING,
    ]
