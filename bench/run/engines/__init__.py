"""Where tasks run: processes of this machine, forked from a server that has imported TensorFlow."""
