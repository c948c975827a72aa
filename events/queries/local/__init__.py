"""Calls of one request and one answer between processes of one machine: over a Unix socket, in frames of our own.

gRPC spends 150 to 250 µs of CPU at each end of a call, most of it in its own library; frames spend a tenth. The gateway
calls services so where it finds their socket, and by gRPC where it does not. Both reach the same handlers, and failures
are the same. Streams go by gRPC alone.
"""
