"""The page: one HTML file with tables, pictures and notes, that asks no server for anything."""
