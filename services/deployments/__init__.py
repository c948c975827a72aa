"""Deployments: models served by replicas, split, scaled, rolled out and watched."""
