"""Parts of clean-ups."""
