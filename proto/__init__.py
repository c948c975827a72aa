"""The protobuf side of the language: generators, and the `.proto` files below `forgelog/`."""
