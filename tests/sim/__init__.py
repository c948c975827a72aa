"""Simulated worlds for decisions that are pure: many trials with seeds, as fast as they can be computed."""
