"""What a rule means: predicates on fields joined by and, or, not.

Logic is two-valued: a test of an absent field is false, and `Not` of it is true.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from rms_flows.sigma.predicate import Predicate


class Test(Struct, frozen=True, tag=True, gc=False):
    """A predicate on a field; `field` None asks for any text of the event (a keyword)."""

    field: str | None
    predicate: Predicate


class Same(Struct, frozen=True, tag=True, gc=False):
    """A field equals another, or starts, ends with it, contains it; false where either is absent."""

    field: str
    other: str
    starts: bool = False
    ends: bool = False
    cased: bool = False


class And(Struct, frozen=True, tag=True, gc=False):
    """All parts are true."""

    parts: tuple[Expression, ...]


class Or(Struct, frozen=True, tag=True, gc=False):
    """At least one part is true."""

    parts: tuple[Expression, ...]


class Not(Struct, frozen=True, tag=True, gc=False):
    """The part is false."""

    part: Expression


Expression = Test | Same | And | Or | Not


class Look(NamedTuple):
    """What is looked for among events: those of which it is not true may be left out.

    Args:
        name: For people.
        route: What is true of the events that are looked at; None: all are.
        what: What is looked for in them.
    """

    name: str
    route: Expression | None
    what: Expression


def conjunction(parts: Iterable[Expression]) -> Expression:
    """Join by and; nested ones are flattened, repeated ones dropped."""
    flat = _flat(parts, And)
    return flat[0] if len(flat) == 1 else And(flat)


def disjunction(parts: Iterable[Expression]) -> Expression:
    """Join by or; nested ones are flattened, repeated ones dropped."""
    flat = _flat(parts, Or)
    return flat[0] if len(flat) == 1 else Or(flat)


def negation(part: Expression) -> Expression:
    """Turn round; two negations are none."""
    return part.part if isinstance(part, Not) else Not(part)


def _flat(parts: Iterable[Expression], kind: type[And | Or]) -> tuple[Expression, ...]:
    flat: dict[Expression, None] = {}
    for part in parts:
        if isinstance(part, And | Or) and type(part) is kind:
            flat.update(dict.fromkeys(part.parts))
        else:
            flat[part] = None
    return tuple(flat)


def leaves(node: Expression) -> Iterator[Test | Same]:
    """Give the tests in their order, repeated ones too."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Test | Same):
            yield one
        elif isinstance(one, Not):
            waiting.append(one.part)
        else:
            waiting.extend(reversed(one.parts))


def fields(node: Expression) -> frozenset[str]:
    """Name the fields that are looked at; keywords look at all and are not among them."""
    found: set[str] = set()
    for leaf in leaves(node):
        if leaf.field is not None:
            found.add(leaf.field)
        if isinstance(leaf, Same):
            found.add(leaf.other)
    return frozenset(found)


def has_keywords(node: Expression) -> bool:
    """Tell whether any text of the event may decide."""
    return any(leaf.field is None for leaf in leaves(node))


def digest(node: Expression) -> str:
    """Hash of the meaning: 32 hexadecimal digits, whatever the order of parts and the names in the rule.

    Example:
        >>> from rms_flows.sigma.predicate import Present
        >>> a, b = Test("a", Present()), Test("b", Present())
        >>> digest(And((a, b))) == digest(And((b, a))), digest(And((a, b))) == digest(Or((a, b)))
        (True, False)
    """
    return hashlib.sha256(_canonical(node).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _canonical(node: Expression) -> str:
    match node:
        case And(parts):
            return f"and({','.join(sorted(map(_canonical, parts)))})"
        case Or(parts):
            return f"or({','.join(sorted(map(_canonical, parts)))})"
        case Not(part):
            return f"not({_canonical(part)})"
        case _:
            return repr(node)
