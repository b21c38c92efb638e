"""How the networks are made; runs from the repository's root, never shipped in the wheel."""
