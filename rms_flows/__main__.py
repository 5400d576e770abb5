"""`python -m rms_flows` is `rms`."""

from rms_flows.cli import main

main()
