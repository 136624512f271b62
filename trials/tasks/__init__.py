"""Built-in tasks on real data that every installation has, with a study file each."""
