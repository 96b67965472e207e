"""schemathesis, told who may ask what, which things there are, and what it would take for a fault and is none."""

import asyncio
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HOOKS: Final = "tests.api.documentation.things_to_say"

# Operations whose rules no schema can say: what obeys the schema may still be refused with 422.
RULES_BEYOND_THE_SCHEMA: Final[Mapping[str, str]] = {
    "open_pool": "the alert level is at most the warning level",
    "change_pool": "the alert level is at most the warning level",
    "create_template": "the pools of the plan exist, each once, and only the mode block has a block size",
    "create_product": "the template exists",
    "add_caller": "only publishers' callers have a publisher, only who takes keys a sandbox, and scopes are of the kind",
    "change_callers_limits": "a burst belongs to a number of requests per second",
    "change_batch": "an integer is written without a fraction, though 1.0 is one to JSON Schema",
    "claim_keys": "the products are for sale, and a hold is no longer than the operator allows",
    "extend_hold": "a hold is no longer than the operator allows",
    "read_revocations": "what comes behind the end of the feed is not there yet",
    "acknowledge_revocations": "the entries are there, and either some are named or all up to one",
    **dict.fromkeys(("search_own_keys", "search_all_keys", "search_sold_keys"), "a key is given in one of three ways"),
    "search_keys_by_ending": "a purpose does not repeat what is searched for",
    "withdraw_keys": "keys are named by their text or by the publisher's ids, not by both",
    "search_purchases": "a cursor is one that the service gave out",
    **dict.fromkeys(("list_packages", "read_package"), "who names the publisher in two ways names the same"),
    "create_package": "the publisher's ids are as many as the products, and its name is the same in query and body",
    "change_package": "the id is that of the path, and the rest as for a new package",
    "import_package_file": "the file is CSV with keys in it, in the form that the query says, and no expiry date is past",
    "create_connector": "a preset or a document, which can be used",
    "change_connector": "the document can be used",
    "give_connector_secrets": "the document names these secrets",
    "shake_hands": "the document can be used",
    "switch_connector": "the document can be used",
    "preview_connector": "the document has the operation",
    "decide_key_request": "keys are given when they were issued, as many as were asked for, and are the publisher's",
    "import_license_provider_definition": "the definition can be used",
    "change_license_provider_definition": "likewise",
    "read_license_provider_definition": "the connector says no more than a definition can",
    "tell_of_key_request": "the keys are as many as were asked for, and are the publisher's",
    **dict.fromkeys(("create_webhook", "change_webhook"), "the URL may be asked, and there are notices of these types"),
    **dict.fromkeys(("create_publisher_webhook", "change_publisher_webhook"), "likewise"),
    "upload_key_file": "the file has keys in it, in the form that the query says, and no expiry date is past",
}

# What stands in these is anything, also numbers that no JSON of the service may hold (400).
FREE_DOCUMENTS: Final = ("create_connector", "change_connector")

# A refusal of Connect has status 200: the reference's clients read `responseCode`. And 201 may follow on what breaks the
# schema: null, blank text, an empty array or object in the place of an optional member count as its absence, since clients
# of the reference send them. Members that it does not know are passed over, unless they are no JSON that can be kept (400).
REFUSED_IN_CONNECT: Final = ("submit_order", "ask_for_stock", "cancel_order")

# These would take away the credentials that all others are asked with, if they were given what was answered before.
HARMFUL: Final = ("change_callers_limits", "revoke_caller")

# In Connect an order may be called `new` or `cancel`: GET on these paths reads the order of that number.
PATHS_THAT_ARE_ALSO_ORDERS: Final = ("submit_order", "cancel_order")

