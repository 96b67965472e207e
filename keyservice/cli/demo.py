"""`keyservice demo`: the life of a license key, told by a real service on real files."""

import asyncio
import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import stamina.instrumentation
import typer
from pydantic_core import to_json
from rich.console import Console
from rich.text import Text

from keyservice.cli.demo_disk import search_files
from keyservice.cli.demo_files import order_body
from keyservice.cli.demo_people import PUBLISHER_HANDLE, Cast, new_person, telephone, uploads_of
from keyservice.cli.demo_real_time import keys_are_asked_for
from keyservice.cli.demo_screen import Screen, StepFailed, facts_table
from keyservice.cli.demo_story import PRODUCT_REF, Sale, keys_are_sold, keys_come_in, keys_end
from keyservice.cli.launcher import on_stop_signals, running_workers, wait_for_stop
from keyservice.cli.start import bring_up_to_date, first_or_known_keyring, running_database
from keyservice.domain.caller import CallerKind
from keyservice.logs import configure_logs
from keyservice.sandbox.publisher import running_publisher
from keyservice.settings import Settings

_STOPPED: Final = 128 + signal.SIGINT


def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="end after the last step instead of going on serving")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 lets the system choose")] = 0,
) -> None:
    """The life of a license key, step by step, on a service of its own in a temporary directory."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    screen = Screen(Console())
    directory = _new_directory()
    log_file = directory / "service.log"
    try:
        with _errors_into(log_file) as stream, contextlib.closing(configure_logs("info", stream=stream)):
            asyncio.run(_demonstrate(screen, directory, port=port, stays=not exit_))
    except StepFailed as failed:
        screen.line(Text(f"failed at {failed}", style="bold red"))
        screen.line(f"what the service has to say: {log_file}")
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        screen.line("stopped")
        shutil.rmtree(directory)
        raise typer.Exit(_STOPPED) from None
    shutil.rmtree(directory)


@dataclass(frozen=True, slots=True)
class _House:
    """The running service."""

    url: str
    database_url: str
    settings: Settings


async def _demonstrate(screen: Screen, directory: Path, *, port: int, stays: bool) -> None:
    started = time.perf_counter()
    story = asyncio.current_task()
    assert story is not None

    def stop() -> None:
        story.cancel()

    screen.line(Text("keyservice demo: a license key from the publisher's file to the shopper and back", style="bold"))
    screen.line(f"everything happens in {directory}\n")
    stamina.instrumentation.set_on_retry_hooks([])
    async with AsyncExitStack() as stack:
        with on_stop_signals(stop):
            house = await _open_house(screen, stack, directory, port)
            cast = await _invite(screen, stack, house, directory)
            sale = await keys_are_sold(screen, cast, await keys_come_in(screen, cast))
            await keys_end(screen, cast, sale)
            await keys_are_asked_for(screen, cast, await stack.enter_async_context(running_publisher()))
            await _search_disk(screen, house, directory, sale)
        seconds = time.perf_counter() - started
        screen.line(Text(f"All {screen.steps_told} steps held, in {seconds:.1f} s.", style="bold green"))
        if stays:
            _show_the_way(screen, house, cast, directory)
            await wait_for_stop()


async def _open_house(screen: Screen, stack: AsyncExitStack, directory: Path, port: int) -> _House:
    settings = _settings(directory / "service", port)
    with screen.step("A service starts", "With a PostgreSQL and secrets of its own: nothing has to be there.") as step:
        address = await stack.enter_async_context(running_database(settings))
        await bring_up_to_date(address)
        await first_or_known_keyring(settings, address)
        chosen = await stack.enter_async_context(running_workers(settings, address))
        url = f"http://{settings.host}:{chosen}"
        step.show(facts_table(("address", url), ("log", str(directory / "service.log"))))
    return _House(url, address.service_url, settings)


async def _invite(screen: Screen, stack: AsyncExitStack, house: _House, directory: Path) -> Cast:
    session = await stack.enter_async_context(telephone())
    place = {"database_url": house.database_url, "url": house.url}
    title = "An admin lets a publisher, a reseller and an order pipeline in"
    with screen.step(title, "Each gets a token that is shown once and stored as a hash.") as step:
        admin = await new_person(CallerKind.ADMIN, session=session, **place)
        made = await admin.post("/admin/publishers", {"handle": PUBLISHER_HANDLE, "name": "Lighthouse Software"})
        step.equal(f"the publisher is {PUBLISHER_HANDLE}", made.status, 201)
        publisher = await new_person(CallerKind.PUBLISHER, session=session, publisher=PUBLISHER_HANDLE, **place)
        reseller = await new_person(CallerKind.RESELLER, session=session, **place)
        pipeline = await new_person(CallerKind.PIPELINE, session=session, **place)
        refused = await replace(admin, is_reseller=True).post("/connect/stock", {"productRefs": [str(PRODUCT_REF)]})
        step.equal("a token opens its own doors only: the admin is no reseller", refused.status, 403)
    return Cast(admin, publisher, reseller, pipeline, uploads_of(publisher), directory)


async def _search_disk(screen: Screen, house: _House, directory: Path, sale: Sale) -> None:
    title = "What a copy of the database would give away"
    with screen.step(title, "Database files, write-ahead log, service log: is the shopper's key in them?") as step:
        key = sale.keys[0]
        texts = (key, PUBLISHER_HANDLE, sale.shelf.file.id_of[key])
        disk = await asyncio.to_thread(search_files, house.settings.data_directory, texts)
        log = await asyncio.to_thread((directory / "service.log").read_bytes)
        of_key, of_handle, of_own_id = disk.found
        step.say(f"{disk.files:,} files, {disk.size / 1e6:,.0f} MB")
        step.equal("files with the key in plain text: 0", of_key, 0)
        step.expect(f"files with the publisher's handle: {of_handle} (the search does find things)", of_handle > 0)
        step.expect(f"files with the publisher's own id of that key: {of_own_id}", of_own_id > 0)
        step.expect("the key is not in the service's log", key.encode() not in log)
        step.say("The keyring that opens the keys is a file of its own: keep it and its backup somewhere else.")


def _show_the_way(screen: Screen, house: _House, cast: Cast, directory: Path) -> None:
    order = directory / "order.json"
    body = order_body("WEB-2001", product_ref=PRODUCT_REF, quantity=1, ordered_at=datetime.now(UTC))
    order.write_bytes(to_json(body, indent=2))
    screen.line("\nThe service goes on until Ctrl-C; then the directory is removed. In another terminal:\n")
    screen.line(f"export URL={house.url}")
    screen.line(f"export ADMIN={cast.admin.token}")
    screen.line(f"export PUBLISHER={cast.publisher.token}")
    screen.line(f"export SECRET={cast.reseller.token}")
    screen.line(f"export PIPELINE={cast.pipeline.token}")
    screen.line("\nBuy a key:\n")
    screen.line(
        f'curl -s "$URL/connect/order/new" -H "secret: $SECRET" -H "Content-Type: application/json" -d @{order}'
    )


def _new_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="keyservice-demo-"))
    # Root hands PostgreSQL to another account, which has to get through.
    directory.chmod(0o711)
    return directory


def _settings(data_directory: Path, port: int) -> Settings:
    """The defaults, whatever the environment says: the demo is the same everywhere."""
    defaults = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in Settings.model_fields.items()
    }
    # The publisher of the last act lives on this machine.
    neighbour: dict[str, Any] = {"egress_networks": "127.0.0.0/8", "egress_ports": "", "egress_plain_http": True}
    return Settings(**{**defaults, **neighbour, "data_directory": data_directory, "port": port})


@contextmanager
def _errors_into(path: Path) -> Iterator[TextIO]:
    """Whatever is written to standard error goes to the file: worker processes inherit it and log there."""
    sys.stderr.flush()
    before = os.dup(2)
    with path.open("a", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 2)
        try:
            yield stream
        finally:
            os.dup2(before, 2)
            os.close(before)
