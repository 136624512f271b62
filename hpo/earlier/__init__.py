"""Earlier studies, whoever made them, as results that a new study begins with."""
