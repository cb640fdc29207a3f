"""Questions asked backwards: the largest, smallest or fewest that still fits, exact with respect to ``estimate``."""
