"""Our interpreter against outputs of Go's own text/template (1.26), and its bounds."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from keyservice.connectors.template_execution import ITERATIONS_MAX
from keyservice.connectors.template_parser import NESTING_MAX
from keyservice.connectors.templates import Escaping, compile_template
from keyservice.domain.connector import ConnectorRefused, TemplateFailed
from keyservice.domain.errors import KeyserviceError

GO: Final = json.loads((Path(__file__).parent / "go_templates.json").read_text())


def rendered(source: str, context: dict[str, Any] | None = None, escaping: Escaping = Escaping.NONE) -> str:
    return compile_template(source, field="body").render(context or {}, escaping)


@pytest.mark.parametrize(("source", "output"), GO["outputs"])
def test_a_template_comes_to_the_same_bytes_as_in_go(source: str, output: str) -> None:
    assert rendered(source, GO["context"]) == output


@pytest.mark.parametrize("source", GO["refused"])
def test_what_go_refuses_is_refused(source: str) -> None:
    with pytest.raises(KeyserviceError):
        rendered(source, GO["context"])


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("[{{.Missing}}]", "[]"),
        ("[{{.Missing.Below}}]", "[]"),
        ("{{with .Missing}}a{{else}}b{{end}}", "b"),
        ('{{default .Missing "c"}}', "c"),
        ('{{eq .Missing ""}} {{eq .Missing "x"}} {{len .Missing}}', "true false 0"),
        ("{{range .Missing}}a{{else}}none{{end}}", "none"),
        ('{{join ", " .Codes}} {{.Codes | join ""}}', "A, B AB"),
        ('{{index (split "-" "a-b-c") 1}}', "b"),
        ('{{upper "é"}} {{lower "ABC"}} {{base64 "hé"}}', "É abc aMOp"),
        ('{{date "DD/MM/YYYY hh:mm:ss" .At}} {{.At | date "YYMMDD"}}', "02/01/2026 03:04:05 260102"),
    ],
)
def test_what_is_missing_is_empty_and_our_own_functions_stand_behind_a_pipe(source: str, output: str) -> None:
    assert rendered(source, {"Codes": ["A", "B"], "At": 1767323045678}) == output


@pytest.mark.parametrize(
    ("source", "position"),
    [
        ("a\nbc{{ nofunc 1 }}", "line 2, column 6"),
        ('{{define "x"}}{{end}}', "line 1, column 3"),
        ("{{if .A}}", "line 1"),
        ("{{call .A}}", "there is no function call"),
        ("{{len 1 2}}", "len takes 1 arguments, not 2"),
        ("{{range .A}}{{end}}{{break}}", "outside of a range"),
        ("{{99999999999999999999}}", "64 bits"),
        (r'{{"\xff"}}', "byte by byte"),
        (r'{{"\ud800"}}', "surrogate"),
    ],
)
def test_a_template_that_cannot_run_is_refused_with_its_place(source: str, position: str) -> None:
    with pytest.raises(ConnectorRefused, match=position) as refused:
        compile_template(source, field="operations.create.path")
    assert refused.value.field == "operations.create.path"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x" * 70_000, "65536 characters"),
        ("{{if 1}}" * (NESTING_MAX + 1) + "{{end}}" * (NESTING_MAX + 1), "nested"),
        ("{{" + "(" * (NESTING_MAX + 1) + "1" + ")" * (NESTING_MAX + 1) + "}}", "nested"),
        ("{{1}}" * 5_000, "parts"),
        ("{{$x := 1}}" * 100, "variables"),
        ("{{print" + " 1" * 100 + "}}", "arguments"),
    ],
)
def test_a_template_is_bounded_when_it_is_compiled(source: str, reason: str) -> None:
    with pytest.raises(ConnectorRefused, match=reason):
        compile_template(source, field="body")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{range 200}}{{range 200}}{{end}}{{end}}", f"{ITERATIONS_MAX} times"),
        ("{{range 9000}}{{len (print (print 1) (print 1))}}{{end}}", "steps"),
        ('{{$x := "aaaaaaaa"}}{{range 40}}{{$x = print $x $x}}{{end}}', "characters|steps"),
        ('{{$x := "aaaaaaaa"}}{{range 40}}{{$x = printf "%s%s" $x $x}}{{end}}', "characters|steps"),
        ('{{range 9000}}{{"' + "a" * 100 + '"}}{{end}}', "characters"),
        ('{{printf "%99999999d" 1}}', "1000 characters"),
        ('{{printf "%.99999999f" 1.0}}', "1000 characters"),
        ('{{$x := print (printf "%900d" 1) (printf "%900d" 1)}}{{join $x (split " " $x)}}', "characters|steps"),
        ("{{range 99999999999}}{{end}}", "times"),
        ('{{printf "%d" "a"}}', "does not fit a text"),
        ('{{printf "%s"}}', "more verbs"),
        ('{{printf "x" 1}}', "more values"),
        ('{{slice "é" 0 1}}', "cuts a character"),
        ("{{timestampToRFC3339 999999999999999999}}", "bounds"),
    ],
)
def test_a_template_is_bounded_when_it_runs(source: str, reason: str) -> None:
    with pytest.raises(TemplateFailed, match=reason) as failed:
        rendered(source)
    assert failed.value.field == "body"


def test_half_a_surrogate_pair_is_not_sent() -> None:
    with pytest.raises(TemplateFailed, match="surrogate"):
        rendered("{{len .A}}", {"A": "\ud800"})
