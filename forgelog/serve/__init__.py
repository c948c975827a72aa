"""The model server: one process that serves one version of a model, a replica of a deployment.

    python -m forgelog.serve

It reads what it serves from ``FORGELOG_SERVING`` (a `events.language.deployments.serving.ServingSpec`) and listens on
``FORGELOG_PORT_HTTP`` and ``FORGELOG_PORT_GRPC``. With a folder as argument it serves the model in that folder, for
trying. It knows no Kafka, no Postgres and no router, and goes on while all of them are down.

A request's way, whatever protocol it came by:

1. its protocol makes an `InferRequest` of it (`rest`, `grpc_door`, `websocket`, `graphql_door`);
2. `engine` checks it, runs the script before, waits in `batching`, runs the script after, and checks the answer;
3. a runtime of `runtimes` computes, in one thread (`limited`).
"""
