"""Records of requests: a stream, from routers into tables of its own."""
