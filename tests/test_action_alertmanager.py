"""Alertmanager takes what we post, as its own description of the API says, and tells of it."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import jsonschema
import pytest
from acting import NOON, hook, outgoing, report

from rms_flows.action.receivers.alertmanager import Alertmanager
from rms_flows.model.actions import Alertmanager as Document

LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
STAMP = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
POSTABLE = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "labels": {
                **LABELS,
                "required": ["alertname"],
                "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
            },
            "annotations": LABELS,
            "startsAt": STAMP,
            "endsAt": STAMP,
            "generatorURL": {"type": "string", "format": "uri"},
        },
        "required": ["labels"],
        "additionalProperties": False,
    },
}
"""`postableAlerts` of prometheus/alertmanager, api/v2/openapi.yaml, and what its server checks beside."""

NOW = NOON.timestamp() + 30
PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
CONFIG = """
route: {{receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}/told", send_resolved: false}}]}}]
"""


def made(url, **others):
    return Alertmanager(Document(url=url, **others), Path(), "actions.yaml: receivers[0].alertmanager")


def test_alerts_are_as_the_api_has_them():
    one = made("http://localhost:9093/", link="https://hub.example/reports")
    odd = report("r3", **{"rms.group": '{"id.orig-h":"a","n":5}', "rule.name": None, "message": ""})
    alerts = one.alerts(outgoing(report(), report("r2", 10), odd), NOW)
    jsonschema.validate(alerts, POSTABLE, format_checker=jsonschema.FormatChecker())
    first, second = alerts  # the first two differ in time only
    assert first["labels"] == {
        "alertname": "Guessing", "severity": "high", "rule_id": "rule-1", "report_type": "sigma", "source": "hub",
        "request_source": "203.0.113.7", "group_source_ip": "203.0.113.7",
    }  # fmt: skip
    assert first["annotations"]["report_id"] == "r2"
    assert first["startsAt"] == "2026-03-01T11:59:40.000000Z"
    assert first["endsAt"] == "2026-03-01T12:15:30.000000Z"
    assert (second["labels"]["group_id_orig_h"], second["labels"]["alertname"]) == ("a", "sigma")


def test_what_waited_long_is_still_firing():
    """Guards against alerts that end before they are sent: Alertmanager drops those in silence."""
    [alert] = made("http://localhost:9093").alerts(outgoing(), NOW + 86_400)
    assert alert["endsAt"] == "2026-03-02T12:15:30.000000Z"


@contextlib.contextmanager
def running(folder, config):
    (folder / "alertmanager.yml").write_text(config)
    log = folder / "alertmanager.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  our own words
            [
                PROGRAM, "--config.file=alertmanager.yml", "--storage.path=data", "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ],
            cwd=folder, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        limit = time.monotonic() + 60
        while not (found := re.search(rb"address=127\.0\.0\.1:([1-9]\d*)", log.read_bytes())):
            assert time.monotonic() < limit, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{int(found[1])}"
    finally:
        process.kill()
        process.wait()


def reports(told):
    """The reports that were told of, in as many messages as Alertmanager likes: a group that waits for none sends the
    first alert of a post alone when it is quick, and the others an interval later."""
    return {
        alert["annotations"]["report_id"]
        for _, _, body, _ in told.got
        for alert in json.loads(body)["alerts"]
    }


def test_a_real_one_takes_them_and_tells_of_them(tmp_path):
    if PROGRAM is None:
        if "CI" in os.environ:
            pytest.fail("there is no Alertmanager; .ci/run installs it")
        pytest.skip("there is no Alertmanager")
    with hook() as told, running(tmp_path, CONFIG.format(url=told.url)) as url:
        now = time.time()
        one = outgoing(report(), report("r2", 10), report("r3", 20, **{"rms.request_source": "203.0.113.8"}))
        assert made(url).send(one, now).state == "sent"
        assert made(url).send(one, now + 1).state == "sent"
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=20) as answer:  # noqa: S310
            known = json.load(answer)
        assert sorted(alert["labels"]["request_source"] for alert in known) == ["203.0.113.7", "203.0.113.8"]
        assert {alert["status"]["state"] for alert in known} <= {"active", "unprocessed"}
        limit = time.monotonic() + 30
        while (named := reports(told)) != {"r2", "r3"} and time.monotonic() < limit:
            time.sleep(0.05)
        refused = made(f"{url}/elsewhere").send(one, now)
    assert named == {"r2", "r3"}
    assert refused.state == "refused"
