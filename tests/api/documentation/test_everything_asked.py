"""Every operation of the document, asked by schemathesis what nobody thought of."""

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import encode_basic_auth

from keyservice.api.application import build_application
from keyservice.domain.caller import CallerKind
from keyservice.fulfillment.manage_callers import add_caller
from keyservice.services import Services
from tests.api.documentation.asking_everything import Asked, Asking
from tests.api.documented import Documented
from tests.api.premises import Premises, bearer, opened_premises
from tests.api.raw_http import post
from tests.api.visitors import furnished
from tests.lab.shop import Shop

pytestmark = pytest.mark.slow

# The product and the order of the document's own examples.
_EXAMPLE_PRODUCT: Final = 270_001
_SEED: Final = 20_261
_VERBS: Final = ("read", "extend", "commit", "release", "revoke", "replace")


@dataclass(frozen=True, slots=True)
class Stage:
    """A service with everything in it that can be asked for."""

    premises: Premises
    asking: Asking


@pytest.fixture(scope="module")
async def stage(services: Services) -> AsyncIterator[Stage]:
    # Whoever has one of the first ids is revoked before long: they are what everybody tries.
    for number in range(1, 6):
        await _spare_caller(services, f"first {number}")
    async with opened_premises(services) as premises:
        matrix = await furnished(premises)
        await premises.own.load([f"EVERYTHING-{number}" for number in range(2_000)])
        product = {"name": "example", "product_ref": _EXAMPLE_PRODUCT, "template_id": str(matrix.own.template_id)}
        await _made(premises, "/publisher/products", premises.publisher, product)
        orders = await _orders(premises)
        claims = {verb: await _claim(premises, verb) for verb in _VERBS}
        replaced = claims["replace"]["lines"][0]["units"][0]
        things: dict[str, Sequence[str | int]] = {
            "path.pool_id": [str(matrix.own.pool_id), str(matrix.foreign.pool_id)],
            "path.package_id": [str(matrix.own.package_id), str(matrix.own.pool_id)],
            "path.batch_id": [str(batch_id) for batch_id in matrix.own.batches.values()],
            "path.purchase_id": list(orders.values()),
            "path.partnerOrderNumber": list(orders),
            "path.reference": [claims[verb]["reference"] for verb in ("read", "revoke")],
            "path.revocation": [str(matrix.own.revocation_id), "1"],
            "query.publisher": [matrix.own.publisher],
            "query.publisherId": [matrix.own.publisher],
            "body.publisherId": [matrix.own.publisher],
            "query.pool_id": [str(matrix.own.pool_id)],
            "body.template_id": [str(matrix.own.template_id)],
            "body.source_plan.steps[*].pool": [str(matrix.own.pool_id)],
            "body.partnerOrderNumber": list(orders),
            "body.orderLines[*].productRef": [_EXAMPLE_PRODUCT],
            "body.productRefs[*]": [_EXAMPLE_PRODUCT, matrix.foreign.product_ref],
            "body.lines[*].product_ref": [_EXAMPLE_PRODUCT],
        }
        its_own: dict[str, dict[str, str | int]] = {
            "discard_import": {"path.batch_id": str(matrix.own.batches["discarded"])},
            "change_callers_limits": {"path.caller_id": await _spare_caller(services, "limited")},
            "revoke_caller": {"path.caller_id": await _spare_caller(services, "revoked")},
            "change_package": {
                "path.package_id": str(matrix.own.package_id),
                "body.id": str(matrix.own.package_id),
                "body.nexwayProductId[*]": str(matrix.own.package_ref),
            },
            "extend_hold": {"path.reference": claims["extend"]["reference"]},
            "commit_hold": {"path.reference": claims["commit"]["reference"]},
            "release_hold": {"path.reference": claims["release"]["reference"]},
            "replace_key": {
                "path.reference": claims["replace"]["reference"],
                "body.unit_id": replaced["unit_id"],
                "body.claim_id": replaced["claim_id"],
            },
        }
        yield Stage(premises, Asking(_credentials(premises), things, its_own, examples=5))


