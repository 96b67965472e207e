"""The numeric answers of the Connect services, as the reference's SOAP and REST clients know them."""

from enum import IntEnum
from typing import Self


class AnswerCode(IntEnum):
    """A `responseCode` with the English `responseMessage` that goes with it."""

    message: str

    def __new__(cls, value: int, message: str) -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.message = message
        return code


class CreateOrderCode(AnswerCode):
    """createOrder. In the ranges below 1000, x0 means missing and x1 not valid."""

    OK = 0, "OK"
    SECRET_MISSING = 70, "Secret is missing"
    SECRET_NOT_VALID = 71, "Secret is not valid"
    ORDER_MISSING = 100, "Order is missing or cannot be read"
    CURRENCY_MISSING = 120, "Currency is missing"
    CURRENCY_NOT_VALID = 121, "Currency is not valid"
    PARTNER_ORDER_NUMBER_MISSING = 130, "Partner order number is missing or cannot be used"
    DATE_MISSING = 140, "Order date is missing"
    DATE_NOT_VALID = 141, "Order date is not valid"
    TIME_MISSING = 150, "Time of the order date is missing"
    TIME_NOT_VALID = 151, "Time of the order date is not valid"
    ORDER_LINES_MISSING = 200, "Order lines are missing or cannot be read"
    PRODUCT_REF_MISSING = 210, "Product reference is missing"
    PRODUCT_REF_NOT_VALID = 211, "Product reference is not valid"
    QUANTITY_MISSING = 220, "Quantity is missing"
    QUANTITY_NOT_VALID = 221, "Quantity is not valid"
    VAT_RATE_MISSING = 230, "VAT rate is missing"
    VAT_RATE_NOT_VALID = 231, "VAT rate is not valid"
    AMOUNT_DUTY_FREE_MISSING = 240, "Amount without tax is missing"
    AMOUNT_DUTY_FREE_NOT_VALID = 241, "Amount without tax is not valid"
    AMOUNT_TOTAL_MISSING = 250, "Total amount is missing"
    AMOUNT_TOTAL_NOT_VALID = 251, "Total amount is not valid"
    PARTNER_ID_MISSING = 310, "Customer's partner id is missing"
    PARTNER_ID_NOT_VALID = 311, "Customer's partner id is not valid"
    EMAIL_MISSING = 320, "E-mail address is missing"
    EMAIL_NOT_VALID = 321, "E-mail address is not valid"
    LANGUAGE_MISSING = 330, "Customer's language is missing"
    LANGUAGE_NOT_VALID = 331, "Customer's language is not valid"
    IP_ADDRESS_MISSING = 340, "Customer's IP address is missing"
    IP_ADDRESS_NOT_VALID = 341, "Customer's IP address is not valid"
    DELIVERY_LOCATION_MISSING = 410, "Delivery location is missing or cannot be read"
    INVOICE_LOCATION_MISSING = 420, "Invoice location is missing or cannot be read"
    TITLE_MISSING = 430, "Title is missing"
    TITLE_NOT_VALID = 431, "Title is not valid"
    LAST_NAME_MISSING = 440, "Last name is missing"
    LAST_NAME_NOT_VALID = 441, "Last name is not valid"
    FIRST_NAME_MISSING = 450, "First name is missing"
    FIRST_NAME_NOT_VALID = 451, "First name is not valid"
    ADDRESS_MISSING = 460, "Address is missing"
    ADDRESS_NOT_VALID = 461, "Address is not valid"
    ZIP_CODE_MISSING = 480, "Zip code is missing"
    ZIP_CODE_NOT_VALID = 481, "Zip code is not valid"
    CITY_MISSING = 490, "City is missing"
    CITY_NOT_VALID = 491, "City is not valid"
    COUNTRY_MISSING = 500, "Country is missing"
    COUNTRY_NOT_VALID = 501, "Country is not valid"
    PHONE_MISSING = 530, "Phone number is missing"
    PHONE_NOT_VALID = 531, "Phone number is not valid"
    FAX_MISSING = 540, "Fax number is missing"
    FAX_NOT_VALID = 541, "Fax number is not valid"
    PROVINCE_MISSING = 550, "Province is missing"
    PROVINCE_NOT_VALID = 551, "Province is not valid"
    DISCOUNT_MISSING = 600, "Discount is missing or cannot be read"
    DISCOUNT_REFERENCE_MISSING = 610, "Discount's reference is missing"
    DISCOUNT_REFERENCE_NOT_VALID = 611, "Discount's reference is not valid"
    DISCOUNT_LABEL_MISSING = 620, "Discount's label is missing"
    DISCOUNT_LABEL_NOT_VALID = 621, "Discount's label is not valid"
    DISCOUNT_PRICE_DELTA_MISSING = 630, "Discount's price delta is missing"
    DISCOUNT_PRICE_DELTA_NOT_VALID = 631, "Discount's price delta is not valid"
    DISCOUNT_OPERATION_MISSING = 640, "Discount's operation is missing"
    DISCOUNT_OPERATION_NOT_VALID = 641, "Discount's operation is not valid"
    DISCOUNT_OPERATION_VALUE_MISSING = 650, "Discount's operation value is missing"
    DISCOUNT_OPERATION_VALUE_NOT_VALID = 651, "Discount's operation value is not valid"
    PAYMENT_MISSING = 700, "Payment is missing or cannot be read"
    PAYMENT_METHOD_MISSING = 710, "Payment method is missing"
    PAYMENT_METHOD_NOT_VALID = 711, "Payment method is not valid"
    TRANSACTION_ID_MISSING = 720, "Transaction id is missing"
    TRANSACTION_ID_NOT_VALID = 721, "Transaction id is not valid"
    METADATA_MISSING = 750, "Metadata is missing or cannot be read"
    METADATA_KEY_MISSING = 751, "Key of a metadata entry is missing or cannot be used"
    INTERNAL_ERROR = 1000, "Internal error"
    ORDER_ALREADY_CREATED = 1010, "Order was already created"
    PRODUCT_UNKNOWN = 1020, "Product is unknown"
    CURRENCY_UNKNOWN = 1021, "Currency is unknown"
    LANGUAGE_UNKNOWN = 1022, "Language is unknown"
    COUNTRY_UNKNOWN = 1023, "Country is unknown"
    XML_DOCUMENT_ERROR = 1030, "XML document cannot be read"
    XML_ATTRIBUTE_MISSING = 1031, "XML attribute is missing or empty"
    XML_ELEMENT_EMPTY = 1032, "XML element is empty"
    XML_ELEMENT_MISSING = 1033, "XML element is missing"
    XML_DOCUMENT_MISSING = 1034, "XML document is missing"
    AFFILIATE_INACTIVE = 1035, "Affiliate id is inactive or not valid"
    DOWNLOAD_LINK_ERROR = 1040, "Download link cannot be made"
    CART_TOO_BIG_FOR_BACKUP = 1041, "Cart is too big for the backup option"
    PRODUCT_NOT_COMPATIBLE = 1042, "Product is not compatible with the cart"
    PRODUCT_DEPENDENCY = 1043, "Product depends on another product"
    OUT_OF_STOCK = 1044, "Product is out of stock"
    AFFILIATE_NOT_VALID = 1045, "Affiliate id is inactive or not valid"
    IP_ADDRESS_NEEDED = 1046, "An IPv4 or IPv6 address is needed when a payment is present"
    TRANSACTION_ID_NEEDED = 1047, "Transaction id is needed for this payment method"
    PROVINCE_NEEDED = 1048, "Province is needed for this country"
    DELIVERY_PROVINCE_UNKNOWN = 1049, "Province of the delivery location is unknown"
    INVOICE_PROVINCE_UNKNOWN = 1050, "Province of the invoice location is unknown"
    LICENSES_NOT_AVAILABLE = 1051, "Licenses are currently not available"
    INTERNAL_ERROR_IN_DELIVERY = 1052, "Internal error"
    PRICE_NEEDED = 1053, "Unit price or total amount is needed"
    WAITING_FOR_PAYMENT = 1060, "Order waits for the payment to be validated"
    WAITING_FOR_FRAUD_CHECK = 1061, "Order waits for the fraud check"
    CANCELLED_FOR_FRAUD = 1062, "Order is cancelled because of a suspicion of fraud"
    PAYMENT_NOT_FOUND = 1063, "Payment transaction was not found"
    CANCELLED_FOR_PAYMENT = 1064, "Order is cancelled because the payment was not validated"
    PAYMENT_ERROR = 1065, "Internal error in the payment"


