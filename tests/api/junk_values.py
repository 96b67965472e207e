"""Values that are well-formed JSON and not what a member may hold, by the kind of the member. Pieces of JSON text."""

import json
from typing import Final

from tests.api.raw_http import PLANTED

Junk = dict[str, str]


def texts(*values: str) -> Junk:
    return {f"the text {value[:40]!a} of {len(value)}": json.dumps(value) for value in values}


def pieces(*fragments: str) -> Junk:
    return {fragment[:60]: fragment for fragment in fragments}


_LIST: Final = f'["{PLANTED}"]'
_OBJECT: Final = f'{{"{PLANTED}":"{PLANTED}"}}'
_LONG: Final = PLANTED * 300

NOT_A_TEXT: Final = pieces("5", "1.5", "true", _LIST, _OBJECT)
EMPTY: Final = pieces("null", '""', '" "')
NOT_AN_OBJECT: Final = pieces("5", "true", f'"{PLANTED}"', _LIST)
NOT_A_LIST: Final = pieces("5", "true", f'"{PLANTED}"', _OBJECT)
# What breaks a line, a log, a mail's header or a terminal.
CONTROLS: Final = texts(
    *(f"{PLANTED}{character}x" for character in "\n\r\t\x01\x1b\x7f\x85\u2028\u2029"),
    f"{PLANTED}\r\nBcc: a@example.com",
)
INVISIBLE: Final = texts(
    *(f"{PLANTED}{one}x" for one in "\u00ad\u200b\u200e\u202e\u2066\ufeff\ufff9\ue000\ufdd0\U000e0041")
)

