"""The language of deployments: models that are served, and how requests get to their replicas."""
