"""`keyservice connectors …`: connections to a publisher's own API, from the first draft to their use."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keyservice.cli.publisher_client import PublisherClient
from keyservice.cli.publisher_command import (
    HERE,
    AsJson,
    Publisher,
    Token,
    Url,
    all_pages,
    read_json_object,
    run_command,
    show_table,
)
from keyservice.connectors.document import ConnectorDocument
from keyservice.domain.connector import ConnectorOperation
from keyservice.domain.errors import Invalid, KeyserviceError, NotFound

app = typer.Typer(help="Connections to a publisher's own API.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(help="the connector's id or its name")]


class NoHandshake(KeyserviceError):
    """The publisher's API was tried and did not do as the document says."""

    code = "no-handshake"


# ------------------------------------------------------------------------------------------------ what there is
@app.command("list")
def list_all(token: Token, url: Url = HERE, publisher: Publisher = None, as_json: AsJson = False) -> None:
    """List connectors, oldest first."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        return {"connectors": await all_pages(client, "connectors", "connectors")}

    def tell(console: Console, answer: dict[str, Any]) -> None:
        rows = [(one["name"], one["state"], one["version"], one["connector_id"]) for one in answer["connectors"]]
        show_table(console, ("name", "state", "version", "id"), rows)

    run_command(work, tell, url, token, publisher, as_json)


@app.command()
def show(connector: Named, token: Token, url: Url = HERE, publisher: Publisher = None, as_json: AsJson = False) -> None:
    """Show a connector: its secrets' names, what is missing, and every fact about the buyer that it would send out."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        return await _read(client, connector)

    run_command(work, _tell_connector, url, token, publisher, as_json)


@app.command()
def presets(token: Token, url: Url = HERE, publisher: Publisher = None, as_json: AsJson = False) -> None:
    """List the protocols that are known, with the secrets they need and what only their publisher can fill in."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        return await client.ask("GET", "connector-presets")

    def tell(console: Console, answer: dict[str, Any]) -> None:
        for one in answer["presets"]:
            secrets = f"  secrets: {', '.join(one['secrets'])}" if one["secrets"] else ""
            console.print(f"{one['name']}: {', '.join(one['operations'])}{secrets}", soft_wrap=True)
            for part in one["to_fill_in"]:
                console.print(f"    {part['path']}: {part['hint']}", soft_wrap=True)

    run_command(work, tell, url, token, publisher, as_json)


# ------------------------------------------------------------------------------------------------ making and changing
@app.command()
def create(
    name: Annotated[str, typer.Argument(help="what it is called from now on")],
    token: Token,
    preset: Annotated[str | None, typer.Option(help="one of `keyservice connectors presets`")] = None,
    fill_in: Annotated[list[str] | None, typer.Option(help="PATH=VALUE, for what the preset leaves open")] = None,
    document: Annotated[Path | None, typer.Option(help="a document of your own, in the place of a preset")] = None,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Make a connector. It is a draft: give it its secrets, shake hands, then enable it."""
    if (preset is None) is (document is None):
        raise Invalid("give --preset or --document, one of the two")
    body: dict[str, Any] = {"name": name}
    if document is not None:
        body["document"] = read_json_object(document)
    else:
        body |= {"preset": preset, "fill_in": dict(_pair(one) for one in fill_in or [])}

    async def work(client: PublisherClient) -> dict[str, Any]:
        return await client.ask("POST", "connectors", body)

    run_command(work, _tell_connector, url, token, publisher, as_json)


@app.command()
def document(connector: Named, token: Token, url: Url = HERE, publisher: Publisher = None) -> None:
    """Print the newest version of a connector's document, to be changed and given to `change`."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        document: dict[str, Any] = (await _read(client, connector))["document"]
        return document

    run_command(work, lambda console, answer: None, url, token, publisher, as_json=True)


@app.command()
def change(
    connector: Named,
    file: Annotated[Path, typer.Argument(help="the whole document, as JSON")],
    token: Token,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Make a new version of a connector's document. The one in use goes on until the new one is enabled."""
    new = read_json_object(file)

    async def work(client: PublisherClient) -> dict[str, Any]:
        read = await _read(client, connector)
        body = {"edited_version": read["newest_version"], "document": new}
        return await client.ask("PUT", f"connectors/{read['connector_id']}/document", body)

    run_command(work, _tell_connector, url, token, publisher, as_json)


