"""Loss laws: fitted on a few curves, they predict the loss of any schedule before it is run."""
