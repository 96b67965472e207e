import pytest

from keyservice.api.connect.codes import (
    AnswerCode,
    CancelOrderCode,
    CancelReason,
    CreateOrderCode,
    OrderDataCode,
    StockCode,
)

# What public clients of the reference know.
_CREATE_ORDER = [
    *(0, 70, 71, 100, 120, 121, 130, 140, 141, 150, 151, 200, 210, 211, 220, 221, 230, 231, 240, 241, 250, 251),
    *(310, 311, 320, 321, 330, 331, 340, 341, 410, 420, 430, 431, 440, 441, 450, 451, 460, 461, 480, 481, 490, 491),
    *(500, 501, 530, 531, 540, 541, 550, 551, 600, 610, 611, 620, 621, 630, 631, 640, 641, 650, 651, 700, 710, 711),
    *(720, 721, 750, 751, 1000, 1010, 1020, 1021, 1022, 1023, 1030, 1031, 1032, 1033, 1034, 1035, 1040, 1041, 1042),
    *(1043, 1044, 1045, 1046, 1047, 1048, 1049, 1050, 1051, 1052, 1053, 1060, 1061, 1062, 1063, 1064, 1065),
]
_ORDER_DATA = [
    *(0, 70, 71, 100, 750, 760, 1000, 1010, 1020, 1030, 1031, 1032, 1033, 1034, 1040, 1051, 1052, 1060, 1061, 1062),
    *(1064, 1065),
]


@pytest.mark.parametrize(
    ("service", "values"),
    [
        (CreateOrderCode, _CREATE_ORDER),
        (OrderDataCode, _ORDER_DATA),
        (StockCode, [0, 70, 71, 100, 101, 1010]),
        (CancelOrderCode, [0, 70, 71, 100, 101, 110, 1000, 1010, 1011, 1020, 1030]),
    ],
)
def test_each_service_has_the_codes_of_the_reference_and_no_other(service: type[AnswerCode], values: list[int]) -> None:
    assert [int(code) for code in service] == values


@pytest.mark.parametrize("service", [CreateOrderCode, OrderDataCode, StockCode, CancelOrderCode])
def test_nought_is_ok_and_every_code_has_words(service: type[AnswerCode]) -> None:
    messages = {int(code): code.message for code in service}
    assert messages[0] == "OK"
    assert all(messages.values())


def test_an_order_is_cancelled_for_the_references_reasons() -> None:
    assert [int(reason) for reason in CancelReason] == [2, 3, 4, 5, 6, 16]
