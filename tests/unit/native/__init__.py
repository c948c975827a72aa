"""The C files on their own: what they must refuse, that they compile without a warning, and that no sanitizer objects.

What they promise together with their Python twins is tested in `tests.unit.log.test_native` and
`tests.unit.agent.test_warden`.
"""
