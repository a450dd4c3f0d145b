"""Steps: each turns one artifact into another, in a folder of its kind, and checks what its name claims."""
