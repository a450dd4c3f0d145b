"""Tables of a view, and the same table as text, LaTeX and blocks of a narrow terminal."""
