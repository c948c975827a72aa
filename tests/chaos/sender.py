"""A producer as a process of its own, for attacks on producers: ``python -m tests.chaos.sender TOPIC``.

Reads records as JSON lines (id, type, key, value) to the end, then sends them one by one, and says the number of each
on a line of its own once Kafka has it.
"""

from __future__ import annotations

import asyncio
import sys

import orjson
from aiokafka import AIOKafkaProducer

from events.log.access import client_options
from events.process.settings import Settings


async def main(topic: str) -> None:
    records = [orjson.loads(line) for line in sys.stdin.buffer]
    async with AIOKafkaProducer(**client_options(Settings.load()), enable_idempotence=True) as producer:
        for number, record in enumerate(records):
            headers = [("ce_id", record["id"].encode()), ("ce_type", record["type"].encode())]
            await producer.send_and_wait(topic, record["value"].encode(), key=record["key"].encode(), headers=headers)
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
