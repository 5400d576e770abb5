"""Sigma rules: loaded, compiled into one plan, and evaluated on the distinct values of columns.

Example:
    >>> import pathlib, tempfile
    >>> import pyarrow as pa
    >>> text = '''
    ... title: A shell
    ... logsource: {category: process_creation}
    ... detection:
    ...   shell: {Image|endswith: /sh}
    ...   root: {User: root}
    ...   condition: shell and not root
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "shell.yml")
    ...     _ = path.write_text(text)
    ...     plan = compile(load([path]))
    >>> batch = pa.record_batch({"Image": ["/bin/sh", "/bin/SH", "/bin/ls"], "User": ["root", None, "ann"]})
    >>> matches = plan.match(batch)
    >>> [(plan.rules[rule].title, row) for rule, row in zip(matches.rule, matches.row.tolist())]
    [('A shell', 1)]
"""

from __future__ import annotations

from rms_flows.sigma.fate import Fate, fates
from rms_flows.sigma.load import load
from rms_flows.sigma.plan import Matches, Plan, compile  # noqa: A004 - the word of the field, as in re.compile
from rms_flows.sigma.rules import Refused, Rule, RuleSet

__all__ = ["Fate", "Matches", "Plan", "Refused", "Rule", "RuleSet", "compile", "fates", "load"]
