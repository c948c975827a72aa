"""What starts a pipeline's runs beside the clock and people. Part of the pipeline's aggregate."""
