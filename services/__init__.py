"""The services, a package each. In a process of one, the cycle collector looks seldom from the first import on. An
agent goes back to Python's own way once it has imported."""

from events.process.collector import look_seldom

look_seldom()
