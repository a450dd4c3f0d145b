"""Records to cells: everything that a report reads, checked. Out: `Cell`s with their records."""
