"""What watches a study: the console and the mirror in a tracking store. Each hears every event, in order."""
