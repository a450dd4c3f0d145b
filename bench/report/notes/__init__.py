"""What stands below a table: headline, notes, the chain of agreement, machines."""
