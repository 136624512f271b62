"""What a step says of each lane: one number for each signal.

The loss before the update; the factor on the rate, a rule's part included (its mean over weight groups);
the norms of the gradient before clipping; the norm of the change of the weights.
"""

SIGNALS = ("loss", "factor", "grad_l1", "grad_l2", "update_norm")
LOSS, FACTOR = 0, 1
