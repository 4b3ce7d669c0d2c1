"""Parts of the kind "expiry"."""
