"""The service that probes and other programs talk to: `rms serve`, the registry and an intake over HTTP.

What it says is in `api`; `intake` makes what probes send durable before they are told so; `server` listens.
Whether an envelope is true is not judged here, unless that is asked for (`intake.Known`), but where it is
read, so that a replay judges as a stream does.
"""
