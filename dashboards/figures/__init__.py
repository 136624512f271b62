"""One figure a file: each a function from a study to a figure, or None when there is nothing to draw."""
