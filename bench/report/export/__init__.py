"""The frame as files, and as runs in MLflow."""
