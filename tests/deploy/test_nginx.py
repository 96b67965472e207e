"""deploy/nginx.conf in a real nginx, with a real service behind it."""

import asyncio
import datetime
import io
import re
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyservice.domain.caller import CallerKind
from keyservice.settings import Settings
from tests.cli.running_demo import passable
from tests.deploy.free_ports import free_ports
from tests.deploy.tools import deploy, tool
from tests.lab.service_process import ServiceProcess
from tests.lab.waiting import until, until_true

CONF: Final = (deploy() / "nginx.conf").read_text()
_DEFAULTS: Final = {name: field.get_default() for name, field in Settings.model_fields.items()}
_CHUNK_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Front:
    """nginx with its directory, and what is behind it."""

    directory: Path
    url: str
    trust: ssl.SSLContext
    service: ServiceProcess
    admin: str
    publisher: str

    def session(self, token: str) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.trust)
        return aiohttp.ClientSession(self.url, connector=connector, headers={"Authorization": f"Bearer {token}"})

    def log(self, name: str) -> str:
        return (self.directory / name).read_text()


@pytest.fixture(scope="module")
async def front() -> AsyncIterator[Front]:
    nginx = tool("nginx")
    async with ServiceProcess.running(processes=1, upload_chunk_rows=_CHUNK_ROWS) as service:
        admin = await service.new_caller(CallerKind.ADMIN, "admin")
        headers = {"Authorization": f"Bearer {admin}"}
        async with (
            aiohttp.ClientSession(service.base_url, headers=headers) as session,
            session.post("/admin/publishers", json={"handle": "acme", "name": "Acme"}) as response,
        ):
            assert response.status == 201
        publisher = await service.new_caller(CallerKind.PUBLISHER, "acme", publisher="acme")
        with passable() as directory:
            async with _running(nginx, directory, service.port) as (port, trust):
                yield Front(directory, f"https://localhost:{port}", trust, service, admin, publisher)


async def test_requests_reach_the_service_under_a_request_id_of_both_logs(front: Front) -> None:
    async with front.session(front.admin) as session:
        for given, is_kept in ((uuid.uuid4().hex, True), (str(uuid.uuid4()), True), ("R4T7K-2MNP9-XW3QH", False)):
            async with session.get("/admin/publishers", headers={"X-Request-Id": given}) as response:
                assert response.status == 200
                assert response.headers["Strict-Transport-Security"]
                told = response.headers["X-Request-Id"]
            assert (told == given) is is_kept
            await _logged(told, front.directory / "access.log")
            await _logged(told, front.service.log)
    assert "R4T7K" not in front.log("access.log") + front.log("error.log")


async def test_a_path_and_a_query_are_in_no_log(front: Front) -> None:
    async with front.session(front.publisher) as session:
        for path in ("/publisher/R4T7K-9HXC2", "/R4T7K-9HXC2", "/publisher/pools?key=R4T7K-9HXC2"):
            async with session.get(path) as response:
                assert response.status in (404, 422)
                told = response.headers["X-Request-Id"]
            await _logged(told, front.directory / "access.log")
    assert "R4T7K" not in front.log("access.log") + front.log("error.log") + front.service.log.read_text()


async def test_a_key_file_is_not_kept_back_until_it_is_whole(front: Front) -> None:
    """Its first rows are stored while the client still holds the rest in its hand."""
    goes_on = asyncio.Event()
    batch = uuid.uuid4()
    rows = [f"FRONT-{number:06}\n".encode() for number in range(30_000)]

    async def file() -> AsyncIterator[bytes]:
        yield b"".join(rows[:20_000])
        await goes_on.wait()
        yield b"".join(rows[20_000:])

    async with front.session(front.publisher) as session:
        async with session.post("/publisher/pools", json={"name": "front"}) as response:
            pool = (await response.json())["pool_id"]
        upload = asyncio.create_task(
            _answer(
                session.post(
                    f"/publisher/pools/{pool}/batches?format=txt", data=file(), headers={"Idempotency-Key": str(batch)}
                )
            )
        )

        async def rows_done() -> bool:
            status, document = await _answer(session.get(f"/publisher/imports/{batch}"))
            return status == 200 and document["rows"] > _CHUNK_ROWS

        await until(rows_done, seconds=30, what="the first rows are stored")
        assert not upload.done()
        goes_on.set()
        status, report = await upload
    assert (status, report["accepted"]) == (201, len(rows))


