"""The commands of the registry: `rms registry …`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rms_flows.cli import options
from rms_flows.errors import DocumentError

if TYPE_CHECKING:
    from rms_flows.model import Document

app = typer.Typer(
    help="Keep the documents that describe a system, and find them.",
    epilog="Examples:\n\n"
    "rms registry apply documents/\n\n"
    "rms registry list DataSourceManifest\n\n"
    'rms registry discover DataSourceDefinition \'{"dataKind": {"quantityKind": "temperature"}}\'\n\n'
    "rms registry read DataSourceManifest hub-cpu --expanded --at 2026-01-31",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Kind = Annotated[
    str, typer.Argument(help="Such as DataSourceManifest; older names are known.", show_default=False)
]
Id = Annotated[str, typer.Argument(help="Of the document.", show_default=False)]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="As it was at this time (ISO 8601; UTC unless it says)."),
]


def _kind(name: str) -> type[Document]:
    from rms_flows.registry import KINDS, kind_called

    return KINDS[kind_called(name)]


def _plain(document: Document) -> dict[str, Any]:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


@app.command()
def create(
    kind: Kind,
    file: Annotated[Path, typer.Argument(help="The document (YAML or JSON).", show_default=False)],
    place: options.Place = "registry",
) -> None:
    """Keep a new document, and print its id."""
    from rms_flows.model import load

    typer.echo(options.registry(place).create(load(file, _kind(kind))))


@app.command()
def update(
    kind: Kind,
    file: Annotated[Path, typer.Argument(help="The document (YAML or JSON).", show_default=False)],
    place: options.Place = "registry",
) -> None:
    """Keep another version of a document; the one before stays in its history."""
    from rms_flows.model import load

    options.registry(place).update(load(file, _kind(kind)))


@app.command("apply")
def apply_(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of documents, each in a folder KIND/.", show_default=False, metavar="DIR"
        ),
    ],
    place: options.Place = "registry",
) -> None:
    """Create or update all documents of a folder, whichever refers to whichever."""
    from rms_flows.model import load

    files = sorted(path for form in ("yaml", "yml", "json") for path in source.glob(f"[!.]*/[!.]*.{form}"))
    if not files:
        raise DocumentError(
            "has no documents",
            where=str(source),
            remedy="put them into KIND/NAME.yaml, such as DataKind/load.yaml",
        )
    for kind, name in options.registry(place).apply([load(path, _kind(path.parent.name)) for path in files]):
        typer.echo(f"{kind} {name}")


@app.command()
def delete(kind: Kind, name: Id, place: options.Place = "registry") -> None:
    """Let a document hold no more; its history stays."""
    options.registry(place).delete(_kind(kind), name)


@app.command()
def read(
    kind: Kind,
    name: Id,
    expanded: Annotated[bool, typer.Option("--expanded", help="Embed what it refers to.")] = False,
    at: At = None,
    place: options.Place = "registry",
) -> None:
    """Print a document as JSON."""
    registry, moment = options.registry(place), options.moment(at, "--at")
    if expanded:
        options.show(registry.expanded(_kind(kind), name, moment))
    else:
        options.show(_plain(registry.read(_kind(kind), name, moment)))


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="Only of this kind.", show_default=False)] = None,
    at: At = None,
    as_json: options.AsJson = False,
    place: options.Place = "registry",
) -> None:
    """List documents by kind and id."""
    from rms_flows.registry import KINDS

    registry, moment = options.registry(place), options.moment(at, "--at")
    kinds = [*KINDS.values()] if kind is None else [_kind(kind)]
    _table([one for each in kinds for one in registry.all(each, moment)], as_json=as_json)


@app.command()
def discover(
    kind: Kind,
    example: Annotated[
        str,
        typer.Argument(
            help="Fields that have to match, as JSON; nested and embedded ones, too.", show_default=False
        ),
    ],
    at: At = None,
    as_json: options.AsJson = False,
    place: options.Place = "registry",
) -> None:
    """Find documents by example: every given field matches."""
    try:
        wanted = json.loads(example)
    except ValueError as error:
        raise typer.BadParameter(f"is no JSON ({error})", param_hint="EXAMPLE") from None
    if not isinstance(wanted, dict):
        raise typer.BadParameter('is no JSON object; write one such as {"name": "hub"}', param_hint="EXAMPLE")
    found = options.registry(place).discover(_kind(kind), wanted, options.moment(at, "--at"))
    _table(found, as_json=as_json)


@app.command()
def history(kind: Kind, name: Id, place: options.Place = "registry") -> None:
    """List the versions of a document with the time in which each held."""
    from rich.console import Console
    from rich.table import Table

    table = Table("from", "until", "kept in")
    for one in options.registry(place).history(_kind(kind), name):
        table.add_row(_time(one.since, "ever"), _time(one.until, "now"), one.where)
    Console().print(table)


def _time(micros: int | None, otherwise: str) -> str:
    if micros is None:
        return otherwise
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


def _table(found: list[Document], *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from rms_flows.registry.kinds import identity

    if as_json:
        options.show([{"kind": type(one).__name__, "document": _plain(one)} for one in found])
        return
    table = Table("kind", "id", "name", title=f"{len(found):,} documents")
    for one in found:
        table.add_row(type(one).__name__, identity(one), str(getattr(one, "name", "") or ""))
    Console().print(table)
