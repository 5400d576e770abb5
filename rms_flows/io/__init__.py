"""Where data comes from and goes to: one adapter a kind of place, chosen by the URI's scheme."""

from __future__ import annotations

from pathlib import Path

from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError
from rms_flows.io import uri as uris
from rms_flows.io.contract import Sink, Source
from rms_flows.io.elasticsearch import address as elastic
from rms_flows.io.elasticsearch.sink import ElasticsearchSink
from rms_flows.io.elasticsearch.source import ElasticsearchSource
from rms_flows.io.files import FileSource
from rms_flows.io.follow import FollowSource
from rms_flows.io.kafka.address import address as kafka_address
from rms_flows.io.kafka.sink import KafkaSink
from rms_flows.io.kafka.source import KafkaSource
from rms_flows.io.lines import lines, reports_as
from rms_flows.io.ndjson_sink import NdjsonSink
from rms_flows.io.parquet_sink import ParquetSink
from rms_flows.io.parquet_source import ParquetSource
from rms_flows.io.poll.address import SCHEMES, Polled
from rms_flows.io.poll.address import address as polled_address
from rms_flows.io.poll.source import PollSource

__all__ = ["open_sink", "open_source"]

_LINES = (".ndjson", ".jsonl", ".json")
_ELASTIC = ("elasticsearch", "elasticsearch+https")
_PARQUET = ("dataset", "time_column", "timezone")
_COMPRESSED = (".gz", ".zst")


def open_source(
    uri: str,
    *,
    base: Path,
    options: Options | None = None,
    confined: bool = False,
    endless: bool = False,
    group: str = "rms",
    polled: Polled | None = None,
) -> Source:
    """Open what a URI names for reading; nothing is read yet.

    Args:
        uri: `[file:]PATH`, `parquet:FOLDER`, `elasticsearch://HOST/INDEX`, `kafka://HOST/TOPIC`,
            `dead-letters:PATH`, `follow:PATH` or `follow:elasticsearch://HOST/INDEX`; options after a `?`. Or
            `http[s]://HOST/PATH`, where the `?` is the server's, and options come after a `#`.
        base: Where relative paths begin.
        options: How to decode; the URI's own options go before these.
        confined: The path can't leave `base`.
        endless: It may be one that never ends.
        group: Under which a stream over Kafka commits.
        polled: How a server is asked.

    Raises:
        DocumentError: The URI is none, or its scheme has no adapter.
    """
    if uri.startswith(SCHEMES):
        place, read, how = polled_address(uri, options or Options(), polled or Polled())
        return PollSource(place, read, how, endless)
    followed = uri.startswith("follow:")
    address = uris.split(uri.removeprefix("follow:"), base, confined=confined)
    known = uris.options(address, options or Options())
    if followed:
        return _followed(uri, address, known, endless=endless)
    if address.scheme == "parquet" or (address.scheme == "file" and address.path.endswith(".parquet")):
        if others := sorted(address.query.keys() - _PARQUET):
            raise DocumentError(
                f"Parquet is not decoded, so {others[0]}= can't change it",
                where=uri,
                remedy=f"leave it out; there are {', '.join(_PARQUET)}",
            )
        return ParquetSource(
            address.path, dataset=known.dataset, time_column=known.time_column, timezone=known.timezone
        )
    if address.scheme == "dead-letters" and known.format in {"csv", "zeek"}:
        raise DocumentError(
            f"dead letters of {known.format} have no header, and the first would be lost as one",
            where=uri,
            remedy="read the file they came from again; rms.origin of each names it",
        )
    if address.scheme in {"file", "dead-letters"}:
        return FileSource(address.path, known, dead_letters=address.scheme == "dead-letters")
    if address.scheme in _ELASTIC:
        return ElasticsearchSource(elastic.address(address, pattern=True), known)
    if address.scheme == "kafka":
        return KafkaSource(kafka_address(address, several=True), known, group, endless)
    raise DocumentError(
        f"nothing can read {address.scheme!r}",
        where=uri,
        remedy="there are file:, parquet:, elasticsearch:, kafka:, http:, https:, dead-letters: and, for "
        "streams, follow:",
    )


def _followed(uri: str, address: uris.Address, known: Options, *, endless: bool) -> Source:
    """Open what stands behind `follow:`."""
    if not endless:
        raise DocumentError(
            "never ends, and only a stream reads such a source",
            where=uri,
            remedy="name it without follow:, or use rms stream",
        )
    if address.scheme in _ELASTIC:
        return ElasticsearchSource(elastic.address(address, pattern=True), known, endless=True)
    if address.scheme == "file":
        return FollowSource(address.path, known)
    raise DocumentError(
        f"{address.scheme!r} can't be followed",
        where=uri,
        remedy="a file of lines can, and elasticsearch://HOST/INDEX; kafka:, http: and https: go without it",
    )


def open_sink(
    uri: str, *, base: Path, confined: bool = False, empty: bool = True, adding: bool = False
) -> Sink:
    """Open what a URI names for writing; nothing is written yet.

    Args:
        uri: `parquet:FOLDER` for observations, or a file of JSON lines (`.ndjson`, also `.gz` and `.zst`),
            for reports as ECS documents or, with `?as=iotac`, `iotac-strict`, `ocsf` or `stix`, as those of
            other standards; or `elasticsearch[+https]://HOST/INDEX`, or `kafka://HOST/TOPIC` (which takes
            `as=` too), for both.
        base: Where relative paths begin.
        confined: The path can't leave `base`.
        empty: Leave an empty file where nothing came, so that old results don't stay.
        adding: Keep what a file holds, as the other places do anyway.

    Raises:
        DocumentError: The URI is none, or nothing can write it.
    """
    address = uris.split(uri, base, confined=confined)
    form = address.query.pop("as", "ecs")
    if address.query:
        raise DocumentError(
            f"no option is called {next(iter(address.query))!r}", where=uri, remedy="a sink takes as="
        )
    if address.scheme == "parquet":
        return ParquetSink(address.path)
    if address.scheme in uris.REMOTE:
        return _remote_sink(address, form)
    path = Path(address.path)
    name = path.name.removesuffix(path.suffix) if path.suffix in _COMPRESSED else path.name
    if address.scheme == "file" and name.endswith(_LINES):
        return NdjsonSink(
            path, write=reports_as(form, uri) if form != "ecs" else lines, empty=empty, adding=adding
        )
    raise DocumentError(
        "nothing can write this",
        where=uri,
        remedy="name a file that ends in .ndjson, parquet:FOLDER, elasticsearch://HOST/INDEX or kafka://HOST/TOPIC",
    )


def _remote_sink(place: uris.Address, form: str) -> Sink:
    if place.scheme == "kafka":
        return KafkaSink(kafka_address(place), reports_as(form, place.uri))
    if form != "ecs":
        raise DocumentError(
            f"the repository keeps ECS documents, not {form!r}", where=place.uri, remedy="take as= off"
        )
    return ElasticsearchSink(elastic.address(place))
