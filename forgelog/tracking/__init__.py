"""Runs as programs that train log to them: `forgelog.run`, the spool that keeps them, the process that sends them.

In the program, which they cost next to nothing: `beginning`, `run`, `recording`, `segments`, `spool`, `ending` and
`starting`. In the process that sends, in a node's agent and in the command line: `draining`, `sender`, `syncing` and
`platform`.
"""
