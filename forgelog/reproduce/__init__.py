"""Runs reproduced: what was captured of a run is restored, run as another run, and the final metrics are compared.

1. `plan` says what will be restored, and what can't be and why. Pure; `here` looks at this machine for it.
2. `code` and `packages` restore into a folder.
3. `session` runs the program, or submits the job, as a run that `reproduces` the first.
4. `results` compares both runs. Pure.
"""
