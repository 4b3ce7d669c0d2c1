"""Parts of the kind "digest"."""
