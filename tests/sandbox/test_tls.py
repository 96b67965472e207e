"""Certificates are as good or as bad as was asked for."""

import ssl

import aiohttp
import pytest

from keyservice.sandbox.publisher import Tls, running_publisher
from tests.sandbox.asking import asking


def _trusting(root_pem: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=root_pem)


async def test_a_good_certificate_is_believed_by_who_trusts_the_root() -> None:
    async with running_publisher(tls="good") as publisher, asking(publisher) as caller:
        assert publisher.certificates is not None
        context = _trusting(publisher.certificates.root_pem)
        assert (await caller.ask("POST", "nexway", "/licenses/new", ssl=context)).status == 401
        by_number = publisher.url.replace("localhost", "127.0.0.1")
        async with caller.session.get(f"{by_number}/ledger", ssl=context) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await caller.ask("POST", "nexway", "/licenses/new")


@pytest.mark.parametrize("kind", ["self-signed", "expired", "wrong-name"])
async def test_a_bad_certificate_is_not_believed(kind: Tls) -> None:
    async with running_publisher(tls=kind) as publisher, asking(publisher) as caller:
        assert publisher.certificates is not None
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await caller.ask("POST", "nexway", "/", ssl=_trusting(publisher.certificates.root_pem))


async def test_who_has_to_show_a_certificate_and_has_none_is_not_heard(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with (
        running_publisher(tls="good", demands_client_certificate=True) as publisher,
        asking(publisher) as caller,
    ):
        assert publisher.certificates is not None
        context = _trusting(publisher.certificates.root_pem)
        with pytest.raises(aiohttp.ClientError):
            await caller.ask("POST", "nexway", "/licenses/new", ssl=context)
        assert publisher.ledger.requests == []
        shown = tmp_path_factory.mktemp("client") / "client.pem"
        shown.write_text(publisher.certificates.client_key_pem + publisher.certificates.client_pem)
        context.load_cert_chain(shown)
        assert (await caller.ask("POST", "nexway", "/licenses/new", ssl=context)).status == 401
