"""Programs and libraries that are not ours judge what the platform writes, says and takes."""
