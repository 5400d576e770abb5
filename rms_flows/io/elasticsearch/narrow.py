"""From what rules look for to a query that leaves out only documents of which none of them is true.

Of each expression two queries are made: one finds at least the documents of which it is true (`over`), one
at most those (`under`). A negation turns them round, so that what can't be said exactly still leaves out
nothing. Where the two are one the query is exact. What is found is judged again in any case.

What an index can't tell of a field that is asked for stands beside the whole query once, in `aside`:
documents of which the server left a value out of the index, those whose values did not fit their type, those
that were written before a field was indexed as a whole, and those with the two characters that fold to ASCII
letters, which the server does not fold.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

import pyarrow as pa

from rms_flows.io.elasticsearch.index_fields import Indexed, IndexFields
from rms_flows.io.elasticsearch.required import required
from rms_flows.schema import DICTIONARY, MISFIT, TEXTS, field_type
from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test
from rms_flows.sigma.fold import fold
from rms_flows.sigma.predicate import Network, Number, Present, Regex, Text, Wildcards

Query = dict[str, Any]

ALL: Final[Query] = {"match_all": {}}
NONE: Final[Query] = {"match_none": {}}

_LEAST, _MOST = -(2**53), 2**53
"""Whole numbers that a double holds exactly."""
_LONGEST_PATTERN: Final = 200
"""Characters of a pattern; of a longer one the server would make an automaton that is too large."""
_MOST_ONES: Final = 8
"""Places for any one character in a pattern; each may double the automaton."""
_FRACTION: Final = "-?[0-9]+[.eE][-+.0-9eE]*"
_NUMERAL: Final = "-?[0-9][-+.0-9eE]*"
_OF_NUMBERS: Final = re.compile("[-+.0-9eE]+")
_FOLD_TO_ASCII: Final = {"s": "\u017f", "k": "\u212a"}


class Bounds(NamedTuple):
    """What finds at least, and what at most, the documents of which an expression is true."""

    over: Query
    under: Query

    @property
    def exact(self) -> bool:
        """Tell whether they are one."""
        return self.over == self.under


@dataclass
class Narrowing:
    """Makes queries for one index pattern, and remembers what has to be asked beside them.

    Args:
        fields: How its fields are indexed.
    """

    fields: IndexFields
    reasons: dict[str, str] = field(default_factory=dict)
    """Field → why what is asked of it could not be said exactly."""
    _left_out: set[str] = field(default_factory=set, repr=False)
    _folded: dict[str, set[str]] = field(default_factory=dict, repr=False)
    _behind: dict[str, str] = field(default_factory=dict, repr=False)

    def bounds(self, node: Expression) -> Bounds:
        """Make the queries of an expression."""
        match node:
            case And(parts):
                found = [self.bounds(part) for part in parts]
                return Bounds(every(one.over for one in found), every(one.under for one in found))
            case Or(parts):
                found = [self.bounds(part) for part in parts]
                return Bounds(some(one.over for one in found), some(one.under for one in found))
            case Not(part):
                inner = self.bounds(part)
                return Bounds(_not(inner.under), _not(inner.over))
            case Same(one, other):
                self._inexact(one, "is compared with another field")
                return Bounds(every([self._present(one), self._present(other)]), NONE)
            case Test(str(name), predicate):
                return self._test(name, predicate)
            case Test():
                self.reasons["keywords"] = "may stand in any field"
                return Bounds(ALL, NONE)

    @property
    def aside(self) -> Query:
        """Find the documents of which the index does not tell all that was asked."""
        found: list[Query] = []
        if self._left_out:
            found.append({"terms": {"_ignored": sorted(self._left_out)}})
        for name, letters in sorted(self._folded.items()):
            found.append({"regexp": {name: {"value": f".*[{''.join(sorted(letters))}].*"}}})
        for name, whole in sorted(self._behind.items()):
            found.append(every([_exists(name), _not(_exists(whole))]))
        if self._left_out and self.fields.faithful:  # lists of texts, too
            found += [_exists(MISFIT), {"term": {"_ignored": MISFIT}}]
        return some(found)

    def _inexact(self, name: str, reason: str) -> None:
        self.reasons.setdefault(name, reason)

    def _present(self, name: str) -> Query:
        """Find where a field has a value, as far as it is indexed."""
        known = self.fields.find(name)
        if known.kind == "unknown":
            self._inexact(name, "is not indexed, or not as the document has it")
            return ALL
        steps = name.split(".")
        self._left_out.update({known.name, *(".".join(steps[: end + 1]) for end in range(len(steps)))})
        return NONE if known.kind == "nowhere" else _exists(name)

    def _test(self, name: str, predicate: Any) -> Bounds:
        there = self._present(name)
        if there in (ALL, NONE):
            return Bounds(there, NONE)
        known = self.fields.find(name)
        made = Bounds(there, there) if isinstance(predicate, Present) else self._asked(known, name, predicate)
        made = made or Bounds(there, NONE)
        if not made.exact:
            self._inexact(name, f"{type(predicate).__name__} on {known.kind}")
        return made if self.fields.faithful else Bounds(made.over, NONE)

    def _asked(self, known: Indexed, name: str, predicate: Any) -> Bounds | None:
        """Ask a field, by its kind; None where all that can be asked is whether it is there."""
        if known.kind == "whole":
            # Others' documents may say `5.0` where the column says 5, and the index what the document says.
            return self._whole(known, name, predicate) if _is_text(field_type(name)) else None
        if known.kind not in _ASKED or not self.fields.faithful:
            return None
        return _ASKED[known.kind](known.name, predicate)

    def _whole(self, known: Indexed, name: str, predicate: Any) -> Bounds | None:
        """Ask a field whose texts are indexed as a whole."""
        if known.name != name:
            self._behind[name] = known.name
        match predicate:
            case Text(how, literal, cased):
                before, after = (
                    [_MANY] * (how in {"contains", "ends"}),
                    [_MANY] * (how in {"contains", "starts"}),
                )
                return self._like(known.name, [*before, literal, *after], cased=cased)
            case Wildcards(pattern, _, cased):
                return self._like(known.name, list(_parts(pattern)), cased=cased)
            case Number(order, number):
                return _numeral(known.name, order, number)
            case Regex(pattern) if (needed := required(pattern)) is not None:
                text = needed.text if needed.cased else fold(needed.text)
                found = self._like(known.name, [_MANY, text, _MANY], cased=needed.cased)
                return None if found is None else Bounds(found.over, NONE)
        return None

    def _like(self, name: str, parts: list[str | Wild], *, cased: bool) -> Bounds | None:
        """Ask for a text of literals and wildcards; None where no literal is left that can be asked."""
        literals = "".join(part for part in parts if isinstance(part, str))
        if not cased:
            for letter, other in _FOLD_TO_ASCII.items():
                if letter in literals:
                    self._folded.setdefault(name, set()).add(other)
        asked = _answerable(parts, cased=cased)
        match asked:
            case [str(whole)]:
                query = {"term": {name: _value(whole, cased=cased)}}
            case [str(start), Wild.MANY]:
                query = {"prefix": {name: _value(start, cased=cased)}}
            case _ if any(isinstance(part, str) for part in asked):
                query = {"wildcard": {name: _value("".join(map(_written, asked)), cased=cased)}}
            case _:
                return None
        if not self.fields.faithful and _OF_NUMBERS.fullmatch(literals):  # one in a list is written anew
            query = some([query, {"regexp": {name: {"value": _FRACTION}}}])
        return Bounds(query, query if asked == parts else NONE)


def _is_text(kind: pa.DataType) -> bool:
    """Tell whether any value fits a column of this type."""
    return kind in {DICTIONARY, TEXTS} or bool(pa.types.is_string(kind))


class Wild(Enum):
    """What stands for any text, and for any character."""

    MANY = "*"
    ONE = "?"


_MANY, _ONE = Wild.MANY, Wild.ONE


def _parts(pattern: str) -> Iterator[str | Wild]:
    """Give what a pattern of `Wildcards` was made of: literals, which `re2.escape` wrote, and wildcards."""
    literal = ""
    for found in _PIECE.finditer(pattern.removeprefix(r"(?s)\A").removesuffix(r"\z")):
        piece = found[0]
        if piece in {".*", "."}:
            if literal:
                yield literal
            literal = ""
            yield _MANY if piece == ".*" else _ONE
        else:
            literal += "\0" if piece == r"\x00" else piece.removeprefix("\\") or "\\"
    if literal:
        yield literal


_PIECE: Final = re.compile(r"\.\*|\.|\\x00|\\.|[^.\\]+", re.DOTALL)


def _answerable(parts: Sequence[str | Wild], *, cased: bool) -> list[str | Wild]:
    """Put "any text" where the server would answer otherwise than we, or not at all.

    It folds ASCII only, ends texts at a NUL, and refuses patterns of which it would make too large an
    automaton.

    Example:
        >>> _answerable(["caf\u00e9 au lait"], cased=False)
        ['caf', <Wild.MANY: '*'>, ' au lait']
    """
    if sum(part is _ONE for part in parts) > _MOST_ONES:
        parts = [_MANY if part is _ONE else part for part in parts]
    other = "\0" if cased else "\0\x80-\U0010ffff"
    pieces: list[str | Wild] = []
    for part in parts:
        if isinstance(part, Wild) or not part:
            pieces.append(part)
            continue
        for number, piece in enumerate(re.split(f"[{other}]+", part)):
            pieces += [_MANY] * (number > 0) + [piece] * bool(piece)
    if sum(len(part) if isinstance(part, str) else 1 for part in pieces) > _LONGEST_PATTERN:
        longest = max((part for part in pieces if isinstance(part, str)), key=len, default="")
        pieces = [_MANY, longest[:_LONGEST_PATTERN], _MANY]
    return [
        part for at, part in enumerate(pieces) if part is not _MANY or at == 0 or pieces[at - 1] is not _MANY
    ]


def _written(part: str | Wild) -> str:
    return part.value if isinstance(part, Wild) else re.sub(r"([*?\\])", r"\\\1", part)


def _value(text: str, *, cased: bool) -> Query:
    return {"value": text} if cased else {"value": text, "case_insensitive": True}


def _numeral(name: str, order: str, number: float) -> Bounds:
    """Ask texts for a number: written in the plainest way, or in any other."""
    if order == "eq" and isinstance(number, int) and number:  # -0 is 0
        plain = {"term": {name: {"value": str(number)}}}
        return Bounds(some([plain, {"regexp": {name: {"value": _FRACTION}}}]), plain)
    return Bounds({"regexp": {name: {"value": _NUMERAL}}}, NONE)


def _number(name: str, predicate: Any) -> Bounds | None:
    """Ask a field of numbers; the server takes -0.0 for less than 0."""
    if not isinstance(predicate, Number) or not _LEAST <= predicate.number <= _MOST or not predicate.number:
        return None
    number, order = predicate.number, predicate.order
    query = {"term": {name: {"value": number}}} if order == "eq" else {"range": {name: {order: number}}}
    return Bounds(query, query)


def _flag(name: str, predicate: Any) -> Bounds | None:
    """Ask a field of true and false."""
    if isinstance(predicate, Text) and predicate.how == "is" and predicate.literal in {"true", "false"}:
        query = {"term": {name: {"value": predicate.literal}}}
        return Bounds(query, query)
    return None


def _address(name: str, predicate: Any) -> Bounds | None:
    """Ask a field of addresses: the server takes two ways to write one for one."""
    network = None
    match predicate:
        case Network(cidr):
            network = cidr
        case Text("is", literal) if "%" not in literal:
            network = literal
        case Text("starts", literal) if found := _OCTETS.match(literal):
            octets = found[0].rstrip(".").split(".")
            network = f"{'.'.join([*octets, *['0'] * (4 - len(octets))])}/{8 * len(octets)}"
    try:
        known = ipaddress.ip_network(network or "", strict=False)
    except ValueError:
        return None
    written = str(known)
    if isinstance(known, ipaddress.IPv6Network) and known.network_address.ipv4_mapped:
        written = f"{known.network_address.ipv4_mapped}/{known.prefixlen - _MAPPED}"
    return Bounds({"term": {name: {"value": written}}}, NONE)


_MAPPED: Final = 96
"""Bits before an address of IPv4 within one of IPv6; the server has the former only."""
_OCTETS: Final = re.compile(r"([0-9]{1,3}\.){1,3}")


_ASKED: Final[dict[str, Callable[[str, Any], Bounds | None]]] = {
    "number": _number,
    "flag": _flag,
    "address": _address,
}


def every(queries: Iterable[Query]) -> Query:
    """Join by and."""
    found = [query for query in queries if query != ALL]
    if NONE in found:
        return NONE
    flat = [inner for query in found for inner in query.get("bool", {}).get("filter", [query])]
    return _joined("filter", flat) or ALL


def some(queries: Iterable[Query]) -> Query:
    """Join by or."""
    found = [query for query in queries if query != NONE]
    if ALL in found:
        return ALL
    flat = [inner for query in found for inner in query.get("bool", {}).get("should", [query])]
    return _joined("should", flat) or NONE


def _joined(word: str, queries: list[Query]) -> Query | None:
    once = {json.dumps(query, sort_keys=True): query for query in queries}
    return {"bool": {word: [*once.values()]}} if len(once) > 1 else next(iter(once.values()), None)


def _exists(name: str) -> Query:
    return {"exists": {"field": name}}


def _not(query: Query) -> Query:
    if query in (ALL, NONE):
        return NONE if query == ALL else ALL
    return {"bool": {"must_not": [query]}}


def clauses(query: Query) -> Iterator[tuple[str, Any]]:
    """Give the parts of a query that are no joins: the kind of each, and what it says."""
    [(kind, said)] = query.items()
    if kind != "bool":
        yield kind, said
        return
    for parts in said.values():
        for part in parts:
            yield from clauses(part)
