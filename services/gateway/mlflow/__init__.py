"""MLflow's REST API, spoken by its unchanged client, as commands and queries of the platform."""
