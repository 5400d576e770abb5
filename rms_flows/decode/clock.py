"""Stamps become times: text in all the forms that logs use → timestamp[us, UTC], exactly, never by a clock.

A stamp that can't be read is null and marked; who calls makes a dead letter of its record. The order of day
and month is declared, never guessed, and a missing year comes from the source's document or the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.contract import Options
from rms_flows.schema import TIMESTAMP

ISO = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:[.,]\d+)?)?)? ?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?$"
EPOCH = r"^(?P<whole>-?\d{1,19})(?:\.(?P<part>\d+))?$"
NUMBERS = (
    r"^(?P<a>\d{1,4})[/.-](?P<b>\d{1,2})[/.-](?P<c>\d{1,4}),? +(?P<rest>\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?)$"
)

_ORDERS = {"month-first": ("c", "a", "b"), "day-first": ("c", "b", "a"), "year-first": ("a", "b", "c")}


class Times(NamedTuple):
    """Stamps that were read."""

    values: pa.Array  # timestamp[us, UTC], null where the text was null or no stamp
    bad: np.ndarray  # bool, where there was text that is no stamp


def parse(texts: pa.Array, options: Options) -> Times:
    """Read stamps in any form that needs no guess: ISO 8601, epoch numbers, dates of declared order.

    Args:
        texts: Strings. Epoch numbers are seconds, milliseconds, microseconds or nanoseconds by their size
            (11, 14 and 17 digits are the borders: seconds until the year 5138).
        options: Gives the zone of stamps without one and the order of all-number dates.

    Example:
        >>> parse(pa.array(["2023-07-26T12:00:00.123Z", "1690372800", "7/26/2023"]), Options()).bad.tolist()
        [False, False, True]
    """
    if texts.null_count == len(texts):
        return Times(pa.nulls(len(texts), TIMESTAMP), np.zeros(len(texts), np.bool_))
    try:  # the form of most: ISO 8601 with a zone in every row; a failing cast costs words for each row
        texts[:_SAMPLE].cast(TIMESTAMP)
        found = texts.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        found = _apart(texts, options)
    ends = pc.min_max(found.cast(pa.int64()))
    if ends["min"].is_valid and not _FIRST.value <= ends["min"].as_py() <= ends["max"].as_py() <= _LAST.value:
        known = pc.and_(pc.greater_equal(found, _FIRST), pc.less_equal(found, _LAST))
        found = pc.if_else(known, found, None)
    if found.null_count == texts.null_count:  # a null text is the only reason for null
        return Times(found, np.zeros(len(texts), np.bool_))
    return Times(found, _mask(pc.and_(pc.is_valid(texts), pc.is_null(found))))


_SAMPLE = 16
_FIRST = pa.scalar(datetime.min.replace(tzinfo=UTC), TIMESTAMP)
_LAST = pa.scalar(datetime.max.replace(tzinfo=UTC), TIMESTAMP)
"""Times beyond these are no dates to Python, nor to most of what reads reports."""


def _apart(texts: pa.Array, options: Options) -> pa.Array:
    """Read the form of most at once where some rows have another one, and only these by their forms."""
    usual = pc.fill_null(pc.ends_with(texts, "Z"), False)
    if not usual.true_count * 2 > len(texts):
        return _in_parts(texts, options)
    try:
        found = pc.if_else(usual, texts, None).cast(TIMESTAMP)
    except pa.ArrowInvalid:
        return _in_parts(texts, options)
    other = pc.invert(usual)
    places = pc.if_else(other, pc.subtract(pc.cumulative_sum(other.cast(pa.int64())), 1), None)
    return pc.coalesce(found, _in_parts(texts.filter(other), options).take(places))


def _in_parts(texts: pa.Array, options: Options) -> pa.Array:
    """Read each stamp by the form that it has."""
    if pc.all(pc.ascii_is_decimal(texts)).as_py():  # the other form of most, and no regular expression needed
        size = pc.utf8_length(texts)
        return _instant(_int64(pc.if_else(pc.less_equal(size, 19), texts, None)), size, 0)
    found = pa.nulls(len(texts), TIMESTAMP)
    for pattern, read in ((ISO, _iso), (EPOCH, _epoch), (NUMBERS, _numbers)):
        fits = pc.and_(pc.is_null(found), pc.match_substring_regex(texts, pattern))
        if pc.any(fits).as_py():
            found = pc.coalesce(found, read(pc.if_else(fits, texts, None), options))
    return found


def _mask(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), np.bool_)


def _iso(texts: pa.Array, options: Options) -> pa.Array:
    plain = pc.replace_substring_regex(texts, r"^(.{10})$", r"\1T00:00:00")
    plain = pc.replace_substring_regex(plain, r"^(.{10}) ", r"\1T")
    plain = pc.replace_substring_regex(plain, r"[.,](\d{1,6})\d*", r".\1")
    plain = pc.replace_substring_regex(plain, r" ?Z$", "+00:00")
    plain = pc.replace_substring_regex(plain, r" ?([+-]\d{2}):?(\d{2})?$", r"\1:\200")
    plain = pc.replace_substring_regex(plain, r"([+-]\d{2}:\d{2})00$", r"\1")
    zoned = pc.match_substring_regex(plain, r"[+-]\d{2}:\d{2}$")
    there = _cast(pc.if_else(zoned, plain, None), TIMESTAMP, _python_zoned)
    local = _cast(pc.if_else(zoned, None, plain), pa.timestamp("us"), _python_local)
    return pc.coalesce(there, in_zone(local, options.timezone))


def _cast(texts: pa.Array, kind: pa.DataType, one: Callable[[str], datetime]) -> pa.Array:
    """Cast at once; where one stamp is no date (30 February), cast one by one."""
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return pa.array([None if text is None else _try(one, text) for text in texts.to_pylist()], kind)


def _try(one: Callable[[str], datetime], text: str) -> datetime | None:
    try:
        return one(text)
    except (ValueError, OverflowError):
        return None


def _python_zoned(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _python_local(text: str) -> datetime:
    return datetime.fromisoformat(text)


def in_zone(local: pa.Array, zone: tzinfo | None) -> pa.Array:
    """Take times without a zone as those of `zone` (None: UTC); an hour that came twice is its first pass."""
    if zone is None or local.null_count == len(local):
        return local.cast(TIMESTAMP)
    return pc.assume_timezone(local, str(zone), ambiguous="earliest", nonexistent="latest").cast(TIMESTAMP)


def _epoch(texts: pa.Array, options: Options) -> pa.Array:  # noqa: ARG001  one form for all readers
    parts = pc.extract_regex(texts, EPOCH)
    whole = _int64(pc.struct_field(parts, "whole"))
    size = pc.utf8_length(pc.struct_field(parts, "whole"))
    fraction = pc.coalesce(pc.struct_field(parts, "part"), pa.scalar(""))
    micros = pc.utf8_slice_codeunits(pc.utf8_rpad(fraction, 6, "0"), 0, 6).cast(pa.int64())
    sign = pc.if_else(pc.starts_with(texts, "-"), -1, 1)
    return _instant(whole, size, pc.multiply(sign, micros))


def _instant(whole: pa.Array, size: pa.Array, micros: pa.Array | int) -> pa.Array:
    """Take a whole number of so many characters as seconds (and microseconds), or of a smaller unit."""
    seconds = pc.less_equal(size, 11)
    small = pc.add(pc.multiply(pc.if_else(seconds, whole, 0), 1_000_000), micros)
    millis = pc.multiply(pc.if_else(pc.less_equal(size, 14), whole, 0), 1_000)
    large = pc.if_else(pc.less_equal(size, 17), whole, pc.divide(whole, 1_000))
    value = pc.case_when(pc.make_struct(seconds, pc.less_equal(size, 14)), small, millis, large)
    return value.cast(pa.int64()).cast(pa.timestamp("us")).cast(TIMESTAMP)


def _int64(texts: pa.Array) -> pa.Array:
    """Read whole numbers; one of 19 digits may be too large and is null then."""
    try:
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:
        numbers = [None if text is None else int(text) for text in texts.to_pylist()]
        return pa.array([n if n is not None and abs(n) < 2**63 else None for n in numbers], pa.int64())


def _numbers(texts: pa.Array, options: Options) -> pa.Array:
    if options.date_order is None:
        return pa.nulls(len(texts), TIMESTAMP)
    parts = pc.extract_regex(texts, NUMBERS)
    year, month, day = (pc.struct_field(parts, name) for name in _ORDERS[options.date_order])
    whole = pc.if_else(pc.equal(pc.utf8_length(year), 4), year, None)
    date = pc.binary_join_element_wise(whole, pc.utf8_lpad(month, 2, "0"), pc.utf8_lpad(day, 2, "0"), "-")
    iso = pc.binary_join_element_wise(date, pc.utf8_lpad(pc.struct_field(parts, "rest"), 8, "0"), "T")
    return _iso(iso, options)


_DATED = re.compile(r"(?<!\d)((?:19|20)\d{2})[-_.]?(0[1-9]|1[0-2])(?:[-_.]?(0[1-9]|[12]\d|3[01]))?(?!\d)")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_BACK, _AHEAD = 186, 358
"""Days: a step back of more is the next year, of less disorder (files put together newest first); a step
ahead of more is a late line of the old year."""


class Rollover:
    """Reads stamps without a year, such as `Mar 27 13:06:56`, in the order of one input.

    Args:
        name: The input's name; a date in it (`auth.log-20230327`) gives the year where the options don't.
        options: `year` is the year of the first record; `timezone` the zone of all.

    Example:
        >>> stamps = pa.array(["Dec 31 23:59:59", "Jan  1 00:00:01"])
        >>> Rollover("auth.log", Options(year=2022)).parse(stamps).values[1].as_py().isoformat()
        '2023-01-01T00:00:01+00:00'
    """

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options
        self._year: int | None = options.year
        self._last: int | None = None

    @property
    def reason(self) -> str:
        """Say why stamps can't be read when no year is known."""
        return (
            f"the stamp has no year and neither the source nor the file's name ({self._name}) gives one; "
            "set year= to that of the first record"
        )

    @property
    def known(self) -> bool:
        """Tell whether a year is known, so that what is still bad is no date at all."""
        return self._year is not None

    def parse(self, texts: pa.Array) -> Times:
        """Read stamps in the order of the input; remembers the year for the next block."""
        parts = pc.extract_regex(
            texts, r"^(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<time>\d{2}:\d{2}:\d{2}(?:\.\d+)?)$"
        )
        names = pc.struct_field(parts, "month").dictionary_encode()
        numbers = pa.array([_MONTHS.get(name) for name in names.dictionary.to_pylist()], pa.int64())
        month = numbers.take(names.indices)
        day = pc.struct_field(parts, "day").cast(pa.int64())
        good = _mask(pc.and_(pc.is_valid(month), pc.and_(pc.greater(day, 0), pc.less_equal(day, 31))))
        years = np.zeros(len(texts), np.int64)
        if good.any():
            months = month.to_numpy(zero_copy_only=False)[good].astype(np.int64)
            years[good] = self._years(months, day.to_numpy(zero_copy_only=False)[good].astype(np.int64))
        if self._year is None:
            return Times(pa.nulls(len(texts), TIMESTAMP), _mask(pc.is_valid(texts)))
        date = pc.binary_join_element_wise(
            pa.array(years).cast(pa.string()),
            pc.utf8_lpad(month.cast(pa.string()), 2, "0"),
            pc.utf8_lpad(day.cast(pa.string()), 2, "0"),
            "-",
        )
        iso = pc.binary_join_element_wise(date, pc.struct_field(parts, "time"), "T")
        times = parse(pc.if_else(pa.array(good), iso, None), self._options)
        return Times(times.values, _mask(pc.and_(pc.is_valid(texts), pc.is_null(times.values))))

    def _years(self, month: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Give each stamp its year by its step from the one before it."""
        if self._year is None:
            self._year = self._from_name(int(month[0]))
            if self._year is None:
                return np.zeros(len(month), np.int64)
        place = month * 31 + day
        before = np.concatenate([[place[0] if self._last is None else self._last], place[:-1]])
        step = place - before
        turn = (step < -_BACK).astype(np.int64) - (step > _AHEAD).astype(np.int64)
        years: np.ndarray = self._year + np.cumsum(turn)
        self._year, self._last = int(years[-1]), int(place[-1])
        return years

    def _from_name(self, first_month: int) -> int | None:
        """A dated name names the day of rotation: a first record of a later month is of the year before."""
        dated = _DATED.search(self._name)
        if dated is None:
            return None
        return int(dated[1]) - (first_month > int(dated[2]))
