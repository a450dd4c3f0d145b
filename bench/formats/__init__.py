"""Files of Keras and TFLite, read and written as untrusted; nothing is decided here."""
