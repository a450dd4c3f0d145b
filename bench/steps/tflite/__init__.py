"""Conversion to TFLite in every mode, and the checks of what came out."""
