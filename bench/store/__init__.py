"""The results folder: records, artifacts, logs as plain files, and who works on what."""
