"""Steps on Keras networks: train, prune, quantize-aware training, cluster, distil."""
