"""The built-in tasks: they enter by the same door as a user's own."""
