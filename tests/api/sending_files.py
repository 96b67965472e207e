"""Sending key files that are not as they should be, and holding what comes of it against what must."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from tests.api.bad_key_files import TakenFile
from tests.api.json_entrances import problem_faults
from tests.api.premises import Premises, asked, bearer
from tests.api.raw_http import PLANTED, Answer, request

# What a refused file leaves: that it was refused, and why.
RECORDS: Final = frozenset({"batches", "data_keys", "publisher_events"})
numbers: Final = count(1)


def raw_upload(
    premises: Premises,
    content: bytes,
    *lines: str,
    query: str = "",
    content_type: str = "text/csv",
    pool: object = None,
    token: str | None = None,
) -> bytes:
    target = f"/publisher/pools/{pool or premises.own.pool_id}/batches" + (f"?{query}" if query else "")
    types = [f"Content-Type: {content_type}"] if content_type else []
    return request(f"POST {target} HTTP/1.1", bearer(token or premises.publisher), *types, *lines, body=content)


async def upload(premises: Premises, content: bytes, *lines: str, **options: Any) -> Answer:
    return await premises.served.send(raw_upload(premises, content, *lines, **options))


def with_own_keys(content: bytes, number: int) -> bytes:
    for digit in range(1, 10):
        content = content.replace(b"@%d" % digit, f"{PLANTED}-{number}-{digit}".encode())
    return content


async def unfinished_uploads(premises: Premises) -> int:
    async with premises.services.database.transaction() as connection:
        return int(
            await connection.fetchval(
                "SELECT (SELECT count(*) FROM batches WHERE state = 'receiving')"
                "     + (SELECT count(*) FROM segments WHERE state = 'receiving')"
            )
        )


def refusal_faults(
    answer: Answer, status: int, reason: str | None, line: int | None, offset: int | None
) -> Iterator[str]:
    if answer.status != status:
        yield f"answered {answer.status} instead of {status}: {answer.body[:300]!r}"
        return
    yield from problem_faults(answer, status)
    problem = answer.problem
    if PLANTED in str(answer):
        yield f"repeats a key: {problem['detail']}"
    if reason is not None and problem.get("reason") != reason:
        yield f"has the reason {problem.get('reason')} instead of {reason}: {problem}"
    if line is not None and (problem.get("line") != line or not problem["detail"].startswith(f"line {line}: ")):
        yield f"names line {problem.get('line')} instead of {line}: {problem}"
    if offset is not None and problem.get("byte_offset") != offset:
        yield f"names byte {problem.get('byte_offset')} instead of {offset}"


async def take_file(premises: Premises, name: str, file: TakenFile) -> tuple[list[str], list[str]]:
    """Upload it; what is wrong, and the keys that are on sale now."""
    number = next(numbers)
    keys = [with_own_keys(key.encode(), number).decode() for key in file.keys]
    before = await premises.own.left()
    content = file.pack(with_own_keys(file.content, number))
    answer = await upload(premises, content, *file.lines, query=file.query, content_type=file.content_type)
    if answer.status != (201 if keys else 200):
        return [f"{name}: answered {answer.status}: {answer.body[:400]!r}"], []
    faults = []
    report = json.loads(answer.body)
    malformed = Counter(why if why in report["verdicts"] else "malformed" for why in file.refused.values())
    expected = Counter(accepted=len(keys), blank=file.blank, header=file.header) + malformed
    if Counter({verdict: rows for verdict, rows in report["verdicts"].items() if rows}) != expected:
        faults.append(f"verdicts {report['verdicts']} instead of {expected}")
    if report["rows"] != sum(report["verdicts"].values()) or report["refused"] != len(file.refused):
        faults.append(f"rows do not add up: {report}")
    if await premises.own.left() - before != len(keys):
        faults.append("the pool did not grow by the accepted keys")
    if PLANTED in str(answer):
        faults.append("the report repeats a key")
    raw = request(f"GET {report['links']['refused_rows']} HTTP/1.0", bearer(premises.publisher))
    listed = await asked(premises.served, raw)
    rows = {int(row["row"]): row for row in csv.DictReader(io.StringIO(listed.body.decode(), newline=""))}
    told = {row: (cells["reason"] or cells["verdict"]).partition(":")[0] for row, cells in rows.items()}
    if told != dict(file.refused):
        faults.append(f"refused rows {told} instead of {file.refused}")
    if PLANTED in str(listed):
        faults.append("the list of refused rows repeats a key")
    return [f"{name}: {fault}" for fault in faults], keys
