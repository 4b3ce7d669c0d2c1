"""Parts of the kind "import"."""