class OrderDataCode(AnswerCode):
    """Get order data (getData)."""

    OK = 0, "OK"
    SECRET_MISSING = 70, "Secret is missing"
    SECRET_NOT_VALID = 71, "Secret is not valid"
    ORDER_NUMBER_MISSING = 100, "Order number is missing"
    METADATA_MISSING = 750, "Metadata is missing"
    METADATA_KEY_MISSING = 760, "Key of a metadata entry is missing"
    INTERNAL_ERROR = 1000, "Internal error"
    ORDER_NOT_FOUND = 1010, "Order was not found"
    PRODUCT_UNKNOWN = 1020, "Product is unknown"
    XML_DOCUMENT_ERROR = 1030, "XML document cannot be read"
    XML_ATTRIBUTE_MISSING = 1031, "XML attribute is missing or empty"
    XML_ELEMENT_EMPTY = 1032, "XML element is empty"
    XML_ELEMENT_MISSING = 1033, "XML element is missing"
    XML_DOCUMENT_MISSING = 1034, "XML document is missing"
    DOWNLOAD_LINK_ERROR = 1040, "Download link cannot be made"
    LICENSES_NOT_AVAILABLE = 1051, "Licenses are currently not available"
    INTERNAL_ERROR_IN_DELIVERY = 1052, "Internal error"
    WAITING_FOR_PAYMENT = 1060, "Order waits for the payment to be validated"
    WAITING_FOR_FRAUD_CHECK = 1061, "Order waits for the fraud check"
    CANCELLED_FOR_FRAUD = 1062, "Order is cancelled because of a suspicion of fraud"
    CANCELLED_FOR_PAYMENT = 1064, "Order is cancelled because the payment was not validated"
    PAYMENT_ERROR = 1065, "Internal error in the payment"


