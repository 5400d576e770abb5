"""Rules and correlations for tests, and how to load them."""

import yaml

from rms_flows.sigma.load import read

IDS = {name: f"00000000-0000-4000-8000-00000000000{n}" for n, name in enumerate("abc", 1)}
COUNT = {"type": "event_count", "rules": ["a"], "timespan": "1m", "condition": {"gte": 3}}


def rule(key, field="f", /, **more):
    whole = {"title": key.upper(), "name": key, "id": IDS.get(key), "logsource": {"product": "p"}}
    whole["detection"] = {"s": {field: key}, "condition": "s"}
    return {key: value for key, value in {**whole, **more}.items() if value is not None}


def correlation(title="T", name=None, **said):
    given = {key.replace("_", "-") if key == "group_by" else key: value for key, value in said.items()}
    return {"title": title, **({"name": name} if name else {}), "correlation": given}


RULES = [rule("a"), rule("b"), rule("c")]
APART = [rule("a", "fa"), rule("b", "fb"), rule("c", "fc")]
INNER = correlation("Inner", "inner", **COUNT, group_by=["g", "h"])


def load_in(folder, *documents, pipeline=None):
    """Load documents, and a pipeline, from files of a folder."""
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    pipelines = []
    if pipeline is not None:
        pipelines = [folder / "p.yml"]
        pipelines[0].write_text(yaml.safe_dump(pipeline))
    return read([file], pipelines)[0]


def told(loaded):
    """Give the reasons of refused documents by their titles."""
    return {one.title: one.reason for one in loaded.refused}
