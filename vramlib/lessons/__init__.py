"""What each notebook needs beyond the components: its widget, its curves, its exercises. Pure, tested, no kernel."""
