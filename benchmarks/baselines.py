"""What a baseline finds in real metrics, beside a rolling z-score and a constant threshold.

    RMS_DATASETS=folder python benchmarks/baselines.py

Every method gives each value a score that knows only what came before; a value is reported where the score
reaches the method's one threshold. Judged are the values of the second half of each series, one by one, by
their labels. The thresholds come about in three ways, the same for all methods:

- untuned: the customary 3.5 for robust deviations and 3 for z-scores; for the constant, all that the first
  half has seen is normal;
- first half: the threshold that has the best F1 on the first half's labels (of equal ones the highest);
- hindsight: the threshold that has the best F1 on the second half itself: what no one could have chosen, and
  an upper bound of what the method can do.

Windows, seasons and slots are the same for all series and were fixed before the first run.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from inputs import datasets

from rms_flows.correlate.spec import Baseline, Bound, Correlation, Input
from rms_flows.correlate.state import Rows, empty
from rms_flows.correlate.step import ALWAYS, step

DAY = 86_400_000_000
LEAST = 10
"""Values that any method needs before it judges."""


@dataclass(frozen=True)
class Series:
    """A metric: times in microseconds, values, labels (None where there are none); arrays of one length."""

    name: str
    time: np.ndarray
    value: np.ndarray
    label: np.ndarray | None

    @property
    def half(self) -> int:
        """Where the second half begins."""
        return len(self.time) // 2


@dataclass(frozen=True)
class Outcome:
    """What came of a method on a second half."""

    hits: int
    false: int
    missed: int
    days: float
    found: int = 0  # stretches of labels of which at least a value was reported
    stretches: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        """Add up over series."""
        mine, others = vars(self).values(), vars(other).values()
        return Outcome(*(a + b for a, b in zip(mine, others, strict=True)))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing was hit."""
        return 2 * self.hits / max(2 * self.hits + self.false + self.missed, 1)

    def __str__(self) -> str:
        precision = self.hits / max(self.hits + self.false, 1)
        recall = self.hits / max(self.hits + self.missed, 1)
        return (
            f"{precision:9.3f} {recall:9.3f} {self.f1:9.3f} {self.found:4d}/{self.stretches:<4d} "
            f"{self.false / self.days:9.2f}"
        )


def constant(series: Series) -> np.ndarray:
    """Give the value itself, less the highest of the first half: 0 and below is what was seen there."""
    return np.asarray(series.value - series.value[: series.half].max())


def below(series: Series) -> np.ndarray:
    """Give the constant threshold from the other side."""
    return constant(Series(series.name, series.time, -series.value, series.label))


def z_score(days: int) -> Callable[[Series], np.ndarray]:
    """Give the distance from the mean of the days before in standard deviations, with a baseline's floors."""

    def score(series: Series) -> np.ndarray:
        found = np.full(len(series.time), np.nan)
        first = np.searchsorted(series.time, series.time - days * DAY)
        last = np.searchsorted(series.time, series.time)
        for row in np.flatnonzero(last - first >= LEAST).tolist():
            past = series.value[first[row] : last[row]]
            spread = max(past.std(), 1e-3 * abs(past.mean()), 1e-9)
            found[row] = abs(series.value[row] - past.mean()) / spread
        return found

    return score


def deviation(days: int, slots: int) -> Callable[[Series], np.ndarray]:
    """Give the score of a baseline of some days with the day cut into slots, from the step that all use."""
    one = Correlation(
        id="b", title="", author=None, level="low", tags=(), meaning="", file="", line=1, kind="baseline",
        inputs=(Input("all", "all"),), group_by=(), timespan=days * DAY, bounds=(Bound("gte", 0),),
        fields=("value",), baseline=Baseline("deviation", DAY if slots > 1 else 0, slots, LEAST),
    )  # fmt: skip

    def score(series: Series) -> np.ndarray:
        count = len(series.time)
        group, number = np.zeros(count, np.uint64), np.arange(count, dtype=np.uint64)
        rows = Rows(
            group,
            series.time,
            group,
            number,
            value=series.value.view(np.int64),
            text=pa.array(number).cast(pa.string()),
        )
        names = (group, pa.array(["{}"] * count))
        found = step(one, empty(one), rows, names, ALWAYS).found
        scores = np.full(count, np.nan)
        scores[found.column("anchor").cast(pa.int64()).to_numpy()] = found.column("measured").to_numpy()
        return scores

    return score


METHODS: dict[str, tuple[Sequence[Callable[[Series], np.ndarray]], float]] = {
    "constant threshold": ((constant, below), float(np.nextafter(0, 1))),
    "z-score, 1 day": ((z_score(1),), 3.0),
    "z-score, 14 days": ((z_score(14),), 3.0),
    "deviation, 1 day": ((deviation(1, 1),), 3.5),
    "deviation, 14 days by hour": ((deviation(14, 24),), 3.5),
}
"""Name → scores (of a constant threshold from above or below, whichever does better), customary threshold."""