class StockCode(AnswerCode):
    """getStockStatus. It stands at each product; the answer has no code of its own."""

    OK = 0, "OK"
    SECRET_MISSING = 70, "Secret is missing"
    SECRET_NOT_VALID = 71, "Secret is not valid"
    PRODUCT_REF_MISSING = 100, "Product reference is missing"
    PRODUCT_REF_NOT_VALID = 101, "Product reference is not valid"
    PRODUCT_UNKNOWN = 1010, "Product is unknown"


class CancelOrderCode(AnswerCode):
    """cancelOrder."""

    OK = 0, "OK"
    SECRET_MISSING = 70, "Secret is missing"
    SECRET_NOT_VALID = 71, "Secret is not valid"
    REASON_MISSING = 100, "Reason code is missing"
    REASON_NOT_VALID = 101, "Reason is not valid"
    ORDER_NUMBER_MISSING = 110, "Order number is missing or cannot be used"
    INTERNAL_ERROR = 1000, "Internal error"
    ORDER_NOT_FOUND = 1010, "Order was not found"
    ALREADY_CANCELLED = 1011, "Order is already cancelled"
    CANCEL_PERIOD_EXPIRED = 1020, "The time in which the order could be cancelled is over"
    CANCEL_NOT_AUTHORISED = 1030, "Cancelling this order is not authorised"


class StockStatus(IntEnum):
    """`status` of a product in the answer of getStockStatus."""

    ENOUGH = 100
    ALMOST_OUT = 200
    OUT = 300


class CancelReason(IntEnum):
    """`reasonCode` of cancelOrder."""

    ORDER_CANCELLED = 2
    UNSATISFIED_CUSTOMER = 3
    DOUBLE_ORDER = 4
    PRODUCT_ORDER = 5
    INCOMPATIBLE_PRODUCT = 6
    FRAUD_OR_CHARGEBACK = 16
