"""Sources of records, the playroom, masks, and the pipeline that turns (seed, step) into a batch."""
