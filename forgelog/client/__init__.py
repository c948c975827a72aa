"""The client. What importing it does: gRPC's core, a C library, keeps its words to itself.

It would write to the terminal that a connection was lost (GOAWAY), which the client mends by itself, amid a job's
output. It reads its settings when it is first imported, so they are made here, before any module of the client imports
it. A GRPC_VERBOSITY that is set already stays.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
