"""Reference models and their data sets, one file each."""
