"""The object store: bytes that are too large for events. An event names an object by its digest.

`address` is cheap to import. `store` loads obstore only when an object is read or written.
"""
