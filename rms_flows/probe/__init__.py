"""The probe: observes a machine, signs what it saw, and sends it, kept on disk until it is there.

It runs on small gateways: this room imports neither Arrow nor Beam, and stays below 60 MB.

A thread for each collector puts what it observes into a queue (`crew`), so that one that hangs holds up
no other. The main thread (`run`) numbers and signs it and puts it into the journal on disk, together with how
far collectors have read: both are there, or neither. Another thread (`sending`) takes it from there to the
output, as often as it takes.
"""
