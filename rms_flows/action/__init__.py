"""Action: what reports lead to. A plan of who is told of what, by event time; and the telling.

`plan` and `policy` are plain functions over reports, `outbox` keeps what is to be told until it was,
`receivers` know one way of telling each, `run` puts them together. No replay and no stream can call any of
it: this room lies above theirs.
"""
