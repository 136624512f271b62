"""Training: a trial is a row, K trials are K rows of one program.

Importing this package loads nothing heavy; import the module you need:

- `trials.spec`      the boundary: TrialSpec, Report, TrialFn (no torch)
- `trials.seeding`   one seed -> independent named streams (no torch)
- `trials.task`      what a user writes: Task, Splits
- `trials.train`     `train(spec)`: one trial alone
- `trials.lanes`     K trials of one program, every lane at its own step
- `trials.scheduler` any schedule in a training loop of your own
"""