def _credentials(premises: Premises) -> dict[str, dict[str, str]]:
    """Who asks, by the beginning of the path."""
    seller = premises.own.reseller_token
    return {
        "/publisher": {"Authorization": f"Bearer {premises.publisher}"},
        "/license-keys-provider": {"Authorization": f"Bearer {premises.publisher}"},
        "/license-manager": {"Authorization": f"Bearer {premises.publisher}"},
        "/fulfillment/webhooks": {"Authorization": f"Bearer {seller}"},
        "/admin": {"Authorization": f"Bearer {premises.admin}"},
        "/fulfillment/purchases": {"Authorization": f"Bearer {seller}"},
        "/fulfillment/claims": {"Authorization": f"Bearer {premises.pipeline}"},
        "/fulfillment/keys": {"Authorization": f"Bearer {premises.pipeline}"},
        "/connect": {"secret": seller},
        "/iam": {"Authorization": encode_basic_auth(seller[:15], seller)},
    }


async def _claim(premises: Premises, verb: str) -> dict[str, Any]:
    """A claim of the pipeline's for this verb, on hold where the verb needs one that is."""
    claim: dict[str, Any] = {
        "reference": f"everything-{verb}",
        "lines": [{"product_ref": _EXAMPLE_PRODUCT, "quantity": 3}],
    }
    if verb in ("extend", "commit", "release"):
        claim["hold_seconds"] = 3_600
    return await _made(premises, "/fulfillment/claims", premises.pipeline, claim)


async def _made(premises: Premises, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    raw = post(path, "application/json", json.dumps(body).encode(), bearer(token))
    answer = await premises.served.send(raw)
    assert answer.status == 201, answer
    made: dict[str, Any] = json.loads(answer.body)
    return made


async def test_nothing_that_the_document_allows_or_forbids_is_answered_otherwise(
    stage: Stage, base_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The same cases whenever the suite runs, so that it fails for what was changed; the long run makes up others every time.
    asked = await replace(stage.asking, seed=_SEED).ask(base_url, tmp_path)
    with capsys.disabled():
        sys.stdout.write(f"\nschemathesis: {_told(asked)}\n")
    assert asked.exit_code == 0, asked.failures or asked.output[-5_000:]
    await _all_may_still_call(stage)


@pytest.mark.full
@pytest.mark.timeout(3_600)
async def test_nothing_is_answered_otherwise_in_200_cases_an_operation(
    stage: Stage, base_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = await replace(stage.asking, examples=200).ask(base_url, tmp_path)
    with capsys.disabled():
        sys.stdout.write(f"\nschemathesis, 200 examples an operation: {_told(asked)}\n")
    assert asked.exit_code == 0, asked.failures or asked.output[-5_000:]
    await _all_may_still_call(stage)
    documented = Documented(build_application(stage.premises.services))
    taken = {name for name, statuses in asked.statuses.items() if any(status < 300 for status in statuses)}
    # What the document itself is at is read before all else, and not asked again.
    assert set(documented.operations) - taken == {("GET", "/openapi.json")}


async def _all_may_still_call(stage: Stage) -> None:
    """Whoever lost its credential on the way was refused everything from then on, and nothing was tried."""
    for headers in stage.asking.headers.values():
        token = next(iter(headers.values())).removeprefix("Bearer ")
        if not token.startswith("Basic "):
            assert (await stage.premises.services.gatekeeper.identify(token)).limits is None


async def _spare_caller(services: Services, name: str) -> int:
    """The id of a caller that nobody needs."""
    async with services.database.transaction() as connection:
        token = await add_caller(connection, kind=CallerKind.RESELLER, name=name)
    return (await services.gatekeeper.identify(token)).caller_id


async def _orders(premises: Premises) -> dict[str, str]:
    """The ids of some orders by their numbers, of the reseller who takes the lenient profile."""
    shop: Shop = premises.own
    bought = [await shop.buy(f"everything-{number}") for number in range(20)]
    return {one.partner_order_number: str(one.order_id) for one in bought}


def _told(asked: Asked) -> str:
    total: Counter[Any] = sum(asked.statuses.values(), Counter())
    errors = sum(count for status, count in total.items() if status >= 500)
    return f"{asked.cases} cases, {errors} server errors, {dict(sorted(total.items()))}"