# ------------------------------------------------------------------------------------------------ publishers and admins
NAME: Final = (
    NOT_A_TEXT
    | CONTROLS
    | INVISIBLE
    | texts("", " ", f" {PLANTED}", f"{PLANTED} ", f"{PLANTED}\u00a0", f"\u3000{PLANTED}", _LONG, PLANTED * 20)
)
HANDLE: Final = (
    NOT_A_TEXT
    | pieces("null")
    | texts("", " ", "Capital", "under_score", "-first", "last-", "two--hyphens", "a" * 64, _LONG, "line\n", "\nline")
    | texts("with space", "\u0430cyrillic", "\uff41full", "e\u0301", "..", "../etc", "%2e%2e", "a.b", "a/b", PLANTED)
    | texts("'; DROP TABLE publishers; --", "a\u200bb")
)
CALLER_KIND: Final = NOT_A_TEXT | pieces("null") | texts("", "ADMIN", "admin ", "root", "\uff41dmin", PLANTED, _LONG)
SCOPES: Final = pieces(
    *("[]", "5", '"stock:read"', "{}", "[null]", "[5]", "[[]]", '[""]', '["everything"]', '["stock:read "]', '["*"]'),
    *('["publishers:write"]', '["stock:read","pools:read"]', f'["{PLANTED}"]'),
    json.dumps(["stock:read"] * 200),
)
LIMIT: Final = pieces(
    '"10"', '""', "true", "10.0", "1e1", "0", "-1", "9223372036854775807", _LIST, _OBJECT, f'"{PLANTED}"'
)
LEVEL: Final = (
    pieces("null", '"9"', '""', "true", "false", "9.0", "9.5", "9e0", "1e2", "-1", "-9223372036854775808", "1000000000001")
    | pieces("9223372036854775807", _LIST, _OBJECT, f'"{PLANTED}"')
)  # fmt: skip
POLICY: Final = NOT_A_TEXT | texts("", "FIFO", "fifo ", "fifo\n", "prio", "\uff46ifo", PLANTED, _LONG)
FLAG: Final = pieces('"true"', '""', "0", "1", "1.0", _LIST, _OBJECT, f'"{PLANTED}"')
UUID: Final = (
    NOT_A_TEXT
    | pieces("null")
    | texts("", " ", "..", "%2e%2e", PLANTED, _LONG, "0", "null", "nil", "' OR 1=1 --", "*")
    | texts(
        "{01a2011f-fb7c-7035-9638-d0f8c3502bf4}",
        "urn:uuid:01a2011f-fb7c-7035-9638-d0f8c3502bf4",
        "01a2011ffb7c70359638d0f8c3502bf4",
        "01a2011f-fb7c-7035-9638-d0f8c3502bf4\n",
        " 01a2011f-fb7c-7035-9638-d0f8c3502bf4",
        "01a2011f-fb7c-7035-9638-d0f8c3502bf4/..",
        "01a2011f-fb7c-7035-9638-d0f8c3502bf",
        "01a2011f-fb7c-7035-9638-d0f8c3502bfg",
        "01a2011f\u2010fb7c\u20107035\u20109638\u2010d0f8c3502bf4",
        "\uff10\uff11a2011f-fb7c-7035-9638-d0f8c3502bf4",
    )
)
MODE: Final = NOT_A_TEXT | pieces("null") | texts("", "BLOCK", "block ", "blocks", PLANTED)
BLOCK_SIZE: Final = pieces("null", '"5"', "true", "5.0", "5e0", "0", "-1", "10001", "1000000000", "2147483648", _LIST)
PRODUCT_REF: Final = (
    pieces("null", '"7001"', '""', "true", "7001.0", "7001.5", "7e3", "0", "-1", "9007199254740992", _LIST, _OBJECT)
    | pieces("9223372036854775807", "-9223372036854775808")
)  # fmt: skip
SIZE: Final = pieces("null", '"20"', "true", "20.0", "2e1", "1.5", "0", "-1", "101", "1000000000", "2147483648", _LIST)
SEQUENCE: Final = pieces(
    "null", '"1"', "true", "1.0", "1e0", "0", "-1", "1000000000000000000", _LIST, _OBJECT, f'"{PLANTED}"'
)
EMAIL: Final = (
    NOT_A_TEXT
    | texts("", " ", PLANTED, "@", "a@", "@example.com", "a@@example.com", "a b@example.com", "a@exa mple.com")
    | texts("a@example.com\r\nBcc: b@example.com", "a@example.com\n", "a@example.com\r", "a\tb@example.com")
    | texts("a@example.com, b@example.com", "a@example.com;b@example.com", "a@example.com b@example.com")
    | texts(f"Ada {PLANTED} <a@example.com>", "<a@example.com>", '"a b"@example.com', "a@example.com (comment)")
    | texts("a" * 65 + "@example.com", "a@" + "b" * 400 + ".com", f"{_LONG}@example.com", "a" * 400)
    | texts("m\u00fcller@example.com", "\u0430da@example.com", "a\u200b@example.com", "a@example.com\u202e")
    | texts("a@exa\u200bmple.com")
    | texts("<script>@x.y", "a@[127.0.0.1]", "a@example..com", "a@.com", "a@example.com.", "mailto:a@example.com", "a@b@c")
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ resellers
ABSENT: Final = EMPTY | pieces("[]", "{}")
TEXT_32: Final = NOT_A_TEXT | CONTROLS | texts("x" * 33, _LONG)
TEXT_100: Final = NOT_A_TEXT | CONTROLS | texts("x" * 101, _LONG)
TEXT_255: Final = NOT_A_TEXT | CONTROLS | texts("x" * 256, _LONG)
LINES: Final = NOT_A_TEXT | texts("x" * 2_001, f"{PLANTED}\x1b[2J", f"{PLANTED}\x07")
ORDER_NUMBER: Final = (
    ABSENT
    | NOT_A_TEXT
    | CONTROLS
    | INVISIBLE
    | texts(" A-1", "A-1 ", "A\u00a01", "A\u30001", "x" * 65, _LONG)
)  # fmt: skip
CURRENCY: Final = (
    ABSENT
    | NOT_A_TEXT
    | texts(
        "eur", "EURO", "EU", "E", "\u20ac", "EUR ", " EUR", "EUR\n", "978", "DEM", "XXX", "ZZZ", "BTC", PLANTED, _LONG
    )
    | texts("\u0395UR", "\uff25\uff35\uff32", "EUR;DROP")
)
AMOUNT: Final = (
    pieces(
        '"10"', '"ten"', "true", _LIST, _OBJECT, "-1", "-0.0001", "0.00001", "0.12345", "1e-5", "0.30000000000000004"
    )
    | pieces("1000000000000", "999999999999.99999", "1e12", "1e28", "9223372036854775807", f'"{PLANTED}"', '"NaN"')
    | pieces('"Infinity"', '"1,00"', '"1e1"', "10.0000000001")
)
RATE: Final = pieces('"20"', "true", _LIST, _OBJECT, "-1", "100.0001", "101", "1e3", "19.99999", f'"{PLANTED}"')
QUANTITY: Final = pieces(
    "0", "-1", "1.5", "1.0", "1e0", "1e2", '"1"', "true", "10000", "1000000000", "2147483648", _LIST
)
DATE: Final = (
    NOT_A_TEXT
    | pieces("1795360761000", "1795360761")
    | texts("2026-11-22", "2026-11-22T15:19:21", "2026-11-22 15:19:21Z", "2026-11-22T", "2026-11-22t15:19:21z")
    | texts("2026-02-30T00:00:00Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-10T00:00:00Z")
    | texts("2026-11-31T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T00:00:00Z")
    | texts("2200-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "-2026-11-22T00:00:00Z")
    | texts("2016-12-31T23:59:60Z", "2026-11-22T24:00:00Z", "2026-11-22T25:00:00Z", "2026-11-22T15:60:00Z")
    | texts("2026-11-22T15:19:21+24:00", "2026-11-22T15:19:21+99:99", "2026-11-22T15:19:21 CET", "2026-11-22T15Z")
    | texts("2026-W47-7T00:00:00Z", "2026-326T00:00:00Z", "20261122T151921Z", "22.11.2026", "11/22/2026", "tomorrow")
    | texts("1795360761", "\uff12026-11-22T00:00:00Z", "2026-11-22T00:00:00Z\n", "infinity", "now()", PLANTED, _LONG)
)
COUNTRY: Final = NOT_A_TEXT | texts(
    "XX", "ZZ", "fr", "Fr", "FRA", "F", "FR ", "250", "\uff26\uff32", "UK", "France", PLANTED, _LONG
)
LANGUAGE: Final = NOT_A_TEXT | texts(
    *("fr", "FR", "FR_fr", "fr_fr", "xx_FR", "fr_XX", "fr__FR", "fr_FR.UTF-8", "fr_FR@euro", "C", "POSIX", "../fr_FR"),
    *("fr_FR\n", "fr-FR-x-private", "fr;q=1", PLANTED, _LONG),
)
PROVINCE: Final = NOT_A_TEXT | texts("FR-", "-30", "fr-30", "FR-30000", "DE-BE", "30;", "30\n", PLANTED, _LONG)
TITLE: Final = pieces(
    "4", "-1", "1.0", "1e0", "true", "2147483648", '"mr"', '"Dr"', '"1"', f'"{PLANTED}"', _LIST, _OBJECT
)
IP_V4: Final = NOT_A_TEXT | texts(
    *("999.1.1.1", "1.2.3", "127.1", "2130706433", "0x7f.0.0.1", "127.0.0.1.", "127.0.0.1/8", "127.0.0.1:80", "::1"),
    *("\u2460\u2461\u2466.0.0.1", "127.0.0.1\n", " 127.0.0.1", "localhost", PLANTED, _LONG),
)
IP_V6: Final = NOT_A_TEXT | texts(
    *("127.0.0.1", ":::", "1::2::3", "fe80::1%eth0", "[::1]", "::1/64", "::1\n", "12345::", "::g", PLANTED, _LONG),
)
AFFILIATE: Final = pieces('"123"', "true", "1.0", "1e2", "-1", "2147483648", "9223372036854775807", _LIST, _OBJECT)
ORDERED_REF: Final = pieces(
    "0", "-1", "1.0", "1e3", "true", "9007199254740993", "9223372036854775807", _OBJECT, _LIST
) | texts("0", "-1", "1.0", "1e3", "0x10", " 1", "1 ", "1_0", "\uff11", "\u0661", "9" * 17, PLANTED, "1;--", "1\n")
OPERATION: Final = NOT_A_TEXT | texts("percents", "AMOUNT", "Percent", "", PLANTED)
REASON: Final = pieces("0", "1", "7", "-2", "2.0", "2e0", '"2"', "true", "2147483648", f'"{PLANTED}"', _LIST, _OBJECT)
