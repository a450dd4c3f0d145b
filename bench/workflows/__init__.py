"""What is more than one run of a sweep, or none: files measured, boards offline, vendor builds, imports."""
