"""The aggregate that decides a dataset: its versions, and what they must be."""
