"""Parts of the kind "sync"."""
