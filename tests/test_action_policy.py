"""Which reports a document means, and what is said of documents that mean nothing."""

import pytest
from acting import report, table

from rms_flows.action.plan import plan
from rms_flows.action.policy import Policy
from rms_flows.errors import DocumentError
from rms_flows.model import Actions, parse

HEAD = """
actions: home
receivers:
  - {id: soc, webhook: {url: "http://localhost:1/"}}
  - {id: mail, mail: {server: "localhost:25", sender: a@b, to: [c@d]}}
"""


def policy(text):
    return Policy(parse((HEAD + text).encode(), Actions, "actions.yaml"), "actions.yaml")


def who(found, number=0):
    return [(timing.receiver, key) for timing, key in found[number].groups]


def test_the_first_route_counts_unless_it_says_continue():
    known = policy("""
routes:
  - {receiver: mail, matchers: {rule.level: [high, critical]}, group_by: [rule.id], continue: true}
  - {receiver: soc, matchers: {rule.tags|contains: t1110}, group_by: [group.source.ip, rms.location]}
  - {receiver: soc, matchers: [{rms.source: hub}, {group.source.ip|cidr: 203.0.113.0/24}], group_by: []}
  - {receiver: mail, matchers: {rms.source|neq: hub}, group_by: ["..."]}
""")
    found = known.seen(
        table(
            report(),
            report("r2", **{"rule.level": "low", "rule.tags": None}),
            report("r3", **{"rule.level": "low", "rule.tags": None, "rms.source": "gw", "rms.group": "[]"}),
            report("r4", **{"rule.level": None, "rule.tags": None, "rms.group": "{broken"}),
        )
    )
    assert who(found) == [("mail", '{"rule.id":"rule-1"}'), ("soc", '{"group.source.ip":"203.0.113.7"}')]
    assert who(found, 1) == [("soc", "{}")]
    assert who(found, 2) == [("mail", '{"event.id":"r3"}')]
    assert who(found, 3) == [("soc", "{}")]


def test_reports_that_differ_in_time_only_are_one_alert():
    """Guards against a mail every five minutes of one attacker who goes on."""
    known = policy("routes: [{receiver: soc}]")
    later = report("r2", 3_600, **{"rms.count": 9, "message": "more failures", "rms.evidence": ["e"]})
    found = known.seen(table(report(), later, report("r3", **{"rms.request_source": "203.0.113.8"})))
    assert found[0].alert == found[1].alert != found[2].alert


def test_silences_are_of_the_time_of_reports():
    known = policy("""
routes: [{receiver: soc}]
silences:
  - {matchers: {rms.source: hub}, starts_at: 2026-03-01T12:00:00, ends_at: 2026-03-01T12:00:10Z,
     created_by: ann, comment: new kernel}
""")
    found = known.seen(
        table(
            report("a", -1),
            report("b", 0),
            report("c", 9),
            report("d", 10),
            report("e", 5, **{"rms.source": "x"}),
        )
    )
    assert [one.silenced for one in found] == [None, "new kernel (ann)", "new kernel (ann)", None, None]


def test_an_inhibition_needs_what_both_have_to_agree_in():
    known = policy("""
routes: [{receiver: soc, group_by: ["..."], group_wait: 0s}]
inhibit_rules:
  - {source_matchers: {rule.id: dead}, target_matchers: {rule.level: [high, low]}, equal: [rms.source], within: 1h}
""")
    found = known.seen(
        table(
            report("dead", 0, **{"rule.id": "dead", "rule.level": "critical"}),
            report("same", 60),
            report("other", 60, **{"rms.source": "gw"}),
            report("late", 3_601),
        )
    )
    planned = plan(found)
    assert {name for one in planned.notifications for name in one.reports} == {"dead", "other", "late"}
    assert [(one.report, one.kind, one.why) for one in planned.fates] == [("same", "inhibited", "dead")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "routes: [{receiver: nobody}]",
            "a route leads to 'nobody', which is no receiver; there are soc, mail",
        ),
        (
            "routes: [{receiver: soc, group_by: [rms.count]}]",
            r"actions.yaml: routes\[0\].group_by: no column 'rms.count' of",
        ),
        (
            "routes: [{receiver: soc, matchers: {message: x}}]",
            r"routes\[0\].matchers: no column 'message' .*there are rule.id",
        ),
        (
            "routes: [{receiver: soc, matchers: {rule.id|no: x}}]",
            r"routes\[0\].matchers: no Sigma selection: .*write one such as",
        ),
        ("routes: [{receiver: soc, matchers: [x]}]", "matchers"),
        ("routes: [{receiver: soc, group_wait: soon}]", r"routes\[0\].group_wait"),
        (
            "routes: [{receiver: soc}]\nsilences: [{starts_at: 2026-03-02, ends_at: 2026-03-01, created_by: a, comment: b}]",
            "it ends before it starts",
        ),
        ("routes: []", "routes"),
    ],
)
def test_what_is_wrong_with_a_document_is_said(text, said):
    with pytest.raises(DocumentError, match=said):
        policy(text)


@pytest.mark.parametrize(
    ("receivers", "said"),
    [
        ("[{id: a}]", "a receiver is one of webhook, mail and alertmanager"),
        (
            "[{id: a, webhook: {url: 'http://x/', secret: {}}}]",
            "a secret is in a file or in the environment: name one",
        ),
        ("[{id: a, webhook: {url: 'http://x/', secret: geheim}}]", "secret"),
        (
            "[{id: a, alertmanager: {url: 'http://x/'}}, {id: a, alertmanager: {url: 'http://y/'}}]",
            "'a' is given twice",
        ),
        ("[{id: a, mail: {server: 'x:25', sender: a@b, to: [\"c@d\\nBcc: e@f\"]}}]", "to"),
    ],
)
def test_what_is_wrong_with_a_receiver_is_said(receivers, said):
    text = f"actions: x\nreceivers: {receivers}\nroutes: [{{receiver: a}}]\n"
    with pytest.raises(DocumentError, match=said) as raised:
        parse(text.encode(), Actions, "actions.yaml")
    assert "geheim" not in str(raised.value)


def test_matchers_without_a_column_are_refused():
    with pytest.raises(DocumentError, match=r"search all text of a report, which may grow; name the column"):
        policy("routes: [{receiver: soc, matchers: {'|contains': x}}]")
