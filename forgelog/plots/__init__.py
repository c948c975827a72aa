"""Drawings of runs for files: what is drawn (`figures`), as HTML (`page`, `svg`) and as an image (`image`)."""
