"""When schedules fire: ticks and intervals where clocks change, catching up, promises in time, backfills.

Pure functions of the language's values. The service decides by them, and a client shows by them what a schedule will
do before anyone has defined it.
"""
