"""Where the columns of a stage's output come from."""
