import json
from pathlib import Path

import pytest

from keyservice.domain.caller import CallerKind
from tests.cli.command import Ended, run_keyservice
from tests.cli.importing import new_token
from tests.fulfillment.feeds import cancelled
from tests.fulfillment.test_make_statement import batch_of, this_month
from tests.lab.shop import Shop


async def statements(*arguments: object, url: str = "http://127.0.0.1:9", token: str = "") -> Ended:
    environment = {"KEYSERVICE_URL": url, "KEYSERVICE_TOKEN": token} if token else {}
    return await run_keyservice("statements", *arguments, **environment)


async def test_what_is_fetched_is_verified_without_the_service(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    batch_id = await batch_of(shop, await shop.load([f"CLI-{shop.publisher_id}-{n}" for n in range(4)]))
    await cancelled(shop, "gone", quantity=2)
    keys, proofs = tmp_path / "keys.json", tmp_path / "proofs"
    for arguments in (
        ("keys", "--to", keys),
        ("fetch", "--feed", "--to", proofs),
        ("fetch", "--batch", batch_id, "--to", proofs / "batch.jsonl"),
        ("fetch", "--month", this_month(), "--to", proofs / "month.jsonl"),
    ):
        ended = await statements(*arguments, url=url, token=token)
        assert ended.status == 0, ended
    verified = await statements("verify", proofs, "--key", keys)
    assert (verified.status, verified.errors) == (0, "")
    told = verified.output.splitlines()
    assert len(told) == 3
    assert f"valid statement of batch {batch_id} of {shop.publisher}" in told[0]
    assert "4 keys" in told[0]
    assert f"valid page of {shop.publisher}'s feed: entries 1 to 2" in told[1]
    assert f"valid statement of month {this_month()}" in told[2]
    assert sorted(path.name for path in proofs.iterdir()) == ["batch.jsonl", "feed-000000000001.json", "month.jsonl"]


async def test_what_is_not_authentic_is_named_with_its_place_and_ends_with_status_1(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    batch_id = await batch_of(shop, await shop.load([f"NOT-{shop.publisher_id}-{n}" for n in range(4)]))
    keys, good, bad = (tmp_path / name for name in ("keys.json", "good.jsonl", "bad.jsonl"))
    await statements("keys", "--to", keys, url=url, token=token)
    await statements("fetch", "--batch", batch_id, "--to", good, url=url, token=token)
    bad.write_bytes(good.read_bytes().replace(b'"row":3', b'"row":9'))
    ended = await statements("verify", good, bad, "--key", keys)
    assert ended.status == 1
    assert f"{good}: valid" in ended.output
    assert f"{bad}: NOT VALID: line 4: this line does not follow from those before it" in ended.output
    assert "not signed by the service" in ended.reason


async def test_a_feed_is_fetched_on_where_it_ended_and_a_missing_page_is_found(
    shop: Shop, url: str, token: str, tmp_path: Path
) -> None:
    keys, feed = tmp_path / "keys.json", tmp_path / "feed"
    await statements("keys", "--to", keys, url=url, token=token)
    await shop.load([f"ON-{shop.publisher_id}-{n:04}" for n in range(1_003)])
    await cancelled(shop, "first", quantity=502)
    assert (await statements("fetch", "--feed", "--to", feed, url=url, token=token)).status == 0
    pages = sorted(path.name for path in feed.iterdir())
    assert pages == ["feed-000000000001.json", "feed-000000000501.json"]
    first = (feed / pages[0]).read_bytes()
    await cancelled(shop, "second", quantity=500)
    await statements("fetch", "--feed", "--to", feed, url=url, token=token)
    assert (feed / pages[0]).read_bytes() == first
    assert [json.loads(path.read_bytes())["last_sequence"] for path in sorted(feed.iterdir())] == [500, 1_000, 1_002]
    assert (await statements("verify", feed, "--key", keys)).status == 0
    (feed / pages[1]).unlink()
    ended = await statements("verify", feed, "--key", keys)
    assert ended.status == 1
    assert "NOT WHOLE: " in ended.output
    assert "entries 501 to 1,000 are missing" in ended.output


async def test_an_admin_names_the_publisher(shop: Shop, url: str, tmp_path: Path) -> None:
    admin = await new_token(shop, CallerKind.ADMIN)
    to = tmp_path / "keys.json"
    refused = await statements("keys", "--to", to, url=url, token=admin)
    assert (refused.status, to.exists()) == (1, False)
    assert (await statements("keys", "--to", to, "--publisher", shop.publisher, url=url, token=admin)).status == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("fetch", "--to", "x"), "say what to fetch"),
        (("fetch", "--feed", "--month", "2026-01", "--to", "x"), "say what to fetch"),
        (("fetch", "--month", "2026-13", "--to", "x"), "no such month"),
        (("fetch", "--month", "2026-01", "--to", "no/such/directory/x"), "cannot be written"),
        (("keys", "--to", "/proc/nothing"), "cannot be written"),
        (("fetch", "--feed", "--to", "/proc/nothing"), "cannot be made"),
    ],
)
async def test_what_cannot_be_fetched_is_refused_with_the_reason(
    url: str, token: str, arguments: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    placed = [str(tmp_path / one) if one in ("x", "no/such/directory/x") else one for one in arguments]
    ended = await statements(*placed, url=url, token=token)
    assert ended.status == 1
    assert reason in ended.reason
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    ended = await statements("verify", tmp_path / "absent", "--key", keys)
    assert (ended.status, "keys.json cannot be read: No such file" in ended.reason) == (1, True)
    keys.write_text("{}")
    assert "not a file of statement keys" in (await statements("verify", tmp_path, "--key", keys)).reason
    keys.write_text('{"keys":[]}')
    assert "no file to verify" in (await statements("verify", tmp_path, "--key", keys)).reason
    absent = await statements("verify", tmp_path / "absent", "--key", keys)
    assert "absent cannot be read: No such file" in absent.reason
    broken = tmp_path / "feed-000000000001.json"
    broken.write_text("{")
    ended = await statements("verify", broken, "--key", keys)
    assert (ended.status, "NOT VALID: line 1" in ended.output) == (1, True)


async def test_a_service_that_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    ended = await statements("keys", "--to", tmp_path / "x", token="ks_any")
    assert (ended.status, "does not answer" in ended.reason) == (1, True)
    assert list(tmp_path.iterdir()) == []
