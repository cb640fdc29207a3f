"""vramlib."""
