"""Views of a study, drawn from its journal alone: figures and a report on one page."""
