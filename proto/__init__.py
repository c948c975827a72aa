"""The protobuf side of the language: generators, and the `.proto` files below `forgelog/`."""


class GenerationError(Exception):
    """Something can't be generated; the text says what, where, and what to do."""
