"""What proposes configs; `hpo.samplers.base` has the protocol and the table."""
