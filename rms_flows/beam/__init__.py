"""The room that knows Beam: coder, thin DoFns, the local engine and its worker processes.

Nothing here decides anything about events; each DoFn calls one plain function of the rooms below.
"""