_ACCEPTED: Final[Sequence[int | str]] = ["2xx", "3xx", 401, 403, 404, 409, 429, "5xx"]
# A body that is too large is refused before anybody looks into it.
_REFUSED: Final[Sequence[int | str]] = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it."""

    exit_code: int
    output: str
    statuses: Mapping[tuple[str, str], Counter[int]]
    """By method and path, also those that the document does not have: they are tried too."""

    cases: int

    @property
    def failures(self) -> str:
        found = re.search(r"=+ FAILURES =+\n(.*?)(?:\n=+ (?:WARNINGS|SUMMARY) =+)", self.output, flags=re.DOTALL)
        return found[1][:20_000] if found else ""


@dataclass(frozen=True, slots=True)
class Asking:
    """`headers` by the beginning of the path; `things` by the place where their names go, as schemathesis writes places;
    `its_own` by operation and place."""

    headers: Mapping[str, Mapping[str, str]]
    things: Mapping[str, Sequence[str | int]]
    its_own: Mapping[str, Mapping[str, str | int]]
    examples: int
    seed: int | None = None
    """The same cases every time; without it, others every time."""

    async def ask(self, base_url: str, directory: Path) -> Asked:
        """Every operation of the document that the service gives out."""
        configuration, report = directory / "schemathesis.toml", directory / "report.ndjson"
        configuration.write_text(self._configuration(report))
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={configuration}",
            "run",
            f"{base_url}/openapi.json",
            f"--max-examples={self.examples}",
            *(() if self.seed is None else (f"--seed={self.seed}",)),
            cwd=directory,
            env={**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert report.exists(), output.decode()
        statuses, cases = _read(report)
        return Asked(process.returncode or 0, output.decode(), statuses, cases)

    def _configuration(self, report: Path) -> str:
        """Where a thing is named, most cases name one that there is; an operation with things of its own always does."""
        own = {f"{name} {place}": [thing] for name, places in self.its_own.items() for place, thing in places.items()}
        lines = [
            "continue-on-failure = true",
            f"checks = {{enabled = true, {_expecting('negative_data_rejection', *_REFUSED)}}}",
            f"reports.ndjson = {{enabled = true, path = {json.dumps(str(report))}}}",
            # U+0000 is refused in every body, since the database cannot keep it: a JSON schema cannot say so of all texts.
            "generation = {allow-x00 = false}",
            "[dictionaries]",
            *(f"{json.dumps(name)} = {{values = {json.dumps(list(values))}}}" for name, values in self.things.items()),
            *(f"{json.dumps(name)} = {{values = {json.dumps(values)}}}" for name, values in own.items()),
            "[parameters]",
            *(_bound(place, place, 0.8) for place in self.things),
        ]
        for path, headers in self.headers.items():
            lines += [
                "[[operations]]",
                f"include-path-regex = {json.dumps(f'^{path}(/|$)')}",
                f"headers = {_table(headers)}",
            ]
        for operation_id, places in self.its_own.items():
            bound = [f"parameters.{_bound(place, f'{operation_id} {place}', 1)}" for place in places]
            lines += _operation(operation_id, *bound)
        return "\n".join([*lines, *_exceptions(), ""])


def _exceptions() -> Iterator[str]:
    for operation_id in RULES_BEYOND_THE_SCHEMA:
        refusals = (400, 422) if operation_id in FREE_DOCUMENTS else (422,)
        yield from _operation(operation_id, f"checks.{_expecting('positive_data_acceptance', *_ACCEPTED, *refusals)}")
    for operation_id in REFUSED_IN_CONNECT:
        yield from _operation(
            operation_id,
            f"checks.{_expecting('positive_data_acceptance', *_ACCEPTED, 400)}",
            f"checks.{_expecting('negative_data_rejection', *_REFUSED, 200, 201)}",
        )
    for operation_id in HARMFUL:
        yield from _operation(
            operation_id,
            "phases.stateful = {enabled = false}",
            *(f"phases.{phase}.extra-data-sources = {{responses = false}}" for phase in ("coverage", "fuzzing")),
        )
    for operation_id in PATHS_THAT_ARE_ALSO_ORDERS:
        yield from _operation(
            operation_id,
            "checks.allow_header_conformance = {enabled = false}",
            "checks.unsupported_method = {enabled = false}",
        )


def _operation(operation_id: str, *lines: str) -> list[str]:
    return ["[[operations]]", f"include-operation-id = {json.dumps(operation_id)}", *lines]


def _bound(place: str, dictionary: str, probability: float) -> str:
    return f"{json.dumps(place)} = {{dictionary = {json.dumps(dictionary)}, probability = {probability}}}"


def _expecting(check: str, *statuses: int | str) -> str:
    return f"{check} = {{expected-statuses = {json.dumps(statuses)}}}"


def _table(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in members.items()) + "}"


def _read(report: Path) -> tuple[dict[tuple[str, str], Counter[int]], int]:
    """How each operation was answered, and how many cases there were."""
    statuses: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    cases = 0
    for line in report.read_text().splitlines():
        finished: dict[str, Any] | None = json.loads(line).get("ScenarioFinished")
        if finished is None:
            continue
        recorder = finished["recorder"]
        cases += len(recorder.get("cases", {}))
        for identifier, interaction in recorder.get("interactions", {}).items():
            case, response = recorder["cases"][identifier]["value"], interaction.get("response")
            if response:
                statuses[(case["method"], case["path"])][response["status_code"]] += 1
    return statuses, cases
