"""Two runs compared: what changed, whether it is significant, what was made otherwise, gates."""