async def test_what_nginx_refuses_is_told_as_the_service_tells_it(front: Front) -> None:
    async with front.session(front.publisher) as session:
        body = io.BytesIO(b"x" * (_DEFAULTS["body_bytes_max"] + 1))
        async with session.post("/publisher/pools", data=body) as response:
            assert response.status == 413
            assert response.content_type == "application/problem+json"
            assert (await response.json())["type"] == "urn:keyservice:problem:body-refused"


async def test_while_the_service_is_away_the_client_is_told_to_repeat(front: Front) -> None:
    await front.service.stop()
    try:
        async with front.session(front.publisher) as session, session.get("/publisher/pools") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert (await response.json())["type"] == "urn:keyservice:problem:outcome-unknown"
    finally:
        await front.service.start()


def test_its_limits_are_those_of_the_settings() -> None:
    everywhere, _, uploads = CONF.partition("location ~ ^/(publisher/pools/")
    uploads = uploads.partition("}")[0]
    assert _directive(everywhere, "client_max_body_size") == f"{_DEFAULTS['body_bytes_max'] // 2**20}m"
    assert _directive(uploads, "client_max_body_size") == f"{_DEFAULTS['upload_bytes_max'] // 2**20}m"
    assert _directive(everywhere, "client_body_timeout") == f"{_DEFAULTS['body_seconds']:g}s"
    assert _directive(uploads, "client_body_timeout") == f"{_DEFAULTS['upload_idle_seconds']:g}s"
    assert float(_directive(everywhere, "keepalive_timeout").rstrip("s")) < _DEFAULTS["idle_seconds"]
    assert f"127.0.0.1:{_DEFAULTS['port']};" in everywhere


@asynccontextmanager
async def _running(nginx: str, directory: Path, upstream: int) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """nginx with the file as it is but for names of files, ports and addresses."""
    (port,) = free_ports(1)
    trust = _certified(directory)
    replaced = {
        "listen [::]:443 ssl;": "",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "127.0.0.1:8080": f"127.0.0.1:{upstream}",
        "/etc/ssl/keyservice/": f"{directory}/",
        "/var/log/nginx/keyservice-error.log": f"{directory}/error.log",
        "/var/log/nginx/keyservice.log": f"{directory}/access.log",
    }
    text = CONF
    for printed, here in replaced.items():
        assert printed in text
        text = text.replace(printed, here)
    (directory / "keyservice.conf").write_text(text)
    places = "".join(
        f"{kind}_temp_path {directory}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = directory / "nginx.conf"
    main.write_text(
        f"daemon off; pid {directory}/pid; error_log {directory}/error.log crit; worker_processes 1; events {{}}\n"
        f"http {{ {places} access_log off; include {directory}/keyservice.conf; }}\n"
    )
    command = [nginx, "-p", str(directory), "-c", str(main), "-e", str(directory / "error.log")]
    tested = subprocess.run([*command, "-t"], check=False, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await until(lambda: _listens(port), seconds=20, what="nginx listens")
        yield port, trust
    finally:
        process.terminate()
        await process.wait()


async def _logged(request_id: str, file: Path) -> None:
    await until_true(lambda: request_id in file.read_text(), seconds=10, what=f"the request is in {file.name}")


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _certified(directory: Path) -> ssl.SSLContext:
    """A certificate for localhost in the files that nginx reads, and who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = directory / "fullchain.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "privkey.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ssl.create_default_context(cafile=str(chain))


async def _answer(request: "aiohttp.client._RequestContextManager") -> tuple[int, dict[str, Any]]:
    async with request as response:
        return response.status, await response.json(content_type=None)


def _directive(text: str, name: str) -> str:
    found = re.findall(rf"^ +{name} (\S+);$", text, re.MULTILINE)
    assert len(set(found)) == 1, f"{name}: {found}"
    return str(found[0])
