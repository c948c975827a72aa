"""What a stage of a pipeline does on its node: it reads, transforms, checks and writes data.

Needs the extra ``pipelines``. Knows no service: `forgelog.worker` brings the orders and takes the reports.
"""
