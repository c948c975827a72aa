"""``python -m forgelog.worker``: runs stages of one pipeline on a node, as a job of it.

Two processes. The worker (`working`) speaks with the platform: it follows the orders for it and reports. Its executor
(`child`) does the work of one stage after another, and is where the user's code runs. An executor that a stage has
spoilt (it was stopped, it crashed, it left processes or threads, it holds too much memory) is replaced by a spare that
has loaded its libraries already. It is not forked: pyarrow and polars have threads.

Needs the extra `pipelines`. Must not decide what runs when: the pipeline does, in the log.
"""
