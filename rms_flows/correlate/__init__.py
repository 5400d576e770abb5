"""Correlations: matches of rules, grouped and judged over windows of event time."""
