"""Requests that a server meets on the open network, each with the status that answers it."""

from tests.api.raw_http import PLANTED, SECRET, post, request

MULTIPART = "multipart/form-data; boundary=b"


def part(headers: str, body: bytes = SECRET) -> bytes:
    return b"--b\r\n" + headers.encode() + b"\r\n\r\n" + body + b"\r\n--b--\r\n"


NAMED = 'Content-Disposition: form-data; name="a"'
JSON = "application/json"

MALFORMED: dict[str, tuple[bytes, int]] = {
    # the request line
    "no_target": (b"GET\r\n\r\n", 400),
    "no_version": (b"GET /hello\r\n\r\n", 400),
    "http_0_9": (b"GET /hello HTTP/0.9\r\nHost: x\r\n\r\n", 400),
    "http_2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http_9": (request("GET /hello HTTP/9.9"), 400),
    "version_of_junk": (request(f"GET /hello HTTP/{PLANTED}"), 400),
    "lower_case_method": (request("get /hello HTTP/1.1"), 400),
    "unknown_method": (request(f"{PLANTED} /hello HTTP/1.1"), 400),
    "unsupported_method": (request("TRACE /hello HTTP/1.1"), 405),
    "space_in_target": (request(f"GET /hello {PLANTED} HTTP/1.1"), 400),
    "relative_target": (request(f"GET {PLANTED} HTTP/1.1"), 400),
    "connect": (request("CONNECT example.test:443 HTTP/1.1"), 404),
    "connect_of_junk": (request(f"CONNECT /{PLANTED} HTTP/1.1"), 404),
    "asterisk": (request("OPTIONS * HTTP/1.1"), 404),
    "absolute_target_of_junk": (request(f"GET http://[{PLANTED} HTTP/1.1"), 400),
    "long_target": (request(f"GET /{PLANTED * 800} HTTP/1.1"), 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET + b"\r\n\r\n", 400),
    "binary": (bytes(range(256)) * 4, 400),
    # the target
    "nul_in_path": (request(f"GET /orders/%00{PLANTED} HTTP/1.1"), 400),
    "nul_in_query": (request(f"GET /hello?a=%00{PLANTED} HTTP/1.1"), 400),
    "raw_bytes_in_path": (request(f"GET /orders/\xff{PLANTED} HTTP/1.1"), 400),
    "raw_utf8_in_path": (b"GET /orders/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "broken_escape": (request(f"GET /nothing/%zz{PLANTED} HTTP/1.1"), 404),
    "escaped_dots": (request(f"GET /..%2f..%2fetc%2f{PLANTED} HTTP/1.1"), 404),
    "dots": (request(f"GET /../../etc/{PLANTED} HTTP/1.1"), 404),
    "unknown_path": (request(f"GET /{PLANTED}?key={PLANTED} HTTP/1.1"), 404),
    "wrong_method": (request(f"DELETE /hello?key={PLANTED} HTTP/1.1"), 405),
    # the headers
    "no_host": (b"GET /hello HTTP/1.1\r\n\r\n", 400),
    "two_hosts": (request("GET /hello HTTP/1.1", "Host: y"), 400),
    "space_in_name": (request("GET /hello HTTP/1.1", f"Authori zation: Bearer {PLANTED}"), 400),
    "space_before_colon": (request("GET /hello HTTP/1.1", f"Authorization : Bearer {PLANTED}"), 400),
    "no_colon": (request("GET /hello HTTP/1.1", f"Authorization Bearer {PLANTED}"), 400),
    "no_name": (request("GET /hello HTTP/1.1", f": {PLANTED}"), 400),
    "folded": (request("GET /hello HTTP/1.1", "Authorization: Bearer", f" {PLANTED}"), 400),
    "bare_line_feed": (f"GET /hello HTTP/1.1\nHost: x\nAuthorization: {PLANTED}\n\n".encode(), 400),
    "bare_return": (request("GET /hello HTTP/1.1", f"Authorization: a\r{PLANTED}"), 400),
    "nul_in_header": (request("GET /hello HTTP/1.1", f"Authorization: {PLANTED}\x00"), 400),
    "control_in_header": (request("GET /hello HTTP/1.1", f"Authorization: {PLANTED}\x01"), 400),
    "bytes_in_name": (request("GET /hello HTTP/1.1", f"Auth\xff: {PLANTED}"), 400),
    "long_header": (request("GET /hello HTTP/1.1", f"Authorization: {PLANTED * 700}"), 400),
    "many_headers": (request("GET /hello HTTP/1.1", *[f"X-{n}: {PLANTED}" for n in range(60)]), 400),
    "two_content_types": (post("/json", JSON, b"{}", f"Content-Type: text/{PLANTED}"), 400),
    "unknown_expectation": (post("/json", JSON, b"{}", f"Expect: {PLANTED}"), 417),
    "old_websocket": (request("GET /hello HTTP/1.1", f"Sec-WebSocket-Key1: {PLANTED}"), 400),
    # the framing
    "length_and_chunks": (post("/json", JSON, b"{}", "Transfer-Encoding: chunked"), 400),
    "two_lengths": (post("/json", JSON, b"{}", "Content-Length: 3"), 400),
    "negative_length": (request("POST /json HTTP/1.1", "Content-Length: -1"), 400),
    "length_of_junk": (request("POST /json HTTP/1.1", f"Content-Length: {PLANTED}"), 400),
    "length_with_sign": (request("POST /json HTTP/1.1", "Content-Length: +2"), 400),
    "length_beyond_64_bits": (request("POST /json HTTP/1.1", "Content-Length: 99999999999999999999"), 400),
    "length_of_a_terabyte": (post("/json", JSON, b"", "Content-Length: 1099511627776"), 413),
    "unknown_transfer_coding": (request("POST /json HTTP/1.1", f"Transfer-Encoding: {PLANTED}"), 400),
    "chunked_not_last": (request("POST /json HTTP/1.1", "Transfer-Encoding: chunked, gzip"), 400),
    "chunk_of_junk": (request("POST /json HTTP/1.1", "Transfer-Encoding: chunked") + SECRET + b"\r\n", 400),
    "chunk_without_end": (request("POST /json HTTP/1.1", "Transfer-Encoding: chunked") + b"2\r\n{}" + SECRET, 400),
    # the body, for our reader
    "no_body": (post("/json", JSON, b""), 400),
    "not_json": (post("/json", JSON, SECRET), 400),
    "repeated_member": (post("/json", JSON, f'{{"{PLANTED}":1,"{PLANTED}":2}}'.encode()), 400),
    "not_a_number": (post("/json", JSON, b'{"a":NaN}'), 400),
    "infinite_number": (post("/json", JSON, b'{"a":1e999}'), 400),
    "huge_integer": (post("/json", JSON, b"1" * 5000), 400),
    "deep": (post("/json", JSON, b"[" * 19_000), 400),
    "nul": (post("/json", JSON, f'"{PLANTED}\\u0000"'.encode()), 400),
    "lone_surrogate": (post("/json", JSON, f'"{PLANTED}\\ud800"'.encode()), 400),
    "not_utf8": (post("/json", JSON, b'"' + SECRET + b'\xff"'), 400),
    "utf16": (post("/json", JSON, f'"{PLANTED}"'.encode("utf-16")), 400),
    "byte_order_mark": (post("/json", JSON, b"\xef\xbb\xbf{}"), 400),
    "trailing_garbage": (post("/json", JSON, b"{}" + SECRET), 400),
    "too_large": (post("/json", JSON, b"[" + b"1," * 10_000 + b"1]"), 413),
    "no_content_type": (post("/json", "", b"{}"), 415),
    "other_content_type": (post("/json", f"text/{PLANTED}", b"{}"), 415),
    "unknown_charset": (post("/json", f"{JSON}; charset={PLANTED}", b"{}"), 415),
    "charset_that_is_no_charset": (post("/json", f"{JSON}; charset=hex", b"{}"), 415),
    "encoded_garbage": (post("/json", JSON, SECRET, "Content-Encoding: gzip"), 415),
    "unknown_encoding": (post("/json", JSON, b"{}", f"Content-Encoding: {PLANTED}"), 415),
    # the body, for handlers that read it with aiohttp
    "aiohttp_unknown_charset": (post("/read/json", f"{JSON}; charset={PLANTED}", b"{}"), 400),
    "aiohttp_charset_that_is_no_charset": (post("/read/json", f"{JSON}; charset=hex", SECRET), 400),
    "aiohttp_deep": (post("/read/json", JSON, b"[" * 200_000), 400),
    "aiohttp_not_json": (post("/read/json", JSON, SECRET), 400),
    "aiohttp_huge_integer": (post("/read/json", JSON, b"1" * 5000), 400),
    "aiohttp_not_utf8": (post("/read/text", "text/plain", SECRET + b"\xff"), 400),
    "aiohttp_too_large": (post("/read/text", "text/plain", SECRET * 100_000), 413),
    "no_boundary": (post("/read/parts", "multipart/form-data", part(NAMED)), 400),
    "truncated_parts": (post("/read/parts", MULTIPART, part(NAMED)[:-12]), 400),
    "parts_that_are_json": (post("/read/parts", JSON, b"{}"), 400),
    "unknown_transfer_of_a_part": (
        post("/read/parts", MULTIPART, part(f"{NAMED}\r\nContent-Transfer-Encoding: {PLANTED}")),
        400,
    ),
    "unknown_charset_of_a_part": (
        post("/read/parts", MULTIPART, part(f"{NAMED}\r\nContent-Type: text/plain; charset={PLANTED}")),
        400,
    ),
    "part_not_utf8": (post("/read/parts", MULTIPART, part(NAMED, SECRET + b"\xff")), 400),
    "unknown_charset_of_a_field": (
        post("/read/post", MULTIPART, part(f"{NAMED}\r\nContent-Type: text/plain; charset={PLANTED}")),
        400,
    ),
    "field_without_name": (post("/read/post", MULTIPART, part("Content-Disposition: form-data")), 400),
    "form_not_utf8": (post("/read/post", "application/x-www-form-urlencoded", b"a=\xff" + SECRET), 400),
    "form_of_unknown_charset": (
        post("/read/post", f"application/x-www-form-urlencoded; charset={PLANTED}", b"a=b"),
        400,
    ),
    "range_of_junk": (post("/read/range", JSON, b"{}", f"Range: {PLANTED}"), 400),
}
