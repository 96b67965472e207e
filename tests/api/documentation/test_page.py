import asyncio
import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from keyservice.api.documentation import page

_CHROMIUM: Final = shutil.which("chromium")
_ALONE: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000"),
)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/init.js", "/docs/swagger-ui.css"])
async def test_what_is_published_is_sent_once_and_then_only_when_it_is_new(
    http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(path) as first:
        assert (first.status, first.headers["Cache-Control"]) == (200, "no-cache")
        body, etag = await first.read(), first.headers["ETag"]
    async with http.get(path, headers={"If-None-Match": f'"other", W/{etag}'}) as again:
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
    async with http.get(path, headers={"If-None-Match": '"other"'}) as other:
        assert (other.status, await other.read()) == (200, body)


async def test_the_page_asks_nobody_but_the_service_and_runs_no_code_of_its_own(http: aiohttp.ClientSession) -> None:
    async with http.get("/docs") as answer:
        policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
        html = await answer.text()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert not re.search(r"<script>|<style|\son\w+=|https?:", html)
    for asked in re.findall(r'(?:src|href)="(/[^"]+)"', html):
        async with http.get(asked) as answer:
            assert answer.status == 200, asked
    async with http.get("/docs/init.js") as answer:
        init = await answer.text()
    assert "validatorUrl: null" in init
    assert "http" not in init


async def test_a_file_that_the_page_does_not_have_is_not_found(http: aiohttp.ClientSession) -> None:
    for name in ("LICENSE", "../document.py", "..%2fdocument.py", "swagger-ui/NOTICE", ""):
        async with http.get(f"/docs/{name}") as answer:
            assert answer.status == 404, name


def test_what_is_not_ours_is_what_was_published() -> None:
    """SHA-256 of each file of the package, as they were compared with the registry's."""
    folder = Path(page.__file__).parent / "static" / "swagger-ui"
    noted = dict(re.findall(r"^([0-9a-f]{64})  (.+)$", (folder / "VERSION.md").read_text(), re.MULTILINE))
    there = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    del there["VERSION.md"]
    assert there == {name: digest for digest, name in noted.items()}


@pytest.mark.skipif(_CHROMIUM is None, reason="needs Debian's chromium, which .ci/run installs")
async def test_a_browser_shows_every_audience_and_asks_nobody_else(base_url: str, tmp_path: Path) -> None:
    dom, asked = await _visited(f"{base_url}/docs", tmp_path)
    for tag in ("publisher", "connect", "fulfillment", "admin", "health"):
        assert f'data-tag="{tag}"' in dom
    assert {url for url in asked if not url.startswith(base_url)} <= {"data:,"}
    assert f"{base_url}/openapi.json" in asked


async def _visited(url: str, directory: Path) -> tuple[str, set[str]]:
    """The page as it is when all is loaded, and every address that the browser asked for on its behalf."""
    assert _CHROMIUM is not None
    net_log = directory / "net.json"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            _CHROMIUM,
            *_ALONE,
            f"--user-data-dir={profile}",
            f"--log-net-log={net_log}",
            "--dump-dom",
            url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        dom, _ = await asyncio.wait_for(browser.communicate(), timeout=120)
    return dom.decode(), set(_addresses(json.loads(net_log.read_text())))


def _addresses(net_log: dict[str, Any]) -> list[str]:
    """The addresses of the requests that a page made; those of the browser itself have no page that began them."""
    kinds = net_log["constants"]["logEventTypes"]
    begun = [event for event in net_log["events"] if event["type"] == kinds["URL_REQUEST_START_JOB"]]
    parameters = [event.get("params", {}) for event in begun]
    return [one["url"] for one in parameters if "url" in one and one.get("initiator") != "not an origin"]
