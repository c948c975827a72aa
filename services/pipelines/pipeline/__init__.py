"""The aggregate that decides a pipeline: its versions, its runs and their stages."""
