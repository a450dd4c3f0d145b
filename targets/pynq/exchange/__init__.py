"""What goes to a board and comes back: archives, jobs, results; all of it checked as untrusted."""
