"""The whole platform on one machine, with nothing but Python installed: broker, database, services, agents.

Must not know what the services do; they are processes with an environment, an address and a health check.
"""
