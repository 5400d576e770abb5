"""Units that values are converted between: exact factors to one base a dimension.

Sources: The International System of Units (BIPM, 9th edition, tables 4, 7 and 8) for time, temperature,
pressure, energy and prefixes; IEC 80000-13 for the binary prefixes of bytes; the mile by the international
yard of 1959, 1609.344 m.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import pyarrow as pa

from rms_flows.errors import DocumentError
from rms_flows.processors.transform.numbers import floats, real, whole

_K, _M, _G, _T = (10**power for power in (3, 6, 9, 12))
_TENTH: Final = Fraction(1, 10)
_RANKINE: Final = Fraction(5, 9)

_TABLE: Final[dict[str, dict[str, tuple[Fraction | int, Fraction | int]]]] = {
    "share": {"1": (1, 0), "%": (_TENTH**2, 0), "permille": (_TENTH**3, 0)},
    "data": {
        "bit": (Fraction(1, 8), 0), "kbit": (Fraction(_K, 8), 0), "Mbit": (Fraction(_M, 8), 0),
        "Gbit": (Fraction(_G, 8), 0), "B": (1, 0), "kB": (_K, 0), "MB": (_M, 0), "GB": (_G, 0),
        "TB": (_T, 0), "KiB": (2**10, 0), "MiB": (2**20, 0), "GiB": (2**30, 0), "TiB": (2**40, 0),
    },
    "time": {
        "ns": (_TENTH**9, 0), "us": (_TENTH**6, 0), "ms": (_TENTH**3, 0), "s": (1, 0), "min": (60, 0),
        "h": (3_600, 0), "d": (86_400, 0),
    },
    "temperature": {
        "K": (1, 0), "°C": (1, Fraction(27_315, 100)), "°F": (_RANKINE, Fraction(45_967, 100) * _RANKINE),
    },
    "length": {
        "mm": (_TENTH**3, 0), "cm": (_TENTH**2, 0), "m": (1, 0), "km": (_K, 0),
        "mi": (Fraction(1_609_344, _K), 0),
    },
    "speed": {"m/s": (1, 0), "km/h": (Fraction(5, 18), 0), "mph": (Fraction(1_609_344, _K * 3_600), 0)},
    "pressure": {"Pa": (1, 0), "hPa": (100, 0), "mbar": (100, 0), "kPa": (_K, 0), "bar": (100_000, 0)},
    "power": {"mW": (_TENTH**3, 0), "W": (1, 0), "kW": (_K, 0), "MW": (_M, 0)},
    "energy": {
        "J": (1, 0), "kJ": (_K, 0), "Wh": (3_600, 0), "kWh": (3_600 * _K, 0), "MWh": (3_600 * _M, 0),
    },
    "voltage": {"mV": (_TENTH**3, 0), "V": (1, 0), "kV": (_K, 0)},
    "current": {"mA": (_TENTH**3, 0), "A": (1, 0)},
    "frequency": {"Hz": (1, 0), "kHz": (_K, 0), "MHz": (_M, 0), "GHz": (_G, 0)},
}  # fmt: skip

UNITS: Final = {
    dimension: {name: (Fraction(factor), Fraction(shift)) for name, (factor, shift) in units.items()}
    for dimension, units in _TABLE.items()
}
"""Dimension → unit → (factor, shift): value * factor + shift is in the dimension's base."""


def factors(given: object, wanted: object, where: str) -> tuple[Fraction, Fraction]:
    """Give what a value is to be multiplied by, and what is to be added then.

    Args:
        given: The unit that values have.
        wanted: The unit that they shall have.
        where: Names the step in errors.

    Raises:
        DocumentError: A unit is unknown, or they measure different things.

    Example:
        >>> factors("°C", "°F", "")
        (Fraction(9, 5), Fraction(32, 1))
    """
    known = {unit: dimension for dimension, units in UNITS.items() for unit in units}
    for key, unit in (("from", given), ("to", wanted)):
        if not isinstance(unit, str) or unit not in known:
            raise DocumentError(
                f"no unit is called {unit!r}", where=f"{where}.{key}", remedy=f"there are {', '.join(known)}"
            )
    one, other = known[str(given)], known[str(wanted)]
    if one != other:
        raise DocumentError(
            f"{given} measures {one}, and {wanted} {other}", where=where, remedy="name two units of one kind"
        )
    (factor, shift), (to_factor, to_shift) = UNITS[one][str(given)], UNITS[one][str(wanted)]
    return factor / to_factor, (shift - to_shift) / to_factor


def converted(values: pa.Array, factor: Fraction, shift: Fraction) -> pa.Array:
    """Convert numbers; integers stay such where the factor and what is added are whole.

    Args:
        values: int64 or float64.
        factor: Multiplies them.
        shift: Is added.
    """

    def many(number: Fraction | int, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(number if kind == pa.int64() else float(number), kind), len(values))

    if pa.types.is_integer(values.type) and factor.denominator == shift.denominator == 1:
        scaled = whole("*", values, many(factor.numerator, pa.int64()))
        return whole("+", scaled, many(shift.numerator, pa.int64()))
    numbers, kind = floats(values), pa.float64()
    if factor.numerator < factor.denominator:  # a division by 1000 is exact where a factor of 0.001 is not
        scaled = real("/", numbers, many(1 / factor, kind))
    else:
        scaled = real("*", numbers, many(factor, kind))
    return real("+", scaled, many(shift, kind)) if shift else scaled
