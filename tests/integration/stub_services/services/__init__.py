"""Stand-ins for the services, for tests of the supervisor: they have a health check and nothing else."""
