"""Alerts of deployments: pure, window by window."""
