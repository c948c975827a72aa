# ruff: noqa
# fmt: off
"""Module of this package → its commands → what `forgelog --help` says of them.

Generated from the modules' `COMMANDS` by `make proto`: change those, not this file.
"""

from __future__ import annotations

MODULES: dict[str, dict[str, str]] = {
    "platform": {
        "up": "Start the platform, or change a running one to the given options.",
        "down": "Stop the platform; its data stays. Names running jobs first: they end, and start again at the next `up`.",
        "status": "Show the platform's processes and their progress. Exits with 3 if it is not up or not ready.",
        "doctor": "Check what the platform needs on this machine, and say how to get it. Exits with 1 if a check fails.",
    },
    "token": {
        "token": "Print the platform's key: curl -H \"Authorization: Bearer $(forgelog token)\" ...",
    },
    "demo": {
        "demo": "Train models on a two-node cluster, kill a service on the way, and prove that nothing was lost.",
    },
    "submitting": {
        "submit": "Submit the jobs of a manifest, or one command, and print their ids.",
        "run": "Submit one job, show its output, and exit with its code. Ctrl-C cancels it, a second Ctrl-C exits at once.",
    },
    "jobs": {
        "ps": "List jobs, newest first; live ones and those that ended in the last hour unless told otherwise.",
        "wait": "Wait until jobs have ended. Exits with the first exit code that is not 0.",
        "cancel": "Stop jobs: waiting tasks never start, running ones get TERM and, after the job's grace, KILL.",
        "requeue": "Run the failed and cancelled tasks of ended jobs again, as new attempts.",
    },
    "show": {
        "show": "Show a job: its status, its spec, its tasks (failed ones first), its attempts, and why it waits or ended.",
        "why": "Say why a job waits: its place in the queue and what each group of nodes lacks, or the jobs it depends on.",
    },
    "queues": {
        "queue": "Show queues and what waits in them; create, change or delete one.",
    },
    "output": {
        "logs": "Show a job's output: its standard output on standard output, its standard error on standard error.",
    },
    "fetch": {
        "fetch": "Fetch the files that a job keeps (`--keep`); those of an array's tasks into folders of their numbers.",
    },
    "nodes": {
        "nodes": "Show nodes; cordon, drain, label, taint or remove one.",
    },
    "log": {
        "history": "Show all events of one aggregate, or all events that match the filters; causes come before effects.",
        "replay": "Fold an aggregate's history again, event by event, and show what each event changes.",
        "watch": "Show events as they happen, until Ctrl-C. JSON is one event a line.",
    },
    "maintenance": {
        "rebuild": "Rebuild a service's tables from the whole log while the old ones serve, or check that they do not differ.",
        "deadletters": "List, show and replay records that are no command and no piece of a stream.",
    },
    "audit": {
        "audit": "Verify that the history was not changed.",
    },
    "export": {
        "export": "Write the events of a span of time with their envelopes to a file, oldest first.",
    },
    "repair": {
        "repair": "Show the records that stop a place, and why; skip one, or try it again.",
    },
    "compare": {
        "compare": "Show runs side by side: parameters, metrics (last, smallest, largest), datasets, tags; those that differ first.",
    },
    "datasets": {
        "datasets": "Show versions of datasets; register, check or download one.",
    },
    "deployments": {
        "deploy": "Serve a model: create its deployment, or update it. What is not given stays as it is.",
        "deployments": "Show deployments, their revisions and replicas; scale or end one.",
    },
    "experiments": {
        "experiments": "Show experiments; create, change, pause, finish or delete one.",
    },
    "importing": {
        "import": "Bring runs, metrics, files and models of other trackers here.",
    },
    "keys": {
        "keys": "Show keys of deployments' endpoints; issue or revoke one.",
    },
    "lineage": {
        "lineage": "What an answer, a model or a table was made of: through deployments, runs and pipelines.",
    },
    "logged_models": {
        "logged-models": "Show models that runs have logged, and their files; delete one, or bring it back.",
    },
    "models": {
        "models": "Show registered models and their versions; publish, name, promote, check, download or delete one.",
    },
    "notices": {
        "notices": "List what people were told in the last thirty days, on which channel, and whether it has reached them.",
    },
    "objects": {
        "objects": "List the objects of the store, and remove those that no event names.",
    },
    "pipelines": {
        "pipeline": "Define pipelines, run them, and show their runs.",
    },
    "predict": {
        "predict": "Ask a deployment by the Open Inference Protocol, and show its outputs, a row each.",
    },
    "reproduce": {
        "reproduce": "Show what of a run can be restored; with --into or --job, run it again and compare the final metrics.",
    },
    "rollouts": {
        "rollout": "Show, pause, resume, promote or undo a deployment's rollout.",
        "traffic": "Show or set which requests go to which revision.",
    },
    "runs": {
        "runs": "Show runs of experiments and their files; create one, log to it, end or delete it.",
    },
    "scaling": {
        "autoscale": "Let the number of replicas follow the load. What is not given stays as it is set.",
    },
    "templates": {
        "templates": "Show templates of experiments; save, rate or delete one.",
    },
    "tune": {
        "tune": "Show tunings and their trials; make, pause, stop or delete a tuning.",
        "optuna-proxy": "Let Optuna's client (GrpcStorageProxy) keep its studies here; it listens on this machine alone, until Ctrl-C.",
    },
}
