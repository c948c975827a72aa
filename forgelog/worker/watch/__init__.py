"""A pipeline's watcher: the job that looks at topics and files for its triggers, where the data and the secrets are.

It reports what it finds; the pipeline decides what a run is about. Each trigger is looked at for itself: what is wrong
with one is reported as its trouble, and the others go on.
"""
