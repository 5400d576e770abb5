"""Sigma rules: loaded, compiled into one plan, and evaluated on the distinct values of columns."""

from __future__ import annotations

from rms_flows.sigma.load import load
from rms_flows.sigma.plan import Matches, Plan, compile  # noqa: A004 - the word of the field, as in re.compile
from rms_flows.sigma.rules import Refused, Rule, RuleSet

__all__ = ["Matches", "Plan", "Refused", "Rule", "RuleSet", "compile", "load"]
