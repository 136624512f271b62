"""What ends trials early; `hpo.pruners.base` has the protocol and the table."""
