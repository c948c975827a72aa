"""Windows of a minute over all requests of a deployment: counted by routers, added up in a process of its own."""
