"""`keyservice key-requests list|decide`: what was asked of a publisher's own API, and what only a person can say of it."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

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
    read_text,
    run_command,
    show_table,
)
from keyservice.domain.key_request import RequestState
from keyservice.fulfillment.decide_request import Decision

app = typer.Typer(help="What was asked of a publisher's own API.", no_args_is_help=True)


@app.command("list")
def list_all(
    token: Token,
    state: Annotated[RequestState | None, typer.Option(help="`held` waits for a person")] = None,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """List what was asked of the publisher's API, newest first: the last 100, or all in one state."""

    async def work(client: PublisherClient) -> dict[str, Any]:
        if state is None:
            return await client.ask("GET", "key-requests", query={"limit": "100"})
        return {"key_requests": await all_pages(client, "key-requests", "key_requests", {"state": state})}

    def tell(console: Console, answer: dict[str, Any]) -> None:
        rows = [
            (
                *(one["key_request_id"], one["operation"], one["state"], one["attempt"], one["error_code"]),
                one["created_at"],
            )
            for one in answer["key_requests"]
        ]
        show_table(console, ("request", "operation", "state", "tried", "code", "since"), rows)

    run_command(work, tell, url, token, publisher, as_json)


@app.command()
def decide(
    key_request: Annotated[UUID, typer.Argument(help="its id, as `list` shows it")],
    decision: Annotated[Decision, typer.Argument(help="what you know that the publisher has done")],
    token: Token,
    keys: Annotated[
        Path | None, typer.Option(help="for `issued`: text with one key a line; - for standard input")
    ] = None,
    url: Url = HERE,
    publisher: Publisher = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of a request that nobody else can find out."""
    given = [] if keys is None else [line for line in read_text(keys).splitlines() if line]

    async def work(client: PublisherClient) -> dict[str, Any]:
        return await client.ask("POST", f"key-requests/{key_request}/decision", {"decision": decision, "keys": given})

    def tell(console: Console, answer: dict[str, Any]) -> None:
        console.print(f"{answer['operation']} is {answer['state']} now")

    run_command(work, tell, url, token, publisher, as_json)
