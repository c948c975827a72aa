"""Deciding how many replicas a deployment has: pure, from windows of its load."""
