"""Pipelines that come with the package; each is a file beside this one, written as pySigma reads it."""

from __future__ import annotations

from pathlib import Path


def ours() -> dict[str, Path]:
    """Give the pipelines that come with the package, by name.

    Example:
        >>> sorted(ours())
        ['ecs', 'iot', 'windows', 'zeek']
    """
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.yml"))}


def resolve(pipeline: Path) -> Path:
    """Give the file of a pipeline: the path, unless nothing is there and it is the name of one of ours."""
    return pipeline if pipeline.exists() else ours().get(str(pipeline), pipeline)