def best(score: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Give the threshold with the best F1, of equal ones the highest, and that F1."""
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    ranked, hits = score[order], np.cumsum(label[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + label.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # values of one score are reported together
    f1[np.isnan(ranked)] = -1
    place = int(np.argmax(f1))
    return float(ranked[place]), float(f1[place])


def outcome(series: Series, flagged: np.ndarray) -> Outcome:
    """Compare what is flagged in the second half with its labels; without labels all of it is false."""
    half = series.half
    flagged = flagged[half:]
    label = np.zeros(len(flagged), bool) if series.label is None else series.label[half:]
    edges = np.flatnonzero(np.diff(label, prepend=False, append=False))
    stretches = [flagged[a:b].any() for a, b in zip(edges[::2], edges[1::2], strict=True)]
    hits = int((flagged & label).sum())
    days = float(series.time[-1] - series.time[half]) / DAY
    false, missed = int(flagged.sum()) - hits, int(label.sum()) - hits
    return Outcome(hits, false, missed, days, sum(map(int, stretches)), len(stretches))


def judged(series: Series, name: str, way: str) -> Outcome:
    """Choose a threshold in one of the ways, and judge the second half by it."""
    scores, usual = METHODS[name]
    options = [score(series) for score in scores]
    if way == "untuned":
        return outcome(series, options[0] >= usual)
    assert series.label is not None
    part = slice(None, series.half) if way == "first half" else slice(series.half, None)
    tuned = [(*best(score[part], series.label[part]), place) for place, score in enumerate(options)]
    threshold, _, place = max(tuned, key=lambda one: one[1])
    return outcome(series, options[place] >= threshold)


def stamp(text: str) -> int:
    """Read a time, UTC, as microseconds since 1970."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Read times, values and the last column of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = sorted((stamp(row[0]), float(row[1]), row[-1]) for row in list(csv.reader(file))[1:])
    times, values, labels = zip(*rows, strict=True)
    return np.array(times, np.int64), np.array(values, np.float64), list(labels)


def cloud_metrics(folder: Path) -> Iterator[Series]:
    """Give the series of cloud_metrics."""
    for path in sorted((folder / "cloud_metrics").glob("*.csv")):
        time, value, label = read(path)
        yield Series(path.stem, time, value, np.array([one == "1" for one in label]))


def nab(folder: Path, pattern: str) -> Iterator[Series]:
    """Give series of NAB; labelled is what lies in a window of `combined_windows.json`, where that has it."""
    windows = json.loads((folder / "nab" / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    for path in sorted((folder / "nab" / "data").glob(pattern)):
        time, value, _ = read(path)
        label = None
        if (named := windows.get(f"{path.parent.name}/{path.name}")) is not None:
            label = np.zeros(len(time), bool)
            for begin, end in named:
                label |= (time >= stamp(begin)) & (time <= stamp(end))
        yield Series(path.stem, time, value, label)


def table(title: str, some: Sequence[Series], way: str) -> None:
    """Print a line for each method: all series added up, then the F1 of each."""
    print(f"\n{title}, {way} ({len(some)} series)")
    names = " ".join(f"{one.name[:12]:>12}" for one in some)
    print(f"{'':28}{'precision':>9} {'recall':>9} {'F1':>9} {'stretches':>9} {'false/day':>9}   F1: {names}")
    for name in METHODS:
        each = [judged(one, name, way) for one in some]
        shown = " ".join(f"{one.f1:12.3f}" for one in each)
        print(f"{name:28}{sum(each, Outcome(0, 0, 0, 0.0))}       {shown}")


def main() -> None:
    """Judge all series."""
    folder = datasets()
    collections = {
        "cloud_metrics": list(cloud_metrics(folder)),
        "NAB, real": list(nab(folder, "real*/*.csv")),
    }
    for title, every in collections.items():
        labelled = [one for one in every if one.label is not None]
        second = [one for one in labelled if one.label is not None and one.label[one.half :].any()]
        both = [one for one in second if one.label is not None and one.label[: one.half].any()]
        table(title, labelled, "untuned")
        table(title, both, "first half")
        table(title, second, "hindsight")
    for one in collections["NAB, real"]:
        if one.label is None:
            print(f"\n{one.name}: no label in this copy; values reported in the second half, and a day")
            for name in METHODS:
                found = judged(one, name, "untuned")
                print(f"{name:28}{found.false:6,} {found.false / found.days:9.2f}")


if __name__ == "__main__":
    main()