@app.command()
def secrets(
    connector: Named,
    token: Token,
    file: Annotated[
        Path | None, typer.Argument(help='a JSON object such as {"password": "…"}; else standard input')
    ] = None,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Give a connector its secrets. They never stand on the command line, and are never shown again."""
    told = read_json_object(file)

    async def work(client: PublisherClient) -> dict[str, Any]:
        connector_id = (await _read(client, connector))["connector_id"]
        return await client.ask("PUT", f"connectors/{connector_id}/secrets", {"secrets": told})

    run_command(work, _tell_connector, url, token, publisher, as_json)


# ------------------------------------------------------------------------------------------------ trying and using
@app.command()
def preview(
    connector: Named,
    operation: Annotated[ConnectorOperation, typer.Argument()],
    token: Token,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Show the exact request that would be sent for an example order, with every secret masked."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        connector_id = (await _read(client, connector))["connector_id"]
        return await client.ask("POST", f"connectors/{connector_id}/preview", {"operation": operation})

    def tell(console: Console, answer: dict[str, Any]) -> None:
        console.print(f"{answer['method']} {answer['url']}", soft_wrap=True)
        for header in answer["headers"]:
            console.print(f"{header['name']}: {header['value']}", soft_wrap=True)
        if answer["body"] is not None:
            console.print(f"\n{answer['body']}", soft_wrap=True)

    run_command(work, tell, url, token, publisher, as_json)


@app.command()
def handshake(
    connector: Named,
    token: Token,
    issue_and_void: Annotated[bool, typer.Option(help="ask for a key as a test, and take it back")] = False,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Try a connector with real calls. It ends with status 1 when the publisher's API does not do as the document says."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        connector_id = (await _read(client, connector))["connector_id"]
        return await client.ask("POST", f"connectors/{connector_id}/handshake", {"issue_and_void": issue_and_void})

    def tell(console: Console, answer: dict[str, Any]) -> None:
        rows = [
            (
                "good" if step["is_good"] else "NOT GOOD",
                *(step["operation"], step["purpose"], step["outcome"], step["code"], step["http_status"]),
            )
            for step in answer["steps"]
        ]
        show_table(console, ("", "call", "to see", "came to", "code", "status"), rows)

    tried = run_command(work, tell, url, token, publisher, as_json)
    if not tried["is_good"]:
        raise NoHandshake(tried["advice"])


@app.command()
def switch(
    connector: Named,
    state: Annotated[str, typer.Argument(help="testing (test orders only), enabled, or disabled")],
    token: Token,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a connector is used. It is enabled after a good handshake of its newest version only."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        connector_id = (await _read(client, connector))["connector_id"]
        return await client.ask("PATCH", f"connectors/{connector_id}", {"state": state})

    run_command(work, _tell_connector, url, token, publisher, as_json)


async def _read(client: PublisherClient, named: str) -> dict[str, Any]:
    """Raises NotFound."""
    known = await all_pages(client, "connectors", "connectors")
    for one in known:
        if named in (one["connector_id"], one["name"]):
            return await client.ask("GET", f"connectors/{one['connector_id']}")
    names = ", ".join(one["name"] for one in known[:10]) or "none yet"
    raise NotFound(f"there is no connector of this id or name; this publisher's connectors: {names}")


def _tell_connector(console: Console, answer: dict[str, Any]) -> None:
    document = ConnectorDocument.model_validate(answer["document"])
    rows: list[tuple[str, str]] = [
        ("connector", f"{answer['name']} ({answer['connector_id']})"),
        ("state", answer["state"]),
        ("version", f"{answer['version']} in use, {answer['newest_version']} is the newest"),
        ("handshake", "good" if answer["is_handshake_good"] else "none that was good for the newest version"),
        ("operations", ", ".join(document.operations)),
        ("secrets", ", ".join(one["name"] for one in answer["secrets"]) or "none"),
        ("missing secrets", ", ".join(answer["missing_secrets"]) or "none"),
        (
            "of the buyer",
            ", ".join(dict.fromkeys(one["name"] for one in answer["buyer_fields"])) or "nothing leaves the house",
        ),
    ]
    rows += [(f"to fill in: {part.path}", part.hint) for part in document.to_fill_in]
    for name, value in rows:
        console.print(f"{name}: {value}", soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    path, is_there, value = text.partition("=")
    if not is_there:
        raise Invalid(f"{text} is not PATH=VALUE", field="fill_in")
    return path, value
