"""Tells people of alerts: each one that fires and each that is over, once, on the channels that it names."""
