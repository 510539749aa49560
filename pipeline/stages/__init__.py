"""The stages, one a file: each a module with a constant `STAGE`, found by being there (`pipeline.stage.discover`)."""
