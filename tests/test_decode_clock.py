from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.decode.clock import Rollover, parse
from rms_flows.decode.contract import Options

moments = st.datetimes(datetime(1970, 1, 1), datetime(2261, 1, 1))  # noqa: DTZ001  the zone is added
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def read(*texts, **options):
    return [
        None if time is None else time.astimezone(UTC)
        for time in parse(pa.array(texts, pa.string()), Options(**options)).values.to_pylist()
    ]


@given(moments, zones, st.sampled_from(["T", " "]))
def test_iso_stamps_are_read_as_python_reads_them(moment, zone, between):
    moment = moment.replace(tzinfo=zone)
    assert read(moment.isoformat(between)) == [moment.astimezone(UTC)]


@given(moments, st.sampled_from([1, 1_000, 1_000_000, 1_000_000_000]))
def test_epochs_are_read_by_their_size(moment, unit):
    micros = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
    micros = max(micros, 10**15)  # from 2001 on the sizes are apart
    number = micros * 1_000 // (10**9 // unit) if unit else 0
    exact = number * (10**9 // unit) // 1_000
    assert read(str(number)) == [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=exact)]


@given(moments)
def test_epoch_seconds_with_a_fraction_are_exact(moment):
    """Zeek's stamps; through a float the last digits would differ."""
    micros = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
    assert read(f"{micros // 10**6}.{micros % 10**6:06d}") == [moment.replace(tzinfo=UTC)]


@given(st.lists(st.integers(0, 10**21).map(str) | st.just("0" * 25), min_size=1, max_size=40))
def test_whole_numbers_mean_the_same_alone_and_among_other_stamps(numbers):
    """Guards the short way for columns of nothing but digits, and the look at the first rows only."""
    among = read("2024-01-01", *numbers, "2024-01-01T00:00:00Z")
    assert read(*numbers) == among[1:-1]
    assert read(*["2024-01-01T00:00:00Z"] * 20, *numbers)[20:] == read(*numbers)


@given(moments)
def test_the_order_of_day_and_month_is_declared(moment):
    moment = moment.replace(microsecond=0)
    when = f"{moment:%H:%M:%S}"
    expected = [moment.replace(tzinfo=UTC)]
    assert (
        read(f"{moment.month:02d}/{moment.day:02d}/{moment.year}, {when}", date_order="month-first")
        == expected
    )
    assert read(f"{moment.day}.{moment.month}.{moment.year} {when}", date_order="day-first") == expected
    assert read(f"{moment.year}/{moment.month}/{moment.day} {when}", date_order="year-first") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01 00:00:00+00:00"),
        ("2100-02-28T23:59:60Z", None),  # a leap second that never was
        ("2100-02-29T00:00:00Z", None),
        ("2024-02-29T00:00:00Z", "2024-02-29 00:00:00+00:00"),
        ("2024-02-29", "2024-02-29 00:00:00+00:00"),
        ("2026-01-01T00:00:00.123456789Z", "2026-01-01 00:00:00.123456+00:00"),
        ("2026-01-01 00:00:00,5", "2026-01-01 00:00:00.500000+00:00"),
        ("2026-01-01T00:00:00+0530", "2025-12-31 18:30:00+00:00"),
        ("2026-01-01T00:00:00+05", "2025-12-31 19:00:00+00:00"),
        ("1767225600123456789", "2026-01-01 00:00:00.123456+00:00"),
        ("9999999999999999999", None),
        ("-1", "1969-12-31 23:59:59+00:00"),
        ("07/05/2023, 12:00:00", None),
        ("", None),
        ("now", None),
        ("2026-01-01T00:00:00 then", None),
    ],
)
def test_stamps_at_the_edges(text, expected):
    assert [time and str(time) for time in read(text)] == [expected]


def test_one_bad_stamp_spoils_no_other():
    assert [time is not None for time in read("2026-02-30T00:00:00Z", "2026-02-28T00:00:00Z", None)] == [
        False,
        True,
        False,
    ]


forms = st.builds(
    "{}-{}-{}{}{}{}{}".format,
    st.sampled_from(["2026", "2024", "0001", "9999"]),
    st.sampled_from(["01", "02", "13"]),
    st.sampled_from(["01", "29", "30", "32"]),
    st.sampled_from(["T", " ", "t", ""]),
    st.sampled_from(
        ["00", "00:00", "23:59:59", "23:59:60", "24:00:00", "12:00:00.5", "12:00:00,123456789", ""]
    ),
    st.sampled_from(["", " "]),
    st.sampled_from(["", "Z", "z", "+01", "+0130", "-01:30", "+99:99", "UTC"]),
)


@given(
    st.lists(
        forms | st.none() | st.sampled_from(["1767225600", "1767225600.5", "", "never"]),
        min_size=1,
        max_size=5,
    )
)
def test_a_stamp_means_the_same_whatever_stands_beside_it(texts):
    """Fast ways for a whole block must not take or leave what the way one by one does not."""
    assert read(*texts) == [time for text in texts for time in read(text)]


def test_times_without_a_zone_are_those_of_the_declared_one():
    madrid = ZoneInfo("Europe/Madrid")
    assert str(read("2026-07-01T12:00:00", timezone=madrid)[0]) == "2026-07-01 10:00:00+00:00"
    assert str(read("2026-07-01T12:00:00Z", timezone=madrid)[0]) == "2026-07-01 12:00:00+00:00"
    # the hour that comes twice is taken as its first pass, the one that never comes as its start
    assert str(read("2026-10-25T02:30:00", timezone=madrid)[0]) == "2026-10-25 00:30:00+00:00"
    assert str(read("2026-03-29T02:30:00", timezone=madrid)[0]) == "2026-03-29 01:00:00+00:00"


def rolled(stamps, name="auth.log", **options):
    clock = Rollover(name, Options(**options))
    return [
        time and f"{time:%Y-%m-%d}"
        for block in stamps
        for time in clock.parse(pa.array(block)).values.to_pylist()
    ]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["Dec 31 23:00:00", "Jan  1 00:00:00"], ["2022-12-31", "2023-01-01"]),
        (
            ["Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:02"],
            ["2022-01-01", "2021-12-31", "2022-01-01"],
        ),
        (["Mar 20 00:00:00", "Mar  1 00:00:00"], ["2022-03-20", "2022-03-01"]),  # files joined newest first
        (["Jan  1 00:00:00", "Aug  1 00:00:00"], ["2022-01-01", "2022-08-01"]),  # silence
        (["Feb 29 00:00:00", "Mar  1 00:00:00"], [None, "2022-03-01"]),
        (["Foo 29 00:00:00", "Mar 99 00:00:00", "Mar  1 25:00:00"], [None, None, None]),
    ],
)
def test_years_turn_by_the_order_of_stamps(stamps, expected):
    assert rolled([stamps], year=2022) == expected
    assert rolled([[stamp] for stamp in stamps], year=2022) == expected  # whatever the blocks


def test_two_new_years_in_one_file():
    assert (
        rolled([["Dec  1 00:00:00", "Jan  1 00:00:00", "Dec  1 00:00:00", "Jan  1 00:00:00"]], year=2022)[-1]
        == "2024-01-01"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auth.log-20230327", "2023-03-01"),
        ("auth-2023-02.log", "2022-03-01"),
        ("auth.log", None),
        ("log-192168001001", None),
    ],
)
def test_a_dated_name_gives_the_year_that_its_day_allows(name, expected):
    """A file rotated in February holds March of the year before."""
    assert rolled([["Mar  1 00:00:00"]], name) == [expected]
