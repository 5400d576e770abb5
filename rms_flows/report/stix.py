"""Threat reports as STIX 2.1: a sighting of the rule, the addresses that were observed, the assets it hit.

The rule is an attack pattern, as its indicator would need the rule's text. The attacker is the `src_ref` and
the victim the `dst_ref` of network traffic; assets are identities, where the rule was sighted. The ids of all
objects are hashes of what they say, so that a repeated import changes nothing, and `created` is the event's
time: of what has no time of its own (rules, identities) it is 1970. A later revision of a report has the same
id and is `modified` a millisecond later for each event that it gained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID, uuid5

import pyarrow as pa

from rms_flows.errors import SinkError
from rms_flows.report.row import address, attack, rows

_NAMESPACE: Final = UUID("6c1f8a06-5d0f-5c39-9a0e-3d3a2d2f9c51")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = 253_402_300_799_999_999
"""Microseconds: the last that a year of four digits has."""
_MOST: Final = 999_999_999
"""The largest count that the specification allows."""


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Write each report of a batch (`schema.REPORT`) as a bundle without its line feed.

    Raises:
        SinkError: The library `stix2` is not installed.
    """
    return [_bundle(_objects(row)) for row in rows(batch)]


def bundle(batches: Iterable[pa.RecordBatch]) -> bytes:
    """Write all reports as one bundle, in which each object stands once; raises SinkError."""
    return _bundle(one for batch in batches for row in rows(batch) for one in _objects(row))


@cache
def _v21() -> Any:
    """Load the library, which takes long, when the first report is written."""
    try:
        from stix2 import v21  # noqa: PLC0415  see above
    except ImportError:
        raise SinkError(
            "reports can't be written as STIX: stix2 is not installed",
            remedy="pip install 'rms-flows[stix]'",
        ) from None
    return v21


def _bundle(objects: Iterable[Any]) -> bytes:
    distinct = {one.id: one for one in objects}
    made = _v21().Bundle(id=_id("bundle", *distinct), objects=list(distinct.values()))
    text: str = made.serialize(ensure_ascii=False)
    return text.encode()


def _id(kind: str, *parts: str | None) -> str:
    said = [part or "" for part in parts]
    name = ",".join(f"{len(part)}:{part}" for part in said)  # lengths keep ("ab", "c") and ("a", "bc") apart
    return f"{kind}--{uuid5(_NAMESPACE, name)}"


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _objects(report: Mapping[str, Any]) -> Iterator[Any]:
    producer = _identity("rms_flows")
    rule = _rule(report, producer.id)
    assets = [_identity(name) for name in dict.fromkeys(report["rms.monitored_asset_id"] or ()) if name]
    observed = list({one.id: one for one in _observed(report)}.values())
    yield from (producer, rule, *assets, *observed)
    grown = report["@timestamp"] + 1_000 * (report["rms.revision"] - 1)
    versioned = {
        "created_by_ref": producer.id,
        "created": _moment(report["@timestamp"]),
        "modified": _moment(min(grown, _LAST)),
    }
    first, last = _moment(report["rms.first"]), _moment(report["rms.last"])
    count = min(report["rms.count"], _MOST)
    data = []
    if observed:
        data = [
            _v21().ObservedData(
                id=_id("observed-data", report["event.id"]),
                **versioned,
                first_observed=first,
                last_observed=last,
                number_observed=count,
                object_refs=[one.id for one in observed],
            )
        ]
    yield from data
    yield _v21().Sighting(
        id=_id("sighting", report["event.id"]),
        **versioned,
        description=_description(report),
        first_seen=first,
        last_seen=last,
        count=count,
        sighting_of_ref=rule.id,
        labels=[report["rule.level"]] if report["rule.level"] else None,
        observed_data_refs=[one.id for one in data] or None,
        where_sighted_refs=[one.id for one in assets] or None,
        external_references=[{"source_name": "rms_flows", "external_id": report["event.id"]}],
    )


def _identity(name: str) -> Any:
    return _v21().Identity(
        id=_id("identity", name), name=name, identity_class="system", created=_EPOCH, modified=_EPOCH
    )


def _rule(report: Mapping[str, Any], producer: str) -> Any:
    name, author, tags = report["rule.name"] or report["message"], report["rule.author"], report["rule.tags"]
    said = attack(tags)
    references = [{"source_name": "rms_flows", "external_id": report["rule.id"] or name or "rule"}]
    references[0] |= {"description": f"Rule by {author}"} if author else {}
    for technique in said.techniques:
        url = f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}/"
        references.append({"source_name": "mitre-attack", "external_id": technique, "url": url})
    phases = [{"kill_chain_name": "mitre-attack", "phase_name": tactic} for tactic in said.tactics]
    return _v21().AttackPattern(
        id=_id("attack-pattern", report["rule.id"], name, author, *(tags or ())),
        created_by_ref=producer,
        created=_EPOCH,
        modified=_EPOCH,
        name=name or "unnamed",
        external_references=references,
        kill_chain_phases=phases or None,
    )


def _observed(report: Mapping[str, Any]) -> Iterator[Any]:
    """Give the addresses and what went between them; the library makes the ids as the specification says."""
    source = _address(report["rms.request_source"])
    targets = [one for text in report["rms.monitored_asset_ip"] or () if (one := _address(text))]
    yield from ([source] if source else [])
    yield from targets
    for target in targets if source else ():
        protocol = source.type.removesuffix("-addr")
        yield _v21().NetworkTraffic(src_ref=source.id, dst_ref=target.id, protocols=[protocol])


def _address(text: str | None) -> Any:
    known = address(text)
    if known is None:
        return None
    make = _v21().IPv4Address if known.version == 4 else _v21().IPv6Address  # noqa: PLR2004  of IP
    return make(value=str(known))


def _description(report: Mapping[str, Any]) -> str | None:
    """Say what STIX has no property for."""
    said = [report["message"] or report["rule.name"] or report["rms.report_type"] or "threat"]
    said += [f"{one['name']} = {one['value']}" for one in report["rms.measurement"] or ()]
    source = report["rms.request_source"]
    said += [f"from {source}"] if source and address(source) is None else []
    return "; ".join(said)
