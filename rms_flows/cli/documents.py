"""The commands about documents: `rms processors` and `rms schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import options
from rms_flows.errors import DocumentError

if TYPE_CHECKING:
    from rich.console import Console

    from rms_flows.model import ProcessorDefinition

PROCESSORS_EPILOG = """Examples:

rms processors

rms processors filter

rms processors --json

rms processors --out documents
"""


def processors(
    name: Annotated[
        str | None, typer.Argument(help="Show this one with its parameters.", show_default=False)
    ] = None,
    as_json: options.AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the definitions to this folder, for rms registry apply."),
    ] = None,
) -> None:
    """List the processors that a flow may use, or show one."""
    from rich.console import Console
    from rich.table import Table

    from rms_flows.processors import processors as known

    definitions = {key: processor.definition for key, processor in sorted(known().items())}
    if name is not None:
        if name not in definitions:
            raise DocumentError(
                f"no processor is called {name!r}", remedy=f"the processors are {', '.join(definitions)}"
            )
        definitions = {name: definitions[name]}
    dumped = {key: one.model_dump(mode="json", exclude_none=True) for key, one in definitions.items()}
    if out is not None:
        (out / "ProcessorDefinition").mkdir(parents=True, exist_ok=True)
        for key, content in dumped.items():
            path = out / "ProcessorDefinition" / f"{key}.json"
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"{len(dumped)} definitions in {out}")
        return
    if as_json:
        options.show([*dumped.values()])
        return
    console = Console()
    if name is None:
        table = Table("processor", "what it does", "vendor", "version", "availability")
        for key, one in definitions.items():
            table.add_row(
                key, one.description or "", one.vendor or "", one.version or "", one.availability or ""
            )
        console.print(table)
        return
    _show(console, definitions[name])


def _show(console: Console, definition: ProcessorDefinition) -> None:
    import yaml
    from rich.table import Table

    console.print(f"[bold]{definition.name}[/bold]: {definition.description or ''}")
    told = {
        "vendor": definition.vendor,
        "version": definition.version,
        "availability": definition.availability,
        "type": definition.processorType,
        "takes": ", ".join(definition.inputKinds),
        "gives": ", ".join(definition.outputKinds),
    }
    console.print("; ".join(f"{word} {text}" for word, text in told.items() if text))
    table = Table("parameter", "type", "unit", "default", "meaning")
    for parameter in definition.parameters:
        default = "" if parameter.defaultValue is None else json.dumps(parameter.defaultValue)
        table.add_row(
            parameter.name + " (required)" * parameter.required,
            parameter.dataType,
            parameter.unit or "",
            default,
            parameter.description or "",
        )
    console.print(table)
    for example in definition.examples:
        text = yaml.safe_dump({"parameters": example.parameters}, default_flow_style=None, sort_keys=False)
        console.print(f"{example.description}:\n{text}", markup=False, highlight=False, soft_wrap=True)


SCHEMA_EPILOG = """Examples:

rms schema

rms schema Orchestrator > orchestrator.schema.json

rms schema --out schemas/
"""


def schema(
    name: Annotated[
        str | None, typer.Argument(help="Print the schema of this document.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write all schemas to this folder.")] = None,
) -> None:
    """Export the JSON Schemas of the documents, for editors and other programs."""
    from rms_flows.model import json_schemas

    schemas = json_schemas()
    if name is not None:
        if name not in schemas:
            raise DocumentError(
                f"no document is called {name!r}", remedy=f"the documents are {', '.join(schemas)}"
            )
        typer.echo(json.dumps(schemas[name], indent=2))
    elif out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for title, content in schemas.items():
            (out / f"{title}.schema.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"{len(schemas)} schemas in {out}")
    else:
        for title, content in schemas.items():
            first = str(content.get("description", "")).split("\n", 1)[0]
            typer.echo(f"{title:24} {first}")
